"""Fits the network of models/next_action.py by back-propagation through time, in numpy, the same for the same seed.

It knows numbers only: no event, no action's name and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.next_action import levelled, sigmoid
from models.train.talks import Batch, Floats, Ints, Talk, batched

Weights = dict[str, Floats]

CLIP: Final = 1.0
_ALL: Final = np.ones(1, np.float32)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is learnt. `views`: how often a conversation is seen in each of the ways it is given in.

    `unseen`: how often a label must be told by its text alone in a batch, so that the text learns to tell.
    """

    epochs: int = 11
    batch: int = 32
    rate: float = 2.5e-3
    smooth: float = 0.1
    drop_tokens: float = 0.3
    drop_inputs: float = 0.3
    drop_hidden: float = 0.4
    views: tuple[float, ...] = (0.6, 0.2, 0.2)
    unseen: float = 0.2
    event_width: int = 128
    memory_width: int = 192
    state_width: int = 192
    seed: int = 0


def initial(slots: int, width: int, labels: tuple[int, ...], recipe: Recipe) -> Weights:
    """Small random weights. `width`: of a sentence vector; `labels`: how many, and how wide their texts' vectors."""
    rng = np.random.default_rng(recipe.seed)
    d, h, r = recipe.event_width, recipe.memory_width, recipe.state_width

    def drawn(rows: int, columns: int, spread: float | None = None) -> Floats:
        scale = spread if spread is not None else 1 / np.sqrt(3 * rows)
        return (rng.standard_normal((rows, columns)) * scale).astype(np.float32)

    zeros = {name: np.zeros(size, np.float32) for name, size in _biases(d, h, r, labels[0])}
    return zeros | {
        "event_rows": drawn(slots, d, 0.05),
        "event_vector": drawn(width, d),
        "input": drawn(d, 3 * h),
        "memory": drawn(h, 3 * h),
        "state_rows": drawn(slots, r, 0.05),
        "state_vector": drawn(2 * width, r),
        "state_memory": drawn(h, r),
        "out": drawn(r + h, labels[0]),
        "text": drawn(r + h, labels[1], 0.01),
    }


def _biases(d: int, h: int, r: int, labels: int) -> tuple[tuple[str, int], ...]:
    return ("event_bias", d), ("input_bias", 3 * h), ("memory_bias", 3 * h), ("state_bias", r), ("out_bias", labels)


class Drops:
    """Masks that leave out a share of the numbers and raise the others by as much; none while measuring."""

    def __init__(self, recipe: Recipe, rng: np.random.Generator | None) -> None:
        self._recipe, self._rng = recipe, rng

    def inputs(self, shape: tuple[int, ...]) -> Floats:
        return self._mask(shape, self._recipe.drop_inputs)

    def hidden(self, shape: tuple[int, ...]) -> Floats:
        return self._mask(shape, self._recipe.drop_hidden)

    def labels(self, count: int) -> Floats:
        if self._rng is None:
            return _ALL
        return (self._rng.random(count) >= self._recipe.unseen).astype(np.float32)

    def _mask(self, shape: tuple[int, ...], share: float) -> Floats:
        if self._rng is None or not share:
            return _ALL
        return (self._rng.random(shape) >= share).astype(np.float32) / np.float32(1 - share)


@dataclass(slots=True)
class Pass:
    """What a forward pass leaves for the backward one; the names are those of models/next_action.py."""

    x: Floats  # (b * t, d)
    spread: Floats  # (b * t, 1)
    kept_x: Floats
    memory: Floats  # (t + 1, b, h); memory[p] is after p events
    gates: list[tuple[Floats, Floats, Floats, Floats]]
    now: Floats  # (n, h)
    before: Floats  # (n, r), before relu
    kept: Floats
    joint: Floats  # (n, r + h), with what is left out
    told: Floats  # (k,)
    logits: Floats  # (n, k)


