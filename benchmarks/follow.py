"""Follows a call's events as a page would, and works out how long a person waited for each. It plays nothing.

Times are compared on `time.monotonic()`, which all processes of one machine share. Speech is timed by when the frame
with its sample was *meant* to be sent, never by when it was, so that a stalled sender or server counts as waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from assist.audio import FRAME_MS
from assist.conversation import Transcript
from assist.events import CallEnded, Entry, Noticed, SpeechStarted, Suggested, Transcribed, Withdrawn, decode
from benchmarks.calls import Turn
from benchmarks.pace import due_s

EARLY_MS = 400
"""A final whose end lies this much before a turn's true end is an earlier part of that turn (a pause inside it)."""


@dataclass(frozen=True)
class Received:
    """An entry and when it came: time.monotonic(), s."""

    at_s: float
    entry: Entry

    def said(self, stage: str) -> Transcript | None:
        """Its transcript, where it is one of this stage."""
        event = self.entry.event
        return event.transcript if isinstance(event, Transcribed) and event.transcript.stage == stage else None


async def follow(url: str, call: str, into: list[Received], seen: Callable[[Entry], None] | None = None) -> None:
    """Every entry of the call into `into`, as it comes, until the call has ended."""
    try:
        async with connect(f"{url}/calls/{call}/events?after=0", max_size=2**22, compression=None) as socket:
            async for message in socket:
                now = time.monotonic()
                if '"event"' not in message:  # heartbeats and the like
                    continue
                entry = decode(message)
                into.append(Received(now, entry))
                if seen:
                    seen(entry)
                if isinstance(entry.event, CallEnded):
                    return
    except ConnectionClosed:
        pass  # the log as far as it came; `ended` of it is None


