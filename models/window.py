"""Stretches of sound for a recogniser that hears a window at a time, and how long the window must be.

It knows no recogniser and no words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from assist.audio import RATE_HZ, SAMPLES_PER_MS, Samples, Utterance
from assist.conversation import Word

BUCKETS_S: Final = (10, 12, 15, 20, 30)
MARGIN_S: Final = 2
LONGEST_S: Final = BUCKETS_S[-1] - MARGIN_S


def fitted_s(seconds: float) -> int:
    """The smallest window of BUCKETS_S that holds `seconds` and 2 s of silence; 30 where none does."""
    return next((bucket for bucket in BUCKETS_S if seconds + MARGIN_S <= bucket), BUCKETS_S[-1])


def pieces(samples: Samples) -> Iterator[tuple[int, Samples]]:
    """Stretches of at most 28 s with their first sample's index, cut in two where the middle half is quietest.

    Digital silence is left out: there is nothing to decode in it.
    """
    waiting = [(0, samples)]
    while waiting:
        start, piece = waiting.pop()
        if len(piece) <= LONGEST_S * RATE_HZ:
            if piece.any():
                yield start, piece
            continue
        width, quarter = RATE_HZ // 5, len(piece) // 4
        blocks = piece[quarter : len(piece) - quarter]
        blocks = blocks[: len(blocks) // width * width].reshape(-1, width)
        loudness = np.square(blocks.astype(np.float32)).mean(axis=1)
        cut = quarter + int(loudness.argmin()) * width + width // 2
        waiting += [(start + cut, piece[cut:]), (start, piece[:cut])]


def placed(words: tuple[Word, ...], start: int, utterance: Utterance) -> tuple[Word, ...]:
    """Words timed from sample `start` moved onto the call's clock, within the utterance's bounds."""
    first = utterance.start_ms + start // SAMPLES_PER_MS

    def at(ms: int) -> int:
        return max(utterance.start_ms, min(utterance.end_ms, first + ms))

    return tuple(Word(w.text, at(w.start_ms), at(w.end_ms), w.probability) for w in words)
