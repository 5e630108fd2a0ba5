"""Audio as it flows: 20 ms frames, utterances; mu-law, A-law and linear PCM to 16 kHz mono.

It knows no socket, no clock and no model. Frames are signed 16 bit at the rate of their leg; whoever listens to an
utterance gets 16 kHz, mono.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from assist.errors import BadEncoding

Party = Literal["agent", "customer", "system"]
Encoding = Literal["mulaw", "alaw", "l16"]
Samples = NDArray[np.int16]
T = TypeVar("T")

RATE_HZ: Final = 16_000
FRAME_MS: Final = 20
FRAME_SAMPLES: Final = RATE_HZ * FRAME_MS // 1000
SAMPLES_PER_MS: Final = RATE_HZ // 1000


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of one party's speech. `sound`: int16, shape (n,), mono, at `rate_hz`, 8000 or 16000.

    `start_ms`..`end_ms` are the bounds of `sound` on the call's clock; `speech_end_ms` is the end of the
    last voiced frame, from which latency is counted. `stage` says how firm the end is. `call`: whose party it is, for
    recognisers that get used to a speaker; "" where nobody said.
    """

    id: str
    party: Party
    start_ms: int
    end_ms: int
    speech_end_ms: int
    sound: Samples
    stage: Literal["partial", "speculative", "final"] = "final"
    call: str = ""
    rate_hz: int = RATE_HZ

    @property
    def length_s(self) -> float:
        """How long `sound` is."""
        return len(self.sound) / self.rate_hz

    @property
    def samples(self) -> Samples:
        """int16, shape (n,), 16 kHz: made when somebody listens, as many an utterance is withdrawn before that."""
        return widened(self.sound, self.rate_hz)


def _mulaw_table() -> Samples:
    # ITU-T G.711: inverted bits; sign, 3 bits of exponent, 4 of mantissa, bias 0x84.
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Samples:
    # ITU-T G.711: even bits inverted (0x55); sign bit set means positive.
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code & 0x70) >> 4
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_TABLES: Final = {"mulaw": _mulaw_table(), "alaw": _alaw_table()}
_LOW: Final = {name: bytes(each.astype("<i2").view(np.uint8)[0::2]) for name, each in _TABLES.items()}
_HIGH: Final = {name: bytes(each.astype("<i2").view(np.uint8)[1::2]) for name, each in _TABLES.items()}


def decode(payload: bytes, encoding: Encoding) -> Samples:
    """Bytes of one channel to int16 samples at their own rate, shape (n,).

    Linear PCM is little-endian and must hold whole samples (`Leg` keeps odd bytes back).
    """
    if encoding == "l16":
        return np.frombuffer(payload, dtype="<i2")
    return _TABLES[encoding].take(np.frombuffer(payload, dtype=np.uint8))  # half the price of indexing


def encode_mulaw(samples: Samples) -> bytes:
    """int16 samples to mu-law bytes (ITU-T G.711), for the replay client and the tests."""
    wide = samples.astype(np.int32)
    sign = np.where(wide < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(wide), 32_635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8))


def _half_band(taps: int = 16) -> NDArray[np.float32]:
    """Kaiser-windowed half-sample interpolator (even length), for doubling the rate; unit gain at 0 Hz.

    Source: Oppenheim & Schafer, Discrete-Time Signal Processing, section 4.6 (interpolation by an integer).
    """
    n = np.arange(taps) - (taps - 1) / 2
    kernel = np.sinc(n) * np.kaiser(taps, 6.0)
    taps_f32: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return taps_f32


_KERNEL: Final = _half_band()


