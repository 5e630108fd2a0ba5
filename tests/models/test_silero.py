"""Speech or silence, by Silero at the end of an utterance and by WebRTC frame by frame."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from assist import replay
from assist.audio import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples, double
from assist.errors import ModelMissing
from benchmarks.calls import SHIPPED, script_of
from models import silero, webrtc
from tests.contracts.recogniser import babble

HALF = RATE_HZ // 2


def hiss(samples: int, level: float, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, level, samples).astype(np.int16)


@pytest.fixture(scope="module")
def speech() -> Samples:
    """One sentence of the shipped call (a synthetic voice), 16 kHz, without the silence after it."""
    script, recording = script_of(SHIPPED), replay.read(SHIPPED)
    assert script
    whole = double(recording.agent)
    turn = next(turn for turn in script.turn if turn.text.startswith("Please open the settings"))
    said = whole[turn.start_ms * SAMPLES_PER_MS : turn.end_ms * SAMPLES_PER_MS]
    return said[: np.flatnonzero(np.abs(said) > 300)[-1] + 1]


def test_speech_goes_on_while_somebody_speaks(speech: Samples) -> None:
    still_speaking = silero.load()
    said = [still_speaking(speech[end - HALF : end]) for end in range(RATE_HZ, len(speech), RATE_HZ // 4)]
    assert min(said) > 0.5


@pytest.mark.parametrize("noise", [0, 30, 180])
def test_speech_has_ended_400_ms_after_the_last_sound(speech: Samples, noise: float) -> None:
    still_speaking = silero.load()
    whole = np.concatenate((speech, np.zeros(RATE_HZ, np.int16))) + hiss(len(speech) + RATE_HZ, noise)
    for silence_ms in (400, 500, 800):
        end = len(speech) + silence_ms * RATE_HZ // 1000
        assert still_speaking(whole[end - HALF : end]) < 0.5
    assert still_speaking(whole[len(speech) - HALF : len(speech)]) > 0.5


@pytest.mark.parametrize("samples", [0, 1, 160, 511, 512, 513, HALF, 3 * RATE_HZ])
def test_any_length_gives_a_probability(samples: int) -> None:
    still_speaking = silero.load()
    for sound in (np.zeros(samples, np.int16), hiss(samples, 1_000), np.full(samples, 32_767, np.int16)):
        said = still_speaking(sound)
        assert isinstance(said, float)
        assert 0 <= said <= 1
    assert still_speaking(np.zeros(samples, np.int16)) < 0.5


def test_calls_do_not_touch_one_another() -> None:
    still_speaking = silero.load()
    sounds = [babble(500, seed=i).astype(np.int16) for i in range(8)]
    alone = [still_speaking(sound) for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(still_speaking, sounds * 5))
    np.testing.assert_allclose(together, alone * 5, rtol=1e-5)


def test_half_a_second_takes_less_than_3_ms() -> None:
    still_speaking = silero.load()
    sound = hiss(HALF, 1_000)
    took = []
    for _ in range(50):
        began = time.process_time()
        still_speaking(sound)
        took.append(time.process_time() - began)
    assert sorted(took)[len(took) // 2] < 0.003


def test_webrtc_hears_a_voice_and_not_silence() -> None:
    voiced = webrtc.load()
    quiet = [voiced(bytes(2 * FRAME_SAMPLES)) for _ in range(50)]
    assert not any(quiet)
    sound = babble(2_000).astype(np.int16)
    heard = [voiced(sound[i : i + FRAME_SAMPLES].tobytes()) for i in range(0, len(sound), FRAME_SAMPLES)]
    assert sum(heard) > len(heard) / 3


def test_webrtc_follows_a_synthetic_voice(speech: Samples) -> None:
    voiced = webrtc.load()
    whole = np.concatenate((speech, np.zeros(RATE_HZ, np.int16))) + hiss(len(speech) + RATE_HZ, 30)
    heard = [
        voiced(f.tobytes()) for f in whole[: len(whole) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    ]
    frames = len(speech) // FRAME_SAMPLES
    assert sum(heard[:frames]) > 0.7 * frames
    assert not any(heard[frames + 10 :])


def test_each_party_has_a_detector_of_its_own() -> None:
    assert webrtc.load() is not webrtc.load()


def test_webrtc_hears_the_telephone_as_it_hears_the_same_doubled() -> None:
    narrow = replay.read(SHIPPED).customer
    at_8, at_16 = webrtc.load(8_000), webrtc.load(RATE_HZ)
    wide = double(narrow)
    half = FRAME_SAMPLES // 2
    alike = [
        at_8(narrow[n * half : (n + 1) * half].tobytes()) == at_16(wide[2 * n * half : 2 * (n + 1) * half].tobytes())
        for n in range(len(narrow) // half)
    ]
    assert sum(alike) >= 0.99 * len(alike)


@pytest.mark.parametrize(("rate_hz", "size"), [(16_000, n) for n in (0, 2, 320, 638, 642, 1280)] + [(8_000, 640)])
def test_a_frame_of_another_size_is_refused(rate_hz: int, size: int) -> None:
    with pytest.raises(ValueError, match="20 ms"):
        webrtc.load(rate_hz)(bytes(size))


def test_a_missing_library_is_loud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(ModelMissing, match="webrtcvad-wheels"):
        webrtc.load()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelMissing, match="onnxruntime"):
        silero.load()


def test_a_missing_file_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(ModelMissing, match="faster-whisper"):
        silero.load()
