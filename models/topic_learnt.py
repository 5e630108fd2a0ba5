"""Topics learnt from phrases: sentence vectors to P(topic), and what is missing from 1 is P(none of them).

It knows no call and no turn: one vector is judged at a time, and what adds up over a call is another's business.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.kernel_ridge import KernelRidge, Rows, fit

Encode = Callable[[Sequence[str]], Rows]
Floats = NDArray[np.float64]

SLOTS: Final = 4_096
MAX_CHARACTERS: Final = 1_000
NEAREST: Final = 5
WORDS_PENALTY: Final = 1.0
_MEANING: Final = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 17.0, 20.0, 25.0, 32.0, 45.0)
_WORDING: Final = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_STEPS: Final = 25
_SIGNS: Final = (1.0, -1.0, 1.0)  # which way each of `_gate_features` may speak for a topic
# Of a few examples, one left out, nothing can be learnt: a topic of one has none left. What holds for topics of one to
# three phrases (ours, clinc150's and natcs_insurance's: models/LOG.md) stands in, the less the more examples there are.
_USUAL_GATE: Final = (16.0, 0.0, 0.5, -6.0)  # of values over the sum of the factors
ENOUGH: Final = 10  # examples of each topic, from which on it counts for nothing


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
    meaning: KernelRidge
    wording: Rows  # (SLOTS, k + 1) linear
    rarity: Rows  # (SLOTS,) what a word slot weighs
    factors: tuple[float, float]  # of meaning and wording
    examples: int | Rows  # how many of the first anchors were said of a topic, or such unit vectors: (m, d)
    nearest: int  # how many of them tell how near a text is
    gate: Floats | None  # (4,) logistic over `_gate_features`; None: all is in scope

    @property
    def rejects(self) -> bool:
        """Whether anything can be out of scope."""
        return self.gate is not None

    def probabilities(self, rows: Rows) -> Floats:
        """P(topic) for rows of `read`, shape (n, k); what is missing from 1 in a row is P(none).

        P(topic j | x) = gate(x) * softmax(v(x))_j, v = factor * meaning + factor * wording: a product of two judges.
        """
        vectors, words = rows[:, :-SLOTS], _weighed(rows[:, -SLOTS:], self.rarity)
        cosines = vectors @ self.meaning.anchors.T
        values = self.factors[0] * self.meaning.of(cosines) + self.factors[1] * (words @ self.wording)
        which = softmax(values[:, :-1].astype(np.float64))
        if self.gate is None:
            return which
        known = cosines[:, : self.examples] if isinstance(self.examples, int) else vectors @ self.examples.T
        near = _nearest(known, self.nearest)
        return _sigmoid(_gate_features(values, near) @ self.gate)[:, None] * which


def read(encode: Encode, texts: Sequence[str]) -> Rows:
    """What there is to read in `texts`, shape (n, d + SLOTS): d numbers of meaning, of length 1 together, and words.

    Where the encoder has two readings, what a text is about and what its speaker wants (`intents`), both stand side by
    side and a cosine is the mean of the two; on topics the encoder was not tuned on neither alone is as good
    (models/LOG.md). Words, neighbouring pairs and the words' stretches of three letters, which survive misspelling and
    mishearing, are hashed to slots with a sign (Weinberger et al., ICML 2009).
    """
    about = encode(texts)
    intents: Encode | None = getattr(encode, "intents", None)
    parts = [about] if intents is None else [about / np.sqrt(2), intents(texts) / np.sqrt(2)]
    words = np.zeros((len(texts), SLOTS), dtype=np.float32)
    for row, text in enumerate(texts):
        slots, signs = _slots(text)
        np.add.at(words[row], slots, signs)
    return np.concatenate([*parts, words], axis=1).astype(np.float32)


def _slots(text: str) -> tuple[NDArray[np.intp], Rows]:
    words = re.findall(r"[a-z0-9']+", text[:MAX_CHARACTERS].lower())
    pairs = (f"{left} {right}" for left, right in pairwise(words))
    threes = (
        f"#{edged[begin : begin + 3]}" for edged in (f"<{word}>" for word in words) for begin in range(len(edged) - 2)
    )
    hashed = [zlib.crc32(gram.encode()) for gram in {*words, *pairs, *threes}]
    slots = np.array([each % SLOTS for each in hashed], dtype=np.intp)
    return slots, np.array([1.0 if each & 0x80000000 else -1.0 for each in hashed], dtype=np.float32)


def _weighed(words: Rows, rarity: Rows) -> Rows:
    """Rows of word slots, each slot weighed by its rarity, as unit rows; a row without words stays zero."""
    rows: Rows = words * rarity
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows


def _rarity(words: Rows) -> Rows:
    """Inverse document frequency, log((1 + n) / (1 + n_slot)) (Sparck Jones 1972, smoothed)."""
    rarity: Rows = np.log((1 + len(words)) / (1 + (words != 0).sum(axis=0))).astype(np.float32)
    return rarity


def learn(
    encode: Encode, topics: Sequence[Topic], others: Sequence[str], alike: float = 2.0, outside: float = 0.5
) -> Learnt:
    """Fit from each topic's examples and its label with description, against `others`, which belong to no topic.

    Those of `others` whose cosine with an example is `alike` or more are left out: what is small talk for one
    house is the business of another. Without `others` nothing is out of scope. Factors and gate are calibrated
    on leave-one-out values, so that the examples do not vouch for themselves; the gate as if the share `outside`
    of what is said were out of scope, and from less than ten examples a topic only in part. Raises ValueError
    without topics.
    """
    if not topics:
        raise ValueError("topics need at least one topic")
    texts, counts = _counted(topics, others)
    rows = read(encode, texts)
    vectors = rows[:, :-SLOTS]
    about: NDArray[np.bool_] = counts[:, :-1].sum(axis=1) > 0
    kept = about.copy()
    kept[~about] = (vectors[~about] @ vectors[about].T).max(axis=1, initial=-1.0) < alike
    rows, counts, about = rows[kept], counts[kept], about[kept]
    vectors = np.ascontiguousarray(rows[:, :-SLOTS])
    copies: Rows = counts.sum(axis=1)
    targets: Rows = counts / copies[:, None]
    scope: Floats = 1.0 - targets[:, -1].astype(np.float64)
    rejects = bool(counts[:, -1].any())
    # Where others are few they count for more than their number, for less where they are many.
    more = np.sqrt((copies * scope).sum() / (copies * (1 - scope)).sum()) if rejects else 1.0
    importance: Rows = (copies * (1 + (more - 1) * (1 - scope))).astype(np.float32)
    rarity = _rarity(rows[:, -SLOTS:])
    meaning, meant = fit(vectors, targets, importance, copies)
    words = _weighed(rows[:, -SLOTS:], rarity)
    linear, worded = fit(words, targets, importance, copies, width=0, penalty=WORDS_PENALTY)
    wording = linear.anchors.T @ linear.coefficients  # a kernel without width folds into one matrix
    factors = _factors(meant[about, :-1], worded[about, :-1], (copies[:, None] * targets[:, :-1])[about])
    held_out = factors[0] * meant + factors[1] * worded
    count = int(about.sum())  # of the first rows: what is said of a topic comes before all else
    nearest = min(NEAREST, max(1, count // len(topics) - 1))
    gate = None
    if rejects:
        near = _nearest_other(vectors, count, nearest)
        gate = _gate(_gate_features(held_out, near), scope, copies)
        usual = np.array(_USUAL_GATE) / (sum(factors), sum(factors), 1, 1)
        known = min(1.0, (sum(len(topic.examples) for topic in topics) / len(topics) - 1) / (ENOUGH - 1))
        gate = known * gate + (1 - known) * usual
        gate[-1] += np.log((1 - outside) / outside)
    # As the anchors by columns: one turn at a time is held against them.
    examples = count if len(meaning.anchors) == len(vectors) else np.asfortranarray(vectors[:count])
    return Learnt(tuple(topic.id for topic in topics), meaning, wording, rarity, factors, examples, nearest, gate)


def _nearest(cosines: Rows, count: int) -> Rows:
    """Mean of the `count` highest of each row, shape (n,)."""
    means: Rows = np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
    return means


def _nearest_other(vectors: Rows, examples: int, count: int) -> Rows:
    """Mean cosine of each row with the `count` most alike of the first `examples` rows, itself left out; shape (n,)."""
    means = np.zeros(len(vectors), dtype=np.float32)
    for begin in range(0, len(vectors), 1024):
        cosines = vectors[begin : begin + 1024] @ vectors[:examples].T
        own = np.arange(begin, min(begin + len(cosines), examples))
        cosines[own - begin, own] = -1.0
        means[begin : begin + 1024] = _nearest(cosines, count)
    return means


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


def _gate_features(values: Rows, near: Rows) -> Floats:
    """(n, 4): the highest topic's value, everything else's, how near the nearest examples are, 1."""
    features: Floats = np.stack([values[:, :-1].max(axis=1), values[:, -1], 10 * near, np.ones(len(values))], axis=1)
    return features.astype(np.float64)


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))


def _factors(meant: Rows, worded: Rows, wanted: Rows) -> tuple[float, float]:
    """The two factors that make softmax(a * meant + b * worded) likeliest for held-out rows, `wanted` of each."""

    def loss(a: float, b: float) -> float:
        return float(-(wanted * np.log(np.maximum(softmax(a * meant + b * worded), 1e-9))).sum())

    return min(product(_MEANING, _WORDING), key=lambda factors: loss(*factors))


def _gate(rows: Floats, target: Floats, copies: Rows) -> Floats:
    """The logistic regression (4,) in which nothing speaks against itself: a feature whose weight would have the wrong
    sign is left out, one after the other, the worst first."""
    signs = np.array(_SIGNS)
    used = np.ones(rows.shape[1], dtype=bool)
    weights = np.zeros(rows.shape[1])
    while True:
        weights[:] = 0.0
        weights[used] = _logistic(rows[:, used], target, copies)
        wrong = signs * weights[:-1]
        if wrong.min() >= 0:
            return weights
        used[int(wrong.argmin())] = False


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
