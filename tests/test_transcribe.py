"""The gate: who goes first, what is dropped, and that one bad utterance is nobody else's trouble."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import Utterance
from assist.conversation import Stage, Transcript
from assist.errors import RecogniserFailed
from assist.transcribe import Gate, Job
from tests.contracts.recogniser import OneByOne


def utterance(id: str, stage: Stage = "final") -> Utterance:
    return Utterance(id, "customer", 0, 20, 20, np.zeros(320, dtype=np.int16), stage)


@dataclass
class Listener(OneByOne):
    """A recogniser that answers each utterance when it is let, and does as `fate` says with its id."""

    workers: int = 1
    name: str = "listener"
    rough: bool = False
    heard: list[str] = field(default_factory=list)
    fate: dict[str, Callable[[], object]] = field(default_factory=dict)
    most_at_once: int = 0
    _here: int = 0
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def transcribe(self, utterance: Utterance) -> Transcript:
        with self._lock:
            self.heard.append(utterance.id)
            self._here += 1
            self.most_at_once = max(self.most_at_once, self._here)
        try:
            assert self._go.acquire(timeout=20)
            self.fate.get(utterance.id, lambda: None)()
        finally:
            with self._lock:
                self._here -= 1
        return Transcript(utterance.id, utterance.party, 0, 20, f"text of {utterance.id}", stage=utterance.stage)

    def let(self, count: int = 1) -> None:
        self._go.release(count)

    async def hears(self, count: int) -> list[str]:
        """Wait until so many utterances have come in."""
        for _ in range(2_000):
            if len(self.heard) >= count:
                return self.heard
            await asyncio.sleep(0.001)
        raise AssertionError(f"only {self.heard} came")

    def warm(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Clock:
    """Seconds, moved by hand."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def gate(listener: Listener, **options: float) -> AsyncIterator[tuple[Gate, Clock]]:
    clock = Clock()
    made = Gate(listener, clock=clock, **options)  # type: ignore[arg-type]
    made.open()
    try:
        yield made, clock
    finally:
        listener.let(1_000)
        await asyncio.wait_for(made.close(), 5)


async def test_finals_go_before_speculative_ones_and_those_before_partials() -> None:
    listener = Listener()
    async with gate(listener) as (made, _):
        first = made.submit(utterance("first"))
        await listener.hears(1)
        order: list[Stage] = ["partial", "speculative", "final", "partial", "final", "speculative"]
        jobs = [made.submit(utterance(f"{stage}{n}", stage)) for n, stage in enumerate(order)]
        assert made.waiting == 4
        listener.let(7)
        await asyncio.gather(first.done, *(job.done for job in jobs))
        wanted = ["first", "final2", "final4", "speculative1", "speculative5", "partial0", "partial3"]
        assert listener.heard == wanted
        assert (await jobs[2].done).text == "text of final2"


async def test_a_confirmed_speculative_final_moves_up_and_is_heard_once() -> None:
    listener = Listener()
    async with gate(listener) as (made, _):
        made.submit(utterance("first"))
        await listener.hears(1)
        jobs = [made.submit(utterance(f"s{n}", "speculative")) for n in range(3)]
        made.promote(jobs[2])
        made.promote(jobs[2])
        assert made.waiting == 3
        listener.let(1)
        await listener.hears(2)
        assert made.waiting == 2, "the one that runs waits no more"
        listener.let(3)
        await asyncio.gather(*(job.done for job in jobs))
        assert listener.heard == ["first", "s2", "s0", "s1"]
        made.promote(jobs[0])  # too late to matter
        assert made.waiting == 0


async def test_a_cancelled_job_is_never_run() -> None:
    listener = Listener()
    async with gate(listener) as (made, _):
        running = made.submit(utterance("running"))
        await listener.hears(1)
        waiting, last = made.submit(utterance("waiting")), made.submit(utterance("last"))
        waiting.cancel()
        running.cancel()  # runs on for nobody
        assert made.waiting == 1
        listener.let(2)
        assert (await last.done).utterance == "last"
        assert listener.heard == ["running", "last"]