@dataclass
class Waits:
    """Waits in ms, of one call or several; see `measure`."""

    final: list[float] = field(default_factory=list)
    vad_final: list[float] = field(default_factory=list)
    suggestion: list[float] = field(default_factory=list)
    vad_suggestion: list[float] = field(default_factory=list)
    noticed: list[float] = field(default_factory=list)
    first_partial: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    queue_compute: list[float] = field(default_factory=list)
    cards_before: list[bool] = field(default_factory=list)
    """Of finals that brought cards: whether these stood on the screen before the final came."""
    cuts: int = 0
    """Finals of speech that went on: it was cut for its length and has no end to count from."""
    unheard: int = 0
    """Turns whose true end no final covers (yet)."""

    def add(self, other: Waits) -> None:
        """Take over the values of another."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Span:
    """Speech that ended from `from_s` to `to_s` (monotonic) counts."""

    from_s: float = 0.0
    to_s: float = float("inf")

    def __contains__(self, at_s: float) -> bool:
        return self.from_s <= at_s < self.to_s


ALWAYS = Span()


def measure(received: Sequence[Received], began: float, turns: Sequence[Turn], span: Span = ALWAYS) -> Waits:
    """The waits of a call whose sender began at `began`.

    `turns`: what was really said, on the call's clock; empty where there is no script.
    final: true end of a turn to the first final that reaches it. vad_final: to each final, from where the server heard
    speech end.
    suggestion, vad_suggestion: the same to the suggestions of that final; noticed: from the true end to its findings.
    first_partial: true onset of a turn (without a script: the onset the server tells, which lies up to 240 ms early)
    to the first partial with text. queue, compute: the recogniser's own times of each final, from `latency_ms`.
    """
    waits = Waits()
    finals = [(r, t) for r in received if (t := r.said("final"))]
    suggested = _standing(received)
    noticed = {r.entry.event.utterance: r for r in received if isinstance(r.entry.event, Noticed)}
    _of_finals(waits, finals, suggested, began, span)
    for turn in turns:
        due = due_s(began, turn.end_ms)
        if due not in span:
            continue
        closing = last_of(turn, finals)
        if closing is None:
            waits.unheard += 1
            continue
        got, said = closing
        waits.final.append(_ms(due, got))
        if told := suggested.get(said.utterance):
            waits.suggestion.append(_ms(due, told))
        if found := noticed.get(said.utterance):
            waits.noticed.append(_ms(due, found))
    partials = [(r, t) for r in received if (t := r.said("partial")) and t.text]
    for party, start_ms, end_ms in [(t.party, t.start_ms, t.end_ms) for t in turns] or _heard_onsets(received):
        due = due_s(began, start_ms + 1)
        first = next((r for r, t in partials if t.party == party and _overlap(t, start_ms, end_ms) > 0), None)
        if first and due in span:
            waits.first_partial.append(_ms(due, first))
    return waits


def _of_finals(
    waits: Waits, finals: list[tuple[Received, Transcript]], suggested: dict[str, Received], began: float, span: Span
) -> None:
    begins = {(said.party, said.start_ms) for _, said in finals}
    for got, said in finals:
        due = due_s(began, said.end_ms)
        if due not in span:
            continue
        queue, compute = got.entry.latency_ms["queue"], got.entry.latency_ms["asr"]
        waits.queue.append(queue)
        waits.compute.append(compute)
        waits.queue_compute.append(queue + compute)
        if (said.party, said.end_ms) in begins:
            waits.cuts += 1
            continue
        waits.vad_final.append(_ms(due, got))
        if told := suggested.get(said.utterance):
            waits.vad_suggestion.append(_ms(due, told))
            waits.cards_before.append(told.at_s < got.at_s)


def _standing(received: Iterable[Received]) -> dict[str, Received]:
    """The suggestions of each utterance that were not taken back."""
    found: dict[str, Received] = {}
    for each in received:
        if isinstance(each.entry.event, Suggested):
            found[each.entry.event.utterance] = each
        elif isinstance(each.entry.event, Withdrawn):
            found.pop(each.entry.event.utterance, None)
    return found


def _ms(due: float, got: Received) -> float:
    return (got.at_s - due) * 1000


def last_of(turn: Turn, finals: Iterable[tuple[Received, Transcript]]) -> tuple[Received, Transcript] | None:
    """The first final that covers the true end of `turn`, all but 400 ms of it; None where none does (yet)."""
    covering = (
        (got, said)
        for got, said in finals
        if said.party == turn.party
        and _overlap(said, turn.start_ms, turn.end_ms) > 0
        and said.end_ms >= turn.end_ms - EARLY_MS
    )
    return next(covering, None)


def looped(turns: Iterable[Turn], duration_ms: int, first: int, until_ms: int) -> list[Turn]:
    """The turns of a recording that is played from frame `first` on, again and again, on the call's clock.

    Turns that the start cuts in two are left out.
    """
    offset_ms = first * FRAME_MS
    found = []
    for turn in turns:
        start_ms = turn.start_ms - offset_ms
        while start_ms < until_ms:
            if start_ms >= 0:
                found.append(Turn(turn.party, start_ms, start_ms + turn.end_ms - turn.start_ms, turn.text))
            start_ms += duration_ms
    return sorted(found, key=lambda turn: turn.end_ms)


def unaccounted_ms(ledger: Mapping[str, Mapping[str, Any]], sent_ms: float) -> float:
    """Audio of all parties that no line of the books explains, and audio sent that the books never saw."""
    return float(sum(abs(books["gap_ms"]) + abs(sent_ms - books["received_ms"]) for books in ledger.values()))


def _heard_onsets(received: Sequence[Received]) -> list[tuple[str, int, int]]:
    """Onsets as the server told them, each up to its party's next one."""
    told = [r.entry.event for r in received if isinstance(r.entry.event, SpeechStarted)]
    ends: dict[str, int] = {}
    found: list[tuple[str, int, int]] = []
    for event in reversed(told):
        found.append((event.party, event.start_ms, ends.get(event.party, event.start_ms + 30_000)))
        ends[event.party] = event.start_ms
    return found[::-1]


def _overlap(said: Transcript, start_ms: int, end_ms: int) -> int:
    return min(said.end_ms, end_ms) - max(said.start_ms, start_ms)