def forward(model: Weights, texts: Floats, batch: Batch, drops: Drops) -> Pass:
    """The forward pass of models/next_action.py, for many conversations at once."""
    slots, shares = batch.events
    x, spread = levelled(
        shares @ model["event_rows"][slots] + batch.heard @ model["event_vector"] + model["event_bias"]
    )
    kept_x = drops.inputs(x.shape)
    given = (x * kept_x) @ model["input"] + model["input_bias"]
    memory, gates = _remember(model, given.reshape(-1, batch.length, given.shape[1]))
    now = memory[batch.at, batch.who]
    slots, shares = batch.states
    before = (
        2 * (shares @ model["state_rows"][slots])
        + batch.spoken @ model["state_vector"]
        + now @ model["state_memory"]
        + model["state_bias"]
    )
    joint = np.concatenate([np.maximum(before, 0), now], axis=1)
    kept = drops.hidden(joint.shape)
    joint = joint * kept
    told = drops.labels(len(texts))
    logits = (joint @ model["out"] + model["out_bias"]) * told + joint @ model["text"] @ texts.T
    return Pass(x, spread, kept_x, memory, gates, now, before, kept, joint, told, logits)


def _remember(
    model: Weights, given: NDArray[np.floating[Any]]
) -> tuple[Floats, list[tuple[Floats, Floats, Floats, Floats]]]:
    """The memory after 0, 1, ... t events, and per event (reset, keep, fresh, what `fresh` recalled)."""
    talks, many, _ = given.shape
    width = len(model["memory"])
    memory = np.zeros((many + 1, talks, width), np.float32)
    gates = []
    for step in range(many):
        recalled = memory[step] @ model["memory"] + model["memory_bias"]
        both = sigmoid(given[:, step, : 2 * width] + recalled[:, : 2 * width])
        reset, keep, brought = both[:, :width], both[:, width:], recalled[:, 2 * width :]
        fresh = np.tanh(given[:, step, 2 * width :] + reset * brought)
        memory[step + 1] = (1 - keep) * fresh + keep * memory[step]
        gates.append((reset, keep, fresh, brought))
    return memory, gates


def cross_entropy(logits: Floats, labels: Ints, smooth: float) -> tuple[float, Floats]:
    """Mean loss against labels of which `smooth` is spread over all, and its gradient by `logits`."""
    count, width = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full((count, width), smooth / width, np.float32)
    target[np.arange(count), labels] += 1 - smooth
    return float(-(target * log_share).sum() / count), (np.exp(log_share) - target) / np.float32(count)


def backward(model: Weights, texts: Floats, batch: Batch, done: Pass, error: Floats) -> Weights:
    """The gradient of every array, given that by the logits; of the two tables, only the batch's rows."""
    own, by_text = error * done.told, error @ texts
    d_joint = (own @ model["out"].T + by_text @ model["text"].T) * done.kept
    d_before = d_joint[:, : done.before.shape[1]] * (done.before > 0)
    slope = {
        "out": done.joint.T @ own,
        "out_bias": own.sum(axis=0),
        "text": done.joint.T @ by_text,
        "state_rows": 2 * (batch.states[1].T @ d_before),
        "state_vector": batch.spoken.T @ d_before,
        "state_memory": done.now.T @ d_before,
        "state_bias": d_before.sum(axis=0),
    }
    arriving = np.zeros_like(done.memory)
    np.add.at(arriving, (batch.at, batch.who), d_joint[:, done.before.shape[1] :] + d_before @ model["state_memory"].T)
    d_given = _unroll(model, done, arriving, slope).reshape(len(done.x), -1)
    d_x = (d_given @ model["input"].T) * done.kept_x
    d_x = (d_x - d_x.mean(axis=1, keepdims=True) - done.x * (d_x * done.x).mean(axis=1, keepdims=True)) / done.spread
    slope["input"] = (done.x * done.kept_x).T @ d_given
    slope["input_bias"] = d_given.sum(axis=0)
    slope["event_rows"] = batch.events[1].T @ d_x
    slope["event_vector"] = batch.heard.T @ d_x
    slope["event_bias"] = d_x.sum(axis=0)
    return slope


