"""How a turn sounds in words: negative, neutral or positive, how strongly, and where the mood of the call goes.

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
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript
from assist.errors import ModelMissing
from models.foreign import foreign

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Floats = NDArray[np.float32]

WEIGHTS: Final = Path(__file__).resolve().parent / "weights" / "sentiment.npz"
LABELS: Final = ("negative", "neutral", "positive")
SLOTS: Final = 1 << 14
MAX_WORDS: Final = 200
LEAST_CONFIDENCE: Final = 0.4
TORN: Final = 0.3
DECAY: Final = 0.8
WINDOW: Final = 3
SWING: Final = 0.4
LONG_WORDS: Final = 80  # about what the encoder reads
END_WORDS: Final = 30
AFTER_WORDS: Final = 3
FULL: Final = 5.0  # score_5 at the ends of its scale
MAX_TURNS: Final = 40  # 0.8**40 is nothing, and each costs a pass of the encoder
MEND: Final = "restore it with `git checkout -- models/weights` or train it with `python -m models.train sentiment`"

_BUT: Final = re.compile(r"\b(?:but|however|yet)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """A small network over the encoder's reading of a text plus a linear reading of its words and word pairs.

    logits = (tanh(v W1 + b1) W2 + b2 + sum of word rows / sqrt(number of words and pairs)) / temperature,
    v being the encoder's reading at length 1.
    """

    w1: Floats  # (384, h)
    b1: Floats  # (h,)
    w2: Floats  # (h, 3)
    b2: Floats  # (3,)
    words: Floats  # (SLOTS, 3)
    temperature: float
    reads: str
    """What of which encoder it was trained on; see `reading`."""
    name: str

    def probabilities(self, text: str, read: Floats) -> Floats:
        """P(negative, neutral, positive) of a `plain` text and the encoder's reading of it; shape (3,)."""
        return self.weighed(slots(text), read / max(float(np.linalg.norm(read)), 1e-9))

    def weighed(self, rows: Sequence[int], unit: Floats) -> Floats:
        """The same of a text's word slots and a reading of length 1."""
        logits = np.tanh(unit @ self.w1 + self.b1) @ self.w2 + self.b2
        if rows:
            logits = logits + self.words[list(rows)].sum(axis=0) / np.sqrt(len(rows))
        powers = np.exp((logits - logits.max()) / self.temperature)
        shares: Floats = powers / powers.sum()
        return shares


def reading(encode: Encode) -> tuple[Encode, str]:
    """What the head reads of an encoder, and its name: tones where the encoder has them, else sentence vectors."""
    name = str(getattr(encode, "name", "an encoder without a name"))
    tones: Encode | None = getattr(encode, "tones", None)
    return (encode, f"{name}, vectors") if tones is None else (tones, f"{name}, tones")


def plain(text: str) -> str:
    """Links and handles go, a hashtag loses its mark. What was spoken has none of them and stays as it is."""
    if not re.search(r"[@#]|://|\s\s|^\s|\s$", text):
        return text
    return re.sub(r"\s+", " ", re.sub(r"https?://\S+|@\w+|#(?=\w)", " ", text)).strip()


@lru_cache(maxsize=2048)
def slots(text: str) -> tuple[int, ...]:
    """The hash slots of a text's words and neighbouring pairs (first 200 words, case and punctuation dropped)."""
    words = _words(text)
    pairs = [f"{left} {right}" for left, right in itertools.pairwise(words)]
    return tuple(zlib.crc32(gram.encode()) % SLOTS for gram in (*words, *pairs))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text[: MAX_WORDS * 12].lower().replace("\u2019", "'"))[:MAX_WORDS]


@lru_cache(maxsize=2048)
def legible(text: str) -> bool:
    """False where there is nothing to read: no letters, or two words and more of another language (`foreign`)."""
    words = _words(text)
    strange = sum(character.isalpha() and not character.isascii() for character in text[: MAX_WORDS * 12])
    return bool(words) and not foreign(text) and strange * 4 <= sum(map(len, words))


