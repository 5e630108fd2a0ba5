"""A call on a stage: everything of it real but its socket, its models and, where wanted, its time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from assist.analyse import Analyser
from assist.audio import Encoding, Party, Utterance
from assist.call import Call, Parts
from assist.config import Settings
from assist.conversation import Transcript
from assist.events import AnyEvent, CallEnded, CallStarted, Event, Ledger, Paused, Transcribed
from assist.flag import Watch
from assist.house import House
from assist.hub import Hub, Log, Store
from assist.journal import read
from assist.keep import Keeper, Sound
from assist.knowledge import Knowledge
from assist.metrics import Metrics
from assist.mind import Thinkers
from assist.protocols import Opened
from assist.search import Search
from assist.segment import Segmenter
from assist.stores.memory import Memory
from assist.suggest import Guide
from assist.transcribe import Gate, Recogniser
from tests.contracts.recogniser import OneByOne
from tests.guidance import small, trigrams
from tests.voice import is_loud, mulaw

BOTH: tuple[Party, ...] = ("agent", "customer")
Pattern = list[tuple[bool, int]]
"""Loud or not, and for how many ms."""
E = TypeVar("E", bound=Event)


@dataclass
class Echo(OneByOne):
    """A recogniser that says which utterance it heard; `fate` may delay or fail one, by itself or by its count."""

    workers: int = 2
    name: str = "echo"
    rough: bool = False
    fate: Callable[[Utterance, int], object] = lambda utterance, count: None
    count: Iterator[int] = field(default_factory=itertools.count)

    def transcribe(self, utterance: Utterance) -> Transcript:
        self.fate(utterance, next(self.count))
        text = f"words of {utterance.id}"
        return Transcript(
            utterance.id, utterance.party, utterance.start_ms, utterance.end_ms, text, stage=utterance.stage
        )

    def warm(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Clock:
    """Seconds, moved by hand."""

    now: float = 5_000.0

    def __call__(self) -> float:
        return self.now


@cache
def knowledge() -> tuple[Knowledge, Search]:
    """The small knowledge base, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        found = small(Path(folder))
    return found, Search(found, trigrams)


@dataclass
class Scene:
    """One call and what is needed to play it."""

    call: Call
    log: Log
    sound: Sound
    gate: Gate
    keeper: Keeper
    clock: Clock
    life: asyncio.Task[None]
    given: dict[Party, bytes]

    def hear(self, party: Party, *data: bytes) -> None:
        self.call.hear(party, *data)
        self.given[party] += b"".join(data)

    async def speak(self, party: Party, pattern: Pattern, chunk_ms: int = 20) -> None:
        """Both legs get audio, `party` this pattern and the other silence; the clock goes with it."""
        data = mulaw(pattern)
        for at in range(0, len(data), chunk_ms * 8):
            piece = data[at : at + chunk_ms * 8]
            self.clock.now += len(piece) / 8_000
            for each in BOTH:
                self.hear(each, piece if each == party else b"\xff" * len(piece))
            await asyncio.sleep(0)

    async def pour(self, party: Party, data: bytes, sizes: Iterator[int]) -> None:
        """One leg gets `data` in messages of these sizes; the clock goes with it."""
        at = 0
        while at < len(data):
            piece = data[at : at + next(sizes)]
            at += len(piece)
            self.clock.now += len(piece) / 8_000
            self.hear(party, piece)
        await asyncio.sleep(0)

    async def until(self, kind: type[E], count: int = 1) -> list[E]:
        """Wait, in real time, until so many events of this kind are in the log."""
        for _ in range(3_000):
            if len(found := self.events(kind)) >= count:
                return found
            await asyncio.sleep(0.002)
        raise AssertionError(f"no {count} {kind.__name__} in {[type(each).__name__ for each in self.told()]}")

    def told(self) -> list[AnyEvent]:
        return [made.entry.event for made in self.log.lines]

    def events(self, kind: type[E]) -> list[E]:
        return [event for event in self.told() if isinstance(event, kind)]

    def finals(self, party: Party | None = None) -> list[Transcript]:
        transcripts = [each.transcript for each in self.events(Transcribed)]
        return [t for t in transcripts if t.stage == "final" and party in (None, t.party)]

    async def end(self, reason: str = "bye") -> CallEnded:
        """End it, check what must hold of every ended call, and give its last event."""
        self.call.end(reason)
        await asyncio.wait_for(self.life, 20)
        return self.check()

    def check(self) -> CallEnded:
        """What must hold of every ended call."""
        assert self.call.ended.is_set()
        assert self.sound.closing
        (last,) = self.events(CallEnded)
        assert self.told()[-1] is last
        assert isinstance(self.told()[0], CallStarted)
        assert set(last.ledger) == set(BOTH)
        for party in BOTH:
            balanced(last.ledger[party])
            finals = self.finals(party)
            assert [t.start_ms for t in finals] == sorted(t.start_ms for t in finals), "finals out of order"
            assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(finals))
        ids = [t.utterance for t in self.finals()]
        assert len(ids) == len(set(ids))
        return last

    def check_journal(self) -> None:
        """What was received and not refused is on disk, in whole frames, in order."""
        _, records = read(self.keeper.path("c"))
        for party in BOTH:
            mine = [record for record in records if record.party == party]
            if not self.events(Paused):
                frame = 320 if self.call.opened.encoding == "l16" else 160
                whole = len(self.given[party]) // frame * frame
                assert b"".join(record.payload for record in mine) == self.given[party][:whole]
            assert [record.position for record in mine] == sorted({record.position for record in mine})


