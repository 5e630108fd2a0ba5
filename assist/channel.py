"""What is wrong with a call's channels: no sound, a dead one, a clipped one, one voice on both, roles exchanged.

Sound is kept as it comes and looked at a second at a time; who greets is told by words. It knows no socket, no clock
and no model, and repairs nothing: it says what it found.

Two channels are compared by their cross-correlation up to 300 ms either way, whitened, so that the peak is sharp
whatever was said (Knapp & Carter, IEEE Trans. ASSP 24, 1976; the exponent keeps the noise of empty bands down).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import FRAME_MS, Party
from assist.conversation import Transcript
from assist.events import ChannelFaulted, ChannelMended, FaultKind, RolesSwapped
from assist.phrase import tokens

Told = ChannelFaulted | ChannelMended | RolesSwapped
Floats = NDArray[np.float32]

SECOND_MS: Final = 1_000
BYTES_PER_MS: Final = 16  # at 8 kHz, at which sound is looked at
GRACE_MS: Final = 500
"""A channel that sends nothing is waited for so long before a second is looked at without it."""
APART_MS: Final = 800
"""A second that is over is looked at within so long: calls that began together should not look together."""
FIRST_MS: Final = 10_000
EVERY: Final = 4
"""After the first ten seconds one second in so many is looked at, once each channel has been found clear."""
NO_AUDIO_MS: Final = 4_000
SILENT_PEAK: Final = 16
"""Two steps of mu-law: a line that lives is noisier, one that is muted or dead is not."""
ACTIVE_RMS: Final = 60.0
DEAD_MS: Final = 9_000
DEAD_OTHER: Final = 3
"""Never a sound for so long, while another channel spoke in so many seconds that were looked at."""
GONE_MS: Final = 30_000
GONE_OTHER: Final = 4
"""The same of a channel that did sound before: people mute themselves."""

LAG: Final = 1_200  # samples at 4 kHz: 300 ms
SECOND: Final = 4_000
TRANSFORM: Final = 5_376  # SECOND + LAG at least; 2^8 x 3 x 7 is transformed in 48 us, 5400 in 83, 8192 in 99
PEAK: Final = 9.0  # times the correlation's rms; the highest by chance in 315 active seconds of three calls was 7.5
SAME_LAG: Final = 4  # samples: 1 ms
ALIKE: Final = 0.9
ALIKE_DB: Final = 3.0
TONE_BINS: Final = 20
TONE: Final = 0.9  # of the power in so few of 2689 bins
FAINTEST_DB: Final = -35.0
"""Fainter than this every telephone line echoes, and no segmenter takes it for speech."""
CLIPPED: Final = 0.01  # of a second's samples within 1.5 % of its peak; models/voice.py has 0.003 at most in speech
RECENT: Final = 5
CLEAN: Final = 10

GREETS_WITHIN_MS: Final = 30_000
OPENINGS: Final = (
    "thank you for calling", "thanks for calling", "thank you for contacting", "how can i help", "how may i help",
    "how can i assist", "how may i assist", "what can i do for you", "you are through to", "you're through to",
    "you are speaking with", "you're speaking with", "you are speaking to", "you're speaking to",
)  # fmt: skip
"""What agents say first, beside the openings of the house's own playbooks."""
ANSWER_WORDS: Final = 3


@dataclass
class _Suspicion:
    """Whether one fault holds: raised by `least` hits among the last few looks, lifted by `CLEAN` looks without."""

    kind: FaultKind
    parties: tuple[Party, ...]
    least: int = 2
    open: bool = False
    _hits: deque[int | None] = field(default_factory=lambda: deque(maxlen=RECENT))
    _clean: int = 0

    def look(self, hit: int | None, detail: dict[str, float]) -> list[Told]:
        """`hit`: a number that hits must agree in (to `SAME_LAG`), or None."""
        self._hits.append(hit)
        self._clean = 0 if hit is not None else self._clean + 1
        if self.open:
            return self.mend() if self._clean >= CLEAN else []
        if hit is None or sum(each is not None and abs(each - hit) <= SAME_LAG for each in self._hits) < self.least:
            return []
        return self.fault(detail)

    def fault(self, detail: dict[str, float] | None = None) -> list[Told]:
        if self.open:
            return []
        self.open = True
        return [ChannelFaulted(self.kind, self.parties, detail or {})]

    def mend(self) -> list[Told]:
        if not self.open:
            return []
        self.open = False
        self._hits.clear()
        return [ChannelMended(self.kind, self.parties)]


