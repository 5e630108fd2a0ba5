"""Kernel ridge regression over unit vectors, solved at once, with what it would say of each row had it not seen it.

It knows neither topics nor texts: rows in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

WIDTH: Final = 3.0  # flat from 1.5 to 5, and so is
RIDGE: Final = 0.1  # from 0.05 to 0.4, whether a class has 10 examples or 100 (models/LOG.md)
MOST_EXACT: Final = 6_000  # above it time would grow with the cube of the rows, memory with their square
ANCHORS: Final = 6_000
_JITTER: Final = 1e-4  # nearly equal sentences would make the anchors' matrix singular in float32
_LEAST_LEFT: Final = 1e-3
_SMALL: Final = 256  # rows that are inverted at once


@dataclass(frozen=True, slots=True)
class KernelRidge:
    """f(x) = sum_i k(x, anchor_i) coefficient_i, k(x, y) = exp(-width (1 - x.y)), or x.y where width is 0."""

    anchors: Rows  # (m, d), unit rows; kept by columns, which a product with one row reads fastest
    coefficients: Rows  # (m, c)
    width: float = WIDTH

    def __call__(self, vectors: Rows) -> Rows:
        """Values at unit rows (n, d): shape (n, c)."""
        return self.of(vectors @ self.anchors.T)

    def of(self, cosines: Rows) -> Rows:
        """The same of unit rows whose cosines with the anchors are known: (n, m) to (n, c)."""
        values: Rows = _bent(cosines.copy(), self.width) @ self.coefficients
        return values


def fit(
    vectors: Rows, targets: Rows, importance: Rows, copies: Rows, *, width: float = WIDTH, penalty: float = RIDGE
) -> tuple[KernelRidge, Rows]:
    """Least squares of `targets` (n, c), and the leave-one-out values (n, c).

    Row i weighs `importance[i]` > 0 and stands for `copies[i]` >= 1 equal ones, whose targets it averages; one of
    them is left out at a time. With K the kernel's matrix, W the weights and h the diagonal of the hat matrix
    K (K + penalty W^-1)^-1, that value is y - (y - f) / (1 - h / copies) (Rasmussen and Williams, Gaussian Processes,
    2006, 5.4.2). Above MOST_EXACT rows the kernel is approximated by ANCHORS of them (Nyström), always the same;
    without a width nothing is: the rows are their own features.
    """
    if len(vectors) <= MOST_EXACT:
        ridge: Rows = (penalty / importance).astype(np.float32)
        kernel = _kernel(vectors, vectors, width).astype(np.float64)
        kernel.flat[:: len(kernel) + 1] += ridge
        inverse: Rows = _inverse(kernel).astype(np.float32)
        coefficients: Rows = inverse @ targets
        fitted = targets - ridge[:, None] * coefficients
        share = 1 - ridge * np.diag(inverse)
        model = KernelRidge(np.asfortranarray(vectors), coefficients, width)
    else:
        anchors, to_features, features = _features(vectors, width)
        weighted: Rows = features * importance[:, None]
        unit = np.eye(features.shape[1], dtype=np.float32)
        inverse = np.linalg.inv(weighted.T @ features + penalty * unit).astype(np.float32)
        primal: Rows = inverse @ (weighted.T @ targets)
        fitted = features @ primal
        share = ((weighted @ inverse) * features).sum(axis=1)
        model = KernelRidge(np.asfortranarray(anchors), to_features @ primal, width)
    left = np.maximum(1 - share / copies, _LEAST_LEFT)
    return model, targets - (targets - fitted) / left[:, None]


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a symmetric, positive definite matrix, by halves: half as many products as numpy's general inverse takes.

    In float32 digits would be lost at each half.
    """
    if len(matrix) <= _SMALL:
        return np.asarray(np.linalg.inv(matrix))
    half = len(matrix) // 2
    first = _inverse(matrix[:half, :half])
    across = first @ matrix[:half, half:]
    last = _inverse(matrix[half:, half:] - matrix[half:, :half] @ across)
    both = across @ last
    return np.block([[first + both @ across.T, -both], [-both.T, last]])


def _features(vectors: Rows, width: float) -> tuple[Rows, Rows, Rows]:
    """Anchors, what makes features of the kernel with them, and the features of `vectors`."""
    if not width:
        unit = np.eye(vectors.shape[1], dtype=np.float32)
        return unit, unit, vectors
    anchors = vectors[np.sort(np.random.default_rng(0).choice(len(vectors), ANCHORS, replace=False))]
    jitter = _JITTER * np.eye(ANCHORS, dtype=np.float32)
    to_features: Rows = np.linalg.inv(np.linalg.cholesky(_kernel(anchors, anchors, width) + jitter)).T
    return anchors, to_features, _kernel(vectors, anchors, width) @ to_features


def _kernel(a: Rows, b: Rows, width: float) -> Rows:
    return _bent(a @ b.T, width)


def _bent(cosines: Rows, width: float) -> Rows:
    """The kernel of `cosines`, in their place."""
    if not width:
        return cosines
    cosines -= 1
    cosines *= width
    return np.exp(cosines, out=cosines)
