"""Conversations as numbers, several at a time: slots of tokens, rows of a table of sentence vectors, labels.

It knows neither what a token says nor what is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.next_action import VECTOR_SCALE

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation as numbers: t events, n decisions.

    `vectors` and `spoken` point into a table of sentence vectors whose last row is zeros (nothing was said).
    """

    events: Sequence[Ints]  # t lists of slots
    vectors: Ints  # (t,)
    states: Sequence[Ints]  # n lists of slots
    spoken: Ints  # (n, 2): the customer's newest turn and the one before
    at: Ints  # (n,): how many events went before
    labels: Ints  # (n,)


@dataclass(slots=True)
class Batch:
    """Several conversations padded to one length. A bag is (distinct slots u, shares of them (rows, u))."""

    events: tuple[Ints, Floats]  # rows: conversation-major, (b * t)
    heard: Floats  # (b * t, 384)
    states: tuple[Ints, Floats]  # (n, u)
    spoken: Floats  # (n, 768)
    who: Ints  # (n,)
    at: Ints  # (n,)
    labels: Ints  # (n,)
    length: int


def bag(lists: Sequence[Ints], drop: float, rng: np.random.Generator | None) -> tuple[Ints, Floats]:
    """The distinct slots of `lists`, and per list 1/sqrt(its length) for each slot it holds."""
    counts = np.array([len(one) for one in lists], dtype=np.int64)
    flat = np.concatenate([np.zeros(0, np.int64), *lists])
    owner = np.repeat(np.arange(len(lists)), counts)
    if rng is not None and drop:
        kept = rng.random(len(flat)) >= drop
        flat, owner = flat[kept], owner[kept]
        counts = np.bincount(owner, minlength=len(lists))
    distinct, column = np.unique(flat, return_inverse=True)
    shares = np.zeros((len(lists), len(distinct)), np.float32)
    shares[owner, column] = (1 / np.sqrt(np.maximum(counts, 1)))[owner]
    return distinct, shares


def batched(talks: Sequence[Talk], table: Floats, drop: float = 0.0, rng: np.random.Generator | None = None) -> Batch:
    length = max(1, max(int(talk.at[-1]) for talk in talks))
    nothing = np.zeros(0, np.int64)
    events: list[Ints] = []
    vectors = np.full((len(talks), length), len(table) - 1)
    for row, talk in enumerate(talks):
        own = list(talk.events[:length])
        events += own + [nothing] * (length - len(own))
        vectors[row, : len(own)] = talk.vectors[:length]
    spoken = np.concatenate([talk.spoken for talk in talks])
    return Batch(
        bag(events, drop, rng),
        table[vectors.ravel()] * VECTOR_SCALE,
        bag([state for talk in talks for state in talk.states], drop, rng),
        (table[spoken] * VECTOR_SCALE).reshape(len(spoken), -1),
        np.repeat(np.arange(len(talks)), [len(talk.at) for talk in talks]),
        np.concatenate([talk.at for talk in talks]),
        np.concatenate([talk.labels for talk in talks]),
        length,
    )
