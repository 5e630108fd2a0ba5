"""For comparison only: what a head reaches on tweets to airlines that was trained on tweets to airlines.

Nothing it learns is kept, since those tweets may train nothing that ships. It knows nothing of the shipped head.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.figures import Figure, bootstrap, macro_f1
from models import encoder, sentiment
from models.train import records
from models.train import sentiment as training
from models.train.vectors import encoded

FOLDS: Final = 5
EPOCHS: Final = 14
RATE: Final = 4e-3
TABLE: Final = 1 << 18
SEED: Final = 0


def grams(text: str) -> list[int]:
    """Hash slots of one to three neighbouring words or marks, and of three to five characters within a word."""
    words = re.findall(r"[#@]?\w[\w']*|[!?:;()]+|[^\w\s]", re.sub(r"https?://\S+", " url ", text.lower()))
    found = [" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)]
    for word in words:
        framed = f"_{word}_"
        found += [f"%{framed[i : i + n]}" for n in (3, 4, 5) for i in range(len(framed) - n + 1)]
    return [zlib.crc32(gram.encode()) % TABLE for gram in found]


def compared(encode: encoder.Encoder, tweets: records.Labelled) -> Figure:
    """Macro-F1, each tweet named by a head that has not seen it."""
    texts = [training.plain(text) for text, _ in tweets]
    readings = ((encode.tones, "tones"), (encode.intents, "intents"))
    read = np.hstack([_unit(encoded(each, texts, f"{encode.name}, {name}")) for each, name in readings])
    slots = [grams(text) for text, _ in tweets]
    labels = np.array([sentiment.LABELS.index(label) for _, label in tweets])
    data = training.Rows(read, slots, np.eye(3, dtype=np.float32)[labels], np.ones(len(labels), np.float32))
    fold = np.random.default_rng(SEED).permutation(len(labels)) % FOLDS
    named = np.zeros_like(labels)
    for out in range(FOLDS):
        model = training.fit(data.take(np.flatnonzero(fold != out)), epochs=EPOCHS, rate=RATE, table=TABLE)
        named[fold == out] = _named(model, data.take(np.flatnonzero(fold == out)))
    return bootstrap(macro_f1, labels, named, split=f"airline tweets, {FOLDS} folds of them, trained on the others")


def _named(model: dict[str, NDArray[np.float32]], rows: training.Rows) -> NDArray[np.int64]:
    logits = np.tanh(rows.read @ model["w1"] + model["b1"]) @ model["w2"] + model["b2"]
    words = [_words(model["words"], slots) for slots in rows.slots]
    named: NDArray[np.int64] = (logits + np.array(words)).argmax(axis=1)
    return named


def _words(table: NDArray[np.float32], slots: Sequence[int]) -> NDArray[np.float32]:
    summed: NDArray[np.float32] = table[slots].sum(axis=0) / np.sqrt(max(len(slots), 1))
    return summed


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit
