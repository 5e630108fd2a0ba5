"""The write-behind: one thread that follows the live logs into the store and the audio into its journals.

The event loop never waits for a disk. What a crash can lose is what was not yet handed over: see DESIGN.md.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from assist.audio import Encoding, Party
from assist.errors import StoreFailed
from assist.events import CallEnded, Entry, Ledger, Line, Transcribed, line
from assist.hub import Store
from assist.journal import Journal, NoPlace, Record, measure, repair

log = logging.getLogger("assist.keep")

FLUSH_S = 0.05
SYNC_S = 1.0
SYNCING = 8
"""Journals that are synced side by side: a file system commits many at once as soon as one (DESIGN.md)."""
MOST_LINES = 200_000
MOST_AUDIO_BYTES = 16 * 2**20
"""Of one call, waiting for a disk that refuses: half an hour of one mu-law channel."""

Pending = list[tuple[Party, int, bytes, int]]
"""Party, first sample's position, payload, end in ms; in order of arrival."""


class Sound:
    """The journal of one live call, as the loop sees it: `add` is memory only; `kept_ms` is what the disk has."""

    def __init__(self, path: Path, parties: tuple[Party, ...]) -> None:
        self.path = path
        self.parties = parties
        self.kept_ms: dict[str, int] = dict.fromkeys(parties, 0)
        self.pending: Pending = []
        self.waiting_bytes = 0
        self.journal: Journal | None = None
        self.closing = False
        self.finishing = False
        """Its last sync has been asked for."""
        self.syncing = threading.Lock()
        self.last_sync: Future[None] | None = None
        self.unsynced_s: float | None = None
        """time.monotonic() of the first audio that no sync has been asked for since."""
        self.doubted = False
        """A sync failed: what the disk holds of it is not known, and no other sync will tell."""

    def add(self, party: Party, position: int, payload: bytes, end_ms: int) -> None:
        """`payload` in the leg's encoding, at sample `position` of the call's clock; it ends at `end_ms`."""
        self.pending.append((party, position, payload, end_ms))
        self.waiting_bytes += len(payload)

    @property
    def full(self) -> bool:
        """True where the disk has refused for so long that no more audio should be taken."""
        return self.waiting_bytes >= MOST_AUDIO_BYTES

    def due(self, now_s: float) -> bool:
        """To be synced. A disk that has not done with the last one is not asked for the next."""
        since_s = self.unsynced_s
        idle = self.last_sync is None or self.last_sync.done()
        return idle and not self.doubted and since_s is not None and now_s - since_s >= SYNC_S