def parts(text: str) -> list[str]:
    """What is read of a `plain` text, one part or two: the whole, and what follows its last "but", "however" or "yet".

    Where it is longer than the encoder reads: its first 80 words, and its last 30.
    """
    words = text.split()
    if len(words) > LONG_WORDS:
        return [" ".join(words[:LONG_WORDS]), " ".join(words[-END_WORDS:])]
    turns = [each.end() for each in _BUT.finditer(text) if each.start()]
    after = text[turns[-1] :].strip(" ,") if turns else ""
    return [text, after] if len(after.split()) >= AFTER_WORDS else [text]


def outweighed(shares: Sequence[Floats]) -> Floats:
    """P(negative, neutral, positive) of a text from those of its `parts`: praise before a "but" is manners, so the last
    part counts alone where it is negative or positive."""
    return shares[-1] if named(shares[-1]) in {"negative", "positive"} else shares[0]


def named(shares: Floats | NDArray[np.float64]) -> str:
    """The likeliest label of P(negative, neutral, positive), or "none": too unsure, or torn between the ends."""
    torn = min(shares[0], shares[2]) >= TORN
    return "none" if torn or shares.max() < LEAST_CONFIDENCE else LABELS[int(shares.argmax())]


class SentimentAnalyser:
    """One finding per turn of the agent or the customer.

    `score` = P(positive) - P(negative), -1..1: people's mean rating of a text lies close to it (models/cards/
    sentiment.md). The label is the likeliest, but "none" where the text cannot be read (`legible`), where no label
    reaches 0.4, or where negative and positive both reach 0.3: words and meaning part, as in irony, or one turn
    holds both. `detail`: "negative", "positive" and "confidence" (the highest of the three) as probabilities,
    "score_5" = 5 * score, and the call's mood (`mood`) over the customer's turns so far. Neutral turns count there,
    turns labelled "none" do not. An agent's finding carries the customer's mood unchanged.
    """

    def __init__(self, encode: Encode, head: Head) -> None:
        self._read, _ = reading(encode)
        self._head = head

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        said = heard.transcript
        if said.party == "system":
            return ()
        return (self.judge(said, counted(so_far)),)

    def judge(self, said: Transcript, scores: Sequence[float]) -> Finding:
        """The finding of one turn; `scores` are those of the customer's counted turns before it, oldest first."""
        text = plain(said.text)
        if not legible(text):
            return Finding("sentiment", "none", 0.0, self._evidence(said), mood(scores))
        read = parts(text)
        shares = outweighed([self._head.probabilities(*each) for each in zip(read, self._read(read), strict=True)])
        negative, _, positive = (round(float(share), 4) for share in shares)
        confidence = round(float(shares.max()), 4)
        label = named(shares)
        score = round(positive - negative, 4)
        counts = said.party == "customer" and label != "none"
        detail = {
            "negative": negative,
            "positive": positive,
            "confidence": confidence,
            "score_5": round(FULL * score, 3),
        }
        return Finding(
            "sentiment",
            label,
            score,
            self._evidence(said),
            detail | mood([*scores, score] if counts else scores, counts),
        )

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


def counted(so_far: Conversation) -> list[float]:
    """Scores of the customer's turns that got a label, oldest first."""
    found = (turn.finding("sentiment") for turn in so_far.by("customer"))
    return [each.score for each in found if each is not None and each.label != "none"]


def mood(scores: Sequence[float], newest_counts: bool = False) -> dict[str, float]:
    """The call's mood from the customer's `scores`, oldest first; {} of none.

    "call" = sum_k 0.8**k * score_k / sum_k 0.8**k with k = 0 for the latest, -1..1, and "call_5" = 5 * call: neutral
    turns are near 0, so one angry turn in a calm call fades. "trend", from four scores on: the mean of the latest
    three less the mean of the up to three before, -2..2. "turns": how many turning points there were. Where the newest
    score is that of this turn (`newest_counts`) and has made one plain: "turned" +1 (for the better) or -1, and
    "turned_ago", how many counted turns ago the mood stood at its extreme.
    """
    if not scores:
        return {}
    levels = _levels(scores)
    found = {"call": round(levels[-1], 4), "call_5": round(FULL * levels[-1], 3)}
    if len(scores) > WINDOW:
        latest, before = scores[-WINDOW:], scores[-2 * WINDOW : -WINDOW]
        found["trend"] = round(sum(latest) / len(latest) - sum(before) / len(before), 4)
    turns = turning_points(levels)
    found["turns"] = float(len(turns))
    if newest_counts and turns and turns[-1][1] == len(scores) - 1:
        extreme, plain_at, way = turns[-1]
        found |= {"turned": float(way), "turned_ago": float(plain_at - extreme)}
    return found


