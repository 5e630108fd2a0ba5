"""Kernel ridge: what it leaves out is what it would have said, equal rows may be counted, anchors stand for many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import kernel_ridge
from models.kernel_ridge import Rows, fit


def rows(seed: int, n: int, classes: int = 3, wide: int = 8) -> tuple[Rows, Rows]:
    """Unit rows about `classes` directions, and which of them each is about."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(classes, wide))
    owner = rng.integers(classes, size=n)
    vectors = middle[owner] + 0.5 * rng.normal(size=(n, wide))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.eye(classes, dtype=np.float32)[owner]


def ones(n: int) -> Rows:
    return np.ones(n, dtype=np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 20))
def test_what_is_left_out_is_what_a_fit_without_it_says(seed: int, n: int) -> None:
    vectors, targets = rows(seed, n)
    weights = np.random.default_rng(seed).uniform(0.5, 3.0, n).astype(np.float32)
    _, held_out = fit(vectors, targets, weights, ones(n))
    for row in range(n):
        others = np.arange(n) != row
        model, _ = fit(vectors[others], targets[others], weights[others], ones(n - 1))
        assert model(vectors[row : row + 1])[0] == pytest.approx(held_out[row], abs=2e-3)


@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_many_rows_are_inverted_as_exactly_as_few(weight: float) -> None:
    vectors, targets = rows(7, 700, wide=40)
    vectors[350:] = vectors[:350]
    importance = np.random.default_rng(7).uniform(1.0, weight, 700).astype(np.float32)
    model, held_out = fit(vectors, targets, importance, ones(700))
    kernel = np.exp(-kernel_ridge.WIDTH * (1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)))
    exact = np.linalg.inv(kernel + np.diag(kernel_ridge.RIDGE / importance.astype(np.float64)))
    assert model(vectors) == pytest.approx(kernel @ exact @ targets, abs=0.01)
    assert held_out == pytest.approx(targets - (exact @ targets) / np.diag(exact)[:, None], abs=0.01)


def test_copies_stand_for_equal_rows() -> None:
    vectors, targets = rows(1, 12)
    copies = np.array([3, *[1] * 11], dtype=np.float32)
    counted, _ = fit(vectors, targets, copies, copies)
    again = np.concatenate([vectors, vectors[:1], vectors[:1]])
    written_out, left = fit(again, np.concatenate([targets, targets[:1], targets[:1]]), ones(14), ones(14))
    assert counted(vectors) == pytest.approx(written_out(vectors), abs=1e-3)
    _, held_out = fit(vectors, targets, copies, copies)
    assert held_out[0] == pytest.approx(left[0], abs=1e-3), "one of three left out, not all"


def test_anchors_stand_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, targets = rows(2, 300)
    exact, left = fit(vectors, targets, ones(300), ones(300))
    monkeypatch.setattr(kernel_ridge, "MOST_EXACT", 299)
    monkeypatch.setattr(kernel_ridge, "ANCHORS", 200)
    model, held_out = fit(vectors, targets, ones(300), ones(300))
    assert len(model.anchors) == 200
    assert np.abs(model(vectors) - exact(vectors)).mean() < 0.02
    assert np.abs(held_out - left).mean() < 0.05
    assert (held_out.argmax(axis=1) == left.argmax(axis=1)).mean() > 0.97


def test_equal_rows_by_the_hundred_do_not_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.repeat(rows(3, 2)[0], 100, axis=0)
    targets = np.repeat(np.eye(2, dtype=np.float32), 100, axis=0)
    monkeypatch.setattr(kernel_ridge, "MOST_EXACT", 150)
    monkeypatch.setattr(kernel_ridge, "ANCHORS", 100)
    model, held_out = fit(vectors, targets, ones(200), ones(200))
    assert (model(vectors).argmax(axis=1) == targets.argmax(axis=1)).all()
    assert np.isfinite(held_out).all()


def test_many_rows_without_a_width_are_fitted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, targets = rows(3, 300)
    weights = np.random.default_rng(3).uniform(0.5, 3.0, 300).astype(np.float32)
    exact, left = fit(vectors, targets, weights, ones(300), width=0, penalty=1.0)
    monkeypatch.setattr(kernel_ridge, "MOST_EXACT", 299)
    model, held_out = fit(vectors, targets, weights, ones(300), width=0, penalty=1.0)
    assert model(vectors) == pytest.approx(exact(vectors), abs=1e-3)
    assert held_out == pytest.approx(left, abs=1e-3)
