"""What the call is about: one of the knowledge base's topics or "none", learnt at start from their examples.

It knows neither articles nor actions, and reads the customer's words only.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript
from assist.errors import ModelMissing

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
Floats = NDArray[np.float64]

BACKGROUND: Final = Path(__file__).resolve().parent / "weights" / "topic_background.txt"
THRESHOLD: Final = 0.4  # where about 5% of out-of-scope questions still pass for a topic (models/cards/topic.md)
TURNS: Final = 10
FADE: Final = 0.95  # what small talk leaves of a topic, per turn
REPLACE: Final = 0.65  # what a turn that is about something leaves of what was said before
LEAST_NONE: Final = 0.02  # no single turn is surer than this
MIN_WORDS: Final = 2
PIECE_WORDS: Final = 12
MAX_PIECES: Final = 3
MAX_WORDS: Final = 100
RIDGE: Final = 1.0


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
    """Mean directions of the topics, and a gate that tells "some topic" from everything else."""

    ids: tuple[str, ...]
    centroids: Floats  # (k, 384), unit rows
    temperature: float
    separator: Floats  # (385,) ridge regression, topic 1 against background 0, last is the constant
    gate: Floats  # (3,) logistic over (separator's value, nearest centroid's cosine, 1)

    def probabilities(self, vectors: Vectors) -> Floats:
        """P(topic) per vector, shape (n, k); what is missing from 1 in a row is P(none).

        P(topic j | x) = gate(x) * softmax(temperature * cosine(x, centroid))_j.
        """
        cosines = vectors.astype(np.float64) @ self.centroids.T
        gate = _sigmoid(_with_one(_gate_features(_with_one(vectors) @ self.separator, cosines)) @ self.gate)
        return gate[:, None] * _softmax(self.temperature * cosines)


def learn(encode: Encode, topics: Sequence[Topic], others: Sequence[str]) -> Learnt:
    """Fit from each topic's examples and its label with description, against `others`; well under 2 s for 25 topics.

    Temperature and gate are calibrated on leave-one-out values (closed form), so that the examples do not
    vouch for themselves. Raises ValueError without topics or background.
    """
    if not topics or not others:
        raise ValueError("topics need at least one topic and one background sentence")
    texts: list[str] = []
    owner: list[int] = []
    for number, topic in enumerate(topics):
        own = [*topic.examples, f"{topic.label}. {topic.description}"]
        texts += own
        owner += [number] * len(own)
    vectors = encode([*texts, *others]).astype(np.float64)
    about = vectors[: len(texts)]
    owners = np.array(owner)
    sums = np.stack([about[owners == number].sum(axis=0) for number in range(len(topics))])

    cosines = vectors @ _unit(sums).T
    rest = _unit(sums[owners] - about)  # each example against its own topic without it
    cosines[np.arange(len(texts)), owners] = (about * rest).sum(axis=1)
    temperature = _temperature(cosines[: len(texts)], owners)

    is_topic = np.arange(len(vectors)) < len(texts)
    separator, held_out = _ridge(_with_one(vectors), is_topic.astype(np.float64))
    gate = _logistic(_with_one(_gate_features(held_out, cosines)), is_topic.astype(np.float64))
    return Learnt(tuple(t.id for t in topics), _unit(sums), temperature, separator, gate)


class TopicAnalyser:
    """Finds what the call is about after each customer turn. Stateless: re-reads the last turns each time.

    A turn's odds for topic j, r_j = P_j / P_none, are the highest of the turn and its pieces (a request may
    hide in a long greeting), and g is the turn's highest sum of P_j. Over the customer's last turns, oldest
    first, S_j <- S_j * 0.95 * 0.65**g + log(1 + r_j), and P(j | call) = o_j / (1 + sum_i o_i) with
    o_j = exp(S_j) - 1. So one turn alone is judged by itself, agreeing turns add up, small talk fades a topic
    slowly and a new subject replaces it within a turn or two. A topic is named from 0.4 on, and keeps its
    name down to 0.2 while no other passes it: a turn that touches three subjects does not undo the call's.
    """

    def __init__(self, encode: Encode, learnt: Learnt) -> None:
        self._encode = encode
        self._learnt = learnt
        self._source = f"topic {len(learnt.ids)} topics"

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        """One finding per customer turn: a topic id, or "none" where nothing fits; nothing for other parties.

        `score` is the probability of the label ("none" too). `detail` holds the three best topics. The
        evidence is the stretch of the turn, this one or an earlier one, that speaks most for the label.
        """
        if heard.transcript.party != "customer":
            return ()
        before = so_far.by("customer")[-(TURNS - 1) :]
        last = before[-1].finding("topic") if before else None
        spoken = [t for t in (*(turn.transcript for turn in before), heard.transcript) if _speaks(t)]
        here = _evidence(heard.transcript, "", self._source)
        if not spoken:
            return (Finding("topic", "none", 1.0, here),)
        total = np.zeros(len(self._learnt.ids))
        gains = []
        for turn in spoken:
            gain, about = self._turn(turn.text)
            total = total * FADE * REPLACE**about + gain
            gains.append(gain)
        odds = np.expm1(total)
        probability = odds / (1.0 + odds.sum())
        order = np.argsort(-probability)
        best = int(order[0])
        detail = {self._learnt.ids[int(j)]: round(float(probability[j]), 4) for j in order[:3]}
        known = last is not None and last.label == self._learnt.ids[best]
        if probability[best] < (THRESHOLD / 2 if known else THRESHOLD):
            return (Finding("topic", "none", round(1.0 - float(probability[best]), 4), here, detail),)
        # The latest turn that says it at least half as clearly as the clearest one: fresh evidence reads best.
        shares = np.array([gain[best] for gain in gains])
        decider = spoken[int(np.flatnonzero(shares >= shares.max() / 2)[-1])]
        evidence = _evidence(decider, self._quote(decider.text, best), self._source)
        return (Finding("topic", self._learnt.ids[best], detail[self._learnt.ids[best]], evidence, detail),)

    def _turn(self, text: str) -> tuple[Floats, float]:
        """log(1 + odds) of each topic against "none", shape (k,), and how much the turn is about any topic."""
        parts = pieces(text)
        share = self._learnt.probabilities(self._encode([text, *parts] if len(parts) > 1 else parts))
        about = share.sum(axis=1, keepdims=True)
        odds: Floats = (share / np.maximum(1.0 - about, LEAST_NONE)).max(axis=0)
        return np.log1p(odds), float(about.max())

    def _quote(self, text: str, topic: int) -> str:
        parts = pieces(text)
        return parts[int(np.argmax(self._learnt.probabilities(self._encode(parts))[:, topic]))]


def load(encode: Encode, topics: Sequence[Topic]) -> TopicAnalyser:
    """The analyser for `topics`, learnt now. Raises ModelMissing where the shipped background is not there."""
    return TopicAnalyser(encode, learn(encode, topics, background()))


def background() -> list[str]:
    """The shipped sentences that belong to no topic. Raises ModelMissing."""
    try:
        lines = BACKGROUND.read_text("utf-8").splitlines()
    except OSError as error:
        raise ModelMissing(f"topics need {BACKGROUND}; restore it with `git checkout -- models/weights`") from error
    return [line for line in lines if line and not line.startswith("#")]


def pieces(text: str) -> list[str]:
    """`text` in at most three stretches of about twelve words or more, cut at punctuation where there is any.

    Only the first 100 words count: nobody says more before the recogniser cuts, and work must stay bounded.
    """
    text = text.strip()
    words = list(itertools.islice(re.finditer(r"\S+", text), MAX_WORDS))
    if len(words) <= PIECE_WORDS:
        return [text]
    length = max(PIECE_WORDS, math.ceil(len(words) / MAX_PIECES))
    parts: list[str] = []
    begin = 0
    for number, word in enumerate(words):
        taken = number + 1 - begin
        closes = taken >= length or (taken >= length // 2 and word.group()[-1] in ".?!,;:")
        if closes and len(parts) < MAX_PIECES - 1 and len(words) - number > 3:
            parts.append(text[words[begin].start() : word.end()])
            begin = number + 1
    return [*parts, text[words[begin].start() : words[-1].end()]]


def _speaks(transcript: Transcript) -> bool:
    return len(transcript.text.split(maxsplit=MIN_WORDS)) >= MIN_WORDS


def _evidence(transcript: Transcript, quote: str, source: str) -> Evidence:
    start = transcript.text.find(quote) if quote else -1
    return Evidence(
        utterance=transcript.utterance,
        start_ms=transcript.start_ms,
        end_ms=transcript.end_ms,
        start_char=start if start >= 0 else None,
        end_char=start + len(quote) if start >= 0 else None,
        quote=quote,
        source=source,
    )


def _gate_features(separated: Floats, cosines: Floats) -> Floats:
    return np.stack([separated, cosines.max(axis=1)], axis=1)


def _with_one(rows: NDArray[np.floating]) -> Floats:
    return np.concatenate([rows.astype(np.float64), np.ones((len(rows), 1))], axis=1)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def _softmax(rows: Floats) -> Floats:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))


def _temperature(cosines: Floats, owners: NDArray[np.int_]) -> float:
    """The factor that makes softmax(factor * cosines) likeliest for the held-out examples."""
    rows = np.arange(len(owners))
    factors = np.arange(4.0, 41.0)
    losses = [-np.log(np.maximum(_softmax(f * cosines)[rows, owners], 1e-12)).mean() for f in factors]
    return float(factors[int(np.argmin(losses))])


def _ridge(rows: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Weights of a class-balanced ridge regression, and its leave-one-out predictions.

    The latter by the identity y_i - a_i / (K^-1)_ii for kernel ridge regression (K = XX' + rI, a = K^-1 y).
    """
    root = np.sqrt(np.where(target > 0, 0.5 / target.mean(), 0.5 / (1 - target.mean())))
    weighted = rows * root[:, None]
    inverse = np.linalg.inv(weighted @ weighted.T + RIDGE * np.eye(len(rows)))
    dual = inverse @ (root * target)
    held_out = (root * target - dual / np.diag(inverse)) / root
    return weighted.T @ dual, held_out


def _logistic(rows: Floats, target: Floats, steps: int = 25) -> Floats:
    """Logistic regression by Newton's method with a touch of ridge; few columns, so a few steps settle it."""
    weights = np.zeros(rows.shape[1])
    for _ in range(steps):
        share = _sigmoid(rows @ weights)
        slope = rows.T @ (share - target) + 1e-2 * weights
        bend = (rows * (share * (1 - share))[:, None]).T @ rows + 1e-2 * np.eye(len(weights))
        weights = weights - np.linalg.solve(bend, slope)
    return weights
