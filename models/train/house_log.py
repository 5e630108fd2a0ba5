"""Learns from this house's own log which next actions its agents take up, and which they dismiss.

It knows the store's entries and no playbook: what was never shown, or never marked, teaches nothing.

The network trained on STAR reads the conversation and stays as it is; over what it gives (z, of mean length 1), each
suggestion k that was ever marked gets its own row of a logistic regression:

    P(k is used | z) = sigmoid(b + b_k + w_k z + c * z U t_k)

U t_k is what the network already thinks of the text of k. w_k, b_k and c are drawn to 0 by a ridge: a suggestion
with few marks stays at the house's own rate b. Strength of the ridge and the factor that calibrates the logits are
chosen by leaving out every fifth call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from assist.events import Marked, Suggested, Transcribed
from assist.stores.sqlite import Sqlite
from models import next_action
from models.next_action import Encode, Network

Floats = NDArray[np.float64]
KINDS: Final = ("action", "step")
FOLDS: Final = 5
RIDGES: Final = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ROW_RIDGE: Final = 0.5
FACTORS: Final = tuple(np.arange(0.3, 1.51, 0.05).tolist())
STEPS: Final = 300
FEWEST: Final = 20
LEAST: Final = 0.2  # a card that fewer than one in five such agents takes up is not worth its place


@dataclass(frozen=True, slots=True)
class Choice:
    """A suggestion that was marked: what had happened until it was shown, and whether the agent used it."""

    call: str
    events: tuple[dict[str, Any], ...]
    ref: str
    text: str
    used: bool


def choices(database: Path) -> list[Choice]:
    """Every marked action and step in the store, oldest call first. Raises SystemExit where there is no such file."""
    if not database.is_file():
        raise SystemExit(f"{database} is not there: give the server's own store, data/assist.db")
    store = Sqlite(database)
    try:
        calls = [summary.call for page in _pages(store) for summary in page]
        return [choice for call in reversed(calls) for choice in _of_call(call, store)]
    finally:
        store.close()


def _pages(store: Sqlite) -> Iterator[list[Any]]:
    offset = 0
    while page := store.calls(200, offset):
        yield page
        offset += len(page)


def _of_call(call: str, store: Sqlite) -> Iterator[Choice]:
    """A mark decides; of two, the later one. What is used counts as done from then on."""
    events: list[dict[str, Any]] = []
    after: dict[str, int] = {}  # utterance → how many events stand up to it
    eager: dict[str, dict[str, Any]] = {}  # utterance → its newest speculative words
    shown: dict[str, Choice] = {}
    marked: dict[str, Choice] = {}
    for line in store.read(call):
        event = line.entry.event
        if isinstance(event, Transcribed) and event.transcript.stage != "partial" and event.transcript.text:
            said = {"party": event.transcript.party, "text": event.transcript.text}
            if event.transcript.stage == "final":
                events.append(said)
                after[event.transcript.utterance] = len(events)
            else:
                eager[event.transcript.utterance] = said
        elif isinstance(event, Suggested):
            before = tuple(events[: after.get(event.utterance, len(events))])
            if event.utterance not in after and event.utterance in eager:  # shown before its final
                before = (*before, eager[event.utterance])
            for each in event.suggestions:
                if each.kind in KINDS:
                    shown[each.id] = Choice(call, before, each.ref, each.quote or each.title, False)
        elif isinstance(event, Marked) and event.suggestion in shown and event.mark != "opened":
            one = shown[event.suggestion]
            marked[event.suggestion] = replace(one, used=event.mark == "used")
            if event.mark == "used":
                events.append({"action": one.ref})
    yield from marked.values()


@dataclass(frozen=True, slots=True)
class Rows:
    """Choices as numbers: n of them, k suggestions."""

    read: Floats  # (n, width), of mean length 1
    thought: Floats  # (n,): what the network thinks of the suggestion's text, spread 1
    which: NDArray[np.int64]  # (n,)
    used: Floats  # (n,)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The logistic regression's numbers."""

    rate: float
    own: Floats  # (k,)
    rows: Floats  # (k, width)
    trust: float

    def logits(self, rows: Rows) -> Floats:
        found: Floats = self.rate + self.own[rows.which] + (self.rows[rows.which] * rows.read).sum(axis=1)
        return found + self.trust * rows.thought


