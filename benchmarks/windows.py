"""What one utterance costs Whisper, in a fitted window and in 30 s: `python -m benchmarks.windows tiny base`.

With `--trimmed N` also what it costs with N text tokens left (models/trim.py), as a share of the whole vocabulary's.

It knows nothing of accuracy: it runs on random weights (made where they are missing), told to say 3.4 tokens for
every second of sound. One worker, one thread. CPU time is what to compare where the machine has other work;
the medians of `--times` runs are shown for people, and the last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from assist.audio import RATE_HZ, Samples, Utterance
from benchmarks.make_weights import ROOT, SHAPES, TOKENS_PER_S, make
from models import whisper
from models.keywords import Hint
from models.mel import log_mel
from models.trim import trim
from models.window import fitted_s

WAYS: Final[dict[str, dict[str, Any]]] = {
    "fit": {"window": "fit"},
    "fit, word times": {"window": "fit", "word_times": True},
    # A random tokenizer has a token for every letter: this hint is as long as it may be.
    "fit, hint of 48": {"window": "fit", "hint": Hint(("x" * 47,), 48)},
    "full": {"window": "full"},
}


def timed(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Median wall and CPU milliseconds of `work`, after one run that is not counted."""
    work()
    wall, cpu = [], []
    for _ in range(times):
        began, spent = time.perf_counter(), time.process_time()
        work()
        cpu.append((time.process_time() - spent) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
    return statistics.median(wall), statistics.median(cpu)


def stages(loaded: whisper.Whisper, samples: Samples, times: int, full: bool) -> dict[str, Any]:
    """Figures for one utterance: the whole, and its parts mel, encode and generate (CPU ms)."""
    seconds = len(samples) / RATE_HZ
    ms = round(seconds * 1000)
    utterance = Utterance("u1", "customer", 0, ms, ms, samples)
    window_s = 30 if full else fitted_s(seconds)
    features = log_mel(samples, window_s, loaded._bands)
    encoded = loaded._encode(features)
    english = [loaded._speaking("en")]
    stretch = whisper.Stretch(utterance, 0, samples, window_s, "en")
    wall_ms, cpu_ms = timed(lambda: loaded.transcribe(utterance), times)
    return {
        "audio_s": seconds,
        "window_s": window_s,
        "tokens": round(TOKENS_PER_S * seconds),
        "wall_ms": round(wall_ms),
        "cpu_ms": round(cpu_ms),
        "mel_cpu_ms": round(timed(lambda: log_mel(samples, window_s, loaded._bands), times)[1], 1),
        "encode_cpu_ms": round(timed(lambda: loaded._encode(features), times)[1]),
        "generate_cpu_ms": round(timed(lambda: loaded._decode(encoded, [stretch], english), times)[1]),
    }


def trimmed(path: Path, tokens: int, noise: Samples, times: int) -> list[dict[str, Any]]:
    """The fitted window with the whole vocabulary and then with `tokens` text tokens, for 3 and 10 s of sound."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        trim(path, Path(folder) / "trimmed", (), first=tokens)
        both = [
            whisper.load(str(each), workers=1, random_tokens_per_s=TOKENS_PER_S)
            for each in (path, Path(folder) / "trimmed")
        ]
        for seconds in (3, 10):
            whole, less = (stages(each, noise[: seconds * RATE_HZ], times, False) for each in both)
            shares = {f"{key}_ratio": round(less[key] / whole[key], 3) for key in ("generate_cpu_ms", "cpu_ms")}
            rows.append({"weights": path.name, "way": f"fit, {tokens} text tokens", **less, **shares})
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        for each in both:
            each.close()
    return rows


def main() -> None:
    """Measure every size asked for at 3 and 10 s of sound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__)
    parser.add_argument("size", nargs="+", choices=list(SHAPES))
    parser.add_argument("--times", type=int, default=11)
    parser.add_argument("--trimmed", type=int, nargs="*", default=[], metavar="N", help="text tokens to keep")
    asked = parser.parse_args()
    noise = np.random.default_rng(0).normal(0, 1_000, 10 * RATE_HZ).astype(np.int16)
    rows: list[dict[str, Any]] = []
    for size in asked.size:
        path = ROOT / "weights" / f"random-{size}"
        if not path.is_dir():
            make(size, path)
        for tokens in asked.trimmed:
            rows += trimmed(path, tokens, noise, asked.times)
        for way, options in WAYS.items():
            loaded = whisper.load(str(path), workers=1, random_tokens_per_s=TOKENS_PER_S, **options)
            for seconds in (3, 10):
                row = stages(loaded, noise[: seconds * RATE_HZ], asked.times, way == "full")
                rows.append({"weights": f"random-{size}", "way": way, **row, "load": round(os.getloadavg()[0], 1)})
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            loaded.close()
    print(json.dumps({"benchmark": "windows", "cores": os.cpu_count(), "rows": rows}))


if __name__ == "__main__":
    main()
