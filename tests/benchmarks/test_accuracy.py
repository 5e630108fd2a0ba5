"""No change loses accuracy in silence: what the repository itself can measure, against the figures stored with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.accuracy import stored
from benchmarks.accuracy.__main__ import measured
from benchmarks.accuracy.figures import Figure, Measured
from benchmarks.accuracy.keys import TASKS

MOST_S = 350.0  # a minute where a processor has VNNI for the int8 encoder; 209 s were seen on a busy one without


@pytest.fixture(scope="module")
def spent_s() -> Iterator[dict[str, float]]:
    """Task → processor seconds that its quick measure took; all of them together are held against the limit."""
    spent: dict[str, float] = {}
    yield spent
    # Processor time, children included: a busy machine must not fail this.
    assert sum(spent.values()) < MOST_S, f"the quick measures have become slow: {spent}"


@pytest.mark.timeout(600)  # a busy machine must not fail this either
@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_as_good_as_it_was(task: str, tmp_path: Path, spent_s: dict[str, float]) -> None:
    began = sum(os.times()[:4])
    found = measured(task, tmp_path / "no shared data", quick=True)
    spent_s[task] = sum(os.times()[:4]) - began
    assert isinstance(found, Measured), f"{task} could not be measured: {found}"
    wrong = stored.complaint(found.figures, stored.read(), task)
    assert not wrong, wrong


KEPT = {"topic.some": stored.Kept(0.90, 0.02), "topic.some_wrong": stored.Kept(0.10, 0.02)}


def figure(value: float, n: int = 100) -> Figure:
    return Figure(value, value - 0.05, value + 0.05, n, "made up")


def complaint(some: float, wrong: float) -> str:
    return stored.complaint({"topic.some": figure(some), "topic.some_wrong": figure(wrong)}, KEPT, "topic")


@pytest.mark.parametrize(
    ("some", "wrong", "fails"),
    [
        (0.90, 0.10, False),
        (0.885, 0.115, False),
        (0.99, 0.01, False),
        (0.87, 0.10, True),
        (0.90, 0.13, True),
        (float("nan"), 0.10, True),
    ],
)
def test_the_gate_can_fail(some: float, wrong: float, fails: bool) -> None:
    said = complaint(some, wrong)
    assert bool(said) == fails
    assert not fails or "python -m benchmarks.accuracy --quick --store topic" in said


def test_a_figure_that_is_gone_or_new_is_noticed() -> None:
    assert "no longer measured" in stored.complaint({"topic.some": figure(0.9)}, KEPT, "topic")
    assert "not stored" in stored.complaint({"stress.fresh": figure(0.5)}, KEPT, "stress")
    assert not stored.complaint({"stress.fresh": figure(0.5)}, {"stress.fresh": stored.Kept(0.5, 0.1)}, "stress")


def test_what_is_stored_is_read_back_and_other_tasks_stay(tmp_path: Path) -> None:
    file = tmp_path / "stored.toml"
    assert stored.read(file) == {}
    stored.write({"topic.some": figure(0.9), "stress.other": figure(0.8)}, "an encoder", file)
    stored.write({"topic.renamed": figure(0.7)}, "an encoder", file)
    kept = stored.read(file)
    assert set(kept) == {"topic.renamed", "stress.other"}, "a task's old keys go, the others' stay"
    assert kept["topic.renamed"].value == 0.7
    assert kept["topic.renamed"].tolerance == pytest.approx(0.05 / 1.96, abs=1e-3), "one standard error"
    stored.write({"topic.sure": Figure(1.0, 0.9999, 1.0, 9999, "")}, "an encoder", file)
    assert stored.read(file)["topic.sure"].tolerance == stored.LEAST
