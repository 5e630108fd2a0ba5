"""Time of each stage on one thread, without sockets: python -m benchmarks.hotpath [--repeat N]

    frame      one party's 20 ms from a plain message: dialect, mu-law to PCM, timeline, voice gate, segmenter
    segment    of that, the segmenter with the WebRTC gate and, at ends of speech, Silero's second opinion
    encode     a turn's text to its vector, alone
    sentiment, stress, topic    the analysers, in the order in which they run
    search     one query of the knowledge base, inside suggest
    suggest    rules, playbook and search to cards
    flags      the review rules
    mind       all of it: from a final turn's text to suggestions and flags

The shipped call is played again and again, each time as a new call: models are warm, and the encoder has forgotten
every text, so the first stage that needs a new turn's vector (sentiment) pays for it and later ones find it, as in a
live call. `mind_cpu_p95_ms` is processor time, which neighbours on the machine inflate less. Outside the figures:
two hand-overs to a thread per turn, waiting for the interpreter while other calls work, and the store;
`benchmarks.latency` has those.
"""

from __future__ import annotations

import os

# Before numpy is imported, as server.py does it: this is about one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from assist import analyse, phrase, replay
from assist.analyse import Analyser
from assist.audio import FRAME_MS, RATE_HZ, SAMPLES_PER_MS, Leg, Party, Samples, Timeline, Utterance, double
from assist.config import Settings
from assist.conversation import Conversation, Finding, Heard, Transcript, Turn
from assist.flag import Watch
from assist.knowledge import Knowledge
from assist.protocols import Sound
from assist.protocols.plain import Plain
from assist.search import Hit, Said, Search
from assist.segment import Segmenter
from assist.suggest import Guide
from benchmarks.calls import SHIPPED, script_of
from benchmarks.report import RESULTS, Machine, finish, percentile, spread, table
from models import encoder, satisfaction, sentiment, silero, stress, topic, webrtc

STAGES: Final = (
    "frame", "segment", "encode", "sentiment", "stress", "topic", "satisfaction", "search", "suggest", "flags", "mind",
)  # fmt: skip
TARGETS: Final = {"mind_p95_ms": 25.0, "frame_mean_us": 60.0}
PARTIES: Final[tuple[Party, ...]] = ("agent", "customer")
TEXTS: Final = 1_000  # from so many on a cache is one of texts, not of tables
LEAD_MS, TAIL_MS = 240, 160  # what the segmenter leaves around speech

Times = defaultdict[str, list[float]]
"""Stage to milliseconds, one value per frame or turn."""


