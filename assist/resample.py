"""Other sample rates to 16 kHz. It knows samples, and nothing of who sent them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Party
from assist.errors import BadEncoding

_LOWEST, _HIGHEST = -32_768, 32_767
LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000
MOST_WEIGHTS = 65_536
"""Of one filter: 11,025 Hz needs 10,240. 191,999 Hz would need six million, and everybody would wait meanwhile."""


def taken(rate_hz: int) -> tuple[int, int, int]:
    """By what a rate is raised and lowered to become 16 kHz, and the filter's taps. Raises BadEncoding; it is cheap."""
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise BadEncoding(f"{rate_hz} Hz is not taken: {LOWEST_HZ} to {HIGHEST_HZ}")
    divisor = math.gcd(rate_hz, RATE_HZ)
    up, down, taps = RATE_HZ // divisor, rate_hz // divisor, max(16, 2 * round(16 * rate_hz / RATE_HZ))
    if up * taps > MOST_WEIGHTS:
        raise BadEncoding(f"{rate_hz} Hz is not taken: no simple ratio to {RATE_HZ}; multiples of 100 Hz have one")
    return up, down, taps


@lru_cache(32)
def _rows(rate_hz: int) -> NDArray[np.float32]:
    """One row of taps for each place that a sample may take between two of those that came."""
    up, _, taps = taken(rate_hz)
    falls = rate_hz / RATE_HZ
    at = np.arange(taps) - (taps // 2 - 1) - np.arange(up)[:, None] / up
    window = np.i0(6.0 * np.sqrt(np.clip(1 - (2 * at / (taps - 1)) ** 2, 0, None))) * (2 * abs(at) <= taps - 1)
    rows = np.sinc(at * (1.0 if falls <= 1 else 0.9 / falls)) * window
    rows_f32: NDArray[np.float32] = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows_f32


class Resampler:
    """Linear PCM of any rate, as it comes, to 16 kHz: n samples to n * 16000 / rate of them, rounded up over the whole.

    For what carries rates that `Leg` does not take. 8 kHz comes out as by `double`, but late. The filter (16 taps, more
    where the rate falls) makes it late by half its length, 1 ms from 8 kHz up.
    Source: Oppenheim & Schafer, Discrete-Time Signal Processing, section 4.6 (changing the rate by a ratio).
    """

    def __init__(self, rate_hz: int) -> None:
        self._up, self._down, taps = taken(rate_hz)
        self._rows, self._taps = _rows(rate_hz), taps
        self._heard: NDArray[np.float32] = np.zeros(taps - 1, dtype=np.float32)
        self.half = b""
        """The first byte of a sample whose second has not come."""
        self._next = 0
        """Where the next sample out begins to look, from the beginning of `_heard`, in `_up`-ths of a sample."""

    def push(self, payload: bytes) -> bytes:
        """Samples, little-endian and cut anywhere, to those that they complete at 16 kHz."""
        if self.half or len(payload) % 2:
            payload = self.half + payload
            whole = len(payload) // 2 * 2
            payload, self.half = payload[:whole], payload[whole:]
        samples = np.frombuffer(payload, dtype="<i2")
        if not len(samples):
            return b""
        heard = np.concatenate((self._heard, samples.astype(np.float32)))
        if self._down == 1:  # 8 kHz, as nearly every call is: less than half of the cost
            out = np.stack([np.correlate(heard, row) for row in self._rows], axis=1).reshape(-1)
            self._heard = heard[len(samples) :]
        else:
            out = self._between(heard)
        pcm: bytes = np.clip(np.rint(out), _LOWEST, _HIGHEST).astype("<i2").tobytes()
        return pcm

    def _between(self, heard: NDArray[np.float32]) -> NDArray[np.float32]:
        count = max(0, -(-((len(heard) - self._taps + 1) * self._up - self._next) // self._down))
        places = self._next + self._down * np.arange(count)
        first, row = places // self._up, places % self._up
        out: NDArray[np.float32] = np.einsum("nk,nk->n", heard[first[:, None] + np.arange(self._taps)], self._rows[row])
        self._next += count * self._down
        past = min(self._next // self._up, len(heard))
        self._next -= past * self._up
        self._heard = heard[past:]
        return out


class Resamplers:
    """Linear PCM of each of `parties` to 16 kHz; at 8 and 16 kHz, which `Leg` takes, it passes as it is.

    Raises BadEncoding for a rate that is not taken.
    """

    def __init__(self, parties: Iterable[Party], rate_hz: int) -> None:
        passes = rate_hz in (8_000, RATE_HZ)
        taken(rate_hz)
        self.rate_hz = rate_hz if passes else RATE_HZ
        """Of what comes out."""
        self._ratio = self.rate_hz / rate_hz
        self._each = {} if passes else {party: Resampler(rate_hz) for party in parties}

    def push(self, party: Party, payload: bytes) -> bytes:
        """Bytes of one party to those that they complete, which may be none."""
        return self._each[party].push(payload) if self._each else payload

    def length(self, payload_bytes: int) -> int:
        """So many bytes would have come out of as many that are not used."""
        return round(payload_bytes * self._ratio)