async def test_a_partial_that_waited_too_long_is_dropped() -> None:
    listener = Listener()
    async with gate(listener, stale_ms=500) as (made, clock):
        made.submit(utterance("first"))
        await listener.hears(1)
        stale = made.submit(utterance("stale", "partial"))
        clock.now += 0.4
        fresh = made.submit(utterance("fresh", "partial"))
        clock.now += 0.2
        listener.let(2)
        await fresh.done
        assert stale.done.cancelled()
        assert listener.heard == ["first", "fresh"]


async def test_one_worker_is_kept_free_of_partials() -> None:
    listener = Listener(workers=2)
    async with gate(listener) as (made, _):
        made.submit(utterance("p1", "partial"))
        second = made.submit(utterance("p2", "partial"))
        await listener.hears(1)
        await asyncio.sleep(0.02)
        assert listener.heard == ["p1"]
        final = made.submit(utterance("final"))
        await listener.hears(2)
        assert listener.heard == ["p1", "final"]
        listener.let(3)
        await asyncio.gather(final.done, second.done)
        assert listener.most_at_once == 2


async def test_idle_is_a_gate_where_a_guess_keeps_nobody_waiting() -> None:
    listener = Listener(workers=2)
    async with gate(listener) as (made, _):
        assert made.idle
        partial = made.submit(utterance("p", "partial"))
        await listener.hears(1)
        assert made.idle, "a worker is free"
        listener.let()
        await partial.done
        final = made.submit(utterance("f"))
        assert not made.idle, "a final waits"
        await listener.hears(2)
        assert not made.idle, "a final runs"
        listener.let()
        await final.done
        await asyncio.sleep(0)
        assert made.idle
    listener = Listener(workers=1)
    async with gate(listener) as (made, _):
        made.submit(utterance("p", "partial"))
        await listener.hears(1)
        assert not made.idle, "no worker is free"


@pytest.mark.parametrize("error", [RecogniserFailed("by name"), ValueError("by accident"), MemoryError()])
async def test_what_raises_fails_alone(error: Exception) -> None:
    def fail() -> None:
        raise error

    listener = Listener(fate={"bad": fail})
    async with gate(listener) as (made, _):
        bad, good = made.submit(utterance("bad")), made.submit(utterance("good"))
        listener.let(2)
        with pytest.raises(RecogniserFailed) as failed:
            await bad.done
        assert type(error).__name__ in str(failed.value) or failed.value is error
        assert (await good.done).utterance == "good"


async def test_what_hangs_fails_alone_and_takes_no_worker_with_it() -> None:
    never = threading.Event()
    listener = Listener(fate={f"hangs{n}": partial(never.wait, 20) for n in range(3)})
    try:
        async with gate(listener, deadline_s=0.5) as (made, _):
            listener.let(4)
            hanging = [made.submit(utterance(f"hangs{n}")) for n in range(3)]
            good = made.submit(utterance("good"))
            for job in hanging:
                with pytest.raises(RecogniserFailed, match="no answer within"):
                    await job.done
            assert (await good.done).utterance == "good"
            assert made.waiting == 0
    finally:
        never.set()


async def test_closing_cancels_what_waits_and_never_hangs() -> None:
    # Each time the gate is closed a little later, so that it also happens while an answer comes in.
    for turns in range(40):
        listener = Listener()
        listener.let(1_000)
        made = Gate(listener)
        made.open()
        jobs = [made.submit(utterance(f"u{n}")) for n in range(3)]
        for _ in range(turns * 5):
            await asyncio.sleep(0)
        await asyncio.wait_for(made.close(), 5)
        await asyncio.sleep(0)
        assert all(job.done.done() for job in jobs)