class Keeper:
    """Batches lines and audio to disk every 50 ms, audio synced once a second and at the end of a call.

    Each journal has its own second, so that syncs do not all at once take the cores. They run beside the writing, so
    that a slow one keeps nobody waiting but who asks for it. A store that refuses is tried again with growing pauses
    while lines wait in memory (at most `MOST_LINES`); `failing` says why, for /readyz and the metrics.
    """

    def __init__(self, store: Store, audio_dir: Path, on_kept: Callable[[Entry], None]) -> None:
        self._store = store
        self._audio_dir = audio_dir
        self._on_kept = on_kept
        self._lines: list[Line] = []
        self._sounds: list[Sound] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._syncs = ThreadPoolExecutor(SYNCING, thread_name_prefix="sync")
        self._makes = ThreadPoolExecutor(1, thread_name_prefix="make")
        """Makes and unmakes journals, one after the other: who opens a call waits for no other call's audio."""
        self._writing = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        """The flush that has not yet taken its batch: whoever wants one meanwhile shares it."""
        self._task: asyncio.Task[None] | None = None
        self._syncing: set[asyncio.Task[None]] = set()
        self._unwritten_for = self._unsynced_for = ""
        self._unsynced_at_s = 0.0
        """When a sync was last found to have failed: one that was asked for later and succeeds takes it back."""
        self.failing = ""

    def line(self, made: Line) -> None:
        """Keep this line soon. Raises StoreFailed where too many wait; the end of a call always finds room."""
        if len(self._lines) >= MOST_LINES and not isinstance(made.entry.event, CallEnded):
            raise StoreFailed(f"the store has refused for so long that {MOST_LINES} lines wait: {self.failing}")
        self._lines.append(made)

    def path(self, call: str) -> Path:
        """Where a call's journal is. Ids are anybody's text, so the name is their hex."""
        return self._audio_dir / f"{call.encode().hex()}.journal"

    async def sound(
        self,
        call: str,
        rate_hz: int,
        encoding: Encoding,
        parties: tuple[Party, ...],
        first: Callable[[], None] = lambda: None,
    ) -> Sound:
        """A new journal. Raises StoreFailed, and whatever `first` does, which goes before it in the same thread."""
        sound = Sound(self.path(call), parties)
        stale = all(each.path != sound.path for each in self._sounds)

        def create() -> Journal:
            first()
            try:
                sound.path.parent.mkdir(parents=True, exist_ok=True)
                if stale and sound.path.exists():
                    # The store does not know this call: a crash came between its journal and its first entry.
                    sound.path.replace(sound.path.with_suffix(".orphan"))
            except OSError as error:
                raise StoreFailed(f"cannot create {sound.path}: {error}") from error
            return Journal.create(sound.path, call, rate_hz, encoding, parties)

        making = self._makes.submit(create)
        try:
            sound.journal = await asyncio.shield(asyncio.wrap_future(making))
        except asyncio.CancelledError:
            making.add_done_callback(_unmake)
            raise
        self._sounds.append(sound)
        return sound

    def abandon(self, sound: Sound) -> None:
        """The call could not be let in after all."""
        self._sounds = [each for each in self._sounds if each is not sound]
        if sound.journal:
            self._makes.submit(_remove, sound.journal, sound.path)
            sound.journal = None

    def open(self) -> None:
        """Start following, on the running loop."""
        self._task = asyncio.create_task(self._follow(), name="keep")

    async def close(self) -> int:
        """Write what is left, sync, stop. How many entries were lost, because the store refused to the end."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush(last=True)
        for pool in (self._thread, self._syncs, self._makes):
            pool.shutdown()
        if self._lines:
            log.error("the store refused to the end: %d entries are lost", len(self._lines))
        return len(self._lines)

    async def flush(self, *, last: bool = False, synced: bool = True) -> None:
        """Write everything handed over so far and, if `synced`, wait until the syncs that are due are done.

        Failures are kept in `failing`, and the lines for the next try.
        """
        if self._next is None or self._next.done() or last:
            self._next = asyncio.create_task(self._flush(last))
        # Shielded: who waits for it may be cancelled, a batch that was taken out of the queue may not.
        await asyncio.shield(self._next)
        if synced and self._syncing:
            await asyncio.wait(set(self._syncing))

    async def _flush(self, last: bool) -> None:
        async with self._writing:  # one at a time: no batch may get in front of an earlier one that was refused
            self._next = None
            lines, self._lines = self._lines, []
            batches = []
            for sound in self._sounds:
                batches.append((sound, sound.pending))
                sound.pending = []
            loop = asyncio.get_running_loop()
            refused, audio_refused, syncs = await loop.run_in_executor(self._thread, self._write, lines, batches, last)
            self._unwritten_for = refused or audio_refused
            self._tell()
            for sound, unwritten in batches:
                sound.pending = unwritten + sound.pending
                sound.waiting_bytes = sum(len(payload) for _, _, payload, _ in sound.pending)
            if refused:
                self._lines = lines + self._lines  # in front of what came meanwhile; append is idempotent
            else:
                for made in lines:
                    self._on_kept(made.entry)
            if syncs:
                settling = asyncio.create_task(self._settle(syncs, time.monotonic()))
                self._syncing.add(settling)
                settling.add_done_callback(self._syncing.discard)

    async def _settle(self, syncs: list[tuple[Sound, Future[None]]], asked_s: float) -> None:
        syncing = (asyncio.wrap_future(sync) for _, sync in syncs)
        outcomes = await asyncio.gather(*syncing, return_exceptions=True)
        refused = ""
        for (sound, _), outcome in zip(syncs, outcomes, strict=True):
            if outcome:
                sound.doubted, refused = True, str(outcome) or repr(outcome)
        if refused:
            self._unsynced_for, self._unsynced_at_s = refused, time.monotonic()
        elif asked_s > self._unsynced_at_s:
            self._unsynced_for = ""
        self._tell()
        self._sounds = [sound for sound in self._sounds if sound.journal is not None]
        if not any(sound.doubted for sound in self._sounds):  # nobody is left whom it concerns
            self._unsynced_for = ""
            self._tell()

    def holds(self, call: str) -> bool:
        """Sound of this call is not on the disk yet, or its journal is still open."""
        path = self.path(call)
        return any(sound.path == path for sound in self._sounds)

    def _tell(self) -> None:
        why = self._unwritten_for or self._unsynced_for
        if why not in ("", self.failing):
            log.error("the disk refuses: %s", why)
        self.failing = why

    async def _follow(self) -> None:
        pause_s = FLUSH_S
        while True:
            await asyncio.sleep(pause_s)
            now_s = time.monotonic()
            waiting = any(
                sound.pending or sound.due(now_s) or (sound.closing and not sound.finishing) for sound in self._sounds
            )
            if self._lines or waiting:
                await self.flush(synced=False)
            pause_s = min(5.0, pause_s * 2) if self._unwritten_for else FLUSH_S

    def _write(
        self, lines: list[Line], batches: list[tuple[Sound, Pending]], sync: bool
    ) -> tuple[str, str, list[tuple[Sound, Future[None]]]]:
        """In the one writer thread: what the store said, what the journals said; "" where all went well; the syncs.

        Batches that were written are emptied. `sync`: all of them, not only those that are due.
        """
        refused = audio_refused = ""
        syncing = []
        for sound, pending in batches:
            try:
                self._append(sound, pending)
            except Exception as error:
                # The journal has cut itself back to its last whole record; what is left of the batch waits.
                audio_refused = str(error) or repr(error)
            else:
                # Nothing is added once it is closing, so that what has been written is all of it.
                last = sound.closing and not sound.pending
                if sound.journal and (sync or last or sound.due(time.monotonic())) and not sound.finishing:
                    sound.finishing, sound.unsynced_s = last, None
                    sound.last_sync = self._syncs.submit(self._sync, sound, last)
                    syncing.append((sound, sound.last_sync))
        try:
            if lines:
                self._store.append(lines)
        except Exception as error:  # whatever a store raises, its lines wait for the next try
            refused = str(error) or repr(error)
        return refused, audio_refused, syncing

    def _append(self, sound: Sound, pending: Pending) -> None:
        if sound.journal and pending:
            header = sound.journal.header
            try:
                sound.journal.append(_joined(pending, header.width))
            except NoPlace as error:
                # It would be refused for ever, and the whole server be unready because of one call.
                came = len(pending)
                pending[:] = [each for each in pending if header.takes(each[0], each[1], len(each[2]))]
                log.error("call %s: %d pieces of audio are not kept: %s", header.call, came - len(pending), error)
                sound.journal.append(_joined(pending, header.width))
            for party, _, _, end_ms in pending:
                sound.kept_ms[party] = end_ms
            pending.clear()  # before the sync: a sync that fails must not have them written again
            if sound.unsynced_s is None:
                sound.unsynced_s = time.monotonic()

    def _sync(self, sound: Sound, last: bool) -> None:
        with sound.syncing:  # the last one closes what an earlier one may still hold, or may only come to
            journal = sound.journal
            if journal is None:
                return
            try:
                journal.sync()
            finally:
                if last:  # also where the disk cannot be trusted: it will never say otherwise
                    sound.journal = None
                    journal.close()


def _joined(pending: Pending, width: int) -> list[Record]:
    """What follows on without a gap as one record: head and checksum of each message would cost more than its bytes."""
    runs: dict[Party, list[tuple[int, list[bytes]]]] = {}
    ends: dict[Party, int] = {}
    for party, position, payload, _ in pending:
        if ends.get(party) == position:
            runs[party][-1][1].append(payload)
        else:
            runs.setdefault(party, []).append((position, [payload]))
        ends[party] = position + len(payload) // width
    return [Record(party, position, b"".join(parts)) for party in runs for position, parts in runs[party]]


def _remove(journal: Journal, path: Path) -> None:
    journal.close()
    path.unlink(missing_ok=True)


def _unmake(making: Future[Journal]) -> None:
    if not making.cancelled() and not making.exception():
        journal = making.result()
        _remove(journal, journal.path)


def recover(store: Store, keeper_path: Callable[[str], Path]) -> list[str]:
    """Close every call that a crash cut off as `interrupted`. Returns their ids. Run before the door opens.

    A log or a journal that cannot be read costs that call its books, and a summary its end, never the server its start.
    """
    closed = []
    for call in store.unfinished():
        lines: list[Line] = []
        received: dict[Party, float] = {}
        try:
            last_seq = store.call(call).last_seq
        except StoreFailed as error:  # nor would the store add an end to it
            log.error("call %s: it cannot be closed, its summary cannot be read: %s", call, error)
            continue
        try:
            lines = store.read(call)
        except StoreFailed as error:  # what it says is damaged, not where it ends
            log.error("call %s: its log cannot be read: %s", call, error)
        duration = max((made.entry.at_ms for made in lines), default=0)
        try:
            repair(keeper_path(call))
            measured = measure(keeper_path(call))
            received, duration = measured.audio_ms, max(duration, measured.duration_ms)
        except StoreFailed as error:  # killed before its header was whole: there is no audio to save
            log.warning("call %s: no audio could be recovered: %s", call, error)
        ledger: dict[str, Ledger] = {party: _cut_off(party, ms, lines) for party, ms in received.items()}
        store.append([line(Entry(call, last_seq + 1, duration, CallEnded("interrupted", duration, ledger, {})))])
        closed.append(call)
    return closed


def _cut_off(party: str, received_ms: float, lines: list[Line]) -> Ledger:
    finals = {
        made.entry.event.transcript.utterance: made.entry.event.transcript
        for made in lines
        if isinstance(made.entry.event, Transcribed)
        and made.entry.event.transcript.stage == "final"
        and made.entry.event.transcript.party == party
    }
    transcribed = min(received_ms, float(sum(t.end_ms - t.start_ms for t in finals.values())))
    # What was silence and what was speech not yet recognised died with the process; both stand as interrupted.
    return Ledger(received_ms, transcribed, 0.0, {"interrupted": received_ms - transcribed}, 0.0, 0.0)