def _unroll(model: Weights, done: Pass, arriving: Floats, slope: Weights) -> Floats:
    """Back through the events, newest first: the gradient by what each gave, (b, t, 3h). Fills in the memory's own."""
    talks, width = arriving.shape[1:]
    d_given = np.zeros((talks, len(done.gates), 3 * width), np.float32)
    slope["memory"] = np.zeros_like(model["memory"])
    slope["memory_bias"] = np.zeros_like(model["memory_bias"])
    for step in range(len(done.gates) - 1, -1, -1):
        reset, keep, fresh, brought = done.gates[step]
        d_memory, memory = arriving[step + 1], done.memory[step]
        d_fresh = d_memory * (1 - keep) * (1 - fresh**2)
        d_keep = d_memory * (memory - fresh) * keep * (1 - keep)
        d_reset = d_fresh * brought * reset * (1 - reset)
        d_given[:, step] = np.concatenate([d_reset, d_keep, d_fresh], axis=1)
        d_recalled = np.concatenate([d_reset, d_keep, d_fresh * reset], axis=1)
        slope["memory"] += memory.T @ d_recalled
        slope["memory_bias"] += d_recalled.sum(axis=0)
        arriving[step] += d_memory * keep + d_recalled @ model["memory"].T
    return d_given


class Adam:
    """Kingma and Ba 2015; a table's rows move only when a batch touches them."""

    def __init__(self, model: Weights) -> None:
        self._first = {name: np.zeros_like(value) for name, value in model.items()}
        self._second = {name: np.zeros_like(value) for name, value in model.items()}
        self._steps = 0

    def move(self, model: Weights, slope: Weights, rows: dict[str, Ints], rate: float) -> None:
        """One step of `rate` down `slope`, shortened to the length CLIP where it is longer. Changes `model`."""
        self._steps += 1
        length = float(np.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in slope.values())))
        shorten = np.float32(min(1.0, CLIP / max(length, 1e-9)))
        unbiased = rate * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        for name, value in slope.items():
            where: Ints | slice = rows.get(name, slice(None))
            gradient = value * shorten
            first = self._first[name][where] * np.float32(0.9) + np.float32(0.1) * gradient
            second = self._second[name][where] * np.float32(0.999) + np.float32(0.001) * gradient**2
            self._first[name][where], self._second[name][where] = first, second
            model[name][where] -= np.float32(unbiased) * first / (np.sqrt(second) + np.float32(1e-8))


def fit(
    talks: Sequence[Sequence[Talk]],
    table: Floats,
    texts: Floats,
    slots: int,
    recipe: Recipe,
    after: Callable[[int, float, Weights], None] = lambda epoch, loss, model: None,
) -> Weights:
    """Learn from conversations, each given in one way per share of `recipe.views`. `after` is told of every epoch.

    `table`: sentence vectors (m, w), the last all zeros. `texts`: vectors of the labels' texts (k, v).
    The rate rises for a tenth of the way and then falls to nothing.
    """
    rng = np.random.default_rng(recipe.seed)
    model = initial(slots, table.shape[1], texts.shape, recipe)
    adam, drops = Adam(model), Drops(recipe, rng)
    total = recipe.epochs * -(-len(talks) // recipe.batch)
    step = 0
    for epoch in range(recipe.epochs):
        losses = []
        for chosen in _batches([len(ways[0].events) for ways in talks], recipe.batch, rng):
            step += 1
            picked = [talks[i][rng.choice(len(recipe.views), p=recipe.views)] for i in chosen]
            batch = batched(picked, table, recipe.drop_tokens, rng)
            done = forward(model, texts, batch, drops)
            loss, error = cross_entropy(done.logits, batch.labels, recipe.smooth)
            slope = backward(model, texts, batch, done, error)
            rate = recipe.rate * min(10 * step / total, (total - step + 1) / (0.9 * total))
            adam.move(model, slope, {"event_rows": batch.events[0], "state_rows": batch.states[0]}, rate)
            losses.append(loss)
        after(epoch, float(np.mean(losses)), model)
    return model


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Every conversation once, in random order, those of like length together."""
    order = np.argsort(np.array(lengths) + rng.random(len(lengths)) * 6)
    groups = [order[begin : begin + size] for begin in range(0, len(order), size)]
    for group in rng.permutation(len(groups)):
        yield groups[group]


def shares(model: Weights, talks: Sequence[Talk], table: Floats, texts: Floats) -> tuple[NDArray[np.float64], Ints]:
    """Probabilities (n, k) of all decisions in order, and their labels (n,)."""
    given: list[Floats] = []
    for begin in range(0, len(talks), 64):
        batch = batched(talks[begin : begin + 64], table)
        given.append(forward(model, texts, batch, Drops(Recipe(), None)).logits)
    logits = np.concatenate(given).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), np.concatenate([talk.labels for talk in talks])
