"""Word errors and decoding time of the embedded recogniser: `python -m benchmarks.wer [--data FOLDER]`.

Sets: the shipped call by its script's segments, `calls/held_out.txt` spoken by three flite voices, and with
`--data ../shared/data` read speech, through 8 kHz mu-law and wideband. Each is heard with the package's own models
and with ours. One thread; it knows no server.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jiwer
import numpy as np
import pocketsphinx
import soundfile

from assist.audio import FRAME_SAMPLES, RATE_HZ, Samples, decode, double, encode_mulaw
from benchmarks.calls import SHIPPED
from benchmarks.make_call import NOISE_RMS, SPEECH_PEAK, Sound, narrow, speak
from benchmarks.report import Machine, finish, percentile, table
from models.pocketsphinx import Ear

HELD_OUT: Final = SHIPPED.parent / "held_out.txt"
VOICES: Final = ("slt", "rms", "awb")
PADDING_MS: Final = 200
Clip = tuple[str, Samples]
"""What was said and 16 kHz samples."""


def plain(text: str) -> str:
    """Lower case, no marks: what word errors are counted on."""
    return " ".join(re.findall(r"[a-z']+", text.lower().replace("’", "'")))


def doubled(samples: Samples) -> Samples:
    """8 kHz to 16 kHz as the server does it; the last frame is filled with silence."""
    return double(np.pad(samples, (0, -len(samples) % (FRAME_SAMPLES // 2))))


def telephone(sound: Sound) -> Samples:
    """16 kHz sound in -1..1 through an 8 kHz mu-law line."""
    line = np.clip(narrow(sound, RATE_HZ) * 32767, -32768, 32767).astype(np.int16)
    return doubled(decode(encode_mulaw(line), "mulaw"))


def wideband(sound: Sound) -> Samples:
    return np.clip(sound * 32767, -32768, 32767).astype(np.int16)


def shipped_call(party: str = "") -> list[Clip]:
    """The turns of the shipped call, of one party or both, with 200 ms around each."""
    script = tomllib.loads((SHIPPED / "script.toml").read_text("utf-8"))
    sound, rate_hz = soundfile.read(SHIPPED / "call.wav", dtype="int16")
    per_ms = rate_hz // 1000
    return [
        (
            turn["text"],
            doubled(
                sound[
                    max(0, turn["start_ms"] - PADDING_MS) * per_ms : (turn["end_ms"] + PADDING_MS) * per_ms,
                    ("agent", "customer").index(turn["party"]),
                ]
            ),
        )
        for turn in script["turn"]
        if party in ("", turn["party"])
    ]


def held_out(through: Callable[[Sound], Samples]) -> list[Clip]:
    """Customer sentences that no model was built from, each in three voices, over the hiss of a line."""
    chance = np.random.default_rng(3)
    clips = []
    for text in HELD_OUT.read_text("utf-8").splitlines():
        for voice in VOICES:
            sound, rate_hz = speak(text, voice)
            if rate_hz != RATE_HZ:
                raise ValueError(f"{voice} speaks at {rate_hz} Hz")
            padding = np.zeros(PADDING_MS * RATE_HZ // 1000)
            sound = np.concatenate([padding, sound * (SPEECH_PEAK / np.abs(sound).max()), padding])
            clips.append((text, through(sound + chance.normal(0, NOISE_RMS, len(sound)))))
    return clips


def read_speech(data: Path, through: Callable[[Sound], Samples]) -> list[Clip]:
    """The read items of the public evaluation set."""
    clips = []
    for line in (data / "speech/manifest.jsonl").read_text("utf-8").splitlines():
        item = json.loads(line)
        if item["kind"] == "read":
            sound, rate_hz = soundfile.read(data / "speech" / item["path"], always_2d=True)
            clips.append((item["text"], through(resampled(sound.mean(axis=1), rate_hz))))
    return clips


def resampled(sound: Sound, rate_hz: int) -> Sound:
    """Any rate to 16 kHz through the spectrum; exact for band-limited sound, and offline only."""
    length = round(len(sound) * RATE_HZ / rate_hz)
    spectrum = np.fft.rfft(sound)
    kept = np.zeros(length // 2 + 1, dtype=complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return np.asarray(np.fft.irfft(kept, length) * (length / len(sound)))


class Package:
    """The package's recogniser as it comes: its acoustic model, its language model, its settings."""

    def __init__(self) -> None:
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL")

    def text(self, samples: Samples) -> str:
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), False, True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return str(found.hypstr) if found else ""


class Ours:
    """What the project ships, without the processes around it."""

    def __init__(self, **settings: Any) -> None:
        self._ear = Ear(**settings)

    def text(self, samples: Samples) -> str:
        return " ".join(word for word, *_ in self._ear.hear(samples))


def measure(recogniser: Package | Ours, clips: list[Clip], show: bool = False) -> dict[str, float | int | None]:
    """`wer` over all words together, decoding time per utterance and per second of sound."""
    said, heard, took_ms = [], [], []
    for text, samples in clips:
        start = time.perf_counter()
        heard.append(plain(recogniser.text(samples)))
        took_ms.append((time.perf_counter() - start) * 1000)
        said.append(plain(text))
        if show:
            print(f"  said  {said[-1]}\n  heard {heard[-1]}")
    sound_s = sum(len(samples) for _, samples in clips) / RATE_HZ
    return {
        "wer": round(jiwer.wer(said, heard), 3),
        "utterances": len(clips),
        "words": sum(len(text.split()) for text in said),
        "decode_p50_ms": round(percentile(took_ms, 0.5) or 0),
        "decode_p95_ms": round(percentile(took_ms, 0.95) or 0),
        "real_time_factor": round(sum(took_ms) / 1000 / sound_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with speech/manifest.jsonl")
    parser.add_argument("--show", action="store_true", help="print what was said and heard in the shipped call")
    options = parser.parse_args()
    machine = Machine()
    sets = {
        "shipped call": shipped_call(),
        "shipped call, agent": shipped_call("agent"),
        "shipped call, customer": shipped_call("customer"),
        "held out": held_out(telephone),
        "held out, wideband": held_out(wideband),
    }
    if options.data:
        sets["read"] = read_speech(options.data, telephone)
        sets["read, wideband"] = read_speech(options.data, wideband)
    results = {
        f"{name} · {kind}": measure(recogniser, clips, options.show and kind == "ours" and name == "shipped call")
        for kind, recogniser in (("package", Package()), ("ours", Ours()))
        for name, clips in sets.items()
    }
    head = ("set", "wer", "utterances", "words", "p50 ms", "p95 ms", "x real time")
    print(table(head, [(name, *found.values()) for name, found in sorted(results.items())]))
    finish("wer", {"wer": results["shipped call · ours"]["wer"], "sets": results}, machine)


if __name__ == "__main__":
    main()