@dataclass
class _Channel:
    """One party's sound: seconds that wait to be looked at, and since when it has been silent."""

    dead: _Suspicion
    clipped: _Suspicion
    frames: deque[tuple[int, bytes]] = field(default_factory=deque)
    end_ms: int = 0
    sounded: bool = False
    silent_since_ms: int = 0
    others: int = 0
    """Seconds in which another one spoke since then."""
    clear: bool = False
    """Its last second of speech was on no other channel."""

    def taken(self, end_ms: int) -> list[tuple[int, bytes]]:
        """The frames before `end_ms`, which are kept no longer."""
        taken = []
        while self.frames and self.frames[0][0] < end_ms:
            taken.append(self.frames.popleft())
        return taken


@dataclass
class Look:
    """One channel's second: samples at 8 kHz, their peak and rms."""

    samples: Floats
    peak: float
    rms: float

    @cached_property
    def narrow(self) -> Floats:
        """At 4 kHz, shape (SECOND,)."""
        return self.samples[0::2] + self.samples[1::2]

    @cached_property
    def spectrum(self) -> NDArray[np.complex64]:
        return np.asarray(np.fft.rfft(self.narrow, TRANSFORM))

    @cached_property
    def active(self) -> bool:
        """Loud enough, and no tone: ringing, a key or a beep may well be on both channels and has a flat top."""
        if self.rms < ACTIVE_RMS:
            return False
        power = np.abs(self.spectrum) ** 2
        return float(np.partition(power, -TONE_BINS)[-TONE_BINS:].sum()) < TONE * float(power.sum())


