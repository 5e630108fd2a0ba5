"""Other sample rates to 16 kHz, 20 ms at a time. It knows one channel of samples and nothing of who sent them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import FRAME_MS, FRAME_SAMPLES, RATE_HZ, Samples
from assist.errors import BadEncoding

_CROSSINGS: Final = 16
"""Zero crossings of the sinc on each side: what folds back from above 8.4 kHz is 60 dB down or more."""
_PASS: Final = 0.92
"""Of the lower of both Nyquist frequencies: half of the amplitude is left here."""
LOWEST_HZ, HIGHEST_HZ = 6_000, 192_000


class Resampler:
    """One leg at `rate_hz` to 16 kHz, in whole frames of 20 ms: so many samples in are so many out, to the sample.

    A windowed sinc, its weights made once: where an output sample falls between the input's is the same in every
    frame. It comes out 1 ms late (24 kHz: 0.7). Raises BadEncoding for a rate whose 20 ms are no whole samples.
    Source: Oppenheim & Schafer, Discrete-Time Signal Processing, section 4.6.
    """

    def __init__(self, rate_hz: int) -> None:
        if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ or rate_hz * FRAME_MS % 1000:
            raise BadEncoding(
                f"{rate_hz} Hz is not taken: 8000, 16000, or {LOWEST_HZ} to {HIGHEST_HZ} with whole samples in 20 ms"
            )
        self.rate_hz = rate_hz
        self.frame = rate_hz * FRAME_MS // 1000
        cutoff = _PASS * min(1.0, RATE_HZ / rate_hz)
        self._reach = int(np.ceil(_CROSSINGS / cutoff))
        places = np.arange(FRAME_SAMPLES) * self.frame / FRAME_SAMPLES
        before = np.floor(places).astype(np.intp)
        around = np.arange(2 * self._reach) - self._reach + 1
        # Distances from each output sample to the input samples around it, in input samples.
        far = around[None, :] - (places - before)[:, None]
        window = np.i0(8.0 * np.sqrt(np.maximum(0.0, 1.0 - (far / self._reach) ** 2))) / np.i0(8.0)
        weights = np.sinc(far * cutoff) * window
        self._weights: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        self._places = before[:, None] + around[None, :] + self._reach - 1
        self._heard: NDArray[np.float32] = np.zeros(2 * self._reach, dtype=np.float32)
        self._rest: Samples = np.zeros(0, dtype=np.int16)

    def push(self, samples: Samples) -> Samples:
        """int16 at the leg's rate, shape (n,), to int16 at 16 kHz; what does not fill 20 ms is kept back."""
        data = np.concatenate([self._rest, samples])
        whole = len(data) // self.frame * self.frame
        self._rest = data[whole:]
        return np.concatenate([self._frame(each) for each in data[:whole].reshape(-1, self.frame)] or [_NONE])

    def flush(self) -> Samples:
        """What was kept back, when nothing more will come."""
        rest, self._rest = self._rest, _NONE
        filled = np.zeros(self.frame, dtype=np.int16)
        filled[: len(rest)] = rest
        return self._frame(filled)[: len(rest) * FRAME_SAMPLES // self.frame]

    def _frame(self, samples: Samples) -> Samples:
        heard = np.concatenate([self._heard, samples.astype(np.float32)])
        self._heard = heard[self.frame :]
        out = np.einsum("ij,ij->i", heard.take(self._places), self._weights)
        clipped: Samples = np.clip(np.rint(out), -32_768, 32_767).astype(np.int16)
        return clipped


_NONE: Final[Samples] = np.zeros(0, dtype=np.int16)
