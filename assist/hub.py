"""Logs and cursors: one append-only list of lines per call. Subscribers are cursors over it; the store follows behind.

It knows neither sockets nor databases: `Store` is what it needs of one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from assist.audio import Party
from assist.conversation import Flag
from assist.errors import DuplicateCall, FutureCursor, UnknownCall
from assist.events import AnyEvent, CallEnded, Entry, Line, Reviewed, line

Look = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs in a thread what may wait for a disk, and raises what that raises."""

REMEMBER_BYTES = 2**20
"""Logs of past calls in memory, counted as JSON; with their objects they take some four times as much."""


class Said(msgspec.Struct, frozen=True):
    """The newest final words of a call. `text` may be cut short; `end_ms` is where they end on the call's clock."""

    party: Party
    text: str
    end_ms: int


class Point(msgspec.Struct, frozen=True):
    """A score of the customer's, found `at_ms` on the call's clock."""

    at_ms: int
    score: float


class CallSummary(msgspec.Struct, frozen=True):
    """One row of the list of calls, kept up to date by the store from the entries it appends.

    `sentiment` is the call score, -1..1, of the last Noticed. `topics` sums the scores of each topic that was named,
    and `topic` is the heaviest: a call about a broken camera stays one when its customer threatens to leave.
    `faults`: kinds of ChannelFaulted that hold, or held when the call ended. `swapped`: RolesSwapped came.
    `written`: a contact in writing.

    Of a call that goes on: `speaking` has the parties whose speech has begun and is not final yet, and where it began,
    ms; with nobody speaking, `said` says since when there has been silence, and after whom. Speech that is cut for its
    length and goes on is known of with its next partial. `paused`: nothing is heard. `moods` and `voices`: the
    customer's newest call scores of sentiment (-1..1) and of stress (0..1).
    """

    call: str
    started_at: str
    platform: str
    metadata: dict[str, str]
    recogniser: str
    last_seq: int
    ended: bool = False
    reason: str = ""
    duration_ms: int = 0
    topic: str = ""
    sentiment: float | None = None
    flags: tuple[Flag, ...] = ()
    reviews: tuple[Reviewed, ...] = ()
    topics: dict[str, float] = {}
    faults: tuple[str, ...] = ()
    swapped: bool = False
    written: bool = False
    paused: bool = False
    said: Said | None = None
    speaking: dict[Party, int] = {}
    moods: tuple[Point, ...] = ()
    voices: tuple[Point, ...] = ()


class Store(Protocol):
    """Keeps logs. Synchronous: one thread appends, whoever asks does so from threads of its own."""

    def append(self, lines: Sequence[Line]) -> None:
        """Keep these, all or none; durable on return. Idempotent on (call, seq). Raises StoreFailed."""

    def read(self, call: str, after: int = 0, limit: int | None = None) -> list[Line]:
        """Lines with seq > `after`, in order. Raises UnknownCall."""

    def calls(self, limit: int = 200, offset: int = 0, live: bool = False) -> list[CallSummary]:
        """Newest first; `live`: only those without a CallEnded."""

    def call(self, call: str) -> CallSummary:
        """One call. Raises UnknownCall."""

    def flagged(self, limit: int = 200) -> list[CallSummary]:
        """Calls with at least one flag: unreviewed first, then by highest severity, then newest first."""

    def unfinished(self) -> list[str]:
        """Ids of calls without a CallEnded, oldest first."""

    def close(self) -> None: ...


class Log:
    """One call's lines, in order. `kept` is the seq up to which the store has them."""

    def __init__(self, call: str, lines: list[Line] | None = None) -> None:
        self.call = call
        self.lines = lines or []
        self.ended = any(isinstance(each.entry.event, CallEnded) for each in self.lines)
        self.kept = len(self.lines)
        self._pulse = asyncio.Event()

    @property
    def last_seq(self) -> int:
        return len(self.lines)

    def next(self, event: AnyEvent, at_ms: int, latency_ms: dict[str, float] | None = None) -> Line:
        """The event as the next line, not yet in the log."""
        return line(Entry(self.call, len(self.lines) + 1, at_ms, event, latency_ms or {}))

    def add(self, made: Line) -> None:
        """Append what `next` gave; every cursor wakes."""
        self.lines.append(made)
        self.ended = self.ended or isinstance(made.entry.event, CallEnded)
        self.pulse()

    def pulse(self) -> None:
        """Wake every cursor."""
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()

    async def wait(self, timeout_s: float) -> bool:
        """True when something was added, False when nothing was for so long."""
        try:
            async with asyncio.timeout(timeout_s):  # not wait_for: it may swallow a cancellation
                await self._pulse.wait()
        except TimeoutError:
            return False
        return True