async def test_a_job_nobody_waits_for_may_fail_in_peace() -> None:
    def fail() -> None:
        raise ValueError

    listener = Listener(fate={"bad": fail})
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with gate(listener) as (made, _):
        made.submit(utterance("bad"))
        listener.let(2)
        await made.submit(utterance("good")).done
    assert complaints == []


# ---- load


async def one_final(made: Gate, clock: Clock, listener: Listener, waited_s: float) -> None:
    """A final that has waited so long when its turn comes."""
    came = len(listener.heard)
    blocker = made.submit(utterance("blocker"))
    await listener.hears(came + 1)
    job = made.submit(utterance("waiter"))
    clock.now += waited_s
    listener.let(2)
    await asyncio.gather(blocker.done, job.done)


async def test_levels_rise_with_the_wait_of_finals_and_fall_with_time() -> None:
    listener = Listener()
    async with gate(listener) as (made, clock):
        seen = [made.load.level]
        for _ in range(8):
            await one_final(made, clock, listener, 10.0)
            seen.append(made.load.level)
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (0, 3)
        assert made.load.partial_ms is None
        assert "new calls refused" in made.load.shed
        refused = made.submit(utterance("p", "partial"))
        made.submit(utterance("f"))
        listener.let(1)
        await asyncio.wait([refused.done], timeout=20)
        assert refused.done.cancelled(), "no partials on this level"
        levels = []
        for _ in range(60):
            made.relax()
            levels.append(made.load.level)
        assert levels == sorted(levels, reverse=True)
        assert levels[-1] == 0


async def test_a_short_wait_raises_nothing() -> None:
    listener = Listener()
    async with gate(listener) as (made, clock):
        for _ in range(20):
            await one_final(made, clock, listener, 0.1)
        assert made.load.level == 0


async def test_partials_may_wait_without_raising_the_level() -> None:
    listener = Listener()
    async with gate(listener, stale_ms=100_000) as (made, clock):
        for n in range(10):
            made.submit(utterance("first"))
            await listener.hears(2 * n + 1)
            job = made.submit(utterance("p", "partial"))
            clock.now += 30.0
            listener.let(2)
            await job.done
        assert made.load.level == 0


async def test_partials_can_be_switched_off() -> None:
    async with gate(Listener(), partials=False) as (made, _):
        assert made.load.partial_ms is None


@settings(max_examples=25, deadline=None)
@given(
    workers=st.integers(1, 3),
    work=st.lists(
        st.tuples(
            st.sampled_from(["final", "speculative", "partial"]), st.sampled_from(["", "cancel", "promote", "fail"])
        ),
        max_size=25,
    ),
)
def test_every_job_comes_to_an_end_and_none_is_run_twice(workers: int, work: list[tuple[Stage, str]]) -> None:
    def fail() -> None:
        raise ValueError("no")

    async def scene() -> None:
        fate: dict[str, Callable[[], object]] = {f"u{n}": fail for n, (_, what) in enumerate(work) if what == "fail"}
        listener = Listener(workers=workers, fate=fate)
        async with gate(listener) as (made, _):
            jobs: list[tuple[Job, str]] = []
            for n, (stage, what) in enumerate(work):
                jobs.append((made.submit(utterance(f"u{n}", stage)), what))
                if n % 3 == 0:
                    await asyncio.sleep(0)
            for job, what in jobs:
                if what == "cancel":
                    job.cancel()
                elif what == "promote":
                    made.promote(job)
            listener.let(1_000)
            outcomes = await asyncio.wait_for(
                asyncio.gather(*(job.done for job, _ in jobs), return_exceptions=True), 10
            )
        assert len(listener.heard) == len(set(listener.heard))
        assert listener.most_at_once <= workers
        for (job, what), outcome in zip(jobs, outcomes, strict=True):
            if what == "cancel":
                assert isinstance(outcome, asyncio.CancelledError)
            elif what == "fail":
                assert isinstance(outcome, RecogniserFailed)
            else:
                assert isinstance(outcome, Transcript)
                assert outcome.utterance == job.utterance.id
            assert job.queue_ms >= 0
            assert job.asr_ms >= 0

    asyncio.run(scene())


