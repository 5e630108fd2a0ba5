"""Frames of one party to utterances, with a two-stage end of speech. It has no clock, no socket, no model:
whether a frame is voiced, whether speech has really ended and whether a guess at it costs anybody anything, it is told
by callables.

Every frame goes to exactly one place: silence, an utterance, or skipped with a reason. `Tally` is the proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec
import numpy as np

from assist.audio import FRAME_MS, RATE_HZ, Party, Samples, Utterance, widened

IsVoiced = Callable[[bytes], bool]
"""20 ms of PCM at the segmenter's rate to: is there speech in it? One instance per party; it may keep state."""
SpeechLeft = Callable[[Samples], float]
"""The last half second, int16 (n,), to the probability 0..1 that speech is still going on at its end."""

IsIdle = Callable[[], bool]
"""Would a speculative final that is launched now keep nothing else waiting?"""

Outlook = Literal["ended", "open", "unknown"]
"""How words sound. Ended: a whole sentence, sure and steady. Open: nobody ends like this, or a number is read out."""

HUSHED_FRAMES = 2  # unvoiced in a row: what is being said may have ended
CUT_GAP_MS = 200
"""Length of the quietest stretch, in the middle of which long speech is cut."""


class Endpointing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When speech begins and ends. All in ms.

    `tail_ms`: silence that every utterance keeps at its end, and after which a speculative final is launched where the
    recogniser has nothing better to do; else it is launched after `speculate_ms`, with the same samples.
    `commit_ms`: silence after which it is final; `early_ms` where its words sound finished, `open_ms` where they do not
    (`Segmenter.expect`). `hold_ms`: silence after which it is final whatever the second opinion says.
    `starve_ms`: no frame for so long counts as silence (platforms that stop sending).
    `soft_cut_ms`: an utterance this long is cut in its quietest gap after `cut_from_ms`.
    `min_voiced_ms`: less voice than this is a click or a breath, skipped as such.
    """

    onset_ms: int = 60
    pre_roll_ms: int = 240
    tail_ms: int = 100
    speculate_ms: int = 160
    commit_ms: int = 360
    hold_ms: int = 800
    starve_ms: int = 500
    soft_cut_ms: int = 10_000
    cut_from_ms: int = 6_000
    min_voiced_ms: int = 100
    early_ms: int = 240
    open_ms: int = 600

    def __post_init__(self) -> None:
        if min(self.onset_ms, self.tail_ms, self.min_voiced_ms) < FRAME_MS or self.pre_roll_ms < 0:
            raise ValueError(f"onset_ms, tail_ms and min_voiced_ms must be {FRAME_MS} or more, pre_roll_ms 0")
        if not self.tail_ms <= self.speculate_ms <= self.commit_ms <= self.hold_ms:
            raise ValueError("tail_ms, speculate_ms, commit_ms and hold_ms must not fall")
        if not 0 <= self.cut_from_ms <= self.soft_cut_ms - CUT_GAP_MS:
            raise ValueError(f"cut_from_ms must lie at least {CUT_GAP_MS} before soft_cut_ms")


HUSH_OF = 100  # frames that are compared
HUSH_FRAMES = 13  # of their end: the quarter of a second that the second opinion judges
HUSH = 1e-3  # of the power that a fifth of them exceed: 30 dB below


@dataclass(frozen=True, slots=True)
class Began:
    """Speech began, at `start_ms`."""

    party: Party
    start_ms: int


@dataclass(frozen=True, slots=True)
class Paused:
    """Speech may have ended: transcribe `utterance` (speculative) now, while the silence proves it."""

    utterance: Utterance


@dataclass(frozen=True, slots=True)
class WentOn:
    """It had not ended: the speculative final of this utterance is void."""

    utterance: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Speech ended. `confirmed`: the samples are those of the last `Paused`, so its transcript holds."""

    utterance: Utterance
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Blip:
    """Too little voice to be speech; skipped. Frames counted in the tally under `blip`."""

    party: Party
    start_ms: int
    end_ms: int
    utterance: str


Signal = Began | Paused | WentOn | Ended | Blip


@dataclass(slots=True)
class Tally:
    """Frames by fate. `open` are in the utterance being heard or in the pre-roll."""

    received: int = 0
    silence: int = 0
    uttered: int = 0
    blip: int = 0
    open: int = 0

    def gap(self) -> int:
        """Frames unaccounted for; 0 or there is a bug."""
        return self.received - self.silence - self.uttered - self.blip - self.open


State = Literal["quiet", "speech", "pausing"]


