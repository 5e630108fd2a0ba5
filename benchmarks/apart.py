"""What a process of its own costs a recogniser: python -m benchmarks.apart [--weights weights/random-tiny]

The same Whisper twice, in this process and apart (models/apart.py), hears the same sound in turns: 3 and 10 s, each
with the median of either and of the differences (`added_ms`), and the processor time of an utterance in all processes,
which neighbours on the machine disturb less. Then the way there and back alone, with a recogniser that does not listen
(models/scripted.py).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from assist.audio import RATE_HZ, SAMPLES_PER_MS, Utterance
from benchmarks.make_weights import TOKENS_PER_S, found
from benchmarks.report import RESULTS, Machine, finish
from models import apart, scripted, whisper

SECONDS: Final = (3, 10)


class Taken:
    """What one recogniser's transcriptions took."""

    def __init__(self, recogniser: Any) -> None:
        self.recogniser = recogniser
        self.wall_ms: list[float] = []
        self.cpu_s = 0.0

    def take(self, utterance: Utterance) -> None:
        """One more."""
        used_s, began = self._used_s(), time.perf_counter()
        self.recogniser.transcribe(utterance)
        self.wall_ms.append((time.perf_counter() - began) * 1000)
        self.cpu_s += self._used_s() - used_s

    def _used_s(self) -> float:
        ticks = 0
        for pid in getattr(self.recogniser, "pids", ()):
            fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def compared(name: str, here: Any, there: Any, times: int) -> list[dict[str, Any]]:
    """Each length heard by both in turns, either one first as often as the other."""
    noise = np.random.default_rng(0).normal(0, 1_000, SECONDS[-1] * RATE_HZ).astype(np.int16)
    rows = []
    for seconds in SECONDS:
        samples = noise[: seconds * RATE_HZ]
        utterance = Utterance("u1", "customer", 0, len(samples) // SAMPLES_PER_MS, 0, samples)
        both = Taken(here), Taken(there)
        for number in range(times):
            for each in both if number % 2 else reversed(both):
                each.take(utterance)
        within, beyond = (statistics.median(each.wall_ms) for each in both)
        added = statistics.median(b - a for a, b in zip(both[0].wall_ms, both[1].wall_ms, strict=True))
        cpu = [round(each.cpu_s * 1000 / times, 2) for each in both]
        rows.append({
            "recogniser": name, "audio_s": seconds, "times": times, "here_ms": round(within, 3),
            "apart_ms": round(beyond, 3), "added_ms": round(added, 3), "here_cpu_ms": cpu[0], "apart_cpu_ms": cpu[1],
        })  # fmt: skip
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    here.close()
    there.close()
    return rows


def main() -> None:
    """Measure both and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights/random-tiny", help="random ones, a name or a directory")
    parser.add_argument("--times", type=int, default=101)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    asked = parser.parse_args()
    machine = Machine()
    options: dict[str, Any] = {"weights": found(asked.weights), "workers": 1, "random_tokens_per_s": TOKENS_PER_S}
    here = whisper.load(**options)
    here.warm()
    rows = compared(here.name, here, apart.load("models.whisper", **options), asked.times)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "say.toml"
        file.write_text("say = []\n", "utf-8")
        mute = scripted.load(file)
        rows += compared("none", mute, apart.load("models.scripted", path=file), 10 * asked.times)
    finish("apart", {"rows": rows}, machine, asked.out)


if __name__ == "__main__":
    main()
