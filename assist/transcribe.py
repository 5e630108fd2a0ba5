"""Utterances to transcripts: what a recogniser is, and the gate that every call shares.

It knows no model and no socket.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from assist.audio import Utterance
from assist.conversation import Transcript
from assist.errors import RecogniserFailed


class Recogniser(Protocol):
    """Speech to text for whole utterances. Thread-safe: `workers` threads call `transcribe` at once."""

    name: str
    """Engine and weights as results name them, e.g. "whisper-base int8 window=fit" or "pocketsphinx en-us + kb"."""
    rough: bool
    """True where the text is not to be trusted word by word; shown to the agent."""
    workers: int
    """How many threads may usefully call `transcribe` or `transcribe_many` at once."""
    together: int
    """How many utterances one `transcribe_many` may usefully take; 1: no batching."""
    linger_ms: float
    """How long it is worth waiting for others to share a batch; 0: never, take what is queued."""

    def transcribe(self, utterance: Utterance) -> Transcript:
        """The transcript of `utterance`, same id, party, bounds and stage. Empty text where nothing was understood.

        Raises RecogniserFailed.
        """

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        """What `transcribe` says of each, in their order; a failure takes the place of its own transcript alone.

        At most `together` utterances, all of one `bucket`.
        """

    def bucket(self, utterance: Utterance) -> int:
        """What may share a batch: utterances of one number."""

    def cost_ms(self, utterance: Utterance) -> float:
        """The time that one worker is expected to need for it alone; 0 where nothing is known, as before `warm`."""

    def warm(self) -> None:
        """Run once before the first call, so that no customer waits for a first allocation."""

    def close(self) -> None:
        """Give memory and threads back."""


class Load(msgspec.Struct, frozen=True):
    """How the gate is doing: `level` as in `Degraded`; a party may have a partial every `partial_ms`, None: never."""

    level: int
    partial_ms: int | None
    shed: tuple[str, ...]


# The stated order of shedding. A threshold is the wait in ms of finals that raises the level; it falls again
# when the wait has stayed under half of it.
_LEVELS = (
    Load(0, 700, ()),
    Load(1, 2_000, ("partials slowed",)),
    Load(2, None, ("partials off",)),
    Load(3, None, ("partials off", "new calls refused")),
)
_RAISE_MS = (150.0, 500.0, 3_000.0)


class Job:
    """One utterance on its way through the gate. Await `done` for its transcript. `due` orders two alike."""

    def __init__(self, utterance: Utterance, urgency: int, now: float) -> None:
        self.utterance = utterance
        self.urgency = urgency
        self.submitted = now
        # Nobody waits for a piece of speech that was cut for its length and goes on: its next words come later still.
        self.due = now + (GOES_ON_S if utterance.speech_end_ms >= utterance.end_ms else 0.0)
        self.started = 0.0
        self.finished = 0.0
        self.done: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        # Nobody may be left to ask for the outcome of a cancelled or superseded job.
        self.done.add_done_callback(lambda f: f.cancelled() or f.exception())

    @property
    def queue_ms(self) -> float:
        return max(0.0, self.started - self.submitted) * 1000

    @property
    def asr_ms(self) -> float:
        return max(0.0, self.finished - self.started) * 1000

    def cancel(self) -> None:
        """Give it up. One that already runs finishes for nobody."""
        self.done.cancel()


FINAL, SPECULATIVE, PARTIAL = 0, 1, 2
GOES_ON_S = 2.0


class Gate:
    """The one way to the recogniser, shared by all calls: finals first, then speculative finals, then partials; within
    each, what is due first.

    A partial that waited longer than `stale_ms` is dropped. At least one worker is kept free of partials when
    there are two or more. Where more wait than there are workers, those that share a bucket go together; where the
    recogniser asks for it (`linger_ms`, a GPU), others are waited for. A recogniser that does not come back within
    `deadline_s` fails that job alone. `worked_s`: what finals and speculative finals have taken of the workers' time.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        *,
        partials: bool = True,
        stale_ms: int = 500,
        deadline_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recogniser = recogniser
        self._levels = _LEVELS if partials else tuple(msgspec.structs.replace(x, partial_ms=None) for x in _LEVELS)
        self.load = self._levels[0]
        self._stale_s = stale_ms / 1000
        self._deadline_s = deadline_s
        self._clock = clock
        self._queue: list[tuple[int, float, int, Job]] = []
        self.worked_s = 0.0
        self._order = itertools.count()
        self._ready = asyncio.Event()
        self._partials_running = 0
        self._running = 0
        self._wait_ms = 0.0
        # Spare threads, so that one that hangs in native code does not take a worker with it for good.
        self._pool = ThreadPoolExecutor(recogniser.workers + 8, thread_name_prefix="recognise")
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Start the workers on the running loop."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"gate-{n}") for n in range(max(1, self.recogniser.workers))
        ]

    async def close(self) -> None:
        """Stop the workers. What is still queued is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for *_, job in self._queue:
            job.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Finals and speculative finals in the queue."""
        return sum(1 for _ in self._firm())

    @property
    def idle(self) -> bool:
        """A worker is free, and no final or speculative final runs or waits."""
        free = self._running < max(1, self.recogniser.workers)
        return free and self._running == self._partials_running and not any(self._firm())

    def _firm(self) -> Iterator[Job]:
        # A promoted job stands in the queue twice; where it stood before, its urgency was another.
        for urgency, _, _, job in self._queue:
            if urgency < PARTIAL and urgency == job.urgency and not job.started and not job.done.done():
                yield job

    def submit(self, utterance: Utterance) -> Job:
        """Queue by the utterance's own stage. Never blocks."""
        urgency = {"final": FINAL, "speculative": SPECULATIVE, "partial": PARTIAL}[utterance.stage]
        job = Job(utterance, urgency, self._clock())
        self._push(job)
        return job

    def promote(self, job: Job) -> None:
        """A speculative final was confirmed: it goes before the others of its kind."""
        if job.urgency != FINAL:
            job.urgency = FINAL
            if not job.started and not job.done.done():
                self._push(job)

    def _push(self, job: Job) -> None:
        heapq.heappush(self._queue, (job.urgency, job.due, next(self._order), job))
        self._ready.set()

    def _next(self) -> Job | None:
        while self._queue:
            urgency, _, _, job = self._queue[0]
            if job.done.done() or job.started or urgency != job.urgency:
                heapq.heappop(self._queue)  # cancelled, or promoted and queued again further up
                continue
            if urgency == PARTIAL:
                if self._clock() - job.submitted > self._stale_s or self.load.partial_ms is None:
                    heapq.heappop(self._queue)
                    job.cancel()
                    continue
                if self._partials_running >= max(1, self.recogniser.workers - 1):
                    return None
            heapq.heappop(self._queue)
            return job
        return None

    async def _work(self) -> None:
        while True:
            while (job := self._next()) is None:
                self._ready.clear()
                await self._ready.wait()
            jobs = [job]
            job.started = self._clock()
            if job.urgency != PARTIAL and self.recogniser.together > 1:
                if self.recogniser.linger_ms:
                    await asyncio.sleep(self.recogniser.linger_ms / 1000)
                jobs += self._alike(job)
            await self._run(jobs)

    def _alike(self, first: Job) -> list[Job]:
        """Others that wait and share the bucket of `first`, in the order of the queue, as many as it pays to take."""
        waiting = list(self._firm())
        idle = 0 if self.recogniser.linger_ms else max(0, self.recogniser.workers - self._running - 1)
        # What an idle worker could do at once must not wait for a batch.
        share = math.ceil((len(waiting) + 1) / (idle + 1)) if waiting else 1
        most = min(self.recogniser.together, share) - 1
        if most <= 0:
            return []
        bucket = self.recogniser.bucket(first.utterance)
        alike = [job for job in waiting if self.recogniser.bucket(job.utterance) == bucket]
        taken = sorted(alike, key=lambda job: (job.urgency, job.due, job.submitted))[:most]
        for job in taken:
            job.started = self._clock()
        return taken

    async def _run(self, jobs: list[Job]) -> None:
        partial = jobs[0].urgency == PARTIAL
        self._partials_running += partial
        self._running += 1
        began = self._clock()
        if not partial:
            for job in jobs:
                self._weigh(job.queue_ms)
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self._pool, self._transcribed, [job.utterance for job in jobs])
            async with asyncio.timeout(self._deadline_s):  # wait_for may swallow the cancellation by `close`
                outcomes = await work
            self._settle(jobs, outcomes)
        except asyncio.CancelledError:
            for job in jobs:
                job.cancel()
            raise
        except Exception as error:  # a recogniser is native code and weights: whatever it raises fails these jobs alone
            self._settle(jobs, [_named(error, self._deadline_s)] * len(jobs))
        finally:
            self._partials_running -= partial
            self._running -= 1
            if not partial:
                self.worked_s += self._clock() - began
            self._ready.set()

    def _transcribed(self, utterances: list[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        if len(utterances) == 1:
            return [self.recogniser.transcribe(utterances[0])]
        return self.recogniser.transcribe_many(utterances)

    def _settle(self, jobs: list[Job], outcomes: Sequence[Transcript | RecogniserFailed]) -> None:
        now = self._clock()
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.finished = now
            if job.done.done():
                continue
            if isinstance(outcome, RecogniserFailed):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)

    def _weigh(self, waited_ms: float) -> None:
        # Quick to rise, slow to fall: a level that flaps is worse on a screen than one that lingers.
        self._wait_ms += (waited_ms - self._wait_ms) * (0.5 if waited_ms > self._wait_ms else 0.2)
        level = self.load.level
        if level < len(_RAISE_MS) and self._wait_ms > _RAISE_MS[level]:
            self.load = self._levels[level + 1]
        elif level and self._wait_ms < _RAISE_MS[level - 1] / 2:
            self.load = self._levels[level - 1]

    def relax(self) -> None:
        """Called now and then: with nothing queued, time heals."""
        if not self._queue and self._running < max(1, self.recogniser.workers):
            self._weigh(0.0)


def _named(error: Exception, deadline_s: float) -> RecogniserFailed:
    if isinstance(error, RecogniserFailed):
        return error
    if isinstance(error, TimeoutError):
        return RecogniserFailed(f"no answer within {deadline_s:.0f} s")
    return RecogniserFailed(f"{type(error).__name__}: {error}"[:300])
