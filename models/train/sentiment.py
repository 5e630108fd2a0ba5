"""Trains the sentiment head on GoEmotions, clinc150 requests as neutral, and our own service phrases; measures it.

It knows nothing of calls. Airline tweets are measured and never trained on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import encoder, sentiment
from models.train import records
from models.train.vectors import encoded

SEED: Final = 20
HIDDEN: Final = 64
EPOCHS: Final = 6
BATCH: Final = 128
OWN_WEIGHT: Final = 8.0
PATTERN_WEIGHT: Final = 4.0
PATTERN_EACH: Final = 12
CLINC_ROWS: Final = 1000
TROUBLE: Final = re.compile(
    "lost|stolen|fraud|damaged|declined|jump_start|flat_tire|oil_change|tire|blocked|insult|thank|goodbye|compliment|jokes"
)
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Texts ready to learn from: sentence vectors (n, 384), word slots, labels (n,), weights (n,)."""

    vectors: Floats
    slots: list[list[int]]
    labels: Ints
    weights: Floats


def plain(text: str) -> str:
    """Names masked by the data set go; links and handles go."""
    return re.sub(r"\s+", " ", re.sub(r"\[[A-Z]+\]|https?://\S+|@\w+", " ", text)).strip()


def spoken(text: str) -> str:
    """As a recogniser without punctuation would write it."""
    return re.sub(r"\s+", " ", re.sub(r"[^a-z0-9' ]", " ", text.lower())).strip()


def rows(encode: encoder.Encoder, pairs: records.Labelled, weight: float, speak: float = 0.0) -> Rows:
    """`pairs` encoded; a share `speak` of them as unpunctuated speech."""
    choose = np.random.default_rng(SEED).random(len(pairs)) < speak
    texts = [spoken(t) if c else plain(t) for (t, _), c in zip(pairs, choose, strict=True)]
    labels = np.array([sentiment.LABELS.index(label) for _, label in pairs], dtype=np.int64)
    return Rows(
        encoded(encode, texts), [sentiment.slots(t) for t in texts], labels, np.full(len(pairs), weight, np.float32)
    )


def joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([p.vectors for p in parts]),
        [s for p in parts for s in p.slots],
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.weights for p in parts]),
    )


def fit(data: Rows, word_decay: float = 2e-5) -> dict[str, Floats]:
    """Adam on weighted cross-entropy; class weights are the root of inverse frequency. Same seed, same result."""
    rng = np.random.default_rng(SEED)
    shares = np.bincount(data.labels, minlength=3) / len(data.labels)
    weights = data.weights * np.sqrt(1 / (3 * shares[data.labels])).astype(np.float32)
    width = len(sentiment.LABELS)
    model = {
        "w1": (rng.standard_normal((data.vectors.shape[1], HIDDEN)) * 0.1).astype(np.float32),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": (rng.standard_normal((HIDDEN, width)) * 0.1).astype(np.float32),
        "b2": np.zeros(width, np.float32),
        "words": np.zeros((sentiment.SLOTS, width), np.float32),
    }
    first = {k: np.zeros_like(v) for k, v in model.items()}
    second = {k: np.zeros_like(v) for k, v in model.items()}
    step = 0
    total = EPOCHS * (len(weights) // BATCH + 1)
    for _ in range(EPOCHS):
        order = rng.permutation(len(weights))
        for begin in range(0, len(order), BATCH):
            step += 1
            slope = _slope(model, data, weights, order[begin : begin + BATCH], rng)
            slope["w1"] += 1e-4 * model["w1"]
            slope["words"] += word_decay * model["words"]
            rate = 2e-3 * (1 - step / (total + 1))
            for key, value in slope.items():
                first[key] = 0.9 * first[key] + 0.1 * value
                second[key] = 0.999 * second[key] + 0.001 * value**2
                model[key] -= rate * (first[key] / (1 - 0.9**step)) / (np.sqrt(second[key] / (1 - 0.999**step)) + 1e-8)
    return model


def _slope(
    model: dict[str, Floats], data: Rows, weights: Floats, batch: Ints, rng: np.random.Generator
) -> dict[str, Floats]:
    """Gradient of the loss over one batch, with half the hidden units and a tenth of the words left out."""
    vectors = data.vectors[batch]
    hidden = np.tanh(vectors @ model["w1"] + model["b1"])
    kept = (rng.random(hidden.shape) < 0.5).astype(np.float32) * 2
    flat, owner, scale = _flat([data.slots[i] for i in batch], rng)
    logits = (hidden * kept) @ model["w2"] + model["b2"]
    np.add.at(logits, owner, model["words"][flat] * scale[:, None])
    logits -= logits.max(axis=1, keepdims=True)
    error = np.exp(logits)
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(batch)), data.labels[batch]] -= 1
    error *= (weights[batch] / len(batch))[:, None]
    words = np.zeros_like(model["words"])
    np.add.at(words, flat, error[owner] * scale[:, None])
    inner = (error @ model["w2"].T) * kept * (1 - hidden**2)
    return {
        "w1": vectors.T @ inner,
        "b1": inner.sum(axis=0),
        "w2": (hidden * kept).T @ error,
        "b2": error.sum(axis=0),
        "words": words,
    }


