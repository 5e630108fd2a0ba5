"""The embedded recogniser keeps its contract and understands the call, in processes of its own. It knows no server."""

from __future__ import annotations

import os
import re
import signal
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
from pocketsphinx import get_model_path

from assist.audio import Samples, Utterance
from assist.errors import ModelMissing, RecogniserFailed
from assist.transcribe import Recogniser
from benchmarks.wer import doubled
from models import apart, narrowband, pocketsphinx
from models.apart import Apart
from tests.contracts.recogniser import RecogniserContract, utterance

CALL = Path(__file__).parents[2] / "benchmarks" / "calls" / "camera_call"


@pytest.fixture(scope="module")
def recogniser() -> Iterator[Apart]:
    loaded = apart.load("models.pocketsphinx", processes=2)
    yield loaded
    loaded.close()


class TestPocketSphinx(RecogniserContract):
    """The contract, on the weights that are shipped and in processes of its own, as a server has it."""


def turns() -> list[tuple[str, Utterance]]:
    """The shipped call's turns: what was said, and its sound with 200 ms around it."""
    script = tomllib.loads((CALL / "script.toml").read_text())
    sound, rate_hz = soundfile.read(CALL / "call.wav", dtype="int16")
    assert rate_hz == 8_000
    said = []
    for number, turn in enumerate(script["turn"]):
        start_ms, end_ms = turn["start_ms"] - 200, turn["end_ms"] + 200
        channel = sound[start_ms * 8 : end_ms * 8, 0 if turn["party"] == "agent" else 1]
        said.append((turn["text"], Utterance(f"u{number}", turn["party"], start_ms, end_ms, end_ms, doubled(channel))))
    return said


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def test_the_shipped_call_is_understood(recogniser: Recogniser) -> None:
    said = [(plain(text), recogniser.transcribe(heard).text) for text, heard in turns()]
    assert jiwer.wer([one for one, _ in said], [other for _, other in said]) <= 0.12
    whole = " ".join(text for _, text in said)
    for words in ("camera", "black screen", "video calls", "manager", "cancel my contract", "replace"):
        assert words in whole


def test_word_times_lie_where_the_words_are(recogniser: Recogniser) -> None:
    _, heard = next(turn for turn in turns() if "black screen" in turn[0])
    said = recogniser.transcribe(heard)
    assert said.words[0].start_ms < heard.start_ms + 500
    assert said.words[-1].end_ms > heard.end_ms - 600


def test_a_killed_process_costs_no_words(recogniser: Apart) -> None:
    _, heard = next(turn for turn in turns() if "black screen" in turn[0])
    with ThreadPoolExecutor(2) as pool:
        said = [pool.submit(recogniser.transcribe, heard) for _ in recogniser.pids]
        time.sleep(0.1)
        os.kill(recogniser.pids[0], signal.SIGKILL)  # who has died of it twice is given up
        assert all("black screen" in each.result().text for each in said)


def test_closed_it_hears_nothing() -> None:
    closed = pocketsphinx.load()
    closed.warm()
    closed.close()
    with pytest.raises(RecogniserFailed, match="closed"):
        closed.transcribe(utterance(np.zeros(1_600, dtype=np.int16)))


def test_missing_weights_say_how_to_build_them(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"python -m models\.language"):
        pocketsphinx.load(tmp_path)


@pytest.mark.parametrize("samples", [np.zeros(0, np.int16), np.zeros(409, np.int16)])
def test_too_little_to_hear(recogniser: Recogniser, samples: Samples) -> None:
    assert recogniser.transcribe(utterance(samples)).text == ""


def test_sound_above_the_telephone_band_is_noticed_and_used() -> None:
    chance = np.random.default_rng(5)
    wide = chance.normal(0, 1_000, 16_000).astype(np.int16)
    narrow = doubled(chance.normal(0, 1_000, 8_000).astype(np.int16))
    assert narrowband.is_wide(narrowband.log_energies(wide))
    for quiet in (narrow, np.zeros(16_000, dtype=np.int16)):
        assert not narrowband.is_wide(narrowband.log_energies(quiet))
    ear = pocketsphinx.Ear()
    ear.hear(narrow)
    assert set(ear._decoders) == {narrowband.HEARD_FILTERS}
    ear.hear(wide)
    ear.hear(narrow)
    assert set(ear._decoders) == {narrowband.HEARD_FILTERS, narrowband.FILTERS}


def test_over_all_filters_the_model_is_the_packages_own() -> None:
    package = Path(get_model_path()) / "en-us" / "en-us"
    whole = narrowband.narrow(package, narrowband.FILTERS)
    for ours, name in ((whole.means, "means"), (whole.variances, "variances")):
        theirs = narrowband.read_table(package / name).values / narrowband._LIFT ** (1 if name == "means" else 2)
        np.testing.assert_allclose(ours.values, theirs, rtol=0.02, atol=0.02)
