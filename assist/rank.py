"""What a search has learnt: how much each likeness weighs, and when nothing answers.

It knows no article and no encoder, only their vectors. `python -m models.train search` learns the weights anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assist.errors import ModelMissing

Floats = NDArray[np.float32]
Vector = NDArray[np.floating[Any]]

LIKENESS: Final = ("asked", "asked_three", "passage", "head", "topic", "words", "letters")
"""Cosine of the nearest way of asking, of the nearest three, of the nearest passage, of title and keywords, of the
topic's nearest three examples; shares of the words and of the letters."""
GATE: Final = ("one", "best", "call", "turn")
"""A constant; the best article's score and the scope of the whole query and of its newest turn, each in spreads of what
is outside."""
SHARE: Final = ("one", "answered", "share")
"""A constant, the log odds that some article answers, and the log of an article's share among the candidates."""
SHIPPED: Final = Path(__file__).with_name("rank.json")


@dataclass(frozen=True, slots=True)
class Weights:
    """`order` over LIKENESS, `gate` over GATE, `share` over SHARE; shapes (7,), (4,), (3,).

    `encoder`: the name of the encoder whose cosines they weigh. `floor`: the probability that some article answers
    from which on something is shown.
    """

    order: Floats
    gate: Floats
    share: Floats
    floor: float
    encoder: str

    @classmethod
    def read(cls, path: Path = SHIPPED) -> Weights:
        """Raises ModelMissing where the file is absent or damaged."""
        try:
            kept = json.loads(path.read_text("utf-8"))
            order, gate, share = (
                np.array([kept[name][key] for key in keys], dtype=np.float32)
                for name, keys in (("order", LIKENESS), ("gate", GATE), ("share", SHARE))
            )
            return cls(order, gate, share, float(kept["floor"]), str(kept["encoder"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelMissing(
                f"the search needs {path}, which is damaged or not there ({type(error).__name__}: {error}): restore it "
                f"with `git checkout -- assist/{path.name}` or train it with `python -m models.train search`"
            ) from error

    def write(self, path: Path = SHIPPED) -> None:
        def row(keys: tuple[str, ...], weights: Floats) -> dict[str, float]:
            return {key: round(float(weight), 4) for key, weight in zip(keys, weights, strict=True)}

        kept = {
            "encoder": self.encoder,
            "floor": round(self.floor, 4),
            "order": row(LIKENESS, self.order),
            "gate": row(GATE, self.gate),
            "share": row(SHARE, self.share),
        }
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")

    def answered(self, best: float, call: float, turn: float) -> float:
        """Log odds that some article answers."""
        return float(self.gate @ np.array([1.0, best, call, turn], dtype=np.float32))

    def each(self, scores: Floats, answered: float) -> Floats:
        """P(this article answers) of each candidate from their `scores`, shape (n,)."""
        most = float(scores.max())
        shares = scores - (most + math.log(float(np.exp(scores - most).sum())))
        logits: Floats = self.share[0] + self.share[1] * answered + self.share[2] * shares
        chances: Floats = 0.5 * (1 + np.tanh(0.5 * logits))
        return chances


def probability(logit: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + math.tanh(0.5 * logit))


class Scope:
    """Tells what a knowledge base is about from what callers say that is about nothing in it.

    Kernel ridge regression in closed form (Saunders, Gammerman, Vovk, ICML 1998) from inside to outside, both sides
    weighing the same, with the kernel exp(4 (cosine - 1)).
    """

    WIDTH: Final = 4.0
    RIDGE: Final = 0.1
    AXES: Final = 256
    MOST: Final = 2_000  # of each side: the solution costs their cube

    def __init__(self, inside: Floats, outside: Floats) -> None:
        """Unit rows, shape (n, d) and (m, d). Where a side is empty nothing is told apart."""
        sides = [_thinned(side, self.MOST) for side in (inside, outside)]
        self._known = np.concatenate(sides)
        self._weights = np.zeros(len(self._known), dtype=np.float32)
        self._usual = Usual(0.0, 1.0)
        if all(map(len, sides)):
            half = len(self._known) / 2
            kernel = np.exp(self.WIDTH * (self._known @ self._known.T - 1)).astype(np.float64)
            kernel[np.diag_indices_from(kernel)] += np.repeat(
                [self.RIDGE * len(side) / half for side in sides], [len(side) for side in sides]
            )
            target = np.repeat([0.5, -0.5], [len(side) for side in sides])
            # The columns of the kernel's inverse that belong to what is outside, and the solution beside them.
            strangers = np.eye(len(kernel))[:, len(sides[0]) :]
            solved = np.linalg.solve(kernel, np.column_stack([target, strangers]))
            weights, own = solved[:, 0], np.diag(solved[len(sides[0]) :, 1:])
            # What each one outside would be taken for if it had not been known.
            unknown = target[len(sides[0]) :] - weights[len(sides[0]) :] / own
            self._weights = weights.astype(np.float32)
            self._usual = Usual.of(unknown)
        # Its rows are read whole for each query; most of what they say lies in a few directions.
        _, axes = np.linalg.eigh(self._known.T @ self._known)
        self._axes: Floats = np.ascontiguousarray(axes[:, -self.AXES :])
        self._known = np.asfortranarray(self._known @ self._axes)

    def __call__(self, vectors: Floats) -> Floats:
        """How far inside, in spreads of what is outside, for rows (n, d): shape (n,)."""
        # A row at a time, columns together: of the ways to multiply two rows with thousands by far the quickest.
        cosines = np.stack([self._known @ row for row in vectors @ self._axes])
        found: Floats = np.exp(self.WIDTH * (cosines - 1)) @ self._weights
        return (found - np.float32(self._usual.mean)) / np.float32(self._usual.spread)


class Usual(NamedTuple):
    """How a score is spread over what lies outside a knowledge base: what is high in one is low in another."""

    mean: float
    spread: float

    @classmethod
    def of(cls, scores: Vector) -> Usual:
        return cls(float(scores.mean()), max(float(scores.std()), 1e-6)) if len(scores) else cls(0.0, 1.0)

    def __call__(self, score: float) -> float:
        return (score - self.mean) / self.spread


def _thinned(rows: Floats, most: int) -> Floats:
    """At most `most` rows, spread evenly."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
