"""How long a turn takes to be understood: encoder, every head, search over 10,000 articles; stress on 3 s of voice.

It knows no socket and no guidance; `benchmarks.hotpath` times those over the shipped call. One thread, warm models.
The keys carry the time in ms; nothing here says how right anything is.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Samples, Utterance, double
from assist.conversation import Conversation, Heard, Transcript, Turn
from assist.knowledge import Knowledge
from assist.search import Search
from assist.suggest import Guide
from benchmarks import synthetic
from benchmarks.accuracy.figures import Figure, Measured, bootstrap
from benchmarks.calls import SHIPPED
from benchmarks.report import ROOT, percentile, table
from models import encoder, next_action, satisfaction, sentiment, stress, topic
from models.train import queries
from models.train.vectors import encoded

ARTICLES: Final = 10_000
WORDS: Final = 15
CALLS, TURNS = 30, 10
WARM: Final = 20  # turns before the clock counts
STRESS_S: Final = 3
MANY: Final = 64  # texts at once that are worth remembering between runs
SEED: Final = 5
AGENT: Final = "could you tell me a little more about that please"

Times = dict[str, list[float]]


class Remembering:
    """The encoder, but what an index asks for by the hundred is kept in the temporary folder under its name."""

    def __init__(self, encode: encoder.Encoder) -> None:
        self._encode = encode

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return encoded(self._encode, texts) if len(texts) >= MANY else self._encode(texts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encode, name)


def utterances() -> Iterator[str]:
    """Sentences of 15 words, none of them twice: what callers said, joined and cut anew. Without end."""
    said = [text for each in queries.read() for party, text in each.said if party == "customer"]
    rng = np.random.default_rng(SEED)
    seen: set[str] = set()
    while True:
        words: list[str] = []
        while len(words) < WORDS:
            words += said[int(rng.integers(len(said)))].split()
        start = int(rng.integers(len(words) - WORDS + 1))
        text = " ".join(words[start : start + WORDS])
        if text not in seen:
            seen.add(text)
            yield text


class Understanding:
    """Every judgement of a turn's words as the server would ask for them, each timed."""

    def __init__(self, articles: int) -> None:
        self.encode = encoder.load()
        shipped = Knowledge.load(ROOT / "knowledge_base")
        self.knowledge = synthetic.enlarged(shipped, articles)
        encode = Remembering(self.encode)
        self.search = Search(self.knowledge, encode)
        self.guide = Guide(shipped, self.search)
        self.analysers = {
            "sentiment": sentiment.load(self.encode),
            "topic": topic.load(self.encode, topic.taught(shipped.topics.values(), shipped.articles.values())),
            "satisfaction": satisfaction.load(self.encode),
        }
        self.next_action = next_action.judge(self.encode)

    def turn(self, text: str, so_far: Conversation, times: Times) -> Conversation:
        """One more turn of the customer; each stage's ms are added to `times`, their sum as "mind".

        "cpu" is the same in processor time, which neighbours on the machine inflate less.
        """
        at_ms = len(so_far.turns) * 5_000
        said = Transcript(f"u{at_ms}", "customer", at_ms, at_ms + 4_000, text)
        heard = Heard(Utterance(said.utterance, "customer", at_ms, at_ms + 4_000, at_ms + 4_000, _NOTHING), said)
        findings: list[Any] = []
        began, began_cpu = time.perf_counter(), time.thread_time()

        def stage(name: str, work: Callable[[], Any]) -> Any:
            start = time.perf_counter()
            found = work()
            times[name].append((time.perf_counter() - start) * 1000)
            return found

        stage("encode", lambda: self.encode([text]))
        for name, judge in self.analysers.items():
            findings += stage(name, lambda judge=judge: judge(heard, so_far))  # type: ignore[misc]
        after = so_far.with_turn(Turn(said, tuple(findings)))
        stage("next_action", lambda: self.next_action(events(after)))
        stage("search", lambda: self.search(self.guide.query(after), 2))
        times["mind"].append((time.perf_counter() - began) * 1000)
        times["cpu"].append((time.thread_time() - began_cpu) * 1000)
        return after


