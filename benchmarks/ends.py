"""Into how many utterances speech falls, by the silence that ends one: python -m benchmarks.ends

The clips and the real call of the shared data (`--data`), at 8 kHz, through WebRTC's gate, Silero's second opinion and
the segmenter, without a recogniser: no words move an end. More utterances for less silence are sentences that fall
apart. It says nothing of latency.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from assist import replay
from assist.audio import FRAME_MS, Samples
from assist.resample import Resampler
from assist.segment import Ended, Endpointing, Segmenter, SpeechLeft
from benchmarks.report import ROOT, table
from models import silero, webrtc

RATE_HZ: Final = 8_000
FRAME: Final = RATE_HZ * FRAME_MS // 1000
SILENCES_MS: Final = (500, 440, 400, 360, 320)
CALL: Final = "calls/auto_repairs_40"


def clips(folder: Path) -> Iterator[Samples]:
    """Each clip's first channel with half a second of faint noise before it and one after; int16 at 8 kHz, (n,)."""
    noise = np.random.default_rng(0).normal(0, 8, 3 * RATE_HZ // 2).astype(np.int16)
    for line in (folder / "speech" / "manifest.jsonl").read_text("utf-8").splitlines():
        samples, rate_hz = soundfile.read(folder / "speech" / json.loads(line)["path"], dtype="int16", always_2d=True)
        wide = np.frombuffer(Resampler(rate_hz).push(samples[:, 0].astype("<i2").tobytes()), "<i2")
        heard = replay.resampled(wide, 2 * RATE_HZ, RATE_HZ)
        yield np.concatenate([noise[: RATE_HZ // 2], heard, noise[RATE_HZ // 2 :]])


def utterances(samples: Samples, speech_left: SpeechLeft, commit_ms: int) -> int:
    """How many end in `samples`."""
    ear = Segmenter("customer", webrtc.load(RATE_HZ), speech_left, Endpointing(commit_ms=commit_ms), RATE_HZ)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    told = [signal for n, frame in enumerate(frames) for signal in ear.push(n * FRAME_MS, frame.tobytes())]
    return sum(isinstance(signal, Ended) for signal in [*told, *ear.finish()])


def main() -> None:
    """A table, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    spoken = list(clips(data))
    call = replay.read(data / CALL)
    left = silero.load()
    both = (call.agent, call.customer)
    found = {
        ms: (sum(utterances(each, left, ms) for each in spoken), sum(utterances(each, left, ms) for each in both))
        for ms in SILENCES_MS
    }
    print(table(("silence, ms", f"{len(spoken)} clips", "one call"), [(ms, *counts) for ms, counts in found.items()]))
    print(json.dumps({"benchmark": "ends", "clips": len(spoken), "utterances": found}))


if __name__ == "__main__":
    main()