class Channels:
    """One call's. `push` frames as they come, call `look` many times a second, tell `said` every final.

    `openings`: the house's own greetings. `outbound`: the agent called, so a greeting proves nothing for certain.
    `later_ms`: how long after its end `look` takes a second, `APART_MS` at most; audio in time is judged the same.
    """

    def __init__(
        self,
        parties: Sequence[Party],
        openings: Iterable[str] = (),
        outbound: bool = False,
        every: int = EVERY,
        later_ms: int = 0,
    ) -> None:
        self.parties = tuple(parties)
        self._outbound = outbound
        self._openings = {tuple(t.stem for t in tokens(phrase)) for phrase in (*OPENINGS, *openings)} - {()}
        self._channels = {
            p: _Channel(_Suspicion("dead", (p,)), _Suspicion("clipped", (p,), least=3)) for p in self.parties
        }
        self._each = tuple(self._channels.values())
        self._nothing = _Suspicion("no_audio", self.parties)
        self._roles = _Suspicion("roles", self.parties)
        self._pairs = {
            (a, b): (
                _Suspicion("duplicated", (a, b)),
                {a: _Suspicion("crossed", (a,)), b: _Suspicion("crossed", (b,))},
            )
            for a, b in itertools.combinations(self.parties, 2)
        }
        self._every = every
        self._later_ms = later_ms
        self._next_ms = SECOND_MS + later_ms
        """When the next second is looked at: before that nobody need ask."""
        self._paused = False
        self._first: Party | None = None
        self._greeted: Transcript | None = None
        self._settled = not {"agent", "customer"} <= set(self.parties)
        self._heard: list[str] = []

    def push(self, party: Party, at_ms: int, pcm: bytes) -> None:
        """A frame of 20 ms at `at_ms` on the call's clock, in order. It is kept until its second is looked at."""
        channel = self._channels[party]
        channel.frames.append((at_ms, pcm))
        channel.end_ms = at_ms + FRAME_MS

    def pause(self, paused: bool) -> None:
        """While a call is paused its silence means nothing."""
        self._paused = paused

    def doubted(self, party: Party, text: str = "") -> bool:
        """Nothing may be inferred from how this channel sounds: it may carry somebody else's voice.

        Also true where it was not compared with the others yet, and where `text`, just heard on it, is no customer's.
        """
        if len(self.parties) < 2:
            return False
        if self._roles.open or self._greeted is not None or not self._channels[party].clear:
            return True
        if party == "customer" and not self._settled and self.greets(text):
            return True
        return any(
            party in pair and (both.open or crossed[party].open) for pair, (both, crossed) in self._pairs.items()
        )

    def greets(self, text: str) -> bool:
        """These are an agent's opening words, to the letter: "how can you help me" is not "how can I help you"."""
        stems = [token.stem for token in tokens(text)]
        return any(
            tuple(stems[at : at + len(opening)]) == opening
            for opening in self._openings
            for at in range(len(stems) - len(opening) + 1)
        )

    # ---- words

    def said(self, final: Transcript) -> list[Told]:
        """A final, `party` being its channel. `RolesSwapped` comes once at most, and only where it is certain:

        a greeting on the customer's channel, which spoke first, and an answer without one on the agent's. Where only
        some of that holds, or the agent had called, roles are in doubt until the agent's own channel greets.
        """
        if self._settled or not final.text or final.party == "system":
            return []
        self._first = self._first or final.party
        greets = self.greets(final.text) and final.start_ms < GREETS_WITHIN_MS
        found: list[Told] = []
        if final.party == "agent":
            if greets:
                self._settled, self._greeted = True, None
                found = self._roles.mend()
            elif self._greeted and len(tokens(final.text)) >= ANSWER_WORDS:
                found = self._answered(self._greeted)
        elif greets and self._greeted is None and not self._roles.open:
            self._greeted = final
            if self._first == "agent":
                found = self._answered(final)
        if final.start_ms >= GREETS_WITHIN_MS and self._greeted is None and not self._roles.open:
            self._settled = True
        if not any(isinstance(each, RolesSwapped) for each in found):
            self._heard.append(final.utterance)
        return found

    def _answered(self, greeting: Transcript) -> list[Told]:
        self._greeted = None
        mixed = any(both.open or any(s.open for s in crossed.values()) for both, crossed in self._pairs.values())
        if self._first != "customer" or self._outbound or mixed:
            return self._roles.fault()
        self._settled = True
        return [RolesSwapped(greeting.utterance, greeting.text, tuple(self._heard))]

    # ---- sound

    def look(self, now_ms: int) -> list[Told]:
        """What the oldest second that is complete says, and whether there is any audio at all."""
        if now_ms < self._next_ms:
            return []
        number = self._complete(now_ms)
        if number is not None:
            return self._look_at(number)
        if now_ms < NO_AUDIO_MS or self._paused or any(channel.end_ms for channel in self._each):
            return []
        return self._nothing.fault()

    def catch_up(self, now_ms: int) -> list[Told]:
        """What every second that is complete says: whoever asks `doubted` must not depend on how often we looked."""
        found: list[Told] = []
        while (number := self._complete(now_ms)) is not None:
            found += self._look_at(number)
        return found

    def _complete(self, now_ms: int) -> int | None:
        """The number of the oldest second that waits, if nothing more is to be expected of it."""
        waiting = [channel.frames[0][0] for channel in self._each if channel.frames]
        if not waiting:
            return None
        number = min(waiting) // SECOND_MS
        end_ms = (number + 1) * SECOND_MS
        if now_ms >= end_ms + GRACE_MS or min([channel.end_ms for channel in self._each]) >= end_ms:
            return number
        return None

    def _look_at(self, number: int) -> list[Told]:
        self._next_ms = (number + 2) * SECOND_MS + self._later_ms
        seconds = {party: channel.taken((number + 1) * SECOND_MS) for party, channel in self._channels.items()}
        first = number * SECOND_MS < FIRST_MS
        if not (first or number % self._every == 0 or not all(channel.clear for channel in self._channels.values())):
            return []
        looks = {party: _measured(frames) for party, frames in seconds.items()}
        found = self._silence(number, looks)
        for party, look in looks.items():
            if look and look.active:
                found += self._clipping(party, look)
        clean = {party for party, look in looks.items() if look and look.active}
        for (a, b), (both, crossed) in self._pairs.items():
            found += self._compare(a, b, looks, both, crossed, clean)
        for party, look in looks.items():
            if look and look.active:
                self._channels[party].clear = party in clean
        return found

    def _silence(self, number: int, looks: dict[Party, Look | None]) -> list[Told]:
        found: list[Told] = []
        end_ms = (number + 1) * SECOND_MS
        speaking = {party for party, look in looks.items() if look and look.active}
        for party, look in looks.items():
            channel = self._channels[party]
            if look and look.peak > SILENT_PEAK:
                channel.sounded, channel.silent_since_ms, channel.others = True, end_ms, 0
                found += channel.dead.mend()
                continue
            channel.others += bool(speaking - {party})
            least_ms, others = (GONE_MS, GONE_OTHER) if channel.sounded else (DEAD_MS, DEAD_OTHER)
            if end_ms - channel.silent_since_ms >= least_ms and channel.others >= others:
                found += channel.dead.fault()
        sounded = any(channel.sounded for channel in self._channels.values())
        return found + (self._nothing.mend() if sounded else self._nothing.fault() if end_ms >= NO_AUDIO_MS else [])

    def _clipping(self, party: Party, look: Look) -> list[Told]:
        share = float(np.count_nonzero(np.abs(look.samples) >= 0.985 * look.peak)) / len(look.samples)
        return self._channels[party].clipped.look(0 if share > CLIPPED else None, {"share": round(share, 4)})

    def _compare(
        self,
        a: Party,
        b: Party,
        looks: dict[Party, Look | None],
        both: _Suspicion,
        crossed: dict[Party, _Suspicion],
        clean: set[Party],
    ) -> list[Told]:
        """Removes from `clean` whose second is heard on the other channel too, where it may be the copy."""
        one, other = looks[a], looks[b]
        if not ((one and one.active) or (other and other.active)):
            return []
        copies: set[Party] = set()
        alike = False
        lag: int | None = None
        detail: dict[str, float] = {}
        if one and other and min(one.peak, other.peak) > SILENT_PEAK:
            lag, share, gain_db = compared(one, other)
            # A positive lag: b repeats a. About none: the quieter one does, where one is quieter.
            if lag is not None:
                detail = {"delay_ms": abs(lag) / 4, "gain_db": round(gain_db, 1)}
                alike = share >= ALIKE and abs(20 * np.log10(one.rms / other.rms)) < ALIKE_DB
                if not alike and gain_db >= FAINTEST_DB:
                    copies = {b if (lag > 2 * SAME_LAG or (abs(lag) <= 2 * SAME_LAG and one.rms >= other.rms)) else a}
        clean -= {a, b} if alike else copies
        found = both.look(lag if alike else None, detail)
        for party, source in ((b, one), (a, other)):
            if source and source.active:
                found += crossed[party].look(lag if party in copies else None, detail)
        return found


