"""Weights survive their file, chances stay chances, and a scope tells its inside from the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.rank import GATE, LIKENESS, SHARE, Floats, Scope, Usual, Weights, probability


def rows(*about: tuple[float, float, float]) -> Floats:
    found = np.array(about, dtype=np.float32)
    unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    shipped = Weights.read()
    assert (len(shipped.order), len(shipped.gate), len(shipped.share)) == (len(LIKENESS), len(GATE), len(SHARE))
    shipped.write(tmp_path / "rank.json")
    again = Weights.read(tmp_path / "rank.json")
    for part in ("order", "gate", "share"):
        assert np.allclose(getattr(again, part), getattr(shipped, part))
    assert (again.floor, again.encoder) == (shipped.floor, shipped.encoder)
    assert (shipped.order >= 0).all()
    assert 0 < shipped.floor < 1


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=5), st.floats(-1000, 1000))
def test_scores_become_chances_in_the_same_order(scores: list[float], answered: float) -> None:
    each = Weights.read().each(np.array(scores, dtype=np.float32), answered)
    assert ((each >= 0) & (each <= 1)).all()
    assert all(each[a] >= each[b] for a in range(len(scores)) for b in range(len(scores)) if scores[a] > scores[b])


def test_probability_does_not_overflow() -> None:
    assert probability(-1e6) == 0.0
    assert probability(1e6) == 1.0
    assert probability(0.0) == 0.5


def test_a_scope_tells_inside_from_outside() -> None:
    inside, outside = rows((1, 0, 0), (1, 0.2, 0)), rows((0, 0, 1), (0, 0.2, 1), (0.1, 0, 1))
    near, far = Scope(inside, outside)(rows((1, 0.1, 0), (0, 0.1, 1)))
    assert near > 2.0
    assert abs(far) < near


@pytest.mark.parametrize("empty", [0, 1])
def test_a_scope_of_one_side_tells_nothing(empty: int) -> None:
    sides = [rows((1, 0, 0)), rows((0, 1, 0))]
    sides[empty] = sides[empty][:0]
    assert Scope(*sides)(rows((1, 0, 0), (0, 1, 0))).tolist() == [0.0, 0.0]


def test_what_is_usual_is_measured_in_spreads() -> None:
    usual = Usual.of(np.array([1.0, 3.0]))
    assert usual(4.0) == 2.0
    assert Usual.of(np.zeros(0))(0.7) == 0.7
