"""How often speech seems to end, by how long one waits: python -m benchmarks.ends

The clips and the real call of the shared data (`--data`), at 8 kHz, through WebRTC's gate, Silero's second opinion and
the segmenter, without a recogniser: no words move an end. More utterances for less silence are sentences that fall
apart; more eager finals than utterances are a recogniser's work in vain. It says nothing of latency.
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
from assist.segment import Ended, Endpointing, Paused, Segmenter, SpeechLeft
from benchmarks.report import ROOT, table
from models import silero, webrtc

RATE_HZ: Final = 8_000
FRAME: Final = RATE_HZ * FRAME_MS // 1000
SILENCES_MS: Final = (500, 440, 400, 360, 320)
TAILS_MS: Final = (160, 140, 120, 100, 80, 60)
CALL: Final = "calls/auto_repairs_40"


def clips(folder: Path) -> Iterator[Samples]:
    """Each clip's first channel with half a second of faint noise before it and one after; int16 at 8 kHz, (n,)."""
    noise = np.random.default_rng(0).normal(0, 8, 3 * RATE_HZ // 2).astype(np.int16)
    for line in (folder / "speech" / "manifest.jsonl").read_text("utf-8").splitlines():
        samples, rate_hz = soundfile.read(folder / "speech" / json.loads(line)["path"], dtype="int16", always_2d=True)
        wide = np.frombuffer(Resampler(rate_hz).push(samples[:, 0].astype("<i2").tobytes()), "<i2")
        heard = replay.resampled(wide, 2 * RATE_HZ, RATE_HZ)
        yield np.concatenate([noise[: RATE_HZ // 2], heard, noise[RATE_HZ // 2 :]])


def ends(samples: Samples, speech_left: SpeechLeft, endpointing: Endpointing) -> tuple[int, int]:
    """How many eager finals of `samples` an idle recogniser is given, and how many utterances end."""
    ear = Segmenter("customer", webrtc.load(RATE_HZ), speech_left, endpointing, RATE_HZ, is_idle=lambda: True)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    told = [signal for n, frame in enumerate(frames) for signal in ear.push(n * FRAME_MS, frame.tobytes())]
    told += ear.finish()
    return sum(isinstance(each, Paused) for each in told), sum(isinstance(each, Ended) for each in told)


def main() -> None:
    """Two tables, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    spoken = list(clips(data))
    call = replay.read(data / CALL)
    both = (call.agent, call.customer)
    left = silero.load()

    def counted(endpointing: Endpointing) -> list[tuple[int, int]]:
        """(eager finals, utterances) of all clips and of the call."""
        return [
            (sum(each[0] for each in found), sum(each[1] for each in found))
            for found in ([ends(sound, left, endpointing) for sound in part] for part in (spoken, both))
        ]

    silences = {ms: [ended for _, ended in counted(Endpointing(commit_ms=ms))] for ms in SILENCES_MS}
    tails = {ms: counted(Endpointing(tail_ms=ms)) for ms in TAILS_MS}
    heads = (f"{len(spoken)} clips", "one call")
    print("utterances")
    print(table(("silence, ms", *heads), [(ms, *counts) for ms, counts in silences.items()]))
    print("\neager finals / utterances")
    print(table(("tail, ms", *heads), [(ms, *(f"{a} / {b}" for a, b in counts)) for ms, counts in tails.items()]))
    print(json.dumps({"benchmark": "ends", "clips": len(spoken), "utterances": silences, "eager": tails}))


if __name__ == "__main__":
    main()