def _measured(frames: list[tuple[int, bytes]]) -> Look | None:
    if not frames:
        return None
    bytes_per_ms = len(frames[0][1]) // FRAME_MS
    second: bytes | bytearray
    if len(frames) == SECOND_MS // FRAME_MS and frames[0][0] % SECOND_MS == 0:  # a whole one, which most are
        second = b"".join([pcm for _, pcm in frames])
    else:
        second = bytearray(SECOND_MS * bytes_per_ms)
        for at_ms, pcm in frames:
            at = min(at_ms % SECOND_MS, SECOND_MS - FRAME_MS) * bytes_per_ms
            second[at : at + len(pcm)] = pcm
    # Of 16 kHz every other sample, which is enough.
    samples = np.frombuffer(second, dtype=np.int16)[:: bytes_per_ms // BYTES_PER_MS].astype(np.float32)
    peak = float(max(samples.max(), -samples.min()))
    return Look(samples, peak, float(np.sqrt(np.dot(samples, samples) / len(samples))))


def compared(one: Look, other: Look) -> tuple[int | None, float, float]:
    """How `other` repeats `one`.

    The lag in samples at 4 kHz (positive: later, negative: the other way round), or None where neither repeats the
    other; the correlation coefficient at it; and the level of what is repeated in the repeating one, in dB.
    """
    a, b = one.narrow, other.narrow
    cross = np.conj(one.spectrum) * other.spectrum
    root = np.sqrt(np.abs(cross))
    root = np.maximum(root, 1e-3 * root.max() + 1e-9)
    cross /= root * np.sqrt(root)  # the size to the power of 0.75
    c = np.fft.irfft(cross, TRANSFORM)
    c = np.concatenate((c[-LAG:], c[: LAG + 1]))
    at = int(np.argmax(np.abs(c)))
    if abs(c[at]) < PEAK * np.sqrt(np.dot(c, c) / len(c)):
        return None, 0.0, 0.0
    lag = at - LAG
    first, second = (a[: SECOND - lag], b[lag:]) if lag >= 0 else (a[-lag:], b[: SECOND + lag])
    shared = abs(float(np.dot(first, second)))
    powers = max(float(np.dot(first, first)), 1e-9), max(float(np.dot(second, second)), 1e-9)
    source = powers[0] if lag > 2 * SAME_LAG else powers[1] if lag < -2 * SAME_LAG else max(powers)
    return lag, shared / (powers[0] * powers[1]) ** 0.5, 20 * float(np.log10(max(shared / source, 1e-9)))