def _flat(slots: Sequence[Sequence[int]], rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    flat = np.array([s for row in slots for s in row], dtype=np.int64)
    counts = np.array([len(row) for row in slots])
    owner = np.repeat(np.arange(len(slots)), counts)
    scale = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    keep = rng.random(len(flat)) < 0.9
    return flat[keep], owner[keep], scale[keep]


def shares(head: sentiment.Head, encode: encoder.Encoder, pairs: records.Labelled) -> tuple[NDArray[np.float64], Ints]:
    """Probabilities (n, 3) as the analyser would give them, and labels (n,)."""
    texts = [plain(text) for text, _ in pairs]
    vectors = encoded(encode, texts)
    given = np.stack([head.probabilities(t, v) for t, v in zip(texts, vectors, strict=True)]).astype(np.float64)
    return given, np.array([sentiment.LABELS.index(label) for _, label in pairs], dtype=np.int64)


def measure(given: NDArray[np.float64], labels: Ints) -> dict[str, float]:
    """Accuracy and macro-F1 of the likeliest label, expected calibration error (10 bins), share left unlabelled."""
    best = given.argmax(axis=1)
    sure = given.max(axis=1)
    f1 = [2 * ((best == k) & (labels == k)).sum() / max(((best == k).sum() + (labels == k).sum()), 1) for k in range(3)]
    error = 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (sure > low) & (sure <= low + 0.1)
        if inside.any():
            error += inside.mean() * abs((best == labels)[inside].mean() - sure[inside].mean())
    return {
        "n": len(labels),
        "accuracy": float((best == labels).mean()),
        "macro_f1": float(np.mean(f1)),
        "f1_negative": float(f1[0]),
        "f1_neutral": float(f1[1]),
        "f1_positive": float(f1[2]),
        "calibration_error": float(error),
        "none": float((sure < sentiment.LEAST_CONFIDENCE).mean()),
    }


def own_split() -> tuple[records.Labelled, records.Labelled]:
    """Service phrases to train on, and every fourth held out."""
    pairs = records.service_phrases()
    return [p for i, p in enumerate(pairs) if i % 4 != 3], pairs[3::4]


def evaluate(head: sentiment.Head, encode: encoder.Encoder, data: Path) -> dict[str, dict[str, float]]:
    sets = {
        "goemotions_dev": records.goemotions(data, "dev"),
        "airline_tweets": records.airline_tweets(data),
        "service_held_out": own_split()[1],
        "clinc150_val": [(t, "neutral") for t, _ in records.clinc150(data, "val")[::3]],
    }
    figures = {name: measure(*shares(head, encode, pairs)) for name, pairs in sets.items()}
    return {name: {k: round(v, 3) for k, v in found.items()} for name, found in figures.items()}


def train(encode: encoder.Encoder, data: Path) -> None:
    """Fit on 95% of GoEmotions train, our phrases and clinc150; temperature on the other 5%; write the file."""
    pairs = records.goemotions(data, "train")
    own, _ = own_split()
    clinc = [(t, "neutral") for t, intent in records.clinc150(data, "train") if not TROUBLE.search(intent)]
    picked = [clinc[i] for i in np.random.default_rng(SEED).permutation(len(clinc))[:CLINC_ROWS]]
    part = [p for i, p in enumerate(pairs) if i % 20]
    ready = joined(
        [
            rows(encode, part, 1.0, speak=0.5),
            rows(encode, own, OWN_WEIGHT),
            rows(encode, records.service_patterns(PATTERN_EACH, SEED), PATTERN_WEIGHT),
            rows(encode, picked, 1.0),
        ]
    )
    model = fit(ready)
    words = model["words"].astype(np.float16)
    model["words"] = words.astype(np.float32)
    raw = sentiment.Head(**model, temperature=1.0, name="fresh")
    given, labels = shares(raw, encode, pairs[::20])
    logits = np.log(np.maximum(given, 1e-12))
    temperatures = np.arange(0.5, 3.0, 0.02)
    losses = []
    for temperature in temperatures:
        scaled = logits / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        likelihood = scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(axis=1))
        losses.append(-likelihood.mean())
    sentiment.WEIGHTS.parent.mkdir(exist_ok=True)
    stored: dict[str, Any] = {**model, "words": words, "encoder": encode.name}
    np.savez_compressed(sentiment.WEIGHTS, temperature=temperatures[int(np.argmin(losses))], **stored)


def main(argv: Sequence[str]) -> None:
    """Train and log, or with --evaluate only measure; the last line is one JSON document."""
    args = records.options("sentiment", argv)
    encode = encoder.load()
    if not args.evaluate:
        train(encode, args.data)
    head = sentiment.read(sentiment.WEIGHTS)
    figures = evaluate(head, encode, args.data)
    for name, found in figures.items():
        print(f"{name:18}", "  ".join(f"{k} {v:g}" for k, v in found.items()))
    if not args.evaluate:
        short = ", ".join(f"{name} macro-F1 {f['macro_f1']:.3f}" for name, f in figures.items())
        records.keep(f"{head.name}, temperature {head.temperature:.2f}: {short}. {args.note}".strip())
    print(json.dumps(figures))
