"""How satisfied the customer is likely to leave this call, from how it has gone so far: 1 to 5, and a probability.

It knows no voice and no meaning of its own: it weighs what sentiment and stress found with what callers and agents say
when something is repeated, passed on, refused or solved. No call with a known satisfaction was at hand, so the weights
are set by hand, each for a stated reason; the card says what was checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from assist.audio import Party, Utterance
from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript, Turn
from models import outcome, sentiment
from models.sentiment import Encode, SentimentAnalyser

NAME: Final = "satisfaction 1"
LEAST_TURNS: Final = 2
"""Of the customer, with a sentiment, before anything is said."""
SATISFIED: Final = 0.6
UNSATISFIED: Final = 0.4
PAUSE_MS: Final = 8_000
"""Silence up to here is the pace of a call: looking something up, writing it down."""
LONG_MS: Final = 60_000
SAME: Final = 0.8
SAME_WORDS: Final = 5
MAX_TURNS: Final = 120
FADE: Final = 0.75
"""What was solved or refused counts this much less with every later turn of the same kind of news."""

WEIGHTS: Final[Mapping[str, float]] = {
    # How it ended is what customers rate first; first-contact resolution leads every study of it.
    "solved": 2.0,
    # The end of an experience outweighs its course (peak-end rule, Kahneman et al. 1993): the last words ...
    "last": 1.5,
    # ... and then the mood over the call, and whether it got better.
    "mood": 1.2,
    "trend": 0.4,
    # Effort lowers loyalty more than delight raises it (Dixon et al. 2010): repeating oneself most of all,
    "repeats": -1.2,
    # then waiting in silence and being passed on,
    "waits": -0.7,
    "transfers": -0.7,
    # and a tense voice, which is no proof of anything and weighs little.
    "tense": -0.8,
}
BIAS: Final = 0.2
"""Most calls in which nothing stands out end well enough."""
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "sentiment": ("mood", "trend", "last"),
    "stress": ("tense",),
    "repeats": ("repeats",),
    "silence": ("waits",),
    "transfers": ("transfers",),
    "resolution": ("solved",),
}


@dataclass(frozen=True, slots=True)
class Signs:
    """What the score is made of. `mood` and `last` are -1..1, `trend` -2..2, `solved` -1..1, the others 0..1."""

    mood: float = 0.0
    trend: float = 0.0
    last: float = 0.0
    tense: float = 0.0
    repeats: float = 0.0
    waits: float = 0.0
    transfers: float = 0.0
    solved: float = 0.0

    def weighed(self, weights: Mapping[str, float] = WEIGHTS, bias: float = BIAS) -> float:
        """P(satisfied) = 1 / (1 + exp(-(bias + sum_f w_f * x_f)))."""
        total = bias + sum(weight * float(getattr(self, name)) for name, weight in weights.items())
        return 1 / (1 + math.exp(-total))


def signs(conversation: Conversation, encode: Encode) -> Signs:
    """From all turns so far, the newest included; sentiment and stress as their findings have it."""
    scores = sentiment.counted(conversation)
    mood = sentiment.mood(scores)
    said = [turn.transcript for turn in conversation.turns[-MAX_TURNS:]]
    repeats = sum(outcome.repeated(each.text) for each in said if each.party == "customer")
    transfers = sum(outcome.passed_on(each.text, each.party) for each in said)
    return Signs(
        mood=mood.get("call", 0.0),
        trend=mood.get("trend", 0.0),
        last=float(np.mean(scores[-2:])) if scores else 0.0,
        tense=_tense(conversation),
        repeats=min(1.0, (repeats + _asked_again(said, encode)) / 3),
        waits=min(1.0, _waited_ms(said) / LONG_MS),
        transfers=min(1.0, transfers / 2),
        solved=_solved(said),
    )


class SatisfactionAnalyser:
    """One finding per turn of the customer: how satisfied they would be if the call ended here.

    `score` is P(satisfied), 0..1 (`Signs.weighed`); `detail["stars"]` = 1 + 4 * score. Labels "satisfied" from 0.6,
    "unsatisfied" up to 0.4, "mixed" between, "none" before two turns of the customer had a sentiment. `detail` holds
    the signs too. Stress is that of the turns before: this turn's is judged at the same time.
    """

    def __init__(self, encode: Encode, feels: SentimentAnalyser) -> None:
        self._encode = encode
        self._feels = feels

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        said = heard.transcript
        if said.party != "customer":
            return ()
        findings = tuple(self._feels(heard, so_far))
        now = so_far.with_turn(Turn(said, findings))
        evidence = Evidence(said.utterance, said.start_ms, said.end_ms, 0, len(said.text), said.text[:200], NAME)
        if len(sentiment.counted(now)) < LEAST_TURNS:
            return (Finding("satisfaction", "none", 0.0, evidence),)
        found = signs(now, self._encode)
        score = round(found.weighed(), 4)
        label = "satisfied" if score >= SATISFIED else "unsatisfied" if score <= UNSATISFIED else "mixed"
        detail = {name: round(float(getattr(found, name)), 4) for name in WEIGHTS}
        return (Finding("satisfaction", label, score, evidence, {"stars": round(1 + 4 * score, 2)} | detail),)


def judge(encode: Encode, path: Path | str | None = None) -> Callable[[str | Sequence[str | Transcript]], Finding]:
    """A call's turns, oldest first → the finding at the end of it. A string is a turn of the customer; strings have no
    times, so nothing was waited for between them. Of long calls the last 120 turns count. Raises ModelMissing.
    """
    feels = sentiment.load(encode, path)
    analyse = SatisfactionAnalyser(encode, feels)

    def found(said: str | Sequence[str | Transcript]) -> Finding:
        turns = [said] if isinstance(said, str) else list(said[-MAX_TURNS:])
        so_far = Conversation("judged")
        last = Finding("satisfaction", "none", 0.0, Evidence(source=NAME))
        newest = max((n for n, each in enumerate(turns) if _party(each) == "customer"), default=-1)
        for number, each in enumerate(turns):
            turn = Transcript(f"u{number + 1}", "customer", 0, 0, each) if isinstance(each, str) else each
            heard = Heard(_unheard(turn), turn)
            if number == newest:
                (last,) = analyse(heard, so_far)
            so_far = so_far.with_turn(Turn(turn, tuple(feels(heard, so_far)) if turn.party == "customer" else ()))
        return last

    return found


def load(encode: Encode, path: Path | str | None = None) -> SatisfactionAnalyser:
    """The analyser; `path` is the sentiment head's file. Raises ModelMissing as `sentiment.load` does."""
    return SatisfactionAnalyser(encode, sentiment.load(encode, path))


