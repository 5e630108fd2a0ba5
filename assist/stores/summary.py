"""How a call's summary follows from its entries: one pure function, so that all stores agree.

It knows no database and reads no clock.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from assist.audio import Party
from assist.conversation import Transcript, exchanged
from assist.events import (
    CallEnded,
    CallStarted,
    ChannelFaulted,
    ChannelMended,
    Entry,
    Flagged,
    Noticed,
    Paused,
    Resumed,
    Reviewed,
    RolesSwapped,
    Skipped,
    SpeechStarted,
    Transcribed,
)
from assist.hub import CallSummary, Point, Said

SAID_LETTERS: Final = 100
"""Of the last words, from their end: two lines of a row."""
POINTS: Final = 24
"""Of each chart: some three minutes of a call."""
_SEVERITIES: Final = {"low": 1, "medium": 2, "high": 3}


def summarise(previous: CallSummary | None, entry: Entry) -> CallSummary:
    """The summary once `entry` is kept; `previous` is None for the first entry of a call.

    Entries are taken in the order in which they are kept. `topic` and `sentiment` stay what they were
    when the analyser abstains, since "no news" is not "no topic".
    """
    now = previous or CallSummary(entry.call, started_at="", platform="", metadata={}, recogniser="", last_seq=0)
    now = replace(now, last_seq=max(now.last_seq, entry.seq))
    match entry.event:
        case CallStarted() as event:
            return replace(
                now,
                started_at=event.started_at,
                platform=event.platform,
                metadata=event.metadata,
                recogniser=event.recogniser,
                written=event.encoding == "text",
            )
        case SpeechStarted() | Skipped() | Transcribed() | Paused() | Resumed() | RolesSwapped() as event:
            return _heard(now, event)
        case Noticed() as event:
            return _noticed(now, event, entry.at_ms)
        case Flagged(flag=flag):
            return replace(now, flags=(*now.flags, flag))
        case Reviewed() as event:
            return replace(now, reviews=(*now.reviews, event))
        case ChannelFaulted(kind=kind):
            return replace(now, faults=(*now.faults, kind))
        case ChannelMended(kind=kind) if kind in now.faults:
            at = now.faults.index(kind)
            return replace(now, faults=(*now.faults[:at], *now.faults[at + 1 :]))
        case CallEnded() as event:
            now = replace(now, ended=True, reason=event.reason, duration_ms=event.duration_ms)
            return replace(now, said=None, speaking={}, paused=False, moods=(), voices=())
    return now


def severity(summary: CallSummary) -> int:
    """The highest severity among the call's flags: 0 no flag, 1 low, 2 medium, 3 high."""
    return max((_SEVERITIES[flag.severity] for flag in summary.flags), default=0)


def _heard(
    now: CallSummary, event: SpeechStarted | Skipped | Transcribed | Paused | Resumed | RolesSwapped
) -> CallSummary:
    match event:
        case SpeechStarted(party=party, start_ms=start_ms):
            return replace(now, speaking={**now.speaking, party: start_ms})
        case Skipped(party=channel, end_ms=end_ms):
            return replace(now, speaking=_after(now, exchanged(channel) if now.swapped else channel, end_ms))
        case Transcribed(transcript=said) if said.stage == "partial":
            return replace(now, speaking={**now.speaking, said.party: said.start_ms})
        case Transcribed(transcript=said) if said.stage == "final":
            return _final(now, said)
        case Paused() | Resumed():
            return replace(now, paused=isinstance(event, Paused))
        case RolesSwapped():
            last = now.said and replace(now.said, party=exchanged(now.said.party))
            speaking = {exchanged(party): start_ms for party, start_ms in now.speaking.items()}
            # What was found of the customer's mood was the agent's.
            return replace(now, swapped=True, sentiment=None, moods=(), voices=(), said=last, speaking=speaking)
    return now


def _after(now: CallSummary, party: Party, end_ms: int) -> dict[Party, int]:
    """Who speaks once what `party` said until `end_ms` is over; it may have begun anew meanwhile."""
    return {one: start_ms for one, start_ms in now.speaking.items() if one != party or start_ms >= end_ms}


def _final(now: CallSummary, said: Transcript) -> CallSummary:
    now = replace(now, speaking=_after(now, said.party, said.end_ms))
    if not said.text or (now.said and now.said.end_ms > said.end_ms):  # whose silence took longer comes later
        return now
    return replace(now, said=Said(said.party, _cut(said.text), said.end_ms))


def _cut(text: str) -> str:
    return text if len(text) <= SAID_LETTERS else "…" + text[1 - SAID_LETTERS :]


def _noticed(now: CallSummary, event: Noticed, at_ms: int) -> CallSummary:
    topics, sentiment, moods, voices = dict(now.topics), now.sentiment, now.moods, now.voices
    for finding in event.findings:
        if finding.analyser == "topic" and finding.label != "none":
            topics[finding.label] = round(topics.get(finding.label, 0.0) + finding.score, 4)
        if event.party != "customer":
            continue
        if finding.analyser == "sentiment":
            sentiment = finding.detail.get("call", sentiment)
        if finding.label == "none":  # no news is no point of a chart
            continue
        if finding.analyser == "sentiment" and sentiment is not None:
            moods = (*moods, Point(at_ms, sentiment))[-POINTS:]
        elif finding.analyser == "stress":
            voices = (*voices, Point(at_ms, finding.score))[-POINTS:]
    # The first named wins a tie, so that what a page shows does not flip without reason.
    topic = max(topics, key=lambda label: topics[label], default="")
    return replace(now, topic=topic, topics=topics, sentiment=sentiment, moods=moods, voices=voices)
