"""What one running server holds: its calls, its hub, its keeper, its models; and how calls are let in and seen out.

It knows no socket. `server.py` builds it, the gateway uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from assist.admission import TYPICAL_S, Admission
from assist.audio import SAMPLES_PER_MS, Utterance
from assist.call import Call, Parts
from assist.config import Settings
from assist.errors import Busy, Draining, DuplicateCall, StoreFailed, UnknownCall
from assist.events import Entry, Marked, Reviewed
from assist.hub import Hub, Store
from assist.keep import Keeper, Sound, recover
from assist.knowledge import Knowledge
from assist.legs import Announced, Joint
from assist.metrics import Metrics
from assist.mind import Thinkers
from assist.protocols import Opened
from assist.tapes import Tapes
from assist.transcribe import Gate
from assist.webhooks import Webhooks

log = logging.getLogger("assist.house")

LAG_TICK_S = 0.1
MOST_AGAIN = 100
"""Sessions of one conversation; each further one looks for its number from the first on."""


class House:
    """One server's state. `open` and `close` run on its loop."""

    def __init__(self, settings: Settings, store: Store, knowledge: Knowledge, metrics: Metrics) -> None:
        self.settings = settings
        self.store = store
        self.knowledge = knowledge
        self.metrics = metrics
        self.data_dir = Path(settings.server.data_dir)
        self.keeper = Keeper(store, self.data_dir / "audio", self._kept)
        self.hub = Hub(store, self.keeper.line)
        self.calls: dict[str, Call] = {}
        self.joints: dict[str, Joint] = {}
        """Those of them whose parties come on sockets of their own, by what these call it."""
        self.announced = Announced()
        self.notices: list[str] = []
        """What /readyz and the pages should say about this server (rough text, a judgement that is missing)."""
        self.draining = asyncio.Event()
        self.hurry = asyncio.Event()
        """Draining, and told again: wait for live calls no longer."""
        self.thinkers = Thinkers()
        self.tapes = Tapes(self.data_dir / "audio")
        self.webhooks: Webhooks | None = None
        """Where somebody is told of what was kept; set before `open`."""
        self.lost_entries = 0
        """Entries that could not be kept to the end; the exit status says so."""
        self.admission = Admission(1, 0.0)
        self._opening = 0
        self._joining = asyncio.Lock()
        self._hosted: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()
        self._parts: Parts | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def parts(self) -> Parts:
        assert self._parts, "open() was not called"
        return self._parts

    @property
    def gate(self) -> Gate:
        return self.parts.gate

    @property
    def ready(self) -> bool:
        """May calls come? Not while the server shuts down, nor while the disk refuses."""
        return not self.draining.is_set() and not self.keeper.failing

    async def open(self, parts: Parts) -> None:
        """Close what a crash cut off, then start the gate, the keeper and the watch over the loop."""
        self._parts = parts
        recogniser = parts.gate.recogniser
        length_ms = int(TYPICAL_S * 1000)
        typical = Utterance("", "customer", 0, length_ms, length_ms, np.zeros(length_ms * SAMPLES_PER_MS, np.int16))
        promised = self.settings.ingest.promised_load
        self.admission = Admission(recogniser.workers, promised, recogniser.cost_ms(typical))
        self.tapes.sweep()
        interrupted = await asyncio.to_thread(recover, self.store, self.keeper.path)
        if interrupted:
            log.warning("%d calls were cut off and are closed as interrupted", len(interrupted))
        self.gate.open()
        self.keeper.open()
        if self.webhooks:
            self.webhooks.open()
        self._tasks.append(asyncio.create_task(self._watch_loop(), name="loop-lag"))

    async def close(self) -> None:
        """End what is live, write everything, stop."""
        for call in tuple(self.calls.values()):
            call.end("drained")
        await asyncio.gather(*(call.ended.wait() for call in tuple(self.calls.values())))
        await asyncio.gather(*self._hosted)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.gate.close()
        self.lost_entries = await self.keeper.close()
        if self.webhooks:
            await asyncio.to_thread(self.webhooks.close)
        self.thinkers.close()
        self.tapes.close()
        self.gate.recogniser.close()
        self.store.close()

    @property
    def _voices(self) -> int:
        return sum(not call.opened.written for call in self.calls.values())

    def admit(self, *, written: bool = False) -> None:
        """May another call come in? Raises Draining, Busy. What is in writing needs no recogniser."""
        if self.draining.is_set():
            raise Draining("the server is shutting down and takes no new calls")
        live = len(self.calls) + self._opening
        again_s = self.admission.again_s(live)
        if live >= self.settings.ingest.max_calls:
            raise Busy(f"{live} calls are live, the configured most", again_s)
        if written:
            return
        live = self._voices + self._opening
        if self.gate.load.level >= 3:
            raise Busy("overloaded: finals wait too long for another call to be taken", again_s)
        if live + 1 > self.admission.room:
            raise Busy(f"{live} calls are live; one more would make finals wait for all of them", again_s)

    async def open_call(self, opened: Opened, *, again: bool = False) -> Call:
        """Let a call in; its first entry is on disk on return. Raises Draining, Busy, DuplicateCall, StoreFailed.

        `again`: where its id is known, it is let in as `ID.2`, `ID.3` and so on, but not where another platform has a
        live call of that id.
        """
        self.admit(written=opened.written)
        self._opening += 1
        try:
            call = await self._make_again(opened) if again else await self._make(opened)
            self.calls[call.opened.call] = call
        finally:
            self._opening -= 1
            self._left.set()
        self.metrics.calls_started.labels(opened.platform).inc()
        # From here the call is in the store before any of its audio is acknowledged.
        try:
            await self.keeper.flush(synced=False)
            if not call.log.kept:
                raise StoreFailed(f"the call cannot be kept: {self.keeper.failing}")
        except BaseException as error:  # the socket waits no longer, or the disk refuses: nobody else would end it
            call.end("lost" if isinstance(error, asyncio.CancelledError) else "error:store_failed")
            try:
                await call.run()
            finally:
                self.leave(call)
            raise
        return call

    async def open_leg(
        self, opened: Opened, *, again: bool = False, give_way: Callable[[], None] | None = None
    ) -> Joint:
        """Let one party's own socket in: to the live call of that id, else as the first of a new one.

        `again`: as in `open_call`; `give_way`: as in `Joint.join`. Raises what `open_call` does, and BadEncoding where
        the call's other leg is encoded otherwise.
        """
        async with self._joining:  # the second leg may come while the first one's call is made
            joint = self.joints.get(opened.call)
            if joint is None or (again and joint.call.ending):
                call = await self.open_call(opened, again=again)
                limits = self.settings.ingest
                joint = self.joints[opened.call] = Joint(call, limits.leg_grace_s, limits.leg_missing_s)
                hosted = asyncio.create_task(self._host(opened.call, joint), name=f"host-{call.opened.call}")
                self._hosted.add(hosted)
                hosted.add_done_callback(self._hosted.discard)
            joint.join(opened, give_way)
            return joint

    async def _host(self, ref: str, joint: Joint) -> None:
        try:
            await joint.run()
            await self.keeper.flush()
        except Exception:
            log.exception("call %s ended badly", joint.call.opened.call)
        finally:
            if self.joints.get(ref) is joint:
                del self.joints[ref]
            self.leave(joint.call)

    async def _make_again(self, opened: Opened) -> Call:
        live = self.calls.get(opened.call)
        if live and live.opened.platform != opened.platform:
            raise DuplicateCall(f"call {opened.call!r} is live, and came from {live.opened.platform}")
        for count in range(1, MOST_AGAIN):
            with contextlib.suppress(DuplicateCall):
                return await self._make(opened if count == 1 else replace(opened, call=f"{opened.call}.{count}"))
        raise DuplicateCall(f"call {opened.call!r} came {MOST_AGAIN} times")

    async def _make(self, opened: Opened) -> Call:
        sound: Sound | None = None

        async def look(is_new: Callable[[], None]) -> None:
            """One thread asks the store and makes the journal: where the cores are taken, each hand-over waits."""
            nonlocal sound
            sound = await self.keeper.sound(opened.call, opened.rate_hz, opened.encoding, opened.parties, is_new)

        made = await self.hub.open(opened.call, asyncio.to_thread if opened.written else look)
        try:
            call = Call(opened, made, sound or Sound(self.keeper.path(opened.call), ()), self.parts)
            call.begin(datetime.now(UTC).isoformat(timespec="milliseconds"))
        except BaseException:  # the disk refuses
            if sound:
                self.keeper.abandon(sound)
            self.hub.forget(opened.call)
            raise
        return call

    def leave(self, call: Call) -> None:
        """The call has ended and its socket has said goodbye."""
        if self.calls.pop(call.opened.call, None) and not call.opened.written:
            self.admission.ended(call.now_ms / 1000)
        self._left.set()

    async def empty(self) -> None:
        """Returns when the last live call has left."""
        while self.calls or self._opening:
            self._left.clear()
            await self._left.wait()

    async def tell(self, call: str, event: Marked | Reviewed) -> int:
        """Keep what a person said of a call, live or past. Returns its seq. Raises UnknownCall."""
        made = await self.hub.log(call)
        live = self.calls.get(call)
        if live and isinstance(event, Marked):
            live.marked(event.ref, event.mark)
        at_ms = live.now_ms if live else made.lines[-1].entry.at_ms if made.lines else 0
        return self.hub.publish(made, event, at_ms).seq

    async def keep(self, call: str, seq: int) -> None:
        """Returns when the store has the call's entries up to `seq`. Raises StoreFailed where they wait for it."""
        await self.keeper.flush(synced=False)
        if (await self.hub.log(call)).kept < seq:
            raise StoreFailed(f"entry {seq} waits for the disk, which refuses: {self.keeper.failing}")

    def _kept(self, entry: Entry) -> None:
        self.hub.kept(entry.call, entry.seq)
        if self.webhooks:
            self.webhooks.kept(entry)

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        worked_s = 0.0
        while True:
            began = loop.time()
            await asyncio.sleep(LAG_TICK_S)
            passed_s = loop.time() - began
            late_s = max(0.0, passed_s - LAG_TICK_S)
            self.metrics.loop_lag.observe(late_s)
            while (late_s := late_s - LAG_TICK_S) > 0:  # the ticks that would have come meanwhile were late too
                self.metrics.loop_lag.observe(late_s)
            self.gate.relax()
            self.admission.passed(passed_s, self._voices, self.gate.worked_s - worked_s)
            worked_s = self.gate.worked_s
            self.metrics.room.set(self.admission.room)
            self.metrics.load_level.set(self.gate.load.level)
            self.metrics.queue.set(self.gate.waiting)

    async def settled(self, call: str) -> bool:
        """Has the call ended, and is all of it on disk? Raises UnknownCall."""
        log = await self.hub.log(call)
        on_disk = log.kept == log.last_seq and not self.keeper.holds(call)
        return log.ended and on_disk and call not in self.calls

    def journal_of(self, call: str) -> Path:
        """The journal of a call. Raises UnknownCall where there is none."""
        with contextlib.suppress(OSError):  # a name too long for a file is no call of ours
            path = self.keeper.path(call)
            if path.exists():
                return path
        raise UnknownCall(f"no audio for call {call[:120]!r}")