def _party(each: str | Transcript) -> Party:
    return "customer" if isinstance(each, str) else each.party


def _unheard(said: Transcript) -> Utterance:
    return Utterance(said.utterance, said.party, said.start_ms, said.end_ms, said.end_ms, np.zeros(0, dtype=np.int16))


def _tense(conversation: Conversation) -> float:
    """Mean stress of the customer's latest three judged turns, 0..1."""
    found = (turn.finding("stress") for turn in conversation.by("customer"))
    scores = [each.score for each in found if each is not None and each.label != "none"]
    return float(np.mean(scores[-3:])) if scores else 0.0


def _asked_again(said: Sequence[Transcript], encode: Encode) -> int:
    """1 where the customer's newest turn says what one of the earlier ones but the last did."""
    texts = [each.text for each in said if each.party == "customer" and len(each.text.split()) >= SAME_WORDS]
    if len(texts) < 3:
        return 0
    vectors = encode(texts)
    return int(float((vectors[:-2] @ vectors[-1]).max()) >= SAME)


def _waited_ms(said: Sequence[Transcript]) -> int:
    """Silence between turns, less what is the pace of a call."""
    waited_ms = 0
    heard_ms = said[0].end_ms if said else 0
    for each in said:
        waited_ms += max(0, each.start_ms - heard_ms - PAUSE_MS)
        heard_ms = max(heard_ms, each.end_ms)
    return waited_ms


def _solved(said: Sequence[Transcript]) -> float:
    """Where it stands, -1..1: the latest news first, older news fading; the customer's word counts twice an agent's."""
    total = weight = 0.0
    fade = 1.0
    for each in reversed(said):
        news = outcome.news(each.text, each.party)
        if not news:
            continue
        share = fade * (1.0 if each.party == "customer" else 0.5)
        total, weight, fade = total + share * news, weight + share, fade * FADE
    return total / max(weight, 1.0)