class Stopwatch:
    """Times by stage; `over` wraps a callable so that each call of it counts."""

    def __init__(self) -> None:
        self.times: Times = defaultdict(list)

    def note(self, stage: str, began_ns: int) -> None:
        """From `began_ns` (perf_counter_ns) to now."""
        self.times[stage].append((time.perf_counter_ns() - began_ns) / 1e6)

    def over(self, stage: str, judge: Analyser) -> Analyser:
        """The same analyser, timed."""

        def timed(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
            began = time.perf_counter_ns()
            found = judge(heard, so_far)
            self.note(stage, began)
            return found

        return timed


class TimedSearch(Search):
    """The search, timed."""

    watch: Stopwatch

    def __call__(self, query: Sequence[Said], limit: int = 3) -> list[Hit]:
        began = time.perf_counter_ns()
        hits = super().__call__(query, limit)
        self.watch.note("search", began)
        return hits


def remembering() -> list[Any]:
    """What keeps what it made of a text: a new turn pays for it, so a turn of a call played anew must too."""
    kept = [each for each in gc.get_objects() if isinstance(each, type(phrase.find))]
    ours = [each for each in kept if each.__module__.split(".")[0] in ("assist", "models")]
    return [each for each in ours if (each.cache_parameters()["maxsize"] or 0) >= TEXTS]


def frames(recording: replay.Recording, watch: Stopwatch) -> None:
    """Every message of the call through dialect, leg, timeline, gate and segmenter of both parties."""
    plain, speech_left, settings, rate_hz = Plain(), silero.load(), Settings(), recording.rate_hz
    legs = {party: Leg("mulaw", rate_hz) for party in PARTIES}
    timelines: dict[Party, Timeline[tuple[bytes, bytes]]] = {party: Timeline() for party in PARTIES}
    segmenters = {
        party: Segmenter(party, webrtc.load(rate_hz), speech_left, settings.endpointing, rate_hz) for party in PARTIES
    }
    for at_ms, messages in replay.frames(recording, "plain", "hotpath", {}):
        for message in messages:
            began = time.perf_counter_ns()
            count, segmenting_ns = 0, 0
            for said in plain.receive(message):
                if not isinstance(said, Sound):
                    continue
                party = said.party
                for start_ms, (pcm, _) in timelines[party].push(legs[party].push(said.payload), at_ms):
                    pushed = time.perf_counter_ns()
                    segmenters[party].push(start_ms, pcm)
                    segmenting_ns += time.perf_counter_ns() - pushed
                    count += 1
            if count:
                watch.times["frame"].append((time.perf_counter_ns() - began) / 1e6 / count)
                watch.times["segment"].append(segmenting_ns / 1e6 / count)


def heard(folder: Path) -> list[Heard]:
    """The turns of the call in the order in which they end, with the sound that a segmenter would give."""
    script, recording = script_of(folder), replay.read(folder)
    assert script, f"{folder} has no script"
    sound: dict[str, Samples] = {}
    for party in PARTIES:
        channel = recording.agent if party == "agent" else recording.customer
        sound[party] = channel if recording.rate_hz == RATE_HZ else double(channel)
    turns = []
    for number, turn in enumerate(sorted(script.turn, key=lambda t: t.end_ms), 1):
        start, end = max(0, turn.start_ms - LEAD_MS), turn.end_ms + TAIL_MS
        samples = sound[turn.party][start * SAMPLES_PER_MS : end * SAMPLES_PER_MS]
        speaker: Party = "agent" if turn.party == "agent" else "customer"
        utterance = Utterance(f"{speaker}-{number}", speaker, start, end, turn.end_ms, samples)
        turns.append(Heard(utterance, Transcript(utterance.id, speaker, start, turn.end_ms, turn.text)))
    return turns


class Mind:
    """What a call asks after each final turn, built as `server.py` builds it, every part timed."""

    def __init__(self, watch: Stopwatch, settings: Settings) -> None:
        self.watch = watch
        self.knowledge = Knowledge.load(settings.mind.knowledge_base)
        self.encode = encoder.load()
        self.search = TimedSearch(self.knowledge, self.encode)
        self.search.watch = watch
        analysers: dict[str, Analyser] = {
            "sentiment": sentiment.load(self.encode),
            "stress": stress.load(parties=settings.mind.stress_parties),
            "topic": topic.load(
                self.encode, topic.taught(self.knowledge.topics.values(), self.knowledge.articles.values())
            ),
            "satisfaction": satisfaction.load(self.encode),
        }
        assert analysers.keys() == set(settings.mind.analysers)
        self.remembering = remembering()
        self.analysers = {name: watch.over(name, judge) for name, judge in analysers.items()}
        self.sources: dict[str, str] = {"encoder": self.encode.name}

    def follow(self, turns: Sequence[Heard]) -> int:
        """One call from its first turn to its last. Returns how many suggestions came. Raises RuntimeError."""
        self.encode.forget()
        for each in self.remembering:
            each.cache_clear()
        conversation = Conversation("hotpath")
        guide, rules = Guide(self.knowledge, self.search), Watch(self.knowledge)
        shown = 0
        for each in turns:
            began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
            findings, faltered = analyse.run(self.analysers, each, conversation)
            conversation = conversation.with_turn(Turn(each.transcript, findings))
            advising = time.perf_counter_ns()
            shown += len(guide.after(conversation).suggestions)
            self.watch.note("suggest", advising)
            checking = time.perf_counter_ns()
            rules.after(conversation, each.transcript.end_ms)
            self.watch.note("flags", checking)
            self.watch.note("mind", began)
            self.watch.times["mind_cpu"].append((time.thread_time_ns() - began_cpu) / 1e6)
            if faltered:
                raise RuntimeError(f"{faltered[0].part} faltered: {faltered[0].message}")
            self.sources.update({f.analyser: f.evidence.source for f in findings if f.evidence.source})
        return shown

    def encode_alone(self, turns: Sequence[Heard]) -> None:
        """Each turn's text to a vector that nobody has asked for yet."""
        self.encode.forget()
        for each in turns:
            began = time.perf_counter_ns()
            self.encode([each.transcript.text])
            self.watch.note("encode", began)


def repeated(work: Callable[[], object], repeat: int, watch: Stopwatch) -> None:
    """Once for warmth, uncounted, then `repeat` times."""
    before = {stage: len(values) for stage, values in watch.times.items()}
    work()
    for stage, values in watch.times.items():
        del values[before.get(stage, 0) :]
    for _ in range(repeat):
        work()


def measure(repeat: int, folder: Path = SHIPPED, *, freeze: bool = False) -> dict[str, Any]:
    """All stages over the call in `folder`, `repeat` times. The document, without the machine.

    `freeze`: keep models and knowledge out of the collector's way for good, as the server does.
    """
    watch = Stopwatch()
    recording, turns = replay.read(folder), heard(folder)
    mind = Mind(watch, Settings())
    if freeze:
        gc.collect()
        gc.freeze()
    repeated(lambda: frames(recording, watch), max(1, repeat // 5), watch)
    repeated(lambda: mind.encode_alone(turns), repeat, watch)
    shown: list[int] = []
    repeated(lambda: shown.append(mind.follow(turns)), repeat, watch)
    times = watch.times
    document: dict[str, Any] = {
        "call": folder.name,
        "engine": "one thread, onnxruntime int8 encoder",
        "weights": mind.sources,
        "articles": len(mind.knowledge.articles),
        "turns": len(turns),
        "suggestions": shown[-1],
        "frame_mean_us": round(1000 * sum(times["frame"]) / len(times["frame"]), 1),
        "mind_p50_ms": round(percentile(times["mind"], 0.5) or 0.0, 2),
        "mind_p95_ms": round(percentile(times["mind"], 0.95) or 0.0, 2),
    }
    for stage in STAGES:
        document[f"{stage}_p95_ms"] = round(percentile(times[stage], 0.95) or 0.0, 4)
    document["mind_cpu_p95_ms"] = round(percentile(times["mind_cpu"], 0.95) or 0.0, 2)
    document["stages_ms"] = {stage: spread(times[stage], 4) for stage in STAGES}
    document["targets"] = TARGETS
    return document


def show(document: dict[str, Any]) -> None:
    """The table for people."""
    names = ("p50", "p95", "p99", "max", "n")
    rows = [
        [stage, *(f"{found[k]:.3f}" if k != "n" else found[k] for k in names)]
        for stage, found in document["stages_ms"].items()
    ]
    print(table(["stage, ms", *names], rows))
    print(
        f"\na frame ({FRAME_MS} ms of one party): mean {document['frame_mean_us']} µs, "
        f"at most {TARGETS['frame_mean_us']:g}"
    )
    print(
        f"whole mind over {document['articles']} articles: p95 {document['mind_p95_ms']} ms, "
        f"at most {TARGETS['mind_p95_ms']:g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20, help="calls through the mind (default 20: 380 turns)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    given = parser.parse_args()
    machine = Machine()
    document = measure(given.repeat, freeze=True)
    show(document)
    finish("hotpath", document, machine, given.out)


if __name__ == "__main__":
    main()