def double(samples: Samples) -> Samples:
    """int16 samples (n,) at 8 kHz to int16 (2n,) at 16 kHz: the same samples, with one between each two.

    Before the first and after the last is silence.
    """
    count, taps = len(samples), len(_KERNEL)
    heard = np.zeros(count + taps - 1, dtype=np.float32)
    heard[taps // 2 - 1 : taps // 2 - 1 + count] = samples
    between = np.zeros(count, dtype=np.float32)
    pair = np.empty(count, dtype=np.float32)
    for n in range(taps // 2):  # the kernel is symmetric: a quarter of what np.correlate takes
        np.add(heard[n : n + count], heard[taps - 1 - n : taps - 1 - n + count], out=pair)
        pair *= _KERNEL[n]
        between += pair
    out = np.empty(2 * count, dtype=np.int16)
    out[0::2] = samples
    out[1::2] = np.clip(np.rint(between, out=between), -32_768, 32_767, out=between)
    return out


def widened(samples: Samples, rate_hz: int) -> Samples:
    """int16 samples, shape (n,), at 8 or 16 kHz to 16 kHz."""
    return samples if rate_hz == RATE_HZ else double(samples)


class Leg:
    """One party's bytes, as they come, to 20 ms of PCM at a time, at their own rate. Keeps what does not fill a frame.

    Sizes are free: 1 byte, 16 ms, 64 KiB.
    """

    def __init__(self, encoding: Encoding, rate_hz: int) -> None:
        if rate_hz not in (8_000, RATE_HZ) or encoding not in ("mulaw", "alaw", "l16"):
            raise BadEncoding(f"{encoding} at {rate_hz} Hz is not taken: use mulaw, alaw or l16 at 8000 or 16000")
        self.encoding: Encoding = encoding
        self.rate_hz = rate_hz
        self.width = 2 if encoding == "l16" else 1
        self.frame_bytes = rate_hz * FRAME_MS // 1000 * self.width
        self._rest = b""

    @property
    def rest_ms(self) -> float:
        """Audio kept back because it does not fill a frame, in ms."""
        return len(self._rest) * 1000 / self.width / self.rate_hz

    def cut_off(self) -> float:
        """Forget what does not fill a frame, because what comes next does not follow it. How much it was, in ms."""
        rest_ms, self._rest = self.rest_ms, b""
        return rest_ms

    def skip(self, payload: bytes = b"") -> float:
        """Let audio pass unheard, with what does not fill a frame. How much that was, in ms.

        Half a sample is kept: its other half comes next, and all that follows would be noise without it.
        """
        data = self._rest + payload
        whole = len(data) // self.width * self.width
        self._rest = data[whole:]
        return whole * 1000 / self.width / self.rate_hz

    def push(self, payload: bytes) -> list[tuple[bytes, bytes]]:
        """Bytes as received to whole frames, oldest first: PCM (320 or 640 bytes), and the bytes they came from."""
        if len(payload) == self.frame_bytes and not self._rest:  # what nearly every message is
            return [(self._pcm(payload), payload)]
        data = self._rest + payload if self._rest else payload
        whole = len(data) // self.frame_bytes * self.frame_bytes
        self._rest = data[whole:]
        if not whole:
            return []
        pcm = self._pcm(data[:whole])
        size, raw = 2 * self.rate_hz * FRAME_MS // 1000, self.frame_bytes
        return [(pcm[n * size : (n + 1) * size], data[n * raw : (n + 1) * raw]) for n in range(whole // raw)]

    def _pcm(self, data: bytes) -> bytes:
        """As `decode`, from bytes to bytes: of the 160 of a frame, numpy takes 3.8 us and this 2.3."""
        if self.encoding == "l16":
            return data
        pcm = bytearray(2 * len(data))
        pcm[0::2] = data.translate(_LOW[self.encoding])
        pcm[1::2] = data.translate(_HIGH[self.encoding])
        return bytes(pcm)


class Timeline(Generic[T]):
    """Places one leg's frames on the call's clock by counting samples, corrected by when they arrive.

    Some platforms send nothing while a party is silent, and every network stalls now and then. Both look
    alike at first: a frame comes much later than the count expects. Frames after such a hole are held for
    at most `hold_ms`: if the backlog then arrives at once it was a stall and the count stands; if frames
    keep coming at the pace of speech it was silence that nobody sent, and the count jumps by it.
    """

    def __init__(self, gap_ms: int = 600, hold_ms: int = 200) -> None:
        self.gap_ms = gap_ms
        self.hold_ms = hold_ms
        self.position_ms: int | None = None
        self.missing: list[tuple[int, int]] = []
        """Holes found, as (start_ms, end_ms); the reader empties it."""
        self._held: list[T] = []
        self._held_since_ms = 0

    @property
    def held_ms(self) -> int:
        """Audio held until it is clear where it belongs."""
        return len(self._held) * FRAME_MS

    def push(self, frames: list[T], now_ms: int) -> list[tuple[int, T]]:
        """Frames with their `at_ms`, oldest first; empty while they are held. `now_ms`: ms since call start."""
        if not frames:
            return []
        if self.position_ms is None:
            start = now_ms - len(frames) * FRAME_MS
            self.position_ms = start if start > self.gap_ms else 0
        if self._held:
            self._held += frames
            return self._decide(now_ms)
        if now_ms - (self.position_ms + len(frames) * FRAME_MS) > self.gap_ms:
            self._held = list(frames)
            self._held_since_ms = now_ms
            return []
        return self._release(frames)

    def tick(self, now_ms: int) -> list[tuple[int, T]]:
        """Held frames whose time is up, when no further frame comes to push them out."""
        return self._decide(now_ms) if self._held else []

    def flush(self, now_ms: int) -> list[tuple[int, T]]:
        """What is still held, at the end of the leg."""
        self._held_since_ms = now_ms - self.hold_ms
        return self.tick(now_ms)

    def lose(self, length_ms: int) -> None:
        """The platform's own sequence says that so much never came, here."""
        if self.position_ms is not None and length_ms > 0:
            self.missing.append((self.position_ms, self.position_ms + length_ms))
            self.position_ms += length_ms

    def skip_to(self, now_ms: int) -> None:
        """After a pause: go on from now, without calling the time between missing."""
        if self.position_ms is not None:
            self.position_ms = max(self.position_ms, now_ms)

    def _decide(self, now_ms: int) -> list[tuple[int, T]]:
        assert self.position_ms is not None
        late_ms = now_ms - (self.position_ms + len(self._held) * FRAME_MS)
        if late_ms > self.gap_ms // 2:
            if now_ms - self._held_since_ms < self.hold_ms:
                return []
            self.missing.append((self.position_ms, self.position_ms + late_ms))
            self.position_ms += late_ms
        held, self._held = self._held, []
        return self._release(held)

    def _release(self, frames: list[T]) -> list[tuple[int, T]]:
        assert self.position_ms is not None
        start = self.position_ms
        self.position_ms += len(frames) * FRAME_MS
        if len(frames) == 1:
            return [(start, frames[0])]
        return [(start + n * FRAME_MS, each) for n, each in enumerate(frames)]
