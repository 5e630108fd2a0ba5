"""Learns how the search weighs its likenesses and when it stays silent: `python -m models.train search`.

It learns from the dev half of the project's own queries, clean and as they were heard, and measures nothing:
`python -m benchmarks.accuracy search` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from assist.knowledge import Knowledge
from assist.rank import Floats, Usual, Weights, probability
from assist.search import Found, Search
from assist.suggest import Guide
from models import encoder
from models.train import records
from models.train.queries import Query, heard, read

SILENT: Final = 0.84  # share of the dev half's clean queries without an answer that shall show nothing
RIDGE: Final = 1e-3  # of the order
SOFT: Final = 1e-5  # of the logistic regressions
STEPS: Final = 3_000
RATE: Final = 0.05
SHOWN: Final = 10  # candidates of a query that teach what an article's score means

Vector = NDArray[np.float64]


class Example(NamedTuple):
    """Candidates of one query and which of them answer; `answered`: whether any article does."""

    found: Found
    right: NDArray[np.bool_]
    answered: bool


class View(NamedTuple):
    """Examples from one knowledge base, and what it finds for sentences that no article answers."""

    examples: list[Example]
    outside: list[Found]


def views(knowledge: Knowledge) -> list[Knowledge]:
    """The knowledge base whole, without ways of asking, and without topics too: others' are poorer than ours."""

    def without(**nothing: tuple[str, ...]) -> Mapping[str, object]:
        return MappingProxyType(
            {key: msgspec.structs.replace(article, **nothing) for key, article in knowledge.articles.items()}
        )

    bare = replace(knowledge, articles=without(asked=(), topics=()), topics=MappingProxyType({}))  # type: ignore[arg-type]
    return [knowledge, replace(knowledge, articles=without(asked=())), bare]  # type: ignore[arg-type]


def examples(search: Search, knowledge: Knowledge, queries: Sequence[Query]) -> list[Example]:
    """What the search sees of each query. Queries of which nothing was heard teach nothing."""
    guide = Guide(knowledge, search)
    ids = list(knowledge.articles)
    seen = []
    for query in queries:
        found = search.candidates(guide.query(query.conversation()))
        if found is not None:
            right = np.array([ids[number] in query.articles for number in found.articles])
            seen.append(Example(found, right, bool(query.articles)))
    return seen


def order(taught: Sequence[Example]) -> Vector:
    """Weights >= 0 under which softmax gives most to the articles that answer: minus the mean log of their share."""
    useful = [example for example in taught if example.right.any()]
    most = max(len(example.right) for example in useful)
    likeness = np.zeros((len(useful), most, useful[0].found.likeness.shape[1]))
    right = np.zeros((len(useful), most))
    there = np.full((len(useful), most), -np.inf)
    for row, example in enumerate(useful):
        count = len(example.right)
        likeness[row, :count], right[row, :count], there[row, :count] = example.found.likeness, example.right, 0.0

    def slope(weights: Vector) -> Vector:
        scores = likeness @ weights + there
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        wanted = shares * right
        wanted /= wanted.sum(axis=1, keepdims=True)
        gradient: Vector = np.einsum("qa,qaf->f", shares - wanted, likeness) / len(useful)
        return gradient + 2 * RIDGE * weights

    return _descend(slope, np.ones(likeness.shape[2]))


def _descend(slope: Callable[[Vector], Vector], weights: Vector) -> Vector:
    """Adam (Kingma, Ba, ICLR 2015), kept at or above 0."""
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        gradient = slope(weights)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        weights = np.maximum(weights - RATE * (1 - step / STEPS) * move, 0.0)
    return weights


def logistic(features: Vector, right: NDArray[np.bool_], worth: Vector) -> Vector:
    """Weights of a logistic regression by Newton's method; `worth` of each row sums up to the number of rows."""
    weights = np.zeros(features.shape[1])
    keep = np.full(features.shape[1], SOFT * len(features))
    keep[0] = 1e-9
    for _ in range(50):
        chance = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (worth * (chance - right)) + keep * weights
        bend = (features * (worth * chance * (1 - chance))[:, None]).T @ features + np.diag(keep)
        weights = weights - np.linalg.solve(bend, slope)
    return weights


def _gate_rows(view: View, weights: Vector) -> Vector:
    """The gate's features of each of the view's examples."""
    usual = Usual.of(np.array([(found.likeness @ weights).max() for found in view.outside]))
    return np.array([[1.0, usual((e.found.likeness @ weights).max()), *e.found.scope] for e in view.examples])


def learn(whole: View, noisy: Sequence[Example], poorer: Sequence[View], name: str) -> Weights:
    """`whole`: clean examples; `noisy`: the same as they were heard; `poorer`: clean ones of poorer knowledge bases.

    The order is learnt from the first two, silence from the first and the last: what noise does to it is not what
    others' knowledge bases do.
    """
    ordered = order([*whole.examples, *noisy])
    clean = [whole, *poorer]
    rows = np.concatenate([_gate_rows(view, ordered) for view in clean])
    every = [example for view in clean for example in view.examples]
    answered = np.array([example.answered for example in every])
    # Even odds: how often callers say what no article answers differs from house to house.
    worth = np.where(answered, 0.5 / answered.mean(), 0.5 / (1 - answered.mean()))
    gate = logistic(rows, answered, worth)
    pairs, right, weight = [], [], []
    # What a score means is said for a knowledge base like ours, whose ways of asking are written down.
    for example, logit, each in zip(whole.examples, rows @ gate, worth, strict=False):
        scores = example.found.likeness @ ordered
        shares = scores - scores.max()
        shares -= np.log(np.exp(shares).sum())
        for at in np.argsort(-scores)[:SHOWN]:
            pairs.append((1.0, logit, shares[at]))
            right.append(example.right[at])
            weight.append(each)
    share = logistic(np.array(pairs), np.array(right), np.array(weight))
    chats = whole._replace(examples=[example for example in whole.examples if not example.answered])
    floor = probability(float(np.quantile(_gate_rows(chats, ordered) @ gate, SILENT)))
    return Weights(_floats(ordered), _floats(gate), _floats(share), floor, name)


def _floats(weights: Vector) -> Floats:
    return weights.astype(np.float32)


def main(argv: Sequence[str]) -> None:
    """Write `assist/rank.json` and one line of the log."""
    options = records.options("search", argv)
    encode = encoder.load()
    knowledge = Knowledge.load(records.ROOT / "knowledge_base")
    clean = [query for query in read() if query.part == "dev"]
    noisy, recogniser = heard(clean)
    taught: list[View] = []
    noise: list[Example] = []
    for view in views(knowledge):
        search = Search(view, encode)
        taught.append(View(examples(search, view, clean), search.outside))
        noise = noise or examples(search, view, noisy)
    weights = learn(taught[0], noise, taught[1:], encode.name)
    weights.write()
    note = f". {options.note}" if options.note else ""
    records.keep(f"search, {len(clean)} queries clean and heard by {recogniser}: floor {weights.floor:.3f}{note}")
