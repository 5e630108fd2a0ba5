"""How a turn sounds in words: negative, neutral or positive, and a score of the whole call.

It reads text only, never the voice, so it may run for both parties; what it says of the agent is about words.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript
from assist.errors import ModelMissing

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Floats = NDArray[np.float32]

WEIGHTS: Final = Path(__file__).resolve().parent / "weights" / "sentiment.npz"
LABELS: Final = ("negative", "neutral", "positive")
SLOTS: Final = 1 << 14
MIN_WORDS: Final = 2
MAX_WORDS: Final = 200
LEAST_CONFIDENCE: Final = 0.45
DECAY: Final = 0.8


@dataclass(frozen=True, slots=True)
class Head:
    """A small network over the sentence vector plus a linear reading of words and word pairs.

    logits = (tanh(v W1 + b1) W2 + b2 + sum of word rows / sqrt(number of words and pairs)) / temperature.
    """

    w1: Floats  # (384, h)
    b1: Floats  # (h,)
    w2: Floats  # (h, 3)
    b2: Floats  # (3,)
    words: Floats  # (SLOTS, 3)
    temperature: float
    name: str

    def probabilities(self, text: str, vector: Floats) -> Floats:
        """P(negative, neutral, positive), shape (3,)."""
        logits = np.tanh(vector @ self.w1 + self.b1) @ self.w2 + self.b2
        rows = slots(text)
        if rows:
            logits = logits + self.words[rows].sum(axis=0) / np.sqrt(len(rows))
        powers = np.exp((logits - logits.max()) / self.temperature)
        shares: Floats = powers / powers.sum()
        return shares


def slots(text: str) -> list[int]:
    """The hash slots of a text's words and neighbouring pairs (first 200 words, case and punctuation dropped)."""
    words = re.findall(r"[a-z']+", text[: MAX_WORDS * 12].lower())[:MAX_WORDS]
    pairs = [f"{left} {right}" for left, right in itertools.pairwise(words)]
    return [zlib.crc32(gram.encode()) % SLOTS for gram in (*words, *pairs)]


class SentimentAnalyser:
    """One finding per turn of the agent or the customer.

    `score` = P(positive) - P(negative), -1..1. Label "none" under two words or where no label reaches 0.45.
    `detail`: "negative", "positive" and "confidence" (the highest of the three) as probabilities, and "call":

        call = sum_k 0.8**k * score_k / sum_k 0.8**k

    over the customer's turns, k = 0 for the latest. Neutral turns count with their score near 0, so one angry
    turn in a calm call fades; turns labelled "none" do not count. An agent's finding carries the customer's
    score unchanged; there is no "call" before the customer's first counted turn.
    """

    def __init__(self, encode: Encode, head: Head) -> None:
        self._encode = encode
        self._head = head

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        said = heard.transcript
        if said.party == "system":
            return ()
        spoken = [f for t in so_far.by("customer") if (f := t.finding("sentiment")) is not None and f.label != "none"]
        scores = [finding.score for finding in spoken]
        if len(said.text.split(maxsplit=MIN_WORDS)) < MIN_WORDS or not slots(said.text):
            return (Finding("sentiment", "none", 0.0, self._evidence(said), _call(scores)),)
        shares = self._head.probabilities(said.text, self._encode([said.text])[0])
        negative, _, positive = (round(float(share), 4) for share in shares)
        confidence = round(float(shares.max()), 4)
        label = LABELS[int(shares.argmax())] if confidence >= LEAST_CONFIDENCE else "none"
        score = round(positive - negative, 4)
        if said.party == "customer" and label != "none":
            scores.append(score)
        detail = {"negative": negative, "positive": positive, "confidence": confidence} | _call(scores)
        return (Finding("sentiment", label, score, self._evidence(said), detail),)

    def _evidence(self, said: Transcript) -> Evidence:
        return Evidence(
            utterance=said.utterance,
            start_ms=said.start_ms,
            end_ms=said.end_ms,
            start_char=0,
            end_char=len(said.text),
            quote=said.text[:200],
            source=self._head.name,
        )


def _call(scores: Sequence[float]) -> dict[str, float]:
    if not scores:
        return {}
    weights = DECAY ** np.arange(len(scores))[::-1]
    return {"call": round(float(weights @ np.array(scores) / weights.sum()), 4)}


def load(encode: Encode, path: Path | str | None = None) -> SentimentAnalyser:
    """The analyser with the head in `path` (default: the shipped one).

    Raises ModelMissing where the file is absent or not such a head.
    """
    return SentimentAnalyser(encode, read(Path(path) if path is not None else WEIGHTS))


def read(file: Path) -> Head:
    """The head in `file`. Raises ModelMissing."""
    mend = "restore it with `git checkout -- models/weights` or train it with `python -m models.train sentiment`"
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelMissing(f"sentiment needs {file}, which cannot be read ({error.strerror}): {mend}") from error
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            w1, b1, w2, b2, words = (stored[k].astype(np.float32) for k in ("w1", "b1", "w2", "b2", "words"))
            temperature = float(stored["temperature"])
    except Exception as error:  # numpy and zipfile raise half a dozen kinds for damaged files
        raise ModelMissing(f"{file} is damaged ({type(error).__name__}: {error}): {mend}") from error
    if words.shape != (SLOTS, len(LABELS)) or w2.shape[1:] != (len(LABELS),) or temperature <= 0:
        raise ModelMissing(f"{file} has other shapes than this version reads: {mend}")
    return Head(w1, b1, w2, b2, words, temperature, f"sentiment {hashlib.sha256(raw).hexdigest()[:8]}")
