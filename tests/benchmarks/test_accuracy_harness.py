"""The harness itself: one task's fault costs the others nothing, nulls have a reason, and plots are plain SVG."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy import calibration
from benchmarks.accuracy.__main__ import arguments, document, run, shown
from benchmarks.accuracy.figures import Figure, share
from benchmarks.accuracy.keys import TARGETS, TASKS, less_is_better, owed, task_of
from benchmarks.accuracy.topic import most_from_first
from benchmarks.report import ROOT


def accuracy(*argv: str) -> tuple[int, str]:
    """Exit status and stdout of the real command."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy", *argv], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_every_owed_key_belongs_to_a_task_that_runs() -> None:
    assert {task_of(key) for key in TARGETS} <= set(TASKS)
    assert sorted(key for task in TASKS for key in owed(task)) == sorted(TARGETS)
    assert task_of("wer.pocketsphinx.read_clean") == "words"
    assert all(less_is_better(key) == target.most for key, target in TARGETS.items())


def test_one_task_that_fails_takes_no_other_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(["nonsense", "mind"], tmp_path, quick=True)
    assert set(found.missing) == {"nonsense"} and "ModuleNotFoundError" in found.missing["nonsense"]
    assert found.seconds["mind"] > 0
    whole = document(found, quick=True)
    assert whole["nonsense"] is None and whole["missing"] == found.missing
    json.dumps(whole, allow_nan=False)
    assert "not measured" in capsys.readouterr().out


def test_without_the_data_keys_are_null_with_a_reason_and_the_status_says_so(tmp_path: Path) -> None:
    status, out = accuracy("stress", "--data", str(tmp_path / "nowhere"))
    last = json.loads(out.splitlines()[-1])
    assert status == 1
    for key in owed("stress"):
        assert last[key] is None and "nowhere" in last["missing"][key]
    assert last["encoder"] and last["at"] and "cores" in last["machine"] and isinstance(last["quiet"], bool)


def test_a_quick_run_ends_with_one_line_and_keeps_nothing(tmp_path: Path) -> None:
    status, out = accuracy("mind", "--quick", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path))
    last = json.loads(out.splitlines()[-1])
    assert status == 0 and last["missing"] == {} and last["benchmark"] == "accuracy"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [[], ["--all", "topic"], ["weather"], ["topic", "--store"], ["--all", "--quick", "--cards"]]
)
def test_what_makes_no_sense_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        arguments(argv)
    assert left.value.code == 2 and capsys.readouterr().err


def test_tasks_run_in_their_own_order_once() -> None:
    assert arguments(["words", "topic", "topic"]).tasks == ["topic", "words"]
    assert arguments(["--all"]).tasks == list(TASKS) == arguments(["--quick"]).tasks


def test_the_table_says_what_was_reached() -> None:
    text = shown({"topic.natcs": Figure(0.98, 0.97, 0.99, 913, "five folds")}, {"topic.learn_s": None})
    assert "≥ 0.97 ✓" in text and "0.970 to 0.990" in text and "913" in text and "five folds" in text
    assert "✗" in shown({"mind.p50_ms": Figure(9.0, 8.9, 9.1, 300, "")}, {})


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200))
def test_every_judgement_is_in_one_bin(judgements: list[tuple[float, bool]]) -> None:
    probability = np.array([p for p, _ in judgements])
    right = np.array([r for _, r in judgements])
    bins = calibration.binned(probability, right)
    assert sum(each.n for each in bins) == len(judgements)
    assert sum(each.n * each.right for each in bins) == pytest.approx(right.sum())
    assert sum(each.n * each.sure for each in bins) == pytest.approx(probability.sum())
    ET.fromstring(calibration.svg("x", probability, right))


@pytest.mark.parametrize(("probability", "right"), [([0.5], []), ([], []), ([1.5], [True]), ([float("nan")], [True])])
def test_what_is_no_probability_is_not_drawn(probability: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        calibration.binned(np.array(probability), np.array(right, dtype=bool))


def test_a_plot_is_plain_and_readable_in_light_and_dark(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(1_000)
    path = calibration.write(tmp_path, "next_action", probability, rng.random(1_000) < probability)
    text = path.read_text("utf-8")
    drawn = ET.fromstring(text)
    assert path.name == "next_action-calibration.svg"
    assert len(drawn.findall("{*}circle")) == calibration.BINS
    assert "prefers-color-scheme:dark" in text and "1000 judgements" in text
    assert "<script" not in text and "href" not in text and "url(" not in text
    odd = calibration.svg('<a & "b">', probability, probability < 0.5)
    assert ET.fromstring(odd).get("aria-label", "").startswith('<a & "b">')


def test_no_judge_of_a_first_turn_can_tell_equal_greetings_apart() -> None:
    calls = [(["hi", "a flight"], "airline"), (["hi", "a seat"], "airline"), (["hi", "a pizza"], "fastfood")]
    assert most_from_first(calls) == pytest.approx(2 / 3)
    assert most_from_first([*calls, (["one pizza"], "fastfood")]) == pytest.approx(3 / 4)


def test_what_one_speaker_says_ten_times_makes_nobody_surer() -> None:
    rng = np.random.default_rng(1)
    once = rng.random(200) < 0.7
    tenfold, whose = np.repeat(once, 10), np.repeat(np.arange(200), 10)
    plain, narrow, honest = share(once, "each once"), share(tenfold, "ten times"), share(tenfold, "by speaker", whose)
    assert narrow.high - narrow.low < 0.5 * (plain.high - plain.low)
    assert honest.high - honest.low == pytest.approx(plain.high - plain.low, rel=0.15)
    assert honest.value == plain.value
    assert honest.n == 2_000
