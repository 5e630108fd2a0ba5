"""A recogniser that says what a file tells it, for tests and benchmarks.

It knows the time of an utterance and never listens to its sound (a Whisper beside it may, so that saying what the
script says costs what listening would). It is never chosen by itself.

The file is TOML (`[[say]]` tables) or JSON (`{"say": [...]}`):

    delay_ms = 40          # how long each transcription takes
    fail = [3]             # transcriptions, counted from 1, that raise RecogniserFailed
    hang_ms = { 5 = 2000 } # transcriptions that take so much longer

    [effort]               # Whisper works on every utterance beside it, for the cost; its text is thrown away
    weights = "weights/random-tiny"
    tokens_per_s = 3.4     # random weights only

    [[say]]
    party = "customer"
    start_ms = 1200
    end_ms = 3400
    text = "my camera shows a black screen"
"""

from __future__ import annotations

import itertools
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assist.audio import Party, Utterance
from assist.conversation import Transcript, Word
from assist.errors import ConfigError, RecogniserFailed

if TYPE_CHECKING:
    from models.apart import Apart
    from models.whisper import Whisper


class Say(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`text` said by `party` from `start_ms` to `end_ms` of the call, its words evenly spread."""

    party: Party
    start_ms: int
    end_ms: int
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.start_ms < self.end_ms:
            raise ValueError(f"start_ms {self.start_ms} must lie before end_ms {self.end_ms}")

    def words(self) -> list[Word]:
        """The words with their share of the time, in proportion to their letters."""
        texts = self.text.split()
        ends = list(itertools.accumulate(len(t) + 1 for t in texts))
        span = self.end_ms - self.start_ms
        at = [self.start_ms, *(self.start_ms + span * end // ends[-1] for end in ends)] if texts else []
        return [Word(text, start, end) for text, (start, end) in zip(texts, itertools.pairwise(at), strict=True)]


class Effort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `models.whisper.load` is asked for; `tokens_per_s` 0 where the weights are real."""

    weights: str
    tokens_per_s: float = 0.0


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    say: tuple[Say, ...]
    delay_ms: int = 0
    fail: frozenset[int] = frozenset()
    hang_ms: dict[int, int] = {}
    language: str = "en"
    workers: int = 4
    together: int = 1
    probability: float | None = None
    effort: Effort | None = None


class Scripted:
    """A Recogniser that reads from `script`. Counts its transcriptions in `calls`."""

    rough = False

    def __init__(self, script: Script, name: str = "scripted", beside: Apart | Whisper | None = None) -> None:
        self.name = f"{name} at the cost of {beside.name}" if beside else name
        self.workers = beside.workers if beside else script.workers
        self.together = beside.together if beside else script.together
        self.linger_ms = beside.linger_ms if beside else 0.0
        self.calls = 0
        self._script = script
        self._beside = beside
        self._count = itertools.count(1)

    def transcribe(self, utterance: Utterance) -> Transcript:
        """The words said within the utterance's time. Raises RecogniserFailed where the script says so."""
        (said,) = self.transcribe_many([utterance])
        if isinstance(said, RecogniserFailed):
            raise said
        return said

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        """A batch takes as long as the slowest of it."""
        numbers = [next(self._count) for _ in utterances]
        self.calls = numbers[-1] if numbers else self.calls
        wait_ms = max((self._script.delay_ms + self._script.hang_ms.get(number, 0) for number in numbers), default=0)
        if wait_ms:
            time.sleep(wait_ms / 1000)
        beside = self._beside.transcribe_many(utterances) if self._beside else [None] * len(utterances)
        said: list[Transcript | RecogniserFailed] = []
        for number, utterance, outcome in zip(numbers, utterances, beside, strict=True):
            if number in self._script.fail:
                said.append(RecogniserFailed(f"the script makes transcription {number} fail"))
            else:
                said.append(outcome if isinstance(outcome, RecogniserFailed) else self._read(utterance))
        return said

    def bucket(self, utterance: Utterance) -> int:
        """That of what works beside it; by itself it takes any together."""
        return self._beside.bucket(utterance) if self._beside else 0

    def cost_ms(self, utterance: Utterance) -> float:
        """The script's delay, and the cost of what works beside it."""
        return self._script.delay_ms + (self._beside.cost_ms(utterance) if self._beside else 0.0)

    def _read(self, utterance: Utterance) -> Transcript:
        words = sorted((w for say in self._script.say for w in _heard(say, utterance)), key=lambda w: w.start_ms)
        return Transcript(
            utterance=utterance.id,
            party=utterance.party,
            start_ms=utterance.start_ms,
            end_ms=utterance.end_ms,
            text=" ".join(word.text for word in words),
            words=tuple(words),
            language=self._script.language,
            stage=utterance.stage,
            probability=self._script.probability if words else None,
        )

    def warm(self) -> None:
        """Nothing to warm but what works beside it."""
        if self._beside:
            self._beside.warm()

    def close(self) -> None:
        """Nothing to give back but what works beside it."""
        if self._beside:
            self._beside.close()


def _heard(say: Say, utterance: Utterance) -> list[Word]:
    """The words of `say` that fall to `utterance`, moved within its bounds.

    An utterance that covers 80 % of an entry has all its words and one that covers 20 % or less none, because a
    voice detector starts late and ends early. Between the two, and for partials, a word falls to the utterance that
    holds its middle. Two utterances that share an entry between them thus have each word once.
    """
    if say.party != utterance.party:
        return []
    low, high = utterance.start_ms, utterance.end_ms
    span, covered = say.end_ms - say.start_ms, min(high, say.end_ms) - max(low, say.start_ms)
    words = say.words()
    if utterance.stage == "partial" or span < 5 * covered < 4 * span:
        words = [w for w in words if low <= (w.start_ms + w.end_ms) / 2 < high]
    elif 5 * covered <= span:
        words = []
    return [Word(w.text, *(max(low, min(high, ms)) for ms in (w.start_ms, w.end_ms))) for w in words]


def load(path: str | Path) -> Scripted:
    """A Scripted from a TOML or JSON file. Raises ConfigError where it is missing or wrong, ModelMissing."""
    path = Path(path)
    try:
        raw = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            script = msgspec.json.decode(raw, type=Script, strict=False)
        else:
            script = msgspec.convert(tomllib.loads(raw), Script, strict=False)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(f"the script {path} cannot be used: {error}") from error
    beside = None
    if effort := script.effort:
        from models import apart

        made_up = effort.tokens_per_s or None
        beside = apart.load("models.whisper", weights=effort.weights, random_tokens_per_s=made_up)
    return Scripted(script, f"scripted {path.name}", beside)
