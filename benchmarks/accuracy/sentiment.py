"""Sentiment of turns: our own turns, tweets to airlines, Reddit comments, and the ratings of people.

It knows no model's inside. Nothing that is measured here was trained on; what settings were chosen by, figures say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import sentiment_trained
from benchmarks.accuracy.figures import Figure, Measured, bootstrap, calibration_error, macro_f1, share
from benchmarks.report import table
from models import encoder, sentiment
from models.train import records
from models.train import sentiment as training

TIMED_TURNS: Final = 300
Floats = NDArray[np.float64]
Words = NDArray[np.str_]


class Judged:
    """One set as the shipped head reads it: `labels`, the truth; `shares` (n, 3); `named`, "none" where it abstains."""

    def __init__(self, head: sentiment.Head, encode: encoder.Encoder, pairs: records.Labelled) -> None:
        texts = [text for text, _ in pairs]
        self.labels: Words = np.array([label for _, label in pairs])
        self.shares: Floats = training.probabilities(head, encode, texts)
        self.named: Words = np.array(
            [
                sentiment.named(shares) if sentiment.legible(training.plain(text)) else "none"
                for text, shares in zip(texts, self.shares, strict=True)
            ]
        )
        self.likeliest: Words = np.array(sentiment.LABELS)[self.shares.argmax(axis=1)]

    def f1(self, split: str) -> Figure:
        """Macro-F1 of the likeliest label."""
        return bootstrap(macro_f1, self.labels, self.likeliest, split=split)

    def strict_f1(self, split: str) -> Figure:
        """The same of what the analyser says; a turn that it abstains on counts as missed."""
        return bootstrap(macro_f1, self.labels, self.named, split=split)

    def calibration(self) -> tuple[Floats, NDArray[np.bool_]]:
        return self.shares.max(axis=1), self.likeliest == self.labels

    def ece(self, split: str) -> Figure:
        return bootstrap(calibration_error, *self.calibration(), split=split)

    def row(self, name: str) -> Sequence[object]:
        kept = self.named != "none"
        f1 = [_one_f1(self.labels, self.likeliest, label) for label in sentiment.LABELS]
        figures = (
            np.mean(self.likeliest == self.labels),
            macro_f1(self.labels, self.likeliest),
            macro_f1(self.labels, self.named),
            *f1,
            calibration_error(*self.calibration()),
            1 - kept.mean(),
        )
        return name, len(self.labels), *(f"{float(value):.3f}" for value in figures)

    def kind(self, name: str, these: NDArray[np.bool_]) -> Sequence[object]:
        """How many of `these` are named right, and what they are called."""
        named = self.named[these]
        right = float(np.mean(named == self.labels[these]))
        return name, len(named), f"{right:.2f}", *(int(np.sum(named == each)) for each in (*sentiment.LABELS, "none"))


def measure(data: Path, *, quick: bool) -> Measured:
    """Quick: our own turns. Else the keys of the sets in `data` too, and the ratings fetched by `records.vader`."""
    encode = encoder.load()
    head = sentiment.read(sentiment.WEIGHTS)
    sentiment.load(encode)  # raises ModelMissing where the head was trained on another encoder
    written = records.service_judged()
    own = Judged(head, encode, [pair for pair in written if pair[1] != "ironic"])
    irony = Judged(head, encode, [pair for pair in written if pair[1] == "ironic"])
    held_out = records.service_turned(1, 1, held_out=True)
    turned = Judged(head, encode, [(text, label) for text, label, _ in held_out])
    kinds = np.array([f"{kind}, {label}" for _, label, kind in held_out])
    split = "turns written by us, not trained on; settings were chosen with an eye on them"
    figures = {
        "sentiment.service_f1": own.f1(split),
        "sentiment.service_strict_f1": own.strict_f1(f"{split}; abstaining counts as missed"),
        "sentiment.service_ece": own.ece(split),
        "sentiment.irony_wrong": share(
            irony.named == "positive", "ironic turns written by us that are called positive"
        ),
        "sentiment.turned": share(
            turned.named == turned.labels, "turns whose telling word points elsewhere, patterns and clauses held out"
        ),
    }
    extra = {"sentiment.irony_abstained": float(np.mean(irony.named == "none"))}
    rows = [own.row("own turns")]
    calibration = {}
    if not quick:
        complaints = records.airline_tweets(data)
        tweets = Judged(head, encode, complaints)
        comments = Judged(head, encode, records.goemotions(data, "dev"))
        rows += [tweets.row("airline tweets"), comments.row("GoEmotions dev")]
        never = "all airline tweets, none trained on; the head was chosen with an eye on them"
        chosen = "GoEmotions dev, comments of one group; settings were chosen by it"
        worst = max((tweets, never), (comments, chosen), key=lambda each: calibration_error(*each[0].calibration()))
        figures |= {
            "sentiment.tweets_f1": tweets.f1(never),
            "sentiment.tweets_strict_f1": tweets.strict_f1(f"{never}; abstaining counts as missed"),
            "sentiment.tweets_trained_f1": sentiment_trained.compared(encode, complaints),
            "sentiment.goemotions_f1": comments.f1(chosen),
            "sentiment.ece": worst[0].ece(f"{worst[1]}, the worse of tweets and comments"),
            "sentiment.rating_r": _rating(head, encode),
        }
        calibration["sentiment"] = tweets.calibration()
        extra |= _latency(encode)
    names = (
        "set",
        "n",
        "accuracy",
        "macro-F1",
        "strict",
        *(f"F1 {label}" for label in sentiment.LABELS),
        "ECE",
        "none",
    )
    by_kind = [turned.kind(name, kinds == name) for name in dict.fromkeys(kinds)]
    tables = [table(names, rows), table(("turned", "n", "right", *sentiment.LABELS, "none"), by_kind)]
    return Measured(figures, tables, calibration, extra)


def _one_f1(labels: Words, named: Words, label: str) -> float:
    both = float(np.sum((labels == label) & (named == label)))
    return 2 * both / max(float(np.sum(labels == label) + np.sum(named == label)), 1.0)


def _rating(head: sentiment.Head, encode: encoder.Encoder) -> Figure:
    """Pearson's r of `score` and people's mean rating."""
    held_out = records.vader(part="dev")
    shares = training.probabilities(head, encode, [text for _, text, _ in held_out])
    means = np.array([np.mean(ratings) for _, _, ratings in held_out])
    return bootstrap(
        lambda score, mean: float(np.corrcoef(score, mean)[0, 1]),
        shares[:, 2] - shares[:, 0],
        means,
        split="a tenth of the rated snippets, by hash: score against people's mean rating, r",
    )


def _latency(encode: encoder.Encoder) -> dict[str, float]:
    """Milliseconds for a turn of 15 words never seen before: whole, and beyond the encoder's pass."""
    judge = sentiment.judge(encode)
    words = " ".join(text for text, _ in records.service_phrases()).split()
    rng = np.random.default_rng(0)
    whole, beyond = [], []
    for _ in range(TIMED_TURNS):
        text = " ".join(rng.choice(words, 15))
        began = time.perf_counter()
        judge(text)
        whole.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        judge(text)  # the encoder remembers it now
        beyond.append((time.perf_counter() - began) * 1000)
    named = (("whole", whole), ("beyond_encoder", beyond))
    return {f"sentiment.{name}_p{p}_ms": float(np.percentile(spent, p)) for name, spent in named for p in (50, 95)}
