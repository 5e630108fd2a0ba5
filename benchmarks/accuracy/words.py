"""Word error rates by recogniser, weights, window, band and noise: what was said against what was understood.

Read, spelled, dictated and overlapping speech of `../shared/data/speech` and the shipped call. It knows no server and
no segmenter: clips are whole, and the call is cut where its script says.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jiwer
import numpy as np
import soundfile
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Samples
from assist.errors import ModelMissing
from benchmarks.accuracy.figures import Figure, Measured, bootstrap
from benchmarks.report import percentile, table
from benchmarks.wer import Ours, Package, resampled, shipped_call, telephone, wideband
from models.spoken import ONES, TENS, spoken

Sound = NDArray[np.float64]
NUMBERS: Final = {*ONES, *TENS, "oh", "hundred", "thousand", "and"}
KINDS: Final = {
    "read": "read",
    "two-speaker partly overlapped read speech": "overlapped",
    "commands": "commands",
    "commands/spelled": "commands",
    "isolated letter/digit/command": "commands",
}
LINES: Final = ("clean", "mulaw", "noise20", "noise10")
"""16 kHz as recorded; 8 kHz mu-law; the same with white noise under it at so many dB, added before the line."""
WEIGHTS: Final = ("whisper-tiny", "whisper-base", "whisper-small")


class Clip(NamedTuple):
    """`said` is the reference as `plain` writes it; `sound` is 16 kHz, -1..1."""

    group: str
    said: str
    sound: Sound


class Listener(NamedTuple):
    """A recogniser under its name in the keys, the groups and lines it is measured on, and what it is."""

    key: str
    text: Callable[[Samples], str]
    groups: Sequence[str]
    lines: Sequence[str]
    what: str


def plain(text: str) -> str:
    """What errors are counted on, for references and hypotheses alike: lower case, numbers in words, no marks."""
    return " ".join(word for sentence in spoken(text) for word in sentence)


def group(kind: str, said: str) -> str:
    """read | overlapped | commands | digits | letters (one) | spelled (several, with digits or a command between)."""
    words = said.split()
    if KINDS.get(kind) != "commands":
        return KINDS.get(kind, "")
    if any(len(word) == 1 for word in words):
        return "spelled" if len(words) > 1 else "letters"
    return "digits" if all(word in NUMBERS for word in words) else "commands"


def clips(data: Path) -> list[Clip]:
    """The public clips with their group; those of no group are left out. Raises SystemExit."""
    manifest = data / "speech" / "manifest.jsonl"
    if not manifest.exists():
        raise SystemExit(f"{manifest} is not there: this needs the shared data; point to it with --data FOLDER")
    found = []
    for line in manifest.read_text("utf-8").splitlines():
        item = json.loads(line)
        said = plain(item["text"])
        if name := group(item["kind"], said):
            sound, rate_hz = soundfile.read(data / "speech" / item["path"], always_2d=True)
            found.append(Clip(name, said, resampled(sound.mean(axis=1), rate_hz)))
    return found


def call_clips() -> list[Clip]:
    """The turns of the shipped call. It has been through mu-law already."""
    return [Clip("call", plain(text), samples / 32768) for text, samples in shipped_call()]


def noisy(sound: Sound, snr_db: float, seed: int) -> Sound:
    """`sound` with white noise `snr_db` under its mean power, pauses included."""
    power = float(np.mean(np.square(sound))) * 10 ** (-snr_db / 10)
    return sound + np.random.default_rng(seed).normal(0, np.sqrt(power), len(sound))


def through(clip: Clip, line: str, seed: int) -> Samples:
    """What a recogniser is given of `clip`: int16, 16 kHz."""
    if line == "clean":
        return wideband(clip.sound)
    if line.startswith("noise"):
        return telephone(noisy(clip.sound, float(line.removeprefix("noise")), seed))
    return wideband(clip.sound) if clip.group == "call" else telephone(clip.sound)


def errors(said: str, heard: str) -> int:
    """Words substituted, left out and put in (Levenshtein)."""
    if not heard:
        return len(said.split())
    found = jiwer.process_words(said, heard)
    return int(found.substitutions + found.deletions + found.insertions)


def rate(wrong: NDArray[Any], words: NDArray[Any]) -> float:
    """Errors of all clips over words of all clips."""
    return float(wrong.sum() / words.sum())


def figure(wrong: Sequence[int], words: Sequence[int], split: str) -> Figure:
    """The rate with its interval over clips drawn anew."""
    return bootstrap(rate, np.array(wrong), np.array(words), split=split)


def whispers(notes: list[str]) -> Iterable[Listener]:
    """Whisper by weights and window policy, as far as trained weights lie on this machine; `notes` says why not."""
    from models import fetch, whisper

    for name in WEIGHTS:
        try:
            fetch.find(name)
        except ModelMissing:
            notes.append(f"wer.{name}_*: null, no trained weights on this machine (python -m models fetch {name})")
            continue
        for window in ("fit", "full"):
            loaded = whisper.load(name, workers=1, window="fit" if window == "fit" else "full")
            if loaded.rough:
                notes.append(f"wer.{name}_{window}.*: null, random weights say nothing")
                continue
            yield Listener(f"{name}_{window}", _said(loaded), (*GROUPS, "call"), LINES, f"{name}, window {window}")


def _said(loaded: Any) -> Callable[[Samples], str]:
    from models.given import Ears

    ears = Ears(loaded)
    return lambda samples: ears(samples).text


GROUPS: Final = ("read", "overlapped", "spelled", "letters", "digits", "commands")


def listeners(notes: list[str]) -> Iterable[Listener]:
    """Ours everywhere; the package as it comes for comparison; Whisper where there are weights."""
    yield Listener("pocketsphinx", Ours().text, (*GROUPS, "call"), LINES, "as shipped")
    package = "PocketSphinx as its package comes, before its language model was replaced"
    yield Listener("pocketsphinx_package", Package().text, ("read", "spelled", "digits", "call"), LINES[:2], package)
    yield from whispers(notes)


def measure(data: Path, *, quick: bool) -> Measured:
    """`wer.<recogniser>.<group>_<line>`; quick: the shipped call, heard by the embedded recogniser."""
    figures: dict[str, Figure] = {}
    extra: dict[str, float | None] = {}
    notes: list[str] = []
    every = call_clips() if quick else [*clips(data), *call_clips()]
    ears: Iterable[Listener] = (
        [Listener("pocketsphinx", Ours().text, ("call",), ("mulaw",), "as shipped")] if quick else listeners(notes)
    )
    for ear in ears:
        took_s: list[float] = []
        sound_s = 0.0
        for line in ear.lines:
            for name in ear.groups:
                chosen = [clip for clip in every if clip.group == name]
                if name == "call" and line == "clean":
                    continue
                wrong = []
                for seed, clip in enumerate(chosen):
                    samples = through(clip, line, seed)
                    began = time.perf_counter()
                    heard = plain(ear.text(samples))
                    if line == "mulaw" and name in ("call", "read"):
                        took_s.append(time.perf_counter() - began)
                        sound_s += len(samples) / RATE_HZ
                    wrong.append(errors(clip.said, heard))
                words = [len(clip.said.split()) for clip in chosen]
                split = f"{name}, {LINE_NAMES[line]}, {sum(words)} words; {ear.what}"
                figures[f"wer.{ear.key}.{name}_{line}"] = figure(wrong, words, split)
        extra[f"words.{ear.key}_p50_ms"] = _ms(took_s, 0.5)
        extra[f"words.{ear.key}_p95_ms"] = _ms(took_s, 0.95)
        extra[f"words.{ear.key}_real_time"] = sum(took_s) / sound_s if sound_s else None
    for name in WEIGHTS:
        if not quick and not any(key.startswith(f"wer.{name}_") for key in figures):
            extra |= {f"wer.{name}_{window}.read_mulaw": None for window in ("fit", "full")}
    return Measured(figures, [*_table(figures), *notes], {}, {} if quick else extra)


LINE_NAMES: Final = {
    "clean": "16 kHz",
    "mulaw": "8 kHz mu-law",
    "noise20": "20 dB white noise and 8 kHz mu-law",
    "noise10": "10 dB white noise and 8 kHz mu-law",
}


def _ms(seconds: Sequence[float], share: float) -> float | None:
    found = percentile(seconds, share)
    return None if found is None else found * 1000


def _table(figures: dict[str, Figure]) -> list[str]:
    """A row for each recogniser and group, a column for each line."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for key, each in figures.items():
        _, ear, condition = key.split(".")
        name, line = re.split(r"_(?=[^_]+$)", condition)
        cells.setdefault((ear, name), {})[line] = f"{each.value:.3f}"
    rows = [(f"{ear} · {name}", *(row.get(line) for line in LINES)) for (ear, name), row in cells.items()]
    return [table(("word errors", *LINES), rows)]
