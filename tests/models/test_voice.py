"""What is heard of a voice: its pitch, whatever the line does to it; noise, cut tops and music where they are."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import sounds
from models import voice


def listened(sound: sounds.Sound, rate_hz: int = 8_000) -> dict[str, float]:
    track = voice.track(voice.narrow(sound, rate_hz))
    assert track is not None
    return voice.features(track)


@pytest.mark.parametrize("pitch_hz", [90.0, 120.0, 210.0, 330.0])
@pytest.mark.parametrize("without", ["nothing", "its fundamental", "a tenth of noise"])
def test_pitch_is_heard(pitch_hz: float, without: str) -> None:
    """The wires' own glide is about the pitch they were given; a telephone may carry nothing below 300 Hz."""
    sound = sounds.voice(pitch_hz, 4, seed=2).astype(np.float64)
    whole = listened(sounds.voice(pitch_hz, 4, seed=2))["f0_hz"]
    assert whole == pytest.approx(pitch_hz, rel=0.08)
    if without == "its fundamental":
        spectrum = np.fft.rfft(sound)
        spectrum[np.fft.rfftfreq(len(sound), 1 / 8_000) < 300] = 0
        sound = np.fft.irfft(spectrum, len(sound))
    elif without == "a tenth of noise":
        sound += np.random.default_rng(0).standard_normal(len(sound)) * sound.std() * 10 ** (-10 / 20)
    assert listened(np.rint(sound).astype(np.int16))["f0_hz"] == pytest.approx(whole, rel=0.04)


def test_each_feature_hears_its_own() -> None:
    plain = listened(sounds.voice(120, 4, seed=3))
    assert listened(sounds.voice(170, 4, seed=3))["floor_st"] > plain["floor_st"] + 5
    assert listened(sounds.voice(120, 4, tilt=0.7, seed=3))["bright_db"] > plain["bright_db"] + 3
    assert listened(sounds.voice(120, 4, tilt=0.7, seed=3))["peaks_db"] > plain["peaks_db"] + 3
    assert listened(sounds.voice(120, 4, rough=0.008, seed=3))["jitter_st"] > 2 * plain["jitter_st"]
    assert listened(sounds.voice(120, 4, syllables=6, seed=3))["rate_hz"] > plain["rate_hz"] + 1


def test_noise_is_measured_and_taken_off() -> None:
    sound = sounds.voice(120, 4, seed=3).astype(np.float64)
    noise = np.random.default_rng(0).standard_normal(len(sound)) * sound.std()
    noisy = {db: listened(np.rint(sound + noise * 10 ** (-db / 20)).astype(np.int16)) for db in (0, 10, 20)}
    assert noisy[0]["snr_db"] + 5 < noisy[10]["snr_db"] < noisy[20]["snr_db"] - 5
    assert noisy[10]["bright_db"] == pytest.approx(listened(sounds.voice(120, 4, seed=3))["bright_db"], abs=1.5)


def test_music_and_machines_stand_still_and_speech_does_not() -> None:
    spoken = listened(sounds.voice(120, 4, seed=3))
    assert spoken["steady"] < 0.3 and spoken["alike"] < 0.97
    assert listened(sounds.hold_music(4))["steady"] > 0.8
    assert listened(sounds.hold_music(4, vibrato=0.01))["alike"] > 0.975


def test_cut_tops_are_counted() -> None:
    sound = sounds.voice(120, 4, seed=3)
    assert voice.clipped(sound) < 0.003
    top = np.percentile(np.abs(sound), 90)
    assert voice.clipped(np.clip(sound, -top, top)) == pytest.approx(0.1, abs=0.02)
    assert voice.clipped(sound[:0]) == 0


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_any_rate_becomes_eight_thousand(rate_hz: int) -> None:
    at_s = np.arange(rate_hz) / rate_hz
    tone = np.sin(2 * np.pi * 440 * at_s).astype(np.float32)
    high = np.sin(2 * np.pi * min(6_000, rate_hz / 2 - 100) * at_s) if rate_hz > 12_001 else 0 * at_s
    narrow = voice.narrow(tone + high.astype(np.float32), rate_hz)
    assert len(narrow) == 8_000
    wanted = np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)
    assert np.abs(narrow - wanted)[200:-200].max() < 0.03, "shape, place or what should have been filtered off"


def test_only_the_last_seconds_are_read() -> None:
    assert len(voice.narrow(np.zeros(60 * 8_000, np.int16), 8_000)) == voice.MAX_SECONDS * 8_000


def test_less_than_a_frame_is_nothing() -> None:
    assert voice.track(np.zeros(voice.FRAME - 1, np.float32)) is None
    one = voice.track(np.zeros(voice.FRAME, np.float32))
    assert one is not None and voice.features(one)["voiced_ms"] == 0
