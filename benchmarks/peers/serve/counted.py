"""Makes a peer's Whisper say a fair number of tokens although its weights are random. Imported in the peer's process.

Random weights never say that they are done: the peer would decode to the last token, call the result bad and decode
again at five more temperatures, at a cost that real weights never have. So `ctranslate2.models.Whisper.generate` runs
as the peer asks (its beam, its prompt, its padding), but for as many tokens as speech of that length comes to; and what
it gives back is text that a good recogniser might give: sure of itself, the same words for the same sound as more
sound comes in, cut into segments at pauses. All of that is in the peer's favour: nothing is decoded twice, nothing it
waits to see confirmed ever changes.

It must run in environments that hold nothing of this project: standard library, numpy and ctranslate2 only.
"""

from __future__ import annotations

import os
import threading
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Final

import ctranslate2
import numpy as np

FRAMES_PER_S: Final = 100
MOST_TOKENS: Final = 224
LOGPROB: Final = -0.3
STEP_S: Final = 0.02
PAUSE_S: Final = 0.4
"""Quiet of this length inside the sound ends a segment, about as Whisper's own time stamps do."""
QUIET: Final = 0.25
"""Below this share of the way from the quietest to the loudest frame it is quiet."""


class Vocabulary:
    """Whisper's special tokens, all of which follow from `<|endoftext|>`."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.no_times = end + 106
        self.times = end + 107

    def stamp(self, at_s: float) -> int:
        """The token of a time."""
        return self.times + round(min(at_s, 30.0) / STEP_S)


def sound_frames(features: Any) -> int:
    """How much of a log-mel (bands, frames) is sound: what follows is faster-whisper's padding of exact zeros."""
    filled = np.flatnonzero(np.any(features != 0, axis=0))
    return int(filled[-1]) + 1 if len(filled) else 0


def pauses(features: Any, frames: int) -> list[float]:
    """The middles of pauses within the first `frames` of a log-mel (bands, frames), s."""
    if frames < 2:
        return []
    energy = features[:, :frames].mean(axis=0)
    low, high = np.percentile(energy, [5, 95])
    loud = np.flatnonzero(energy > low + QUIET * (high - low))
    return [float(a + b) / 2 / FRAMES_PER_S for a, b in pairwise(loud) if b - a >= PAUSE_S * FRAMES_PER_S]


def told(
    count: int, seconds: float, cuts: list[float], vocabulary: Vocabulary, *, timed: bool, verse: int = 0
) -> list[int]:
    """`count` text tokens over `seconds` of sound; with `timed`, in segments between time stamps."""

    def text(number: int) -> int:
        # Wide steps through the syllables: words differ, so nothing looks like a loop.
        return 256 + (number * 7919 + verse * 104_729) % (vocabulary.end - 300)

    if not timed:
        return [text(number) for number in range(count)]
    tokens: list[int] = []
    for start, end in pairwise([0.0, *cuts, seconds]):
        numbers = range(round(count * start / seconds), round(count * end / seconds))
        if numbers:
            tokens += [vocabulary.stamp(start), *map(text, numbers), vocabulary.stamp(end)]
    return tokens


class _Ear(threading.local):
    """What this thread encoded last: its features, and how often its sound has begun anew."""

    def __init__(self) -> None:
        self.features: list[Any] = []
        self.seconds = 0.0
        self.verse = 0


def install(tokens_per_s: float, end: int) -> None:
    """Patch ctranslate2 in this process. `end`: the id of `<|endoftext|>`."""
    whisper = ctranslate2.models.Whisper
    encode, generate = whisper.encode, whisper.generate
    vocabulary, ear = Vocabulary(end), _Ear()

    def heard_encode(self: Any, features: Any, *rest: Any, **options: Any) -> Any:
        ear.features = list(np.array(features))
        return encode(self, features, *rest, **options)

    def counted_generate(self: Any, features: Any, prompts: Any, **options: Any) -> list[Any]:
        frames = [sound_frames(each) for each in ear.features]
        seconds = [max(STEP_S, count / FRAMES_PER_S) for count in frames]
        if max(seconds) < ear.seconds - 0.2:  # cut: new words, so that no two turns read the same
            ear.verse += 1
        ear.seconds = max(seconds)
        counts = [min(MOST_TOKENS, max(1, round(tokens_per_s * each))) for each in seconds]
        prompt = max(len(each) for each in prompts)
        # CTranslate2 stops at half of max_length, or at max_length less all but the last token of the prompt.
        options["max_length"] = max(2 * max(counts), prompt - 1 + max(counts))
        options["suppress_tokens"] = [*(options.get("suppress_tokens") or []), end]
        generate(self, features, prompts, **options)
        found = []
        for n, each in enumerate(prompts):
            timed = vocabulary.no_times not in each
            cuts = pauses(ear.features[n], frames[n]) if timed else []
            tokens = told(counts[n], seconds[n], cuts, vocabulary, timed=timed, verse=ear.verse)
            found.append(
                SimpleNamespace(
                    sequences=[[str(token) for token in tokens]],
                    sequences_ids=[tokens],
                    scores=[LOGPROB],
                    no_speech_prob=0.0,
                )
            )
        return found

    whisper.encode, whisper.generate = heard_encode, counted_generate


def from_environment() -> None:
    """`install` as PEERS_TOKENS_PER_S and PEERS_END_TOKEN say; nothing without them (real weights)."""
    if end := os.environ.get("PEERS_END_TOKEN"):
        install(float(os.environ["PEERS_TOKENS_PER_S"]), int(end))