@dataclass(slots=True)
class Segmenter:
    """One party of one call. `push` frames in order; `starve` when none came for a while; `finish` once.

    Frames stay at their own rate, `rate_hz`: only what somebody listens to is made 16 kHz, as a whole.
    """

    party: Party
    is_voiced: IsVoiced
    speech_left: SpeechLeft | None = None
    endpointing: Endpointing = field(default_factory=Endpointing)
    rate_hz: int = RATE_HZ
    is_idle: IsIdle | None = None
    tally: Tally = field(default_factory=Tally)
    state: State = "quiet"
    _frames: deque[bytes] = field(default_factory=deque)
    _start_ms: int = 0
    _next_ms: int = 0
    _voiced: int = 0
    _silent: int = 0
    _last_voiced: int = 0
    _recent: deque[bool] = field(default_factory=deque)
    _count: int = 0
    _paused: Utterance | None = None
    _due: int = 0
    _told: bool = False
    _onset_frames: int = field(init=False)
    _pre_roll_frames: int = field(init=False)
    _tail_frames: int = field(init=False)
    _speculate_frames: int = field(init=False)
    _commit_frames: int = field(init=False)
    _hold_frames: int = field(init=False)
    _cut_frames: int = field(init=False)

    def __post_init__(self) -> None:
        e = self.endpointing
        self._onset_frames = max(1, e.onset_ms // FRAME_MS)
        self._pre_roll_frames = max(self._onset_frames + 2, e.pre_roll_ms // FRAME_MS)
        self._tail_frames = e.tail_ms // FRAME_MS
        self._speculate_frames = e.speculate_ms // FRAME_MS
        self._commit_frames = e.commit_ms // FRAME_MS
        self._hold_frames = e.hold_ms // FRAME_MS
        self._cut_frames = e.soft_cut_ms // FRAME_MS
        self._due = self._commit_frames
        self._recent = deque(maxlen=self._onset_frames + 2)

    @property
    def utterance_id(self) -> str:
        """The id of the utterance being heard (or of the next one)."""
        return f"{self.party}-{self._count + 1}"

    def push(self, at_ms: int, pcm: bytes) -> list[Signal]:
        """One frame that begins at `at_ms`. A jump in `at_ms` ends what was being said."""
        signals: list[Signal] = []
        if at_ms != self._next_ms and self._frames:
            signals = self.finish()
        self._next_ms = at_ms + FRAME_MS
        self.tally.received += 1
        self.tally.open += 1
        self._frames.append(pcm)
        voiced = self.is_voiced(pcm)
        if self.state == "quiet":
            self._listen(voiced, signals)
        else:
            self._follow(voiced, signals)
        return signals

    def expect(self, utterance: str, outlook: Outlook) -> None:
        """How the words of the last `Paused` sound: its end comes sooner or later for it. Other utterances: ignored."""
        if self.state == "pausing" and utterance == self.utterance_id and outlook != "unknown":
            if outlook == "ended":
                self._due = min(self.endpointing.early_ms // FRAME_MS, self._commit_frames)
            else:
                self._due = min(max(self.endpointing.open_ms // FRAME_MS, self._commit_frames), self._hold_frames)

    def starve(self, since_ms: int) -> list[Signal]:
        """No frame for `since_ms`: silence that nobody sends. The silence heard before counts as well."""
        if self.state == "quiet":
            return []
        silent_ms = since_ms + self._silent * FRAME_MS
        if silent_ms >= self.endpointing.starve_ms:
            return self.finish()
        if silent_ms >= self.endpointing.speculate_ms and self.state == "speech" and self._is_speech():
            return [self._pause()]
        return []

    def finish(self) -> list[Signal]:
        """End what is being said: the leg ended, jumped or was paused. What is no speech becomes silence."""
        if self.state != "quiet":
            return self._commit()
        self._drop(len(self._frames))
        self._recent.clear()
        return []

    def partial(self) -> Utterance | None:
        """What has been heard of the present utterance; None in silence and before it was told that speech began.

        Nor once it has fallen silent: should that be its end, a partial would slow the eager final and come after it.
        """
        if self.state == "quiet" or not self._told or not self._voiced or self._silent >= HUSHED_FRAMES:
            return None
        return self._utterance(len(self._frames), "partial")

    def _listen(self, voiced: bool, signals: list[Signal]) -> None:
        recent = self._recent
        recent.append(voiced)
        if voiced and sum(recent) >= self._onset_frames:
            self.state = "speech"
            self._voiced = sum(recent)
            self._silent = 0
            self._last_voiced = len(self._frames)
            self._start_ms = self._next_ms - len(self._frames) * FRAME_MS
            self._paused = None
            self._told = False
            recent.clear()
            self._tell_began(signals)
        elif len(self._frames) > self._pre_roll_frames:
            self._drop(1)

    def _follow(self, voiced: bool, signals: list[Signal]) -> None:
        if voiced:
            self._voiced += 1
            self._last_voiced = len(self._frames)
            self._silent = 0
            self._due = self._commit_frames
            self._tell_began(signals)
            if self.state == "pausing":
                self.state = "speech"
                self._paused = None
                signals.append(WentOn(self.utterance_id))
        else:
            self._silent += 1
            if self.state == "speech" and self._silent >= self._tail_frames and self._may_pause():
                signals.append(self._pause())
            if self._silent >= self._due and self._has_ended():
                signals += self._commit()
                return
        # Not where an idle recogniser may have been asked: a cut must not depend on whether it was.
        spoken = self.state == "speech" and self._silent < self._tail_frames
        if len(self._frames) >= self._cut_frames and spoken and self._told:
            signals.append(self._cut())

    def _has_ended(self) -> bool:
        # The gate is jumpy (a weak vowel, a fricative): a second opinion, asked every 100 ms, may hold the end back.
        if self.speech_left is None or self._silent >= self._hold_frames:
            return True
        self._due = min(self._silent + 5, self._hold_frames)
        if self._hushed():
            return True
        return self.speech_left(widened(_joined(list(self._frames)[-25:]), self.rate_hz)) < 0.5

    def _hushed(self) -> bool:
        """The end is so much fainter than the speech before it that nobody need be asked, which costs 20 times as much.

        Of 320 ends in the shared recordings 60 % are; the second opinion holds 2 of all, and neither is among them.
        """
        heard = np.frombuffer(b"".join(list(self._frames)[-HUSH_OF:]), dtype=np.int16).astype(np.float32)
        power = np.square(heard, out=heard).reshape(-1, len(self._frames[0]) // 2).mean(axis=1)
        loud = np.partition(power, len(power) * 4 // 5)[len(power) * 4 // 5]
        return bool(power[-HUSH_FRAMES:].max() < HUSH * loud)

    def _tell_began(self, signals: list[Signal]) -> None:
        # Not at the first voiced frame: a click would be announced as speech and taken back.
        if not self._told and self._is_speech():
            self._told = True
            signals.append(Began(self.party, self._start_ms))

    def _is_speech(self) -> bool:
        return self._voiced * FRAME_MS >= self.endpointing.min_voiced_ms

    def _may_pause(self) -> bool:
        patient = self._silent >= self._speculate_frames
        return self._is_speech() and (patient or (self.is_idle is not None and self.is_idle()))

    def _pause(self) -> Paused:
        self.state = "pausing"
        self._paused = self._spoken("speculative")
        return Paused(self._paused)

    def _commit(self) -> list[Signal]:
        if not self._voiced:  # a cut left nothing but silence
            self._drop(len(self._frames))
            self._reset()
            return []
        if not self._told:
            count = len(self._frames)
            self.tally.blip += count
            self.tally.open -= count
            self._frames.clear()
            blip = Blip(self.party, self._start_ms, self._next_ms, self.utterance_id)
            self._count += 1
            self._reset()
            return [blip]
        paused = self._paused
        utterance = replace(paused, stage="final") if paused else self._spoken("final")
        self._take((utterance.end_ms - utterance.start_ms) // FRAME_MS)
        self._drop(len(self._frames))
        self._reset()
        return [Ended(utterance, confirmed=paused is not None)]

    def _cut(self) -> Ended:
        """Cut in the quietest gap after `cut_from_ms`; speech goes on in a new utterance."""
        samples = np.frombuffer(b"".join(self._frames), dtype=np.int16).astype(np.float32)
        power = (samples.reshape(len(self._frames), -1) ** 2).mean(axis=1)
        first = self.endpointing.cut_from_ms // FRAME_MS
        gap = CUT_GAP_MS // FRAME_MS
        smooth = np.convolve(power[first:], np.ones(gap), mode="valid")
        length = first + int(np.argmin(smooth)) + gap // 2
        utterance = self._utterance(length, "final", speech_end=length)
        self._take(length)
        self._start_ms = utterance.end_ms
        self._last_voiced = max(0, self._last_voiced - length)
        self._voiced = self._last_voiced
        self._silent = min(self._silent, len(self._frames))
        return Ended(utterance, confirmed=False)

    def _spoken(self, stage: Literal["speculative", "final"]) -> Utterance:
        # Cut at one place however long the silence has lasted: the text must not depend on how busy the server was.
        return self._utterance(min(len(self._frames), self._last_voiced + self._tail_frames), stage)

    def _utterance(
        self, length: int, stage: Literal["partial", "speculative", "final"], speech_end: int | None = None
    ) -> Utterance:
        frames = self._frames if length == len(self._frames) else list(self._frames)[:length]
        return Utterance(
            id=self.utterance_id,
            party=self.party,
            start_ms=self._start_ms,
            end_ms=self._start_ms + length * FRAME_MS,
            speech_end_ms=self._start_ms + (self._last_voiced if speech_end is None else speech_end) * FRAME_MS,
            sound=_joined(frames),
            stage=stage,
            rate_hz=self.rate_hz,
        )

    def _take(self, length: int) -> None:
        for _ in range(length):
            self._frames.popleft()
        self.tally.uttered += length
        self.tally.open -= length
        self._count += 1

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._frames.popleft()
        self.tally.silence += count
        self.tally.open -= count

    def _reset(self) -> None:
        self.state = "quiet"
        self._voiced = self._silent = self._last_voiced = 0
        self._paused = None
        self._due = self._commit_frames
        self._recent.clear()


def _joined(frames: Iterable[bytes]) -> Samples:
    return np.frombuffer(b"".join(frames), dtype=np.int16)