class Hub:
    """All logs of live calls, and the past ones somebody looks at. One instance, one event loop."""

    def __init__(self, store: Store, keep: Callable[[Line], None], *, remember_bytes: int = REMEMBER_BYTES) -> None:
        self._store = store
        self._keep = keep
        self._live: dict[str, Log] = {}
        self._opening: set[str] = set()
        self._past: OrderedDict[str, Log] = OrderedDict()
        self._remember_bytes = remember_bytes
        self._past_bytes: dict[str, int] = {}

    async def open(self, call: str, look: Look = asyncio.to_thread) -> Log:
        """A new log. Raises DuplicateCall where the id is live or in the store.

        `look` runs the question to the store in some thread; what else it does there comes after it.
        """
        # Taken before the store is asked, so that two sockets with one id cannot both pass. Not live yet: who asks for
        # this id meanwhile must get the past call's log, if there is one.
        if call in self._live or call in self._past or call in self._opening:
            raise DuplicateCall(f"call {call!r} is already known")
        self._opening.add(call)
        try:
            await look(partial(self._must_be_new, call))
        finally:
            self._opening.discard(call)
        log = self._live[call] = Log(call)
        return log

    def _must_be_new(self, call: str) -> None:
        with contextlib.suppress(UnknownCall):
            self._store.call(call)
            raise DuplicateCall(f"call {call!r} is already known")

    def publish(self, log: Log, event: AnyEvent, at_ms: int, latency_ms: dict[str, float] | None = None) -> Entry:
        """Hand to the store behind, append, tell. Raises StoreFailed where the store has refused for too long."""
        made = log.next(event, at_ms, latency_ms)
        self._keep(made)  # first: what cannot be kept must not be told
        log.add(made)
        if isinstance(event, CallEnded) and log.call in self._live:
            del self._live[log.call]
            self._remember_past(log)
        return made.entry

    def forget(self, call: str) -> None:
        """Undo `open` for a call that could not be let in. Who follows it already is let go."""
        if log := self._live.pop(call, None):
            log.ended = True
            log.pulse()

    def kept(self, call: str, seq: int) -> None:
        """The store has this call's lines up to `seq`."""
        log = self._live.get(call) or self._past.get(call)
        if log:
            log.kept = max(log.kept, seq)

    async def log(self, call: str) -> Log:
        """A live log, or a past one read from the store. Raises UnknownCall."""
        if call in self._live:
            return self._live[call]
        if call not in self._past:
            lines = await asyncio.to_thread(self._store.read, call)
            if call in self._live:  # it was let in meanwhile: what was read is only its beginning
                return self._live[call]
            if call not in self._past:  # somebody may have read it meanwhile
                self._remember_past(Log(call, lines))
        self._past.move_to_end(call)
        return self._past[call]

    async def follow(self, call: str, after: int, heartbeat_s: float = 5.0) -> AsyncIterator[Line | None]:
        """Lines with seq > `after`: the log, then live, gap-free, until the call has ended and all is told.

        None is yielded once when the cursor has caught up, and again whenever nothing happened for
        `heartbeat_s`. Raises UnknownCall, FutureCursor.
        """
        log = await self.log(call)
        if after > log.last_seq:
            raise FutureCursor(f"after={after} lies beyond the log, which ends at {log.last_seq}")
        cursor = max(0, after)
        caught_up = False
        while True:
            while cursor < log.last_seq:
                cursor += 1
                yield log.lines[cursor - 1]
            if not caught_up:
                caught_up = True
                yield None
                continue  # lines may have come while the subscriber was told
            if log.ended:
                return
            if not await log.wait(heartbeat_s):
                yield None

    def _remember_past(self, log: Log) -> None:
        self._past[log.call] = log
        self._past_bytes[log.call] = sum(len(each.raw) for each in log.lines)
        while len(self._past) > 1 and sum(self._past_bytes.values()) > self._remember_bytes:
            oldest = next(iter(self._past))
            if self._past[oldest].kept < self._past[oldest].last_seq:
                break  # not in the store yet: forgetting it now would lose it
            del self._past[oldest], self._past_bytes[oldest]
