"""What each way to make Whisper cheaper is worth: `python -m benchmarks.encoder --weights weights/random-tiny`.

It knows nothing of accuracy: it runs on random weights (made where they are missing). One worker, one thread; CPU
milliseconds for one utterance, because others may share the machine. All ways of a group take turns, so that whatever
disturbs one disturbs its neighbours, and each figure is the median of its turns.

encode      a window of so many seconds; mel: the spectrogram of so much sound
batch       whole utterances of 3 s (in 10 s), 10 s (12 s) and 20 s (30 s), so many at once, each; trimmed: with 16,000
            text tokens left (models/trim.py)
generate    14 tokens in a 10 s window, as they are decoded and with one thing left out
draft       the same 14 where a text is there to start from: checked in one pass (`align`), and then nothing of it kept,
            its first 7 or 13 tokens put before what is still to be said, or all of it found good and nothing decoded
memory      encode with the allocator's settings that keep memory, in processes that take turns
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from assist.audio import RATE_HZ, Utterance
from benchmarks.make_weights import TOKENS_PER_S, found
from benchmarks.report import RESULTS, Machine, finish, table
from models import whisper
from models.mel import log_mel
from models.trim import trim
from models.window import BUCKETS_S, LONGEST_S, MARGIN_S

TOKENS: Final = 14  # about 4 s of speech
WINDOWS_S: Final = (10, 12, 15, 20, 25, 30)
BATCHES: Final = {3: (1, 2, 4), 10: (1, 2, 4), 20: (1, 2)}
TEXT_TOKENS: Final = 16_000
KEEPING: Final = ":".join(
    f"glibc.malloc.{setting}"
    for setting in ("hugetlb=1", "mmap_threshold=4000000000", "trim_threshold=8000000000", "top_pad=268435456")
)
NOISE: Final = np.random.default_rng(0).normal(0, 1_000, LONGEST_S * RATE_HZ).astype(np.int16)
Works = Mapping[str, tuple[Callable[[], object], int]]
"""What to time, and among how many utterances its time is shared."""


def in_turn(works: Works, turns: int) -> dict[str, float]:
    """Median CPU milliseconds of each, for one utterance, after a turn that is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, (work, among) in works.items():
            began = time.process_time()
            work()
            if turn:
                spent[name].append((time.process_time() - began) * 1000 / among)
    return {name: round(median(each), 1) for name, each in spent.items()}


def heard(seconds: int) -> Utterance:
    return Utterance("u1", "customer", 0, seconds * 1000, seconds * 1000, NOISE[: seconds * RATE_HZ])


def load(weights: str) -> whisper.Whisper:
    loaded = whisper.load(weights, workers=1, random_tokens_per_s=TOKENS_PER_S)
    loaded.together = max(max(sizes) for sizes in BATCHES.values())
    return loaded


def windows(loaded: whisper.Whisper) -> Works:
    works: dict[str, tuple[Callable[[], object], int]] = {}
    for window_s in WINDOWS_S:
        features = log_mel(heard(window_s - MARGIN_S).samples, window_s, loaded._bands)
        works[f"encode {window_s} s"] = (partial(loaded._encode, features), 1)
    for seconds, window_s in ((3, 10), (10, 15), (LONGEST_S, 30)):
        samples = heard(seconds).samples
        works[f"mel {seconds} s"] = (partial(log_mel, samples, window_s, loaded._bands), 1)
    return works


def batches(loaded: whisper.Whisper, label: str, seconds: int) -> Works:
    return {
        f"{label} {seconds} s x {size}": (partial(loaded.transcribe_many, [heard(seconds)] * size), size)
        for size in BATCHES[seconds]
    }


def decoding(loaded: whisper.Whisper) -> Works:
    """With one thing left out, and from drafts."""
    encoded = loaded._encode(log_mel(heard(4).samples, 10, loaded._bands))
    speaking = loaded._speaking("en")
    prompt = [*speaking.sot_sequence, speaking.no_timestamps]

    def generate(draft: tuple[int, ...] = (), **changed: Any) -> Any:
        options: dict[str, Any] = {
            "beam_size": 1,
            "max_length": max(2 * TOKENS, len(prompt) - 1 + TOKENS),  # a text put before counts among the tokens
            "return_scores": True,
            "return_no_speech_prob": True,
            "return_logits_vocab": True,
            "suppress_tokens": loaded._suppressed,
        }
        return loaded._model.generate(encoded, [[*prompt, *draft]], **{**options, **changed})[0]

    draft = tuple(generate().sequences_ids[0])

    def check() -> None:
        loaded._model.align(encoded, prompt[:-1], [[*draft, speaking.eot]], 1, median_filter_width=1)

    def checked(kept: int) -> None:
        check()
        generate(draft[:kept])

    return {
        "generate": (generate, 1),
        "generate, no P(no speech)": (lambda: generate(return_no_speech_prob=False), 1),
        "generate, no probabilities of words": (lambda: generate(return_logits_vocab=False), 1),
        "generate, nothing forbidden": (lambda: generate(suppress_tokens=[speaking.eot], suppress_blank=False), 1),
        "draft, nothing kept": (lambda: checked(0), 1),
        "draft, 7 kept": (lambda: checked(7), 1),
        "draft, 13 kept": (lambda: checked(13), 1),
        "draft, all good": (check, 1),
    }


def memory(weights: str, turns: int) -> dict[str, float]:
    """Encoding in processes with the usual allocator and with one that keeps what it has, in turn."""
    ways = {"usual": "", "keeping": KEEPING}
    spent: dict[str, list[float]] = {}
    for _ in range(turns):
        for way, tunables in ways.items():
            command = [sys.executable, "-m", "benchmarks.encoder", "--weights", weights, "--only-encode"]
            done = subprocess.run(
                command, env={**os.environ, "GLIBC_TUNABLES": tunables}, stdout=subprocess.PIPE, check=True
            )
            for window_s, ms in json.loads(done.stdout).items():
                spent.setdefault(f"memory {way}, {window_s}", []).append(ms)
    return {name: round(median(each), 1) for name, each in sorted(spent.items(), key=lambda item: item[0][-4:])}


def only_encode(loaded: whisper.Whisper) -> dict[str, float]:
    all_windows = windows(loaded)
    return in_turn({f"{s} s": all_windows[f"encode {s} s"] for s in BUCKETS_S}, 5)


def measure(weights: str, turns: int) -> dict[str, dict[str, float]]:
    """Figures by group."""
    loaded = load(weights)
    groups = {"encode": in_turn(windows(loaded), turns), "generate": in_turn(decoding(loaded), turns)}
    with tempfile.TemporaryDirectory() as folder:
        trim(Path(weights), Path(folder) / "trimmed", (), first=TEXT_TOKENS)
        less = load(str(Path(folder) / "trimmed"))
        for seconds in BATCHES:
            works = {**batches(loaded, "whole", seconds), **batches(less, "trimmed", seconds)}
            groups[f"batch {seconds} s"] = in_turn(works, turns)
        less.close()
    loaded.close()
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights/random-tiny", help="a folder of random weights")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only-encode", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    weights = found(asked.weights)
    if asked.only_encode:
        print(json.dumps(only_encode(load(weights))))
        return
    machine = Machine()
    groups = measure(weights, asked.turns)
    groups["memory"] = memory(weights, min(3, asked.turns))
    for name, figures in groups.items():
        print(table((name, "CPU ms"), figures.items()), end="\n\n", flush=True)
    name = Path(weights).name
    finish(f"encoder-{name}", {"weights": name, "turns": asked.turns, "cpu_ms": groups}, machine, RESULTS)


if __name__ == "__main__":
    main()