def balanced(ledger: Ledger) -> None:
    """Received is transcribed, silence and skipped, to the three digits that are told."""
    assert ledger.gap_ms == 0
    total = ledger.transcribed_ms + ledger.silence_ms + sum(ledger.skipped_ms.values())
    assert ledger.received_ms == pytest.approx(total, abs=1e-3)
    assert min(ledger.transcribed_ms, ledger.silence_ms, *ledger.skipped_ms.values(), 0) >= 0


@asynccontextmanager
async def scene(
    recogniser: Recogniser | None = None,
    *,
    real_time: Callable[[], float] | None = None,
    analysers: Mapping[str, Analyser] | None = None,
    encoding: Encoding = "mulaw",
    burst_s: float = 10.0,
    patience_s: float = 10.0,
    mixed: tuple[Party, ...] = (),
    partials: bool = True,
) -> AsyncIterator[Scene]:
    """A call that has begun; `real_time` in place of the clock moved by hand. Ended with its journal checked.

    Partials are asked for by the ticker, whose time is always real: whoever counts transcripts goes without.
    """
    clock = Clock()
    store = Memory()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Thinkers(patience_s=patience_s)) as thinkers:
        keeper = Keeper(store, Path(folder), lambda entry: None)
        hub = Hub(store, keeper.line)
        gate = Gate(recogniser or Echo(), partials=partials)
        gate.open()
        parts = Parts(
            hub=hub,
            gate=gate,
            analysers=analysers or {},
            segmenter=lambda party, rate_hz: Segmenter(party, is_loud, rate_hz=rate_hz),
            guide=lambda: Guide(*knowledge()),
            watch=lambda: Watch(knowledge()[0]),
            metrics=Metrics(),
            thinkers=thinkers,
            burst_s=burst_s,
            clock=real_time or clock,
        )
        log = await hub.open("c")
        sound = await keeper.sound("c", 8_000, encoding, BOTH)
        call = Call(Opened("c", "plain", BOTH, encoding, 8_000, mixed=mixed), log, sound, parts)
        call.begin("2026-11-21T20:00:00.000+00:00")
        life = asyncio.create_task(call.run())
        made = Scene(call, log, sound, gate, keeper, clock, life, {"agent": b"", "customer": b""})
        try:
            yield made
        finally:
            if not life.done():
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)
            await gate.close()
            await keeper.close()
        made.check_journal()


@asynccontextmanager
async def open_house(settings: Settings, store: Store, speed: float = 1.25) -> AsyncIterator[House]:
    """A server's inside without its door; the recogniser says which utterance it heard."""
    known, search = knowledge()
    made = House(settings, store, known, Metrics())
    parts = Parts(
        hub=made.hub,
        gate=Gate(Echo()),
        analysers={},
        segmenter=lambda party, rate_hz: Segmenter(party, is_loud, rate_hz=rate_hz),
        guide=lambda: Guide(known, search),
        watch=lambda: Watch(known),
        metrics=made.metrics,
        thinkers=made.thinkers,
        speed=speed,
    )
    await made.open(parts)
    yield made
    await asyncio.wait_for(made.close(), 10)
