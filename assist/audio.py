"""Audio as it flows: frames and utterances; mu-law, A-law and linear PCM to 16 kHz mono.

It knows no socket, no clock and no model. Inside the product audio is 16 kHz, mono, signed 16 bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Party = Literal["agent", "customer", "system"]
Encoding = Literal["mulaw", "alaw", "l16"]
Samples = NDArray[np.int16]

RATE_HZ: Final = 16_000
FRAME_MS: Final = 20
FRAME_SAMPLES: Final = RATE_HZ * FRAME_MS // 1000
SAMPLES_PER_MS: Final = RATE_HZ // 1000


@dataclass(frozen=True, slots=True)
class Frame:
    """20 ms of one party: `pcm` is 640 bytes, 16 kHz mono s16 in machine order."""

    party: Party
    at_ms: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of one party's speech. `samples`: int16, shape (n,), 16 kHz mono.

    `start_ms`..`end_ms` are the bounds of `samples` on the call's clock; `speech_end_ms` is the end of the
    last voiced frame, from which latency is counted. `stage` says how firm the end is.
    """

    id: str
    party: Party
    start_ms: int
    end_ms: int
    speech_end_ms: int
    samples: Samples
    stage: Literal["partial", "speculative", "final"] = "final"

    def floats(self) -> NDArray[np.float32]:
        """The samples as float32 in -1..1, shape (n,)."""
        return self.samples.astype(np.float32) / 32768.0


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


def decode(payload: bytes, encoding: Encoding) -> Samples:
    """Bytes of one channel to int16 samples at their own rate, shape (n,).

    Linear PCM is little-endian and must hold whole samples (`Leg` keeps odd bytes back).
    """
    if encoding == "l16":
        return np.frombuffer(payload, dtype="<i2")
    return _TABLES[encoding][np.frombuffer(payload, dtype=np.uint8)]


def encode_mulaw(samples: Samples) -> bytes:
    """int16 samples to mu-law bytes (ITU-T G.711), for the replay client and the tests."""
    wide = samples.astype(np.int32)
    sign = np.where(wide < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(wide), 32_635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8))
