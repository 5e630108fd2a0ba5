"""What a log comes to once it is read to the end: without what changed or was taken back while the call went on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from assist.analyse import BY_SOUND
from assist.audio import Party
from assist.conversation import Finding, Flag, Suggestion, Transcript, exchanged
from assist.events import (
    CallStarted,
    Entry,
    Flagged,
    Marked,
    Noticed,
    Reviewed,
    RolesSwapped,
    Suggested,
    Transcribed,
    Withdrawn,
)
from assist.wav import in_channels


@dataclass
class Told:
    """What a log comes to once it is read to the end."""

    parties: tuple[Party, ...] = ()
    written: bool = False
    at_ms: int = 0
    finals: list[Transcript] = field(default_factory=list)
    findings: dict[str, list[tuple[Party, str, Finding]]] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    suggestions: dict[str, tuple[str, Suggestion]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    reviews: list[Reviewed] = field(default_factory=list)


def read(entries: Iterable[Entry]) -> Told:
    """The log's last word on everything. A suggestion that was withdrawn is void unless somebody marked it."""
    told = Told()
    withdrawn: set[str] = set()
    for entry in entries:
        told.at_ms = max(told.at_ms, entry.at_ms)
        match entry.event:
            case CallStarted(parties=parties, encoding=encoding):
                told.parties, told.written = in_channels(parties), encoding == "text"
            case Transcribed(transcript=said) if said.stage == "final":
                told.finals.append(said)
            case Noticed() as noticed:
                _note(told, noticed)
            case Suggested() as suggested:
                told.suggestions.update({each.id: (suggested.utterance, each) for each in suggested.suggestions})
                withdrawn.difference_update(each.id for each in suggested.suggestions)  # shown once more
            case Withdrawn(utterance=utterance):
                withdrawn.update(key for key, (of, _) in told.suggestions.items() if of == utterance)
            case RolesSwapped():
                _exchange(told)
            case Flagged(flag=flag):
                told.flags.append(flag)
            case Marked() as marked:
                told.marks[marked.suggestion] = marked.mark
            case Reviewed() as review:
                told.reviews.append(review)
    for key in withdrawn - told.marks.keys():
        del told.suggestions[key]
    return told


def _note(told: Told, noticed: Noticed) -> None:
    for finding in noticed.findings:
        told.findings.setdefault(finding.analyser, []).append((noticed.party, noticed.utterance, finding))


def _exchange(told: Told) -> None:
    """Parties stay in the order of the channels, whose names are what was wrong."""
    told.parties = tuple(exchanged(party) for party in told.parties)
    told.finals = [replace(said, party=exchanged(said.party)) for said in told.finals]
    for analyser, found in list(told.findings.items()):
        told.findings[analyser] = [(exchanged(party), utterance, finding) for party, utterance, finding in found]
        if analyser in BY_SOUND:
            del told.findings[analyser]
