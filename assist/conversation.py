"""The values a conversation is made of: words, transcripts, findings, turns, suggestions, flags.

All are frozen and know nothing of sockets, stores or models. Times are integer milliseconds from the
start of the call. What goes on the wire is a `msgspec.Struct`; what carries audio never leaves the process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from assist.audio import Party, Utterance

Stage = Literal["partial", "speculative", "final"]
SuggestionKind = Literal["article", "action", "step", "alert"]
Severity = Literal["low", "medium", "high"]


class Word(msgspec.Struct, frozen=True):
    """One recognised word; `probability` is 0..1, or None where the recogniser gives none."""

    text: str
    start_ms: int
    end_ms: int
    probability: float | None = None


class Transcript(msgspec.Struct, frozen=True):
    """What a recogniser made of one utterance. `text` may be empty: heard, and nothing understood."""

    utterance: str
    party: Party
    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    language: str = "en"
    stage: Stage = "final"
    probability: float | None = None


class Evidence(msgspec.Struct, frozen=True):
    """A pointer back to what was heard: an utterance, a span of its characters or of the call's audio.

    `source` names the rule, model or data file (with version) that made the judgement.
    `quote` repeats the words, so that a card can be read without the transcript.
    """

    utterance: str = ""
    start_ms: int = 0
    end_ms: int = 0
    start_char: int | None = None
    end_char: int | None = None
    quote: str = ""
    source: str = ""


class Finding(msgspec.Struct, frozen=True):
    """One judgement of one analyser about one turn; the same shape for every analyser.

    `label` is "none" where the analyser abstains. `score` is in the analyser's own stated range.
    `detail` holds the figures behind it (floats) for charts and for the analyser's own later turns.
    """

    analyser: str
    label: str
    score: float
    evidence: Evidence
    detail: dict[str, float] = {}


class Suggestion(msgspec.Struct, frozen=True):
    """Something to show the agent. `why` is at most a dozen words and names the customer's own."""

    id: str
    kind: SuggestionKind
    ref: str
    title: str
    why: str
    score: float
    quote: str = ""
    source: str = ""
    evidence: Evidence = Evidence()


class PlaybookStep(msgspec.Struct, frozen=True):
    """One step of a playbook as the overlay draws it."""

    id: str
    title: str
    state: Literal["done", "now", "next"]


class Flag(msgspec.Struct, frozen=True):
    """A reason for a person to review this call."""

    rule: str
    severity: Severity
    reason: str
    evidence: Evidence


def exchanged(party: Party) -> Party:
    """Agent and customer the other way round; others stay who they are."""
    return "customer" if party == "agent" else "agent" if party == "customer" else party


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance with its transcript; audio lives no further than this.

    `alone`: its channel is known to carry this party's voice and no other. Where it is not, nothing may be inferred
    from the sound: it might be the voice of somebody whose voice must not be judged.
    """

    utterance: Utterance
    transcript: Transcript
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Turn:
    """A final transcript with what the analysers found in it."""

    transcript: Transcript
    findings: tuple[Finding, ...] = ()

    def finding(self, analyser: str) -> Finding | None:
        return next((f for f in self.findings if f.analyser == analyser), None)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything final said so far, in order of publication. Immutable; `with_turn` gives the next."""

    call: str
    turns: tuple[Turn, ...] = ()
    written: bool = False
    """In writing, where a pause of hours is no silence."""

    def with_turn(self, turn: Turn) -> Conversation:
        return replace(self, turns=(*self.turns, turn))

    def by(self, party: Party) -> tuple[Turn, ...]:
        return tuple(t for t in self.turns if t.transcript.party == party)
