"""Whether a decoded text can be trusted: the signs of a decoder that loops, rambles or speaks into silence.

It knows no model and no audio: it judges tokens, their text and the decoder's own figures.
The thresholds for compression, speech and likelihood are OpenAI's defaults for Whisper; the rest are stated beside
each rule. None has been tuned on telephone speech.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Fault = Literal["cap", "rate", "repeats", "compression", "no_speech"]

COMPRESSION: Final = 2.4
NO_SPEECH: Final = 0.6
LOGPROB: Final = -1.0
TOKENS_PER_S: Final = 12.0  # English speech makes about 3.4
SHORTEST_S: Final = 0.5  # "Yes." is two tokens however fast it is said
PHRASE_TOKENS: Final = 12


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder said: text tokens and their text, mean log probability, P(no speech), and whether it was cut.

    `chances`: the probability of each of `tokens`, where they were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    logprob: float
    no_speech: float
    capped: bool
    seconds: float
    chances: tuple[float, ...] = ()


class Loop(NamedTuple):
    """`times` repetitions of the `length` tokens from `start`."""

    start: int
    length: int
    times: int


def loop(tokens: Sequence[int]) -> Loop | None:
    """The first phrase said over and over, or None.

    A phrase of one token must come 8 times in a row, of two 5 times, of more (up to 12) 4 times: people do say
    "no, no, no" and "hello? hello?".
    """
    for start in range(len(tokens)):
        for length in range(1, min(PHRASE_TOKENS, (len(tokens) - start) // 4) + 1):
            phrase = tokens[start : start + length]
            times, at = 1, start + length
            while tokens[at : at + length] == phrase:
                times, at = times + 1, at + length
            if times >= {1: 8, 2: 5}.get(length, 4):
                return Loop(start, length, times)
    return None


def compression(text: str) -> float:
    """Bytes of the text over bytes of the text deflated; 0 for no text. Above 2.4 it repeats itself."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def fault(decoded: Decoded) -> Fault | None:
    """Why `decoded` is not to be trusted, or None."""
    if decoded.no_speech > NO_SPEECH and decoded.logprob < LOGPROB:
        return "no_speech"
    if decoded.capped:
        return "cap"
    if len(decoded.tokens) > TOKENS_PER_S * max(decoded.seconds, SHORTEST_S):
        return "rate"
    if loop(decoded.tokens):
        return "repeats"
    return "compression" if compression(decoded.text) > COMPRESSION else None
