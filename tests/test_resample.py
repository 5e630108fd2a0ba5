"""Every rate comes out as the same sound at 16 kHz, to the sample, however it is cut, with nothing folded back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assist.audio import Samples
from assist.errors import BadEncoding
from assist.resample import Resampler


def tone(rate_hz: int, tone_hz: float, seconds: float = 1.0) -> Samples:
    at = np.arange(int(rate_hz * seconds)) / rate_hz
    return (12_000 * np.sin(2 * np.pi * tone_hz * at)).astype(np.int16)


def level(samples: Samples, tone_hz: float) -> float:
    """Amplitude of a tone in the middle of 16 kHz samples."""
    middle: NDArray[np.float64] = samples[1_600:-1_600].astype(np.float64)
    at = np.arange(len(middle)) / 16_000
    return float(2 * abs(np.mean(middle * np.exp(-2j * np.pi * tone_hz * at))))


@pytest.mark.parametrize("rate_hz", [12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_stays_what_it_is(rate_hz: int) -> None:
    leg = Resampler(rate_hz)
    for tone_hz in (300.0, 1_000.0, 3_400.0):
        out = leg.push(tone(rate_hz, tone_hz))
        assert len(out) == 16_000
        assert level(out, tone_hz) == pytest.approx(12_000, rel=0.02)
        assert np.sqrt(np.mean(out[1_600:-1_600].astype(float) ** 2)) == pytest.approx(12_000 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("rate_hz", "tone_hz"), [(24_000, 10_000), (44_100, 15_000), (48_000, 12_000)])
def test_what_16_khz_cannot_hold_does_not_fold_back(rate_hz: int, tone_hz: int) -> None:
    out = Resampler(rate_hz).push(tone(rate_hz, tone_hz))[1_600:-1_600]
    assert np.sqrt(np.mean(out.astype(float) ** 2)) < 12_000 / 1_000


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([24_000, 44_100, 48_000]), st.lists(st.integers(0, 3_000), max_size=8), st.integers(0, 5_000))
def test_cutting_changes_nothing_and_nothing_is_lost(rate_hz: int, cuts: list[int], length: int) -> None:
    data = np.random.default_rng(length).integers(-9_000, 9_000, length).astype(np.int16)
    whole, parted = Resampler(rate_hz), Resampler(rate_hz)
    out = [parted.push(part) for part in np.split(data, sorted(min(cut, length) for cut in cuts))]
    wanted = np.concatenate([whole.push(data), whole.flush()])
    assert np.array_equal(np.concatenate([*out, parted.flush()]), wanted)
    assert len(wanted) == length * 16_000 // rate_hz


@pytest.mark.parametrize("rate_hz", [0, -8_000, 5_999, 11_025, 44_101, 192_050, 10**9])
def test_rates_that_are_not_taken(rate_hz: int) -> None:
    with pytest.raises(BadEncoding, match="Hz is not taken"):
        Resampler(rate_hz)
