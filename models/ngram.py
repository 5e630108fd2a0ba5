"""Trigram models of words: counts to probabilities, mixtures of models, and the ARPA text they are kept in.

It knows no recogniser and no knowledge base.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ORDER: Final = 3
START: Final = "<s>"
END: Final = "</s>"
Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ngrams:
    """A back-off model. `probs[h + (w,)]` is p(w | h); `backoffs[h]` scales p(w | h[1:]) for unlisted words."""

    probs: dict[Gram, float] = field(default_factory=dict)
    backoffs: dict[Gram, float] = field(default_factory=dict)

    def prob(self, gram: Gram) -> float:
        """p(last word | words before it), 0 for a word outside the vocabulary."""
        scale = 1.0
        while gram not in self.probs and len(gram) > 1:
            scale *= self.backoffs.get(gram[:-1], 1.0)
            gram = gram[1:]
        return scale * self.probs.get(gram, 0.0)

    @property
    def words(self) -> set[str]:
        return {gram[0] for gram in self.probs if len(gram) == 1}

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Per word and sentence end, over the words that the vocabulary has."""
        logs = [math.log(p) for gram in _grams(sentences) if (p := self.prob(gram)) > 0]
        return math.exp(-sum(logs) / max(1, len(logs)))


def _grams(sentences: Iterable[Sequence[str]]) -> Iterable[Gram]:
    """The longest n-gram that ends at each word of each sentence."""
    for sentence in sentences:
        padded = (START, *sentence, END)
        for end in range(2, len(padded) + 1):
            yield padded[max(0, end - ORDER) : end]


def count(sentences: Iterable[Sequence[str]], into: Counter[Gram] | None = None, weight: float = 1.0) -> Counter[Gram]:
    """Weighted counts of the n-grams of every order that end at each word."""
    counts: Counter[Gram] = Counter() if into is None else into
    for gram in _grams(sentences):
        for start in range(len(gram)):
            counts[gram[start:]] += weight  # type: ignore[assignment]  # weights may be fractions
    return counts


def estimate(counts: Mapping[Gram, float], base: Mapping[str, float], least: Sequence[float] = (0, 0, 0)) -> Ngrams:
    """Interpolated Witten-Bell estimates over the vocabulary of `base`.

    p(w | h) = (c(hw) + t(h) p(w | h')) / (c(h) + t(h)) with t(h) the number of different words seen after h
    (Witten and Bell 1991; Chen and Goodman 1998, section 2.4). `base` is the distribution under the unigrams;
    `least[n - 1]` leaves out n-grams counted less often, once the others are estimated.
    """
    total = sum(base.values())
    floor = {word: p / total for word, p in base.items()}
    known = floor.keys() | {START}
    followers: dict[Gram, dict[str, float]] = defaultdict(dict)
    for gram, n in counts.items():
        if all(word in known for word in gram):
            followers[gram[:-1]][gram[-1]] = n
    full: dict[Gram, float] = {}
    for history in sorted(followers, key=len):
        seen = followers[history]
        mass, kinds = sum(seen.values()), len(seen)
        below = floor if not history else {word: full[(*history[1:], word)] for word in seen}
        for word in floor if not history else seen:
            full[(*history, word)] = (seen.get(word, 0.0) + kinds * below[word]) / (mass + kinds)
    kept = {gram: p for gram, p in full.items() if len(gram) == 1 or counts[gram] >= least[len(gram) - 1]}
    return with_backoffs(kept)


def with_backoffs(probs: dict[Gram, float]) -> Ngrams:
    """The model whose listed n-grams are `probs`, with the back-off weights that make each history sum to 1."""
    listed: dict[Gram, list[Gram]] = defaultdict(list)
    for gram in sorted(probs):
        listed[gram[:-1]].append(gram)
    model = Ngrams(probs)
    for history in sorted(listed, key=len):
        if history:
            left = 1.0 - sum(probs[gram] for gram in listed[history])
            left_below = 1.0 - sum(model.prob(gram[1:]) for gram in listed[history])
            model.backoffs[history] = max(left, 1e-9) / max(left_below, 1e-9)
    return model


def mix(first: Ngrams, second: Ngrams, share: float) -> Ngrams:
    """share * first + (1 - share) * second, over the n-grams that either lists (static interpolation)."""
    grams = first.probs.keys() | second.probs.keys()
    return with_backoffs({gram: share * first.prob(gram) + (1 - share) * second.prob(gram) for gram in sorted(grams)})


def prune(model: Ngrams, grams: int) -> Ngrams:
    """The model with at most about `grams` n-grams above unigrams: those that raise p(w | h) the most are kept."""
    gains = {
        gram: model.prob(gram[:-1]) * p * abs(math.log(p / max(model.prob(gram[1:]), 1e-12)))
        for gram, p in model.probs.items()
        if len(gram) > 1
    }
    if len(gains) <= grams:
        return model
    floor = sorted(gains.values(), reverse=True)[grams]
    kept = {gram for gram, gain in gains.items() if gain > floor}
    kept |= {gram[:-1] for gram in kept if len(gram) == ORDER}  # ARPA wants each history listed
    return with_backoffs({gram: p for gram, p in model.probs.items() if len(gram) == 1 or gram in kept})


def write_arpa(model: Ngrams, path: Path) -> None:
    """The model as gzipped ARPA text, sorted and without a time stamp, so that equal models are equal files."""
    by_order: list[list[Gram]] = [[] for _ in range(ORDER)]
    listed = set(model.probs) | {(START,)}
    listed |= {gram[:-1] for gram in model.probs if len(gram) == ORDER} - listed
    for gram in sorted(listed):
        by_order[len(gram) - 1].append(gram)
    lines = ["\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in enumerate(by_order, 1)), ""]
    for n, grams in enumerate(by_order, 1):
        lines.append(f"\\{n}-grams:")
        for gram in grams:
            p = model.probs.get(gram) or (0.0 if gram == (START,) else model.prob(gram))
            line = f"{_log10(p):.4f}\t{' '.join(gram)}"
            lines.append(f"{line}\t{_log10(model.backoffs[gram]):.4f}" if gram in model.backoffs else line)
        lines.append("")
    data = "\n".join([*lines, "\\end\\", ""]).encode()
    path.write_bytes(gzip.compress(data, mtime=0))


def _log10(p: float) -> float:
    return max(-99.0, math.log10(p)) if p > 0 else -99.0


def read_arpa(path: Path, words: Collection[str] | None = None) -> Ngrams:
    """A model from gzipped ARPA text; with `words`, only n-grams made of them. Raises ValueError."""
    model = Ngrams()
    order = 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\"):
                order = int(line[1]) if line[1].isdigit() else 0
                continue
            cells = line.rstrip("\n").split("\t")
            if not order or len(cells) < 2:
                continue
            gram = tuple(cells[1].split(" "))
            if len(gram) != order:
                raise ValueError(f"{path}: {line!r} is no {order}-gram")
            if words is not None and not all(word in words or word in (START, END) for word in gram):
                continue
            if gram != (START,):
                model.probs[gram] = 10 ** float(cells[0])
            if len(cells) > 2:
                model.backoffs[gram] = 10 ** float(cells[2])
    if not model.probs:
        raise ValueError(f"{path} holds no n-grams")
    return model
