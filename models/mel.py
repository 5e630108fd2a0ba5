"""The log-mel spectrogram Whisper was trained on, of samples padded with silence to a window.

It knows no model but the shape of its ears. It gives what faster-whisper's FeatureExtractor gives for the padded
samples, computes only the part that is not silence, and keeps to one core.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Samples

FRAMES_PER_S: Final = 100
STEP: Final = RATE_HZ // FRAMES_PER_S  # samples from one frame to the next
SPAN: Final = 400  # samples under one Fourier transform
HANN: Final = np.hanning(SPAN + 1)[:-1].astype(np.float32)
# Frames multiplied at once. A larger product OpenBLAS would spread over all cores, which on products this small
# costs far more than it saves (measured on two busy cores: 16 ms of CPU instead of 2 for 3 s of sound).
GROUP: Final = 10


def filters(mels: int) -> NDArray[np.float32]:
    """Slaney's triangular mel filters, shape (201, mels)."""
    return np.ascontiguousarray(FeatureExtractor(feature_size=mels).mel_filters.T, dtype=np.float32)


def log_mel(samples: Samples, window_s: int, bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel of int16 samples (n,), 16 kHz, padded with digital silence to `window_s`; shape (mels, 100 * window_s).

    `bands` comes from `filters`. The samples must fit the window.
    """
    frames = window_s * FRAMES_PER_S
    # From a few frames after the last sample on, all frames of silence are the same.
    computed = min(math.ceil(len(samples) / STEP / GROUP) * GROUP + GROUP, frames)
    sound = np.zeros(computed * STEP, dtype=np.float32)
    sound[: len(samples)] = samples / np.float32(32768)
    sliding = np.lib.stride_tricks.sliding_window_view(np.pad(sound, SPAN // 2, mode="reflect"), SPAN)
    spectrum = np.fft.rfft(sliding[:-1:STEP] * HANN, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = (power.reshape(-1, GROUP, power.shape[1]) @ bands).reshape(computed, -1)
    log = np.log10(np.maximum(mel, np.float32(1e-10)))
    log = (np.maximum(log, log.max() - 8) + 4) / 4
    return np.concatenate((log, np.repeat(log[-2:-1], frames - computed, axis=0))).T
