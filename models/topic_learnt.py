"""Topics learnt from phrases: sentence vectors to P(topic), and what is missing from 1 is P(none of them).

It knows no call and no turn: one vector is judged at a time, and what adds up over a call is another's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.kernel_ridge import KernelRidge, Rows, fit

Encode = Callable[[Sequence[str]], Rows]
Floats = NDArray[np.float64]

_FACTORS: Final = np.geomspace(2.0, 64.0, 61)
_STEPS: Final = 25


class Topic(Protocol):
    """What a topic must have to be learnt."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def examples(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Learnt:
    """`values` has a column for each topic (1 on its examples, 0 elsewhere) and one for everything else."""

    ids: tuple[str, ...]
    values: KernelRidge
    temperature: float
    gate: Floats | None  # (3,) logistic over (highest topic's value, everything else's value, 1); None: all is in scope

    @property
    def rejects(self) -> bool:
        """Whether anything can be out of scope."""
        return self.gate is not None

    def probabilities(self, vectors: Rows) -> Floats:
        """P(topic) per unit vector, shape (n, k); what is missing from 1 in a row is P(none).

        P(topic j | x) = gate(x) * softmax(temperature * values(x))_j.
        """
        values = self.values(vectors).astype(np.float64)
        which = softmax(self.temperature * values[:, :-1])
        return which if self.gate is None else _sigmoid(_gate_features(values) @ self.gate)[:, None] * which


def read(encode: Encode, texts: Sequence[str]) -> Rows:
    """What an encoder reads in `texts`, shape (n, d), each of length 1.

    Where it has two readings, what a text is about and what its speaker wants (`intents`), both stand side by
    side and a cosine is the mean of the two; on topics the encoder was not tuned on neither alone is as good
    (models/LOG.md).
    """
    about = encode(texts)
    intents: Encode | None = getattr(encode, "intents", None)
    if intents is None:
        return about
    both: Rows = np.concatenate([about, intents(texts)], axis=1)
    both /= np.sqrt(2)
    return both


def learn(encode: Encode, topics: Sequence[Topic], others: Sequence[str], alike: float = 2.0) -> Learnt:
    """Fit from each topic's examples and its label with description, against `others`, which belong to no topic.

    Those of `others` whose cosine with an example is `alike` or more are left out: what is small talk for one
    house is the business of another. Without `others` nothing is out of scope. Temperature and gate are
    calibrated on leave-one-out values, so that the examples do not vouch for themselves; the gate as if half
    of what is said were out of scope. Raises ValueError without topics.
    """
    if not topics:
        raise ValueError("topics need at least one topic")
    texts, counts = _counted(topics, others)
    vectors = read(encode, texts)
    about: NDArray[np.bool_] = counts[:, :-1].sum(axis=1) > 0
    kept = about.copy()
    kept[~about] = (vectors[~about] @ vectors[about].T).max(axis=1, initial=-1.0) < alike
    vectors, counts, about = vectors[kept], counts[kept], about[kept]
    copies: Rows = counts.sum(axis=1)
    targets: Rows = counts / copies[:, None]
    scope: Floats = 1.0 - targets[:, -1].astype(np.float64)
    rejects = bool(counts[:, -1].any())
    # Where others are few they count for more than their number, for less where they are many.
    more = np.sqrt((copies * scope).sum() / (copies * (1 - scope)).sum()) if rejects else 1.0
    importance: Rows = (copies * (1 + (more - 1) * (1 - scope))).astype(np.float32)
    values, left_out = fit(vectors, targets, importance, copies)
    held_out: Floats = left_out.astype(np.float64)
    temperature = _temperature(held_out[about, :-1], (copies[:, None] * targets[:, :-1])[about])
    gate = _logistic(_gate_features(held_out), scope, copies) if rejects else None
    return Learnt(tuple(topic.id for topic in topics), values, temperature, gate)


def _counted(topics: Sequence[Topic], others: Sequence[str]) -> tuple[list[str], Rows]:
    """The distinct texts, and how often each was said of each topic and, last column, of none: (n, k + 1)."""
    rows: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for column, topic in enumerate(topics):
        name = ". ".join(part for part in (topic.label, topic.description) if part)
        pairs += [(rows.setdefault(text, len(rows)), column) for text in (*topic.examples, name) if text]
    pairs += [(rows.setdefault(text, len(rows)), len(topics)) for text in others]
    counts = np.zeros((len(rows), len(topics) + 1), dtype=np.float32)
    np.add.at(counts, tuple(np.array(pairs).T), 1)
    return list(rows), counts


def softmax(rows: Floats) -> Floats:
    """exp(row) / its sum, per row."""
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _gate_features(values: Floats) -> Floats:
    return np.stack([values[:, :-1].max(axis=1), values[:, -1], np.ones(len(values))], axis=1)


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))


def _temperature(values: Floats, wanted: Rows) -> float:
    """The factor that makes softmax(factor * values) likeliest for the held-out rows, of which `wanted` there are."""
    losses = [-(wanted * np.log(np.maximum(softmax(factor * values), 1e-9))).sum() for factor in _FACTORS]
    return float(_FACTORS[int(np.argmin(losses))])


def _logistic(rows: Floats, target: Floats, copies: Rows) -> Floats:
    """Logistic regression by Newton's method with a touch of ridge, both sides of equal weight in all."""
    inside, outside = copies * target, copies * (1 - target)
    weight = len(rows) / 2 * (inside / inside.sum() + outside / outside.sum())
    weights = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        share = _sigmoid(rows @ weights)
        slope = rows.T @ (weight * (share - target)) + 1e-2 * weights
        bend = (rows * (weight * share * (1 - share))[:, None]).T @ rows + 1e-2 * np.eye(len(weights))
        weights = weights - np.linalg.solve(bend, slope)
    return weights