def turning_points(levels: Sequence[float]) -> list[tuple[int, int, int]]:
    """Where a curve turned: (index of its extreme, index where it was plain, +1 upwards or -1).

    It is plain where the curve is away by 0.4 for the second time running: one outburst, forgiven, turns nothing.
    """
    found: list[tuple[int, int, int]] = []
    low = high = heading = 0
    for now, level in enumerate(levels):
        low = now if level < levels[low] else low
        high = now if level > levels[high] else high
        latest = levels[max(0, now - 1) : now + 1]
        if heading >= 0 and now > high + 1 and levels[high] - max(latest) >= SWING:
            found.append((high, now, -1))
            heading, low = -1, min(range(high + 1, now + 1), key=levels.__getitem__)
        elif heading <= 0 and now > low + 1 and min(latest) - levels[low] >= SWING:
            found.append((low, now, 1))
            heading, high = 1, max(range(low + 1, now + 1), key=levels.__getitem__)
    return found


def _levels(scores: Sequence[float]) -> list[float]:
    total = weight = 0.0
    levels = []
    for score in scores:
        total, weight = DECAY * total + score, DECAY * weight + 1
        levels.append(total / weight)
    return levels


def judge(encode: Encode, path: Path | str | None = None) -> Callable[[str | Sequence[str]], Finding]:
    """Text, or a customer's turns (oldest first) → the finding of the last one, the call's mood in its `detail`.

    Of many turns the last 40 count. Whatever the text, it answers or abstains. Raises ModelMissing.
    """
    analyse = load(encode, path)

    def found(said: str | Sequence[str]) -> Finding:
        turns = [said] if isinstance(said, str) else list(said[-MAX_TURNS:]) or [""]
        scores: list[float] = []
        for number, text in enumerate(turns, 1):
            finding = analyse.judge(Transcript(f"u{number}", "customer", 0, 0, text), scores)
            if finding.label != "none":
                scores.append(finding.score)
        return finding

    return found


def load(encode: Encode, path: Path | str | None = None) -> SentimentAnalyser:
    """The analyser with the head in `path` (default: the shipped one).

    Raises ModelMissing where the file is absent, not such a head, or was trained on another encoder than `encode`.
    """
    file = Path(path) if path is not None else WEIGHTS
    head = read(file)
    _, reads = reading(encode)
    if head.reads != reads:
        raise ModelMissing(f"{file} was trained on {head.reads}, but {reads} is loaded: {MEND}")
    return SentimentAnalyser(encode, head)


def read(file: Path) -> Head:
    """The head in `file`. Raises ModelMissing."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelMissing(f"sentiment needs {file}, which cannot be read ({error.strerror}): {MEND}") from error
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            w1, b1, w2, b2, words = (stored[k].astype(np.float32) for k in ("w1", "b1", "w2", "b2", "words"))
            temperature, reads = float(stored["temperature"]), str(stored["reads"])
    except Exception as error:  # numpy and zipfile raise half a dozen kinds for damaged files
        raise ModelMissing(f"{file} is damaged ({type(error).__name__}: {error}): {MEND}") from error
    if words.shape != (SLOTS, len(LABELS)) or w2.shape[1:] != (len(LABELS),) or not temperature > 0:
        raise ModelMissing(f"{file} has other shapes than this version reads: {MEND}")
    return Head(w1, b1, w2, b2, words, temperature, reads, f"sentiment {hashlib.sha256(raw).hexdigest()[:8]}")
