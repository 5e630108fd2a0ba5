"""A measured share or score with its confidence interval, and what one module of this package gives back.

It knows no model and no data set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Z: Final = 1.959964  # both tails of 95%


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value of `n` rows; `low` and `high` bound its 95% confidence interval.

    `split` says on what, in a few words, and what of it somebody has looked at when choosing.
    """

    value: float
    low: float
    high: float
    n: int
    split: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What one module found.

    `figures`: key of the final JSON line → figure. `tables`: ready to print. `calibration`: name of a plot →
    (probability given, whether it was right), both of shape (n,), from data the calibration has not seen.
    `extra`: figures without an interval (latencies, sizes), key → number.
    """

    figures: Mapping[str, Figure]
    tables: Sequence[str] = ()
    calibration: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]] = field(default_factory=dict)
    extra: Mapping[str, float | None] = field(default_factory=dict)


Groups = Sequence[Hashable] | NDArray[Any]
"""Whose each row is, shape (n,): a speaker's, a dialogue's. Rows of one are alike, so an interval over rows would be
too narrow; it is taken over groups."""


def share(right: Sequence[bool] | NDArray[Any], split: str, of: Groups | None = None) -> Figure:
    """How many of `right` are true, with Wilson's score interval (JASA 22, 1927); with `of`, with `bootstrap`'s.

    Raises ValueError of none.
    """
    n = len(right)
    if not n:
        raise ValueError(f"nothing to measure on: {split}")
    if of is not None:
        return bootstrap(lambda column: float(column.mean()), np.asarray(right, dtype=float), split=split, of=of)
    p = float(np.mean(np.asarray(right, dtype=float)))
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return Figure(p, middle - half, middle + half, n, split)


def bootstrap(
    statistic: Callable[..., float],
    *columns: NDArray[Any],
    split: str,
    of: Groups | None = None,
    rounds: int = 400,
    seed: int = 0,
) -> Figure:
    """`statistic(*columns)` with the percentile bootstrap's interval over rows drawn anew together (Efron 1979).

    With `of` whole groups are drawn (the cluster bootstrap: Davison and Hinkley 1997, 3.8).
    """
    n = len(columns[0])
    rows_of = None if of is None else _rows_of(of)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        if rows_of is None:
            rows = rng.integers(0, n, n)
        else:
            rows = np.concatenate([rows_of[k] for k in rng.integers(0, len(rows_of), len(rows_of))])
        drawn.append(statistic(*(column[rows] for column in columns)))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Figure(float(statistic(*columns)), float(low), float(high), n, split)


def _rows_of(groups: Groups) -> list[NDArray[np.intp]]:
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return [np.array(each, dtype=np.intp) for each in rows.values()]


def macro_f1(truth: NDArray[Any], named: NDArray[Any]) -> float:
    """Mean over the classes of `truth` of 2PR/(P+R)."""
    scores = []
    for label in np.unique(truth):
        hit = float(np.sum((truth == label) & (named == label)))
        wrong = float(np.sum((truth == label) != (named == label)))
        scores.append(2 * hit / (2 * hit + wrong) if hit else 0.0)
    return float(np.mean(scores))


def auc(positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half (Mann-Whitney U)."""
    order = np.argsort(score, kind="stable")
    _, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = np.empty(len(score))
    ranks[order] = (ends - (counts - 1) / 2)[inverse]
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        return math.nan
    return float((ranks[positive].sum() - ups * (ups + 1) / 2) / (ups * downs))


def calibration_error(probability: NDArray[np.floating[Any]], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017): weighted |accuracy - confidence| of equal-width bins."""
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            gap += float(abs(right[inside].mean() - probability[inside].mean()) * inside.mean())
    return gap
