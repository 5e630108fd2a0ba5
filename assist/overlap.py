"""How much of what was said stands in a text: BM25 over words, and over letters in fours for what was misheard.

It knows no article, no vector and no model: fields of words come in, shares come out.

Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond (2009); the fields' weights act on the
counts, as in BM25F. Terms are hashed, so that no vocabulary is kept (Weinberger et al., ICML 2009).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from functools import lru_cache
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from assist.phrase import content, tokens

Terms = Callable[[str], Iterable[str]]
Field = tuple[float, Sequence[str]]
"""Weight of a field, and its sentences."""

SLOTS: Final = 1 << 18
SATURATION: Final = 1.2
LENGTH: Final = 0.75
MOST_WORDS: Final = 150  # of a turn: nobody says more before the recogniser cuts
LETTERS: Final = 4
REMEMBERED_TURNS: Final = 1_024  # a turn is asked for again with each of the next ones


class Spans(NamedTuple):
    """Rows that belong to things: thing i owns rows starts[i] to starts[i + 1]."""

    starts: NDArray[np.intp]

    def runs(self, chosen: NDArray[np.intp]) -> tuple[list[slice], NDArray[np.intp]]:
        """Where the rows of each of `chosen` stand, and where they begin once they follow one another."""
        begins, ends = self.starts[chosen], self.starts[chosen + 1]
        lengths = ends - begins
        return list(map(slice, begins.tolist(), ends.tolist())), np.cumsum(lengths) - lengths


@lru_cache(REMEMBERED_TURNS)
def words(text: str) -> Set[str]:
    """The stems of the words that carry meaning, each once."""
    return frozenset(token.stem for token in itertools.islice(content(text), MOST_WORDS))


def letters(text: str) -> Iterable[str]:
    """Four letters in a row, spaces counted: words that sound alike are mostly spelled alike in part."""
    line = " ".join(token.word for token in itertools.islice(tokens(text), MOST_WORDS))
    return {line[at : at + LETTERS] for at in range(len(line) - LETTERS + 1)}


def slot(term: str) -> int:
    return crc32(term.encode("utf-8", "replace")) % SLOTS


class Overlap:
    """Read only once it is made."""

    def __init__(self, texts: Iterable[Sequence[Field]], terms: Terms) -> None:
        """`texts`: for each text its fields; a sentence counts each of its terms once."""
        self._terms = terms
        self._asked = lru_cache(REMEMBERED_TURNS)(self._slots_of)
        found: list[NDArray[np.int32]] = []
        counts: list[NDArray[np.float32]] = []
        seen = np.zeros(SLOTS, dtype=np.int32)
        for fields in texts:
            weights: Counter[int] = Counter()
            for weight, sentences in fields:
                for sentence in sentences:
                    for term in terms(sentence):
                        weights[slot(term)] += weight  # type: ignore[assignment]  # weights may be fractions
            slots = np.fromiter(weights or (0,), dtype=np.int32)
            found.append(slots)
            counts.append(np.fromiter(weights.values() if weights else (0.0,), dtype=np.float32))
            seen[slots] += 1
        self._spans = Spans(np.cumsum([0, *map(len, found)], dtype=np.intp))
        slots = np.concatenate(found) if found else np.zeros(0, dtype=np.int32)
        # Numbered anew without gaps, so that what a query is worth by term fits the processor's cache; 0: in no text.
        held = np.flatnonzero(seen)
        self._number = np.zeros(SLOTS, dtype=np.int32)
        self._number[held] = np.arange(1, len(held) + 1)
        self._held = self._number[slots]
        self._numbers = len(held) + 1
        lengths = np.array([count.sum() for count in counts])
        usual = max(float(lengths.mean()), 1.0) if found else 1.0
        count = np.concatenate(counts) if counts else np.zeros(0, dtype=np.float32)
        long = np.repeat(1 - LENGTH + LENGTH * lengths / usual, np.diff(self._spans.starts))
        # Without BM25's factor (k + 1): a term counted without end is worth its rarity.
        self._gains = (count / (count + SATURATION * long)).astype(np.float32)
        self._seen = seen
        self._rarity = np.log1p((len(found) - seen + 0.5) / (seen + 0.5)).astype(np.float32)

    def rarest(self, terms: Iterable[str], most: int) -> list[str]:
        """Those of `terms` that some text holds, rarest first, until `most` texts hold them in all; at least one."""
        known = sorted((int(self._seen[slot(term)]), term) for term in terms)
        held = [(count, term) for count, term in known if count]
        sums = itertools.accumulate(count for count, _ in held)
        return [term for at, ((_, term), total) in enumerate(zip(held, sums, strict=True)) if not at or total <= most]

    def __call__(self, said: Iterable[tuple[str, float]], chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """What share of the turns' terms, by rarity, the texts `chosen` hold: 0..1, shape (len(chosen),).

        `said`: turns with their weights. A term no text holds counts as the rarest of all.
        """
        asked = [(self._asked(text), weight) for text, weight in said]
        slots = np.concatenate([each for each, _ in asked]) if asked else np.zeros(0, dtype=np.intp)
        if not len(slots) or not len(chosen):
            return np.zeros(len(chosen), dtype=np.float32)
        weights = np.repeat(np.array([weight for _, weight in asked], np.float32), [len(each) for each, _ in asked])
        worth = weights * self._rarity[slots]
        table = np.zeros(self._numbers, dtype=np.float32)
        np.add.at(table, self._number[slots], worth)
        table[0] = 0.0
        runs, cuts = self._spans.runs(chosen)
        held = np.concatenate([self._held[run] for run in runs])
        gains = np.concatenate([self._gains[run] for run in runs])
        gained = np.add.reduceat(table.take(held) * gains, cuts)
        shares: NDArray[np.float32] = (gained / max(float(worth.sum()), 1e-9)).astype(np.float32)
        return shares

    def _slots_of(self, text: str) -> NDArray[np.intp]:
        """A slot for each term of a turn."""
        return np.array([slot(term) for term in self._terms(text)], dtype=np.intp)
