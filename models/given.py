"""What others bring to be judged with: topics, sentences, recordings; and a recogniser as one plain callable.

It knows files and their faults, each of which it names; it judges nothing.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Samples, Utterance
from assist.conversation import Transcript
from assist.errors import BadEncoding, BadMessage, ConfigError, Oversize

if TYPE_CHECKING:
    from models.topic import Topic

LONGEST_S: Final = 600
"""Recordings above this are refused by name: a judge is for utterances and short calls."""
LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A topic as a file or a program gives it."""

    id: str
    label: str
    description: str
    examples: tuple[str, ...]


def topics(source: Path | str | Sequence[Topic]) -> tuple[Topic, ...]:
    """Topics from a topics.toml (`[[topic]]` with id, label, description, examples), or as they are.

    Label and description may be left out of a file. Raises ConfigError.
    """
    if not isinstance(source, Path | str):
        found: tuple[Topic, ...] = tuple(source)
    else:
        try:
            entries = tomllib.loads(Path(source).read_text("utf-8")).get("topic", [])
        except (OSError, ValueError) as error:
            raise ConfigError(f"topics: {source}: {error}") from error
        found = tuple(_subject(entry, f"topics: {source}: topic {n}") for n, entry in enumerate(entries, 1))
    ids = [topic.id for topic in found]
    if not found:
        raise ConfigError("topics: there is none; each needs an id and some examples")
    if len(set(ids)) < len(ids):
        raise ConfigError(f"topics: {next(i for i in ids if ids.count(i) > 1)!r} is used twice; ids are unique")
    return found


def _subject(entry: Any, where: str) -> Subject:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise ConfigError(f"{where}: needs an id")
    examples = entry.get("examples")
    if not isinstance(examples, list) or not examples or not all(isinstance(each, str) for each in examples):
        raise ConfigError(f"{where}: {entry['id']}: needs examples, a list of sentences")
    label = str(entry.get("label") or entry["id"].replace("_", " ").replace("-", " "))
    return Subject(entry["id"], label, str(entry.get("description", "")), tuple(examples))


def sentences(source: Path | str | Sequence[str]) -> tuple[str, ...]:
    """One sentence a line of a file, or as they are; empty lines and those behind a # do not count.

    Raises ConfigError.
    """
    if isinstance(source, Path | str):
        try:
            source = Path(source).read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"others: {source}: {error}") from error
    return tuple(line for line in source if line.strip() and not line.startswith("#"))


def sound(path: Path, channel: int | None = None) -> tuple[NDArray[np.float32], int]:
    """A recording's samples, float32, -1..1, shape (n,), and its rate in Hz.

    `channel` counts from 0 and must be named where there is more than one. Raises BadMessage (no such file),
    BadEncoding (no sound file, no such channel, a rate that no speech has), Oversize.
    """
    import soundfile

    if not path.is_file():
        raise BadMessage(f"wav: no such file: {path}")
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, width = int(file.samplerate), int(file.channels)
            if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
                raise BadEncoding(f"wav: {path}: {rate_hz} Hz; {LOWEST_HZ} to {HIGHEST_HZ} are taken")
            if file.frames > LONGEST_S * rate_hz:
                raise Oversize(f"wav: {path}: {file.frames / rate_hz:.0f} s; at most {LONGEST_S} are taken")
            if channel is None and width > 1:
                raise BadEncoding(f"wav: {path}: {width} channels; name one, 0 to {width - 1}")
            if channel is not None and not 0 <= channel < width:
                raise BadEncoding(f"wav: {path}: no channel {channel}; there are {width}, counted from 0")
            whole = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise BadEncoding(f"wav: {path}: {error}") from error
    picked: NDArray[np.float32] = np.ascontiguousarray(whole[:, channel or 0])
    # A float file may hold anything; nothing that listens can do with what is not a number.
    return np.clip(np.nan_to_num(picked, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0), rate_hz


def at_16k(samples: NDArray[np.float32], rate_hz: int) -> Samples:
    """float32 -1..1 at any rate to int16 at 16 kHz, through the spectrum; exact for band-limited sound."""
    if rate_hz != RATE_HZ and len(samples):
        length = max(1, round(len(samples) * RATE_HZ / rate_hz))
        spectrum = np.fft.rfft(samples)
        kept = np.zeros(length // 2 + 1, dtype=complex)
        shared = min(len(kept), len(spectrum))
        kept[:shared] = spectrum[:shared]
        samples = np.fft.irfft(kept, length).astype(np.float32) * np.float32(length / len(samples))
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)


class Ears:
    """A recogniser as a callable. Close it when done."""

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self._count = itertools.count(1)

    @property
    def name(self) -> str:
        return str(self._recogniser.name)

    def __call__(self, samples: Samples) -> Transcript:
        """What was said in int16 `samples`, shape (n,), 16 kHz; empty text where nothing was understood.

        Raises RecogniserFailed.
        """
        end_ms = len(samples) * 1000 // RATE_HZ
        heard = Utterance(f"u{next(self._count)}", "customer", 0, end_ms, end_ms, np.asarray(samples, dtype=np.int16))
        transcript: Transcript = self._recogniser.transcribe(heard)
        return transcript

    def close(self) -> None:
        self._recogniser.close()


def recogniser(kind: str, weights: Path | str | None) -> Ears:
    """`kind` pocketsphinx (`weights`: a folder written by `python -m models.language`) or whisper (a name or folder).

    One worker, warmed. Raises ConfigError, ModelMissing.
    """
    makers: dict[str, Callable[[], Any]] = {
        "pocketsphinx": lambda: _pocketsphinx(weights),
        "whisper": lambda: _whisper(weights),
    }
    if kind not in makers:
        raise ConfigError(f"kind is {kind!r}; there are {', '.join(makers)}")
    made = makers[kind]()
    made.warm()
    return Ears(made)


def _pocketsphinx(weights: Path | str | None) -> Any:
    from models import pocketsphinx

    return pocketsphinx.load(pocketsphinx.LANGUAGE if weights is None else Path(weights))


def _whisper(weights: Path | str | None) -> Any:
    from models import whisper

    return whisper.load("whisper-base" if weights is None else str(weights), workers=1)
