"""One call: an ear that takes audio, a mind that follows what was said, and the ledger of its audio.

It knows no socket and no model; what it needs of the house stands in `Parts`. The ear is synchronous and does
no I/O; finals are published in order by one task, and what they mean is found out by another (mind.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from zlib import crc32

import numpy as np
from msgspec.structs import replace as replace_fields

from assist.analyse import Analyser
from assist.audio import FRAME_MS, Leg, Party, Timeline, Utterance
from assist.channel import APART_MS, Channels, Told
from assist.conversation import Heard, Transcript, exchanged
from assist.errors import AssistError, RecogniserFailed, StoreFailed, TooFast, TooLong
from assist.events import (
    AnyEvent,
    CallEnded,
    CallStarted,
    ChannelFaulted,
    Degraded,
    Dtmf,
    Faltered,
    Flagged,
    Ledger,
    LegJoined,
    LegLeft,
    LegMissing,
    Missing,
    Noticed,
    Paused,
    Resumed,
    RolesSwapped,
    Skipped,
    SpeechStarted,
    Suggested,
    Transcribed,
    Withdrawn,
)
from assist.flag import Watch
from assist.hub import Hub, Log
from assist.journal import LONGEST_HOURS
from assist.keep import Sound
from assist.metrics import Metrics
from assist.mind import Mind, Thinkers
from assist.outlook import outlook
from assist.phrase import pieces
from assist.protocols import Opened
from assist.segment import Began, Blip, Ended, Segmenter, Signal, WentOn
from assist.segment import Paused as PausedSpeech
from assist.side import Side
from assist.suggest import Guide, Mark
from assist.ticker import TICK_S, Ticker
from assist.transcribe import Gate, Job

log = logging.getLogger("assist.call")

LAST_FINALS_S = 100.0
"""Longer than the gate waits for a recogniser (server.py): what is heard anew after a hang is a final still."""
FIRST_PARTIAL_MS = 600
STARVING_MS = 120
"""A frame this late may be one that is not sent: silence. Less is jitter, and would cut a pause at random."""
START_MS = 2_000
"""Audio that begins this soon after the hello begins at 0: opening a call takes a moment, and is not silence."""


TURN_LETTERS = 600
"""A message in writing that is longer becomes several turns: the encoder reads about a hundred words."""
BURST_LETTERS, LETTERS_PER_S, MOST_LETTERS = 120_000, 1_000, 2_000_000
"""Of a contact in writing: its beginning may be a whole history at once, then nobody types faster."""
_NO_SOUND = np.zeros(0, dtype=np.int16)


@dataclass(frozen=True)
class Parts:
    """What every call shares. `segmenter` (party, rate in Hz), `guide` and `watch` make a new one per party or call.

    `openings`: what agents of this house say first.
    """

    hub: Hub
    gate: Gate
    analysers: Mapping[str, Analyser]
    segmenter: Callable[[Party, int], Segmenter]
    guide: Callable[[], Guide]
    watch: Callable[[], Watch]
    metrics: Metrics
    thinkers: Thinkers
    openings: tuple[str, ...] = ()
    burst_s: float = 10.0
    speed: float = 1.25
    clock: Callable[[], float] = time.monotonic
    ticker: Ticker = field(default_factory=Ticker)


class Call:
    """One live call. Feed it with `hear` and friends from the loop; `run` is its life; `end` asks it to finish."""

    def __init__(self, opened: Opened, log: Log, sound: Sound, parts: Parts) -> None:
        self.opened = opened
        self.log = log
        self.parts = parts
        self.sound = sound
        self.anomalies: dict[str, int] = {}
        self.ledger: dict[str, Ledger] = {}
        self._started = self._ticked = parts.clock()
        self._mind = Mind(
            opened.call,
            parts.analysers,
            parts.guide(),
            parts.watch(),
            parts.thinkers,
            self._publish,
            lambda: self.now_ms,
            opened.written,
        )
        self._letters = 0
        self._written: dict[Party, int] = {}
        self._last_ms = 0
        outbound = opened.metadata.get("direction", "").lower().startswith("out")
        later_ms = crc32(opened.call.encode()) % APART_MS
        self._channels = Channels(opened.parties, parts.openings, outbound, later_ms=later_ms)
        self._swapped = False
        """The platform's roles were the wrong way round. Until a transcript is published, `party` is a channel."""
        self._paused = False
        self._level = 0
        self._heard = False
        self._reason = ""
        self._ending = asyncio.Event()
        self.ended = asyncio.Event()
        self._backlog: asyncio.Queue[tuple[Utterance, Job] | None] = asyncio.Queue()
        self._waiting: dict[str, Party] = {}
        """Utterances that have ended and whose final is not out."""
        self._sides: dict[Party, Side] = {}
        for party in () if opened.written else opened.parties:
            leg = Leg(opened.encoding, opened.rate_hz)
            bytes_per_ms = opened.rate_hz * leg.width / 1000
            self._sides[party] = Side(leg, Timeline(), parts.segmenter(party, opened.rate_hz), bytes_per_ms)

    @property
    def paused(self) -> bool:
        """Nothing is kept or transcribed now."""
        return self._paused

    @property
    def ending(self) -> bool:
        """No more audio is taken."""
        return self._ending.is_set()

    @property
    def now_ms(self) -> int:
        """Milliseconds since the call was opened."""
        return int((self.parts.clock() - self._started) * 1000)

    def begin(self, started_at: str) -> None:
        """Publish the first entry."""
        opened, recogniser = self.opened, self.parts.gate.recogniser
        sound: tuple[str, int, str, bool] = (opened.encoding, opened.rate_hz, recogniser.name, recogniser.rough)
        encoding, rate_hz, name, rough = ("text", 0, "", False) if opened.written else sound
        self._publish(
            CallStarted(
                started_at=started_at,
                platform=opened.platform,
                parties=opened.parties,
                encoding=encoding,
                rate_hz=rate_hz,
                recogniser=name,
                rough=rough,
                metadata=opened.metadata,
                client_started_at=opened.started_at,
            )
        )

    # ---- the ear

    def hear(self, party: Party, *payloads: bytes) -> None:
        """Audio of one party, one message or several, of any length.

        Raises TooFast, and StoreFailed where the disk has refused for too long.
        """
        if self._ending.is_set():
            raise AssistError(f"the call has ended already: {self._reason}")
        if self.sound.full:
            raise StoreFailed("the disk has refused for so long that no more audio is taken")
        side = self._sides[party]
        payload = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        length_ms = len(payload) / side.bytes_per_ms
        if not self._heard:
            self._heard = True
            if self.now_ms < START_MS:
                self._started = self.parts.clock() - len(payloads[0]) / side.bytes_per_ms / 1000
        now_ms = self.now_ms
        try:
            self._admit(party, side, length_ms, now_ms)
        except (TooFast, TooLong):
            if len(payloads) == 1:
                raise
            for each in payloads:  # what comes before the one that is too much is taken
                self.hear(party, each)
            return
        if self._paused:
            side.paused_ms += side.leg.skip(payload)
            return
        if side.leg.width > 1:
            for each in payloads:
                if len(each) % side.leg.width:
                    self.note("odd_size")
        side.came(length_ms, now_ms)
        self._take(party, side, side.timeline.push(side.leg.push(payload), now_ms), now_ms)

    def wrote(self, party: Party, text: str, at_ms: int | None = None) -> None:
        """A message in writing, at `at_ms` or now. Raises TooFast, TooLong; nothing of it was taken then.

        What is long becomes several turns, so that all of it is read and what is found can be pointed to.
        """
        if self._ending.is_set():
            raise AssistError(f"the call has ended already: {self._reason}")
        if at_ms is None and self._letters + len(text) > BURST_LETTERS + LETTERS_PER_S * self.now_ms / 1000:
            raise TooFast(
                f"{self._letters + len(text)} characters in {self.now_ms / 1000:.0f} s: nobody writes so much"
            )
        if self._letters + len(text) > MOST_LETTERS:
            raise TooLong(f"a contact of more than {MOST_LETTERS} characters")
        self._letters += len(text)
        self._last_ms = start_ms = max(self._last_ms, self.now_ms if at_ms is None else at_ms)
        for piece in pieces(text, TURN_LETTERS):
            number = self._written[party] = self._written.get(party, 0) + 1
            utterance = Utterance(f"{party}-{number}", party, start_ms, start_ms, start_ms, _NO_SOUND)
            final = Transcript(utterance.id, party, start_ms, start_ms, piece)
            self._publish(Transcribed(final))
            self._mind.hear(Heard(utterance, final, alone=False), {"final": 0.0})

    def _admit(self, party: Party, side: Side, length_ms: float, now_ms: int) -> None:
        taken_ms = side.taken_ms + length_ms
        if taken_ms > self.parts.burst_s * 1000 + self.parts.speed * now_ms + FRAME_MS:
            raise TooFast(
                f"{party}: {taken_ms / 1000:.1f} s of audio in {now_ms / 1000:.1f} s; at most "
                f"{self.parts.burst_s:g} s ahead of {self.parts.speed:g} times real time"
            )
        # A first frame stands where it came, and so does one after silence that nobody sent.
        if max(side.timeline.position_ms or 0, now_ms) + length_ms > LONGEST_HOURS * 3_600_000 - 60_000:
            raise TooLong(f"a call of {LONGEST_HOURS} hours")
        side.taken_ms = taken_ms

    def lost(self, party: Party, length_ms: int) -> None:
        """The platform says that so much never came."""
        self._sides[party].timeline.lose(length_ms)

    def dropped(self, party: Party, payload_bytes: int, reason: str) -> None:
        """Audio came that is not used (a duplicate, a frame that is too late)."""
        side = self._sides[party]
        side.dropped_ms[reason] = side.dropped_ms.get(reason, 0.0) + payload_bytes / side.bytes_per_ms

    def note(self, kind: str) -> None:
        """Count an anomaly."""
        self.anomalies[kind] = self.anomalies.get(kind, 0) + 1
        self.parts.metrics.anomalies.labels(kind).inc()

    def key(self, party: Party) -> None:
        """A key was pressed."""
        self._publish(Dtmf(self._role(party)))

    def joined(self, party: Party, metadata: dict[str, str]) -> None:
        """A party's own socket is here."""
        self._publish(LegJoined(party, metadata))

    def left(self, party: Party, reason: str) -> None:
        """A party's own socket has gone: what it was saying is finished. It may come back."""
        if self._ending.is_set():
            return
        side = self._sides[party]
        with contextlib.suppress(StoreFailed):
            self._finish(party, side)
        side.cut_off_ms += side.leg.cut_off()
        with contextlib.suppress(StoreFailed):
            self._publish(LegLeft(party, reason))

    def misses(self, party: Party, waited_ms: int) -> None:
        """A party whose socket should be here is not."""
        self._publish(LegMissing(party, waited_ms))

    def early_s(self, party: Party, payload: bytes) -> float:
        """Seconds until so much more of this party would be let in; 0: now."""
        if not self._heard:
            return 0.0
        side, parts = self._sides[party], self.parts
        taken_ms = side.taken_ms + len(payload) / side.bytes_per_ms
        return max(0.0, (taken_ms - parts.burst_s * 1000) / parts.speed - self.now_ms) / 1000

    def cut(self) -> dict[str, Party]:
        """What is being said ends here. Utterances, in order, whose final or failure is still to be published."""
        for party, side in self._sides.items():
            self._finish(party, side)
        return dict(self._waiting)

    def pause(self, reason: str) -> None:
        """From here neither kept nor transcribed. What was being said is finished first."""
        if self._paused:
            return self.note("second_pause")
        for party, side in self._sides.items():
            self._finish(party, side)
            side.cut_off_ms += side.leg.skip()
        self._paused = True
        self._channels.pause(True)
        self._publish(Paused(reason))

    def resume(self, reason: str) -> None:
        """Listen again."""
        if not self._paused:
            return self.note("resume_without_pause")
        self._paused = False
        self._channels.pause(False)
        for side in self._sides.values():
            side.timeline.skip_to(self.now_ms)
            side.due_ms = self.now_ms
        self._publish(Resumed(reason))

    def _take(self, party: Party, side: Side, placed: list[tuple[int, tuple[bytes, bytes]]], now_ms: int) -> None:
        # All frames first: when something cannot be published, what was taken is in the books all the same.
        signals: list[Signal] = []
        if placed:
            rate_hz, first_ms = self.opened.rate_hz, placed[0][0]
            end_ms = placed[-1][0] + FRAME_MS
            raw = placed[0][1][1] if len(placed) == 1 else b"".join(raw for _, (_, raw) in placed)
            self.sound.add(party, first_ms * rate_hz // 1000, raw, end_ms)
            side.lag_ms = now_ms - end_ms if now_ms > end_ms else 0
            push, look = side.segmenter.push, self._channels.push
            for at_ms, (pcm, _) in placed:
                look(party, at_ms, pcm)
                if found := push(at_ms, pcm):
                    signals += found
        if side.timeline.missing:
            try:
                self._tell_missing(party, side)
            finally:
                self._heed(party, side, signals)
        elif signals:
            self._heed(party, side, signals)

    def _tell_missing(self, party: Party, side: Side) -> None:
        missing, side.timeline.missing = side.timeline.missing, []
        side.missing_ms += sum(end_ms - start_ms for start_ms, end_ms in missing)
        for start_ms, end_ms in missing:
            self.note("missing")
            self._publish(Missing(party, start_ms, end_ms))

    def _finish(self, party: Party, side: Side) -> None:
        """What is held back is taken and what is being said ends here. Raises StoreFailed when it is in the books."""
        try:
            self._take(party, side, side.timeline.flush(self.now_ms), self.now_ms)
        finally:
            self._heed(party, side, side.segmenter.finish())

    def _heed(self, party: Party, side: Side, signals: list[Signal]) -> None:
        """All of them, also where one cannot be published. Raises StoreFailed then."""
        refused: StoreFailed | None = None
        for signal in signals:
            try:
                self._act_on(party, side, signal)
            except StoreFailed as error:
                refused = refused or error
        if refused:
            raise refused

    def _act_on(self, party: Party, side: Side, signal: Signal) -> None:
        match signal:
            case Began():
                side.partial_at_ms = signal.start_ms + FIRST_PARTIAL_MS
                self._publish(SpeechStarted(self._role(party), signal.start_ms))
            case PausedSpeech():
                self._speculate(side, signal.utterance)
            case WentOn():
                self._withdraw(side)
            case Ended():
                self._finalise(side, signal)
            case Blip():
                self._publish(Skipped(party, signal.start_ms, signal.end_ms, "too_short"))

    def _speculate(self, side: Side, utterance: Utterance) -> None:
        self._withdraw(side)
        job = side.speculative = self._submit(utterance)

        def show(_: object) -> None:
            if side.speculative is job and not job.done.cancelled() and not job.done.exception():
                side.speculative_shown = True
                self._look_ahead(side, utterance, job)

        job.done.add_done_callback(show)

    def _look_ahead(self, side: Side, utterance: Utterance, job: Job) -> None:
        """An eager final is there: show it, let its words say how soon it may be confirmed, think about it."""
        transcript = self._named(job.done.result())
        self._publish(Transcribed(transcript), self._latency(side, utterance, job))
        sounds = outlook(transcript, side.heard_so_far, rough=self.parts.gate.recogniser.rough)
        expect = partial(side.segmenter.expect, utterance.id, sounds)
        if sounds == "open":
            expect()
        if transcript.text:
            # What sounds finished is final as soon as its cards stand, so that these never come after it.
            heard = self._heard_as_final(utterance, transcript)
            self._mind.consider(heard, show=sounds != "open", ready=expect)

    def _heard_as_final(self, utterance: Utterance, transcript: Transcript) -> Heard:
        """The turn that `transcript` is, or would be if it was confirmed."""
        final = replace_fields(
            transcript,
            utterance=utterance.id,
            party=self._role(utterance.party),
            start_ms=utterance.start_ms,
            end_ms=utterance.speech_end_ms,
            stage="final",
        )
        self._found(self._channels.catch_up(self.now_ms))
        alone = utterance.party not in self.opened.mixed and not self._channels.doubted(utterance.party, final.text)
        return Heard(replace(utterance, party=final.party), final, alone)

    def _role(self, channel: Party) -> Party:
        return exchanged(channel) if self._swapped else channel

    def _named(self, transcript: Transcript) -> Transcript:
        return replace_fields(transcript, party=self._role(transcript.party)) if self._swapped else transcript

    def _found(self, told: list[Told]) -> None:
        """What the channels turned out to be: alarms are told, roles put right where that is certain."""
        for each in told:
            if isinstance(each, ChannelFaulted):
                log.warning("call %s: %s on %s %s", self.opened.call, each.kind, each.parties, each.detail)
                self.parts.metrics.faults.labels(each.kind).inc()
            elif isinstance(each, RolesSwapped):
                for side in self._sides.values():  # what is thought of them has the wrong roles in it
                    self._withdraw(side)
                self._swapped = True
                for utterance in self._mind.exchange():
                    self._publish(Withdrawn(utterance))
            self._publish(each)

    def _submit(self, utterance: Utterance) -> Job:
        return self.parts.gate.submit(replace(utterance, call=self.opened.call))

    def _withdraw(self, side: Side) -> None:
        job, shown = side.speculative, side.speculative_shown
        side.speculative, side.speculative_shown = None, False
        if job:
            job.cancel()
            if shown:
                self._mind.withdraw(job.utterance.id)
                self._publish(Withdrawn(job.utterance.id))

    def _finalise(self, side: Side, ended: Ended) -> None:
        if side.partial:
            side.partial.cancel()
            side.partial = None
        job = side.speculative
        side.speculative, side.speculative_shown = None, False
        usable = job and ended.confirmed and not (job.done.done() and (job.done.cancelled() or job.done.exception()))
        if job and usable:
            self.parts.gate.promote(job)
        else:
            if job:
                job.cancel()
            job = self._submit(ended.utterance)
        side.heard_so_far = ""
        self._backlog.put_nowait((ended.utterance, job))
        self._waiting[ended.utterance.id] = ended.utterance.party
        side.unsettled_ms += ended.utterance.end_ms - ended.utterance.start_ms
        side.partial_at_ms = ended.utterance.end_ms + FIRST_PARTIAL_MS

    def _ask_partial(self, party: Party, side: Side) -> None:
        every_ms = self.parts.gate.load.partial_ms
        segmenter = side.segmenter
        if every_ms is None or segmenter.state != "speech" or (side.partial and not side.partial.done.done()):
            return
        position = side.timeline.position_ms or 0
        if position < side.partial_at_ms or (utterance := segmenter.partial()) is None:
            return
        side.partial_at_ms = position + every_ms
        job = side.partial = self._submit(utterance)

        def show(_: object) -> None:
            if job.done.cancelled() or job.done.exception() or side.segmenter.utterance_id != utterance.id:
                return
            if side.segmenter.state == "speech" and (transcript := job.done.result()).text:
                side.heard_so_far = transcript.text
                self._publish(Transcribed(self._named(transcript)), self._latency(side, utterance, job))

        job.done.add_done_callback(show)

    # ---- its life

    async def run(self) -> None:
        """Live until `end` was called and the last final is out. Publishes CallEnded, always."""
        self.parts.metrics.calls_live.inc()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._finals(), name=f"finals-{self.opened.call}")
                tasks.create_task(self._mind.run(), name=f"mind-{self.opened.call}")
                tasks.create_task(self.parts.ticker.follow(self._tick), name=f"ear-{self.opened.call}")
        finally:
            try:
                self._close_books()
            finally:
                self.parts.metrics.calls_live.dec()
                self.ended.set()

    def end(self, reason: str) -> None:
        """Take no more audio; finish what was said, then end. The first reason stands."""
        if self._ending.is_set():
            return
        self._reason = reason
        try:
            for party, side in self._sides.items():
                with contextlib.suppress(StoreFailed):  # what cannot be kept is not told; the other party's still is
                    self._finish(party, side)
        finally:
            self._ending.set()
            self._backlog.put_nowait(None)

    def _tick(self) -> bool:
        """What frames themselves do not trigger. False when the call is ending."""
        if self._ending.is_set():
            return False
        now = self.parts.clock()
        # What came while we were late ourselves lies in the socket and is not missing.
        late_ms = max(0, int((now - self._ticked - TICK_S) * 1000))
        self._ticked = now
        self._tell_load()
        if not self.opened.written:
            self._found(self._channels.look(self.now_ms))
        for party, side in self._sides.items():
            if side.timeline.held_ms or side.timeline.missing:
                self._take(party, side, side.timeline.tick(self.now_ms), self.now_ms)
            if side.segmenter.state == "quiet":
                continue
            if not self._paused:
                since_ms = self.now_ms - side.due_ms - late_ms
                if since_ms >= STARVING_MS:
                    self._heed(party, side, side.segmenter.starve(since_ms))
            self._ask_partial(party, side)
        return True

    def _tell_load(self) -> None:
        load = self.parts.gate.load
        if load.level != self._level:
            self._level = load.level
            self._publish(Degraded(load.level, load.shed))

    # ---- the finals

    async def _finals(self) -> None:
        """Publish finals in order, as they come; what they mean is the mind's own task, which may take longer."""
        while (item := await self._backlog.get()) is not None:
            utterance, job = item
            transcript = await self._transcript(utterance, job)
            self._waiting.pop(utterance.id, None)
            if transcript is None:
                continue
            side = self._sides[utterance.party]
            latency = self._latency(side, utterance, job)
            self._found(self._channels.said(transcript))
            heard = self._heard_as_final(utterance, transcript)
            self._publish(Transcribed(heard.transcript), latency)
            if transcript.text:
                self._mind.hear(heard, latency)
        self._mind.finish()

    async def _transcript(self, utterance: Utterance, job: Job) -> Transcript | None:
        """What was understood, or None where that is not to be had; the ledger is told either way."""
        side = self._sides[utterance.party]
        length_ms = float(utterance.end_ms - utterance.start_ms)
        try:
            # Shielded: giving up this call must not look like the gate giving up this job.
            transcript = await asyncio.shield(job.done)
        except (RecogniserFailed, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not job.done.cancelled():
                raise
            code = error.code if isinstance(error, RecogniserFailed) else "cancelled"
            side.unsettled_ms -= length_ms
            side.failed_ms[code] = side.failed_ms.get(code, 0.0) + length_ms
            self._falter("recogniser", code, str(error), utterance.id)
            self._publish(Skipped(utterance.party, utterance.start_ms, utterance.end_ms, code))
            return None
        side.unsettled_ms -= length_ms
        side.transcribed_ms += length_ms
        return transcript

    def marked(self, ref: str, mark: Mark) -> None:
        """What the agent did with a suggestion: it need not come again."""
        self._mind.marked(ref, mark)

    # ---- the books

    def _latency(self, side: Side, utterance: Utterance, job: Job) -> dict[str, float]:
        """ms: `queue` and `asr` of the job; `final`: from the arrival of the last voiced frame to now."""
        since_end = self.now_ms - utterance.speech_end_ms - side.lag_ms
        return {"queue": round(job.queue_ms, 1), "asr": round(job.asr_ms, 1), "final": float(max(0, since_end))}

    def _falter(self, part: str, code: str, message: str, utterance: str) -> None:
        self._publish(Faltered(part, code, message, utterance))

    def _close_books(self) -> None:
        if not self._ending.is_set():  # cut off from inside: what was being said is closed all the same
            self.end("error:internal")
        while not self._backlog.empty():  # given up: nobody will ask for these
            if item := self._backlog.get_nowait():
                item[1].cancel()
        duration_ms = max((side.timeline.position_ms or 0 for side in self._sides.values()), default=0)
        duration_ms = max(duration_ms, self._last_ms) or self.now_ms
        try:
            for flag in self._mind.last_flags(duration_ms):
                self._publish(Flagged(flag))
        finally:  # a disk that has refused for too long takes no flag, but the call must end
            self._end_log(duration_ms)

    def _end_log(self, duration_ms: int) -> None:
        for side in self._sides.values():
            if side.unsettled_ms:  # the call was given up with finals still under way
                side.failed_ms["abandoned"] = side.failed_ms.get("abandoned", 0.0) + side.unsettled_ms
        self.ledger = {party: side.ledger() for party, side in self._sides.items()}
        self.sound.closing = True
        self._publish(CallEnded(self._reason or "error:internal", duration_ms, dict(self.ledger), dict(self.anomalies)))
        metrics = self.parts.metrics
        metrics.calls_ended.labels(self._reason.split(":")[0]).inc()
        for ledger in self.ledger.values():
            metrics.audio.labels("transcribed").inc(ledger.transcribed_ms / 1000)
            metrics.audio.labels("silence").inc(ledger.silence_ms / 1000)
            metrics.audio.labels("unaccounted").inc(abs(ledger.gap_ms) / 1000)
            for reason, ms in ledger.skipped_ms.items():
                metrics.audio.labels(f"skipped_{reason}").inc(ms / 1000)

    def _publish(self, event: AnyEvent, latency_ms: dict[str, float] | None = None) -> None:
        if latency_ms and isinstance(event, Transcribed | Suggested | Noticed):
            stages = latency_ms
            if isinstance(event, Transcribed) and event.transcript.stage != "final":
                stages = {f"{event.transcript.stage}_{k}": v for k, v in latency_ms.items()}
            self.parts.metrics.stages(stages)
        if isinstance(event, Faltered):
            log.warning("call %s: %s faltered on %s: %s", self.opened.call, event.part, event.utterance, event.message)
            self.parts.metrics.faltered.labels(event.part).inc()
        self.parts.hub.publish(self.log, event, self.now_ms, latency_ms)


async def last_finals(call: Call, life: asyncio.Task[None]) -> None:
    """Wait for the end of `life`, its `run`, as long as its log grows.

    With nothing new for so long the call is given up, and its books say so.
    """
    told = -1
    while not life.done() and told != call.log.last_seq:
        told = call.log.last_seq
        await asyncio.wait({life}, timeout=LAST_FINALS_S)
    life.cancel()
    outcome = (await asyncio.gather(life, return_exceptions=True))[0]
    if isinstance(outcome, BaseException):
        log.error("call %s ended badly", call.opened.call, exc_info=outcome)
