"""Stand-ins for voices: frames that are loud or silent, and a detector that hears loudness. It knows no model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from assist.audio import FRAME_SAMPLES, Samples, encode_mulaw

LOUD = 6_000


def is_loud(pcm: bytes) -> bool:
    """20 ms of PCM: is anything in it louder than line noise?"""
    return bool(np.abs(np.frombuffer(pcm, dtype=np.int16).astype(np.int32)).max() > 500)


def marked(number: int, voiced: bool) -> bytes:
    """A 16 kHz frame that says which one it is, for `is_marked_voiced` and `marks`; one that is not voiced is faint."""
    samples = np.zeros(FRAME_SAMPLES, dtype=np.int16)
    samples[:4] = (LOUD if voiced else 0, number % 30_000, number // 30_000, LOUD // 6)
    return samples.tobytes()


def is_marked_voiced(pcm: bytes) -> bool:
    """Whether `marked` made this frame voiced."""
    return int.from_bytes(pcm[:2], "little") == LOUD


def marks(samples: Samples) -> list[int]:
    """The numbers of the `marked` frames that make up `samples`, in order."""
    frames = samples.reshape(-1, FRAME_SAMPLES)
    return [int(low) + 30_000 * int(high) for low, high in frames[:, 1:3]]


def tone(ms: int, rate_hz: int = 8_000) -> Samples:
    """A loud 400 Hz tone."""
    at = np.arange(ms * rate_hz // 1000) / rate_hz
    return np.asarray(np.sin(2 * np.pi * 400 * at) * LOUD, dtype=np.int16)


def speech(pattern: Iterable[tuple[bool, int]], rate_hz: int = 8_000) -> Samples:
    """Tone and silence in turn, each (loud?, ms)."""
    parts = [tone(ms, rate_hz) if loud else np.zeros(ms * rate_hz // 1000, dtype=np.int16) for loud, ms in pattern]
    return np.concatenate([np.zeros(0, dtype=np.int16), *parts])


def mulaw(pattern: Iterable[tuple[bool, int]]) -> bytes:
    """`speech` at 8 kHz in mu-law: 8 bytes a millisecond."""
    return encode_mulaw(speech(pattern))
