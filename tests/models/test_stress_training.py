"""The classifier to compare stress with, and the bad lines it is measured on: on made data, whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import sounds
from benchmarks.accuracy import stress as measuring
from benchmarks.accuracy.figures import auc
from models import voice
from models.train import stress as trained

RNG = np.random.default_rng(0)
SPEAKERS = np.repeat(np.arange(6), 20)
NEUTRAL = np.tile(np.arange(20) < 6, 6)
TENSE = np.tile(np.arange(20) >= 12, 6)
OWN = RNG.normal(0, 3, (6, 8))[SPEAKERS]
VALUES = OWN + RNG.normal(0, 1, (120, 8)) + 1.2 * TENSE[:, None] * np.array([1, 1, 1, 0, 0, 0, 0, 0])


def test_a_speaker_never_heard_is_classified_against_their_own_neutral() -> None:
    out = SPEAKERS == 5
    rows = trained.against_own(VALUES, NEUTRAL, SPEAKERS, ~out)
    scores = trained.chosen(rows[~out], TENSE[~out], SPEAKERS[~out])(rows[out])
    assert auc(TENSE[out], scores) > 0.8


def test_a_clip_is_not_held_against_itself_nor_against_people_left_out() -> None:
    out = SPEAKERS == 5
    moved = VALUES.copy()
    moved[0] += 100.0
    rows, before = (trained.against_own(each, NEUTRAL, SPEAKERS, ~out) for each in (moved, VALUES))
    weight = 1 / (NEUTRAL & ~out).sum() * trained.PSEUDO_CLIPS / (5 + trained.PSEUDO_CLIPS)
    assert rows[0] - before[0] == pytest.approx(np.full(8, 100.0 * (1 - weight)))
    moved = VALUES.copy()
    moved[out] += 100.0
    rows = trained.against_own(moved, NEUTRAL, SPEAKERS, ~out)
    assert rows[~out] == pytest.approx(before[~out])


def test_a_profile_is_whole_and_deaf_to_gain() -> None:
    sound = sounds.voice(120, 3)
    profiles = []
    for factor in (1.0, 0.5):
        heard = voice.track(voice.narrow(sound / 32768 * factor, 8_000))
        assert heard is not None
        profiles.append(trained.profile(heard))
    loud, soft = profiles
    assert len(loud) > 100 and loud.keys() == soft.keys()
    known = [name for name, value in loud.items() if np.isfinite(value)]
    assert np.array([loud[name] for name in known]) == pytest.approx(np.array([soft[name] for name in known]), abs=0.6)


@pytest.mark.parametrize("name", measuring.LINES)
def test_a_line_spoils_as_it_says(name: str) -> None:
    sound = sounds.voice(120, 3) / 32768
    clips = measuring.Clips([(sound, 8_000)], np.array(["a"]), np.array(["neutral"]))
    (there,), (clean,) = (measuring.carried(clips, each) for each in (name, "clean"))
    assert there.dtype == np.int16 and there.shape == clean.shape
    off_db = 10 * np.log10(((there - clean.astype(float)) ** 2).mean() / (clean.astype(float) ** 2).mean() + 1e-9)
    if name.startswith("noise"):
        assert off_db == pytest.approx(-float(name.split()[1]), abs=1)
    assert (off_db < -80) == (name == "clean")
    assert np.array_equal(there, measuring.carried(clips, name)[0]), "the same clip and line give the same sound"


def test_the_quick_figures_need_no_data() -> None:
    figures = measuring.measure(Path("/nowhere"), quick=True).figures
    assert {key: each.value for key, each in figures.items()} == {
        "stress.made_calm": 1.0,
        "stress.made_tense": 1.0,
        "stress.made_none": 1.0,
    }


def test_missing_data_say_how_to_get_on() -> None:
    with pytest.raises(SystemExit, match="--data FOLDER"):
        measuring.emodb(Path("/nowhere"))


def test_there_is_nothing_to_train(capsys: pytest.CaptureFixture[str]) -> None:
    trained.main([])
    assert "benchmarks.accuracy stress" in capsys.readouterr().out
