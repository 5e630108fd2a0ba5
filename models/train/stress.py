"""Measures the stress analyser on EMO-DB as a telephone would carry it; its weights are hand-set, nothing is trained.

It knows acted German from ten speakers and claims nothing beyond. EMO-DB is used to measure only.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from assist.audio import Leg, Samples, Utterance, encode_mulaw
from assist.conversation import Conversation, Finding, Heard, Transcript, Turn
from models import stress
from models.train import records

Floats = NDArray[np.float64]


def telephone(sound: Floats, rate_hz: int, noise_db: float | None = None, seed: int = 0) -> Samples:
    """`sound` (-1..1) at 8 kHz through mu-law and back to 16 kHz; white noise `noise_db` below its level if given."""
    spectrum = np.fft.rfft(sound)
    length = len(sound) * 8000 // rate_hz
    narrow = np.fft.irfft(spectrum[: length // 2 + 1], length) * length / len(sound)
    if noise_db is not None:
        level = np.sqrt((narrow**2).mean()) * 10 ** (-noise_db / 20)
        narrow = narrow + np.random.default_rng(seed).standard_normal(length) * level
    whole = np.clip(np.rint(narrow * 32767), -32768, 32767).astype(np.int16)
    padded = np.concatenate([whole, np.zeros(-len(whole) % 160, dtype=np.int16)])
    pcm = b"".join(frame for frame, _ in Leg("mulaw", 8000).push(encode_mulaw(padded)))
    return np.frombuffer(pcm, dtype=np.int16)


def heard(samples: Samples, name: str) -> Heard:
    end_ms = len(samples) // 16
    return Heard(Utterance(name, "customer", 0, end_ms, end_ms, samples), Transcript(name, "customer", 0, end_ms, ""))


def auc(high: Sequence[float], low: Sequence[float]) -> float:
    """Chance that a random one of `high` scores above a random one of `low`; ties count half."""
    left, right = np.array(high)[:, None], np.array(low)[None]
    return float((left > right).mean() + 0.5 * (left == right).mean())


def judged(clips: Sequence[dict[str, str]], sounds: dict[str, Samples]) -> list[tuple[dict[str, str], Finding]]:
    """Every clip judged after its speaker's neutral clips (itself left out)."""
    analyse = stress.load()
    alone: dict[str, Turn] = {}
    for clip in clips:
        now = heard(sounds[clip["path"]], clip["path"])
        alone[clip["path"]] = Turn(now.transcript, tuple(analyse(now, Conversation("none before"))))
    result = []
    for clip in clips:
        before = tuple(
            alone[other["path"]]
            for other in clips
            if other["speaker"] == clip["speaker"] and other["emotion"] == "neutral" and other is not clip
        )
        (finding,) = analyse(heard(sounds[clip["path"]], clip["path"]), Conversation("c", before))
        result.append((clip, finding))
    return result


def measure(found: Sequence[tuple[dict[str, str], Finding]]) -> dict[str, float]:
    """AUC of anger and fear against the rest and against neutral, recall and false alarms at 0.5, abstentions."""
    known = [(clip, finding) for clip, finding in found if finding.label != "none"]
    tense = [f.score for c, f in known if c["high_arousal_negative"] == "1"]
    rest = [f.score for c, f in known if c["high_arousal_negative"] == "0"]
    neutral = [f.score for c, f in known if c["emotion"] == "neutral"]
    happy = [f.score for c, f in known if c["emotion"] == "happiness"]
    return {
        "n": len(found),
        "none": 1 - len(known) / len(found),
        "auc_rest": auc(tense, rest),
        "auc_rest_without_happiness": auc(
            tense, [f.score for c, f in known if c["high_arousal_negative"] == "0" and c["emotion"] != "happiness"]
        ),
        "auc_neutral": auc(tense, neutral),
        "named_tense": float(np.mean(np.array(tense) >= stress.TENSE)),
        "named_tense_neutral": float(np.mean(np.array(neutral) >= stress.TENSE)),
        "named_tense_happiness": float(np.mean(np.array(happy) >= stress.TENSE)),
    }


def speed_ms(sound: Samples) -> dict[str, float]:
    """p50 and p95 of one call on 3 s of speech."""
    spent = []
    for _ in range(200):
        began = time.perf_counter()
        stress.features(sound[: 3 * 16_000])
        spent.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": float(np.percentile(spent, 50)), "p95_ms": float(np.percentile(spent, 95))}


def main(argv: Sequence[str]) -> None:
    """Print the card's figures; the last line is one JSON document."""
    args = records.options("stress", argv)
    folder: Path = args.data / "emodb"
    if not folder.exists():
        raise SystemExit(f"{folder} is not there: this needs the shared data; point to it with --data FOLDER")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        clips = list(csv.DictReader(file))
    figures: dict[str, dict[str, float]] = {}
    longest = np.zeros(0, dtype=np.int16)
    for name, noise_db in (("mulaw_8k", None), ("mulaw_8k_noise_10db", 10.0)):
        sounds = {}
        for number, clip in enumerate(clips):
            sound, rate_hz = soundfile.read(folder / clip["path"])
            sounds[clip["path"]] = telephone(sound, rate_hz, noise_db, number)
        longest = max(sounds.values(), key=len)
        figures[name] = {k: round(v, 3) for k, v in measure(judged(clips, sounds)).items()}
        print(f"{name:20}", "  ".join(f"{k} {v:g}" for k, v in figures[name].items()))
    figures["speed"] = {k: round(v, 2) for k, v in speed_ms(longest).items()}
    print(json.dumps(figures))
