"""Every rate comes out as the same sound at 16 kHz, to the sample, however it is cut, with nothing folded back."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assist.audio import Samples, double
from assist.errors import BadEncoding
from assist.resample import Resampler, taken


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
        out = np.frombuffer(leg.push(tone(rate_hz, tone_hz).tobytes()), "<i2")
        assert abs(len(out) - 16_000) <= 1
        assert level(out, tone_hz) == pytest.approx(12_000, rel=0.02)
        assert np.sqrt(np.mean(out[1_600:-1_600].astype(float) ** 2)) == pytest.approx(12_000 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("rate_hz", "tone_hz"), [(24_000, 10_000), (44_100, 15_000), (48_000, 12_000)])
def test_what_16_khz_cannot_hold_does_not_fold_back(rate_hz: int, tone_hz: int) -> None:
    out = np.frombuffer(Resampler(rate_hz).push(tone(rate_hz, tone_hz).tobytes()), "<i2")[1_600:-1_600]
    assert np.sqrt(np.mean(out.astype(float) ** 2)) < 12_000 / 1_000


RATES_HZ = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    values=st.lists(st.integers(-32_768, 32_767), max_size=600),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_any_chunking_resamples_alike_and_to_the_right_number(rate_hz: int, values: list[int], cuts: list[int]) -> None:
    samples = np.array(values, dtype="<i2")
    whole = Resampler(rate_hz).push(samples.tobytes())
    assert len(whole) // 2 == -(-len(values) * 16_000 // rate_hz)
    chunked = Resampler(rate_hz)
    parts = np.split(samples, sorted(min(cut, len(values)) for cut in cuts))
    assert b"".join(chunked.push(part.tobytes()) for part in parts) == whole


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_resampling_keeps_what_is_heard_and_folds_nothing_back(rate_hz: int) -> None:
    at = np.arange(rate_hz) / rate_hz

    def heard(frequency_hz: float) -> tuple[float, float]:
        """Amplitude of a tone of 10,000 where it should be, and of all else."""
        tone = (10_000 * np.sin(2 * np.pi * frequency_hz * at)).astype("<i2")
        out = np.frombuffer(Resampler(rate_hz).push(tone.tobytes()), "<i2")[400:12_400]
        spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out)))) / len(out) * 4
        place = round(frequency_hz * len(out) / 16_000)
        near = slice(max(0, place - 3), place + 4)
        level = float(spectrum[near].max(initial=0.0))
        spectrum[near] = 0
        return level, float(spectrum.max())

    for frequency_hz in (300, 1_000, 3_000):
        level, rest = heard(frequency_hz)
        assert level == pytest.approx(10_000, rel=0.03)
        assert rest < 50, "what is not there is 46 dB below"
    if rate_hz > 20_000:
        assert max(heard(10_000)) < 30, "a tone above 8 kHz must not come back below it"


def test_8_khz_comes_out_doubled_and_a_millisecond_late() -> None:
    samples = np.random.default_rng(5).integers(-20_000, 20_000, 4_000, dtype=np.int16)
    ours = np.frombuffer(Resampler(8_000).push(samples.tobytes()), "<i2")
    assert np.abs(ours[16:].astype(int) - double(samples)[:-16]).max() <= 1


@pytest.mark.parametrize("rate_hz", [0, -8_000, 3_999, 192_001])
def test_rates_of_nothing_that_is_heard_are_refused(rate_hz: int) -> None:
    with pytest.raises(BadEncoding, match="Hz"):
        Resampler(rate_hz)


def test_a_rate_is_judged_before_anything_is_made_for_it() -> None:
    """Whoever names odd rates, or the same one again and again, keeps nobody waiting."""
    for rate_hz in range(4_000, 192_001, 100):
        up, down, taps = taken(rate_hz)
        assert up * rate_hz == down * 16_000
        assert taps >= 2 * (rate_hz // 1_000)
    for rate_hz in (3_999, 192_001, 191_999, 15_999, 44_101):
        with pytest.raises(BadEncoding, match=f"{rate_hz} Hz is not taken"):
            Resampler(rate_hz)
    began = time.process_time()
    for _ in range(1_000):
        Resampler(44_100)
    assert time.process_time() - began < 0.5, "each made anew takes 2 s"