def fitted(rows: Rows, suggestions: int, ridge: float) -> Fitted:
    """The ridge regression by accelerated gradient descent (Nesterov 1983); convex, so that it ends in one place."""
    width = rows.read.shape[1]
    weights = np.zeros(2 + suggestions * (1 + width))
    penalty = np.concatenate([[0.0, ridge], np.full(suggestions, ROW_RIDGE), np.full(suggestions * width, ridge)])
    # Of three blocks of parameters (the rate, the trust, the own) none bends more than its share of this.
    largest = 1 + float((rows.read**2).sum(axis=1).max())
    bends = np.bincount(rows.which, minlength=suggestions) * largest
    every = np.concatenate([[len(rows.used), float(rows.thought @ rows.thought)], bends, np.repeat(bends, width)])
    step = 1 / (0.75 * every + penalty + 1e-9)
    ahead, before = weights.copy(), weights
    for number in range(STEPS):
        tried = _unpacked(ahead, suggestions)
        error = 1 / (1 + np.exp(-np.clip(tried.logits(rows), -30, 30))) - rows.used
        slope = np.zeros_like(weights)
        slope[0], slope[1] = error.sum(), error @ rows.thought
        np.add.at(slope[2 : 2 + suggestions], rows.which, error)
        np.add.at(slope[2 + suggestions :].reshape(suggestions, width), rows.which, error[:, None] * rows.read)
        weights = ahead - step * (slope + penalty * ahead)
        ahead = weights + number / (number + 3) * (weights - before)
        before = weights
    return _unpacked(weights, suggestions)


def _unpacked(weights: Floats, suggestions: int) -> Fitted:
    own = weights[2 : 2 + suggestions]
    return Fitted(float(weights[0]), own, weights[2 + suggestions :].reshape(suggestions, -1), float(weights[1]))


def held_out(rows: Rows, folds: NDArray[np.int64], suggestions: int, ridge: float) -> Floats:
    """Logits (n,) of every choice by what was learnt without its fold."""
    found = np.zeros(len(rows.used))
    for fold in range(FOLDS):
        rest = folds != fold
        found[~rest] = fitted(_only(rows, rest), suggestions, ridge).logits(_only(rows, ~rest))
    return found


def _only(rows: Rows, kept: NDArray[np.bool_]) -> Rows:
    return Rows(rows.read[kept], rows.thought[kept], rows.which[kept], rows.used[kept])


def loss(logits: Floats, used: Floats) -> float:
    """Mean negative log-likelihood."""
    return float(np.mean(np.logaddexp(0, logits) - used * logits))


def learn(encode: Encode, trunk: dict[str, Any], marked: Sequence[Choice]) -> tuple[dict[str, Any], dict[str, float]]:
    """The arrays of a policy for this house, over the network in `trunk` (the arrays of the shipped file), and figures.

    Figures are of choices in calls left out: n, used (share), loss, loss_rate (of always saying the rate), ridge.
    Raises SystemExit where too few were marked, all alike, or where nothing was learnt that holds in calls left out.
    """
    used = np.array([choice.used for choice in marked], dtype=np.float64)
    calls = {call: number for number, call in enumerate(dict.fromkeys(choice.call for choice in marked))}
    if len(used) < FEWEST or len(calls) < FOLDS or used.min() == used.max():
        raise SystemExit(
            f"{len(used)} suggestions were marked in {len(calls)} calls, {int(used.sum())} of them as used: this takes "
            f"{FEWEST} in {FOLDS} calls, some used and some not"
        )
    refs = sorted({choice.ref for choice in marked})
    texts = {choice.ref: choice.text for choice in marked}
    told = trunk["text"].astype(np.float64) @ encode([texts[ref] for ref in refs]).T  # (width, k)
    network = Network({key: trunk[key].astype(np.float32) for key in next_action.LAYERS})
    read = np.stack([network.read(encode, choice.events) for choice in marked]).astype(np.float64)
    which = np.array([refs.index(choice.ref) for choice in marked])
    thought = (read * told.T[which]).sum(axis=1)
    size, spread = float(np.linalg.norm(read, axis=1).mean()), float(thought.std()) or 1.0
    rows = Rows(read / size, thought / spread, which, used)
    ridge, factor, figures = chosen(rows, np.array([calls[choice.call] % FOLDS for choice in marked]), len(refs))
    if figures["loss"] >= figures["loss_rate"]:
        raise SystemExit(f"nothing was learnt that holds in calls left out ({figures}): nothing is written, mark more")
    own = fitted(rows, len(refs), ridge)
    return {key: trunk[key] for key in (*next_action.LAYERS, "text", "encoder")} | {
        "labels": np.array(refs),
        "out": (factor * (own.rows.T / size + own.trust / spread * told)).astype(np.float32),
        "out_bias": (factor * (own.rate + own.own)).astype(np.float32),
        "temperature": 1.0,
        "rate": figures["used"],
        "least": min(LEAST, figures["used"] / 2),  # never silence a house whose agents mark little as used
        "independent": True,
    }, figures


def chosen(rows: Rows, folds: NDArray[np.int64], suggestions: int) -> tuple[float, float, dict[str, float]]:
    """The ridge and the factor of the logits under which choices left out are likeliest, and how likely they are."""
    outside = {ridge: held_out(rows, folds, suggestions, ridge) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda tried: loss(outside[tried], rows.used))
    factor = float(min(FACTORS, key=lambda tried: loss(tried * outside[ridge], rows.used)))
    rate = float(rows.used.mean())
    return (
        ridge,
        factor,
        {
            "n": float(len(rows.used)),
            "used": rate,
            "loss": loss(factor * outside[ridge], rows.used),
            "loss_rate": -float(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)),
            "ridge": ridge,
        },
    )