def events(conversation: Conversation) -> list[dict[str, str]]:
    """What a policy would be told: after each turn of the customer the agent has done and said something."""
    happened: list[dict[str, str]] = []
    for turn in conversation.turns:
        happened += [{"action": "ask"}, {"party": "agent", "text": AGENT}] if happened else []
        happened.append({"party": "customer", "text": turn.transcript.text})
    return happened


_NOTHING: Final = np.zeros(0, dtype=np.int16)


def turns(articles: int, calls: int, each: int) -> Times:
    """Stage → ms of every turn of `calls` calls of `each` turns, after some that do not count."""
    mind = Understanding(articles)
    said = utterances()
    times: Times = defaultdict(list)

    def call(length: int) -> None:
        so_far = Conversation("mind")
        for _ in range(length):
            so_far = mind.turn(next(said), so_far, times)

    call(WARM)
    times.clear()
    gc.collect()
    gc.freeze()  # as the server does it: models and knowledge are none of the collector's business
    try:
        for _ in range(calls):
            mind.encode.forget()
            call(each)
    finally:
        gc.unfreeze()
    return times


def voices(seconds: int = STRESS_S) -> list[Samples]:
    """The customer of the shipped call in stretches of `seconds`, 16 kHz, those without speech left out."""
    sound, rate_hz = soundfile.read(SHIPPED / "call.wav", dtype="int16")
    whole = sound[:, 1] if rate_hz == RATE_HZ else double(sound[:, 1])
    pieces = [whole[at : at + seconds * RATE_HZ] for at in range(0, len(whole) - seconds * RATE_HZ, seconds * RATE_HZ)]
    return [piece for piece in pieces if np.abs(piece.astype(np.int32)).mean() > 300]


def stress_ms(repeat: int) -> list[float]:
    """ms of the stress analyser for each 3 s of voice, its baseline from the stretches before."""
    analyse, pieces = stress.load(), voices()
    spent: list[float] = []
    for _ in range(repeat + 1):
        so_far = Conversation("stress")
        for number, samples in enumerate(pieces):
            end_ms = len(samples) * 1000 // RATE_HZ
            said = Transcript(f"u{number}", "customer", 0, end_ms, "")
            heard = Heard(Utterance(said.utterance, "customer", 0, end_ms, end_ms, samples), said)
            began = time.perf_counter()
            findings = analyse(heard, so_far)
            spent.append((time.perf_counter() - began) * 1000)
            so_far = so_far.with_turn(Turn(said, tuple(findings)))
    return spent[len(pieces) :]  # the first round warms


def _figure(times: Sequence[float], share: float, split: str) -> Figure:
    def at(values: NDArray[Any]) -> float:
        return float(percentile(values.tolist(), share) or 0.0)

    return bootstrap(at, np.array(times), split=split)


def measure(data: Path, *, quick: bool) -> Measured:
    """`mind.*` and `stress.ms_3s_*`, with each stage's p50 and p95 beside them. `data` is not needed.

    Quick: over the shipped articles only, and nothing that could be held against a stored figure, since times depend
    on the machine.
    """
    times = turns(0 if quick else ARTICLES, 3 if quick else CALLS, TURNS)
    spent = stress_ms(1 if quick else 20)
    extra: dict[str, float | None] = {
        f"mind.{stage}_{name}_ms": percentile(values, share)
        for stage, values in times.items()
        if stage != "mind"
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }
    rows = [
        (stage, *(f"{percentile(values, share) or 0.0:.2f}" for share in (0.5, 0.95, 1.0)), len(values))
        for stage, values in times.items()
    ]
    shown = table(("stage, ms", "p50", "p95", "max", "n"), rows)
    if quick:
        return Measured({}, [shown])
    split = f"turns of {WORDS} words never seen before, {ARTICLES:,} articles, one thread"
    heard = f"stretches of {STRESS_S} s of the shipped call, one thread"
    figures = {
        "mind.p50_ms": _figure(times["mind"], 0.5, split),
        "mind.p95_ms": _figure(times["mind"], 0.95, split),
        "stress.ms_3s_p50": _figure(spent, 0.5, heard),
        "stress.ms_3s_p95": _figure(spent, 0.95, heard),
    }
    return Measured(figures, [shown], {}, extra)