@dataclass
class Batching(Listener):
    """Takes up to three of one length at once; `batches` are the ids that came together."""

    together: int = 3
    linger_ms: float = 0.0
    batches: list[list[str]] = field(default_factory=list)

    def bucket(self, utterance: Utterance) -> int:
        return utterance.end_ms

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        assert len({each.end_ms for each in utterances}) == 1
        self.batches.append([each.id for each in utterances])
        outcomes: list[Transcript | RecogniserFailed] = []
        for each in utterances:
            try:
                outcomes.append(self.transcribe(each))
            except RecogniserFailed as error:
                outcomes.append(error)
        return outcomes


def lasting(id: str, end_ms: int, stage: Stage = "final") -> Utterance:
    return Utterance(id, "customer", 0, end_ms, 10, np.zeros(16 * end_ms, dtype=np.int16), stage)


async def test_what_waits_and_shares_a_bucket_goes_together() -> None:
    listener = Batching()
    async with gate(listener) as (made, _):
        first = made.submit(lasting("first", 20))
        await listener.hears(1)
        ids = [
            ("a", 40, "final"),
            ("b", 20, "final"),
            ("p", 40, "partial"),
            ("c", 40, "speculative"),
            ("d", 40, "final"),
        ]
        jobs = [made.submit(lasting(id, end_ms, stage)) for id, end_ms, stage in ids]  # type: ignore[arg-type]
        listener.let(6)
        await asyncio.gather(first.done, *(job.done for job in jobs))
    assert listener.batches == [["a", "d", "c"]], "partials wait for their turn, and another bucket for its own"
    assert listener.heard == ["first", "a", "d", "c", "b", "p"]


async def test_an_idle_worker_is_better_than_a_batch() -> None:
    listener = Batching(workers=2)
    async with gate(listener) as (made, _):
        jobs = [made.submit(lasting(id, 20)) for id in "ab"]
        listener.let(2)
        await asyncio.gather(*(job.done for job in jobs))
    assert listener.batches == []


async def test_a_gpu_waits_a_little_for_company() -> None:
    listener = Batching(workers=2, linger_ms=20.0)
    async with gate(listener) as (made, _):
        one = made.submit(lasting("a", 20))
        await asyncio.sleep(0.002)
        two = made.submit(lasting("b", 40))
        three = made.submit(lasting("c", 20))
        listener.let(3)
        await asyncio.gather(one.done, two.done, three.done)
    assert listener.batches == [["a", "c"]]


async def test_one_of_a_batch_that_fails_fails_alone() -> None:
    def fail() -> None:
        raise RecogniserFailed("this one")

    listener = Batching(fate={"b": fail})
    async with gate(listener) as (made, _):
        first = made.submit(lasting("first", 20))
        await listener.hears(1)
        a, b = made.submit(lasting("a", 20)), made.submit(lasting("b", 20))
        listener.let(3)
        await first.done
        assert (await a.done).utterance == "a"
        with pytest.raises(RecogniserFailed, match="this one"):
            await b.done
        assert made.worked_s >= 0
    assert listener.batches == [["a", "b"]]


async def test_a_piece_of_a_monologue_lets_finished_speech_go_first() -> None:
    listener = Listener()
    async with gate(listener) as (made, clock):
        made.submit(utterance("first"))
        await listener.hears(1)
        piece = Utterance("piece", "customer", 0, 20, 20, np.zeros(320, dtype=np.int16), "final")
        cut = made.submit(piece)
        clock.now += 0.1
        said = made.submit(lasting("said", 20))
        clock.now += 0.1
        late = made.submit(lasting("late", 20))
        clock.now += 2.0
        later = made.submit(lasting("later", 20))
        listener.let(5)
        await asyncio.gather(cut.done, said.done, late.done, later.done)
    assert listener.heard == ["first", "said", "late", "piece", "later"], "it must not wait for ever either"
