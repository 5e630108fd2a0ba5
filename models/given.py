"""What others bring to be judged, and with: turns, topics, sentences, recordings; and a recogniser as a plain callable.

It knows files and their faults, each of which it names; it judges nothing.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Party, Samples, Utterance
from assist.conversation import Transcript
from assist.errors import BadEncoding, BadMessage, ConfigError, Oversize

if TYPE_CHECKING:
    from models.topic import Topic

LONGEST_S: Final = 600
"""Recordings above this are refused by name: a judge is for utterances and short calls."""
LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000
LATEST_MS: Final = 10**12
"""No turn is later: far beyond any call, and far below where arithmetic with floats ends."""
PARTIES: Final[dict[str, Party]] = {"agent": "agent", "customer": "customer", "system": "system"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A topic as a file or a program gives it."""

    id: str
    label: str
    description: str
    examples: tuple[str, ...]


def topics(source: Any) -> tuple[Topic, ...]:
    """Topics from a knowledge base's folder, a topics.toml (`[[topic]]` with id, label, description, examples), a
    mapping of id to examples, or a sequence of topics: tables as in the file, or objects of such attributes.

    Label and description may be left out, but of objects. Raises ConfigError, KnowledgeError (of a folder).
    """
    if isinstance(source, Path | str):
        if Path(source).is_dir():
            from models.finder import topics as taught

            return taught(Path(source))
        try:
            entries = tomllib.loads(Path(source).read_text("utf-8-sig")).get("topic", [])
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"topics: {source}: {error}") from error
        if not isinstance(entries, list):
            raise ConfigError(f"topics: {source}: topic is no list of tables; write [[topic]] above each topic")
        where = f"topics: {source}"
    elif isinstance(source, Mapping):
        entries, where = [{"id": name, "examples": said} for name, said in source.items()], "topics"
    elif isinstance(source, Sequence) and not isinstance(source, bytes):
        entries, where = source, "topics"
    else:
        raise ConfigError(f"topics: a {type(source).__name__} is no path, no mapping and no sequence of topics")
    found = tuple(_subject(entry, f"{where}: topic {n}") for n, entry in enumerate(entries, 1))
    ids = [topic.id for topic in found]
    if not found:
        raise ConfigError("topics: there is none; each needs an id and some examples; in a file write [[topic]]")
    if len(set(ids)) < len(ids):
        raise ConfigError(f"topics: {next(i for i in ids if ids.count(i) > 1)!r} is used twice; ids are unique")
    return found


def _subject(entry: Any, where: str) -> Subject:
    if not isinstance(entry, Mapping):
        entry = {name: getattr(entry, name, None) for name in ("id", "label", "description", "examples")}
    name, examples = entry.get("id"), entry.get("examples")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: needs an id")
    if name == "none":
        raise ConfigError(f"{where}: none is what is said where no topic fits; give it another id")
    if not isinstance(examples, list | tuple) or not all(isinstance(each, str) for each in examples):
        raise ConfigError(f"{where}: {name}: needs examples, a list of sentences")
    if not any(each.strip() for each in examples):
        raise ConfigError(f"{where}: {name}: needs examples, and there is none with a word in it")
    label = str(entry.get("label") or name.replace("_", " ").replace("-", " "))
    said = tuple(each for each in examples if each.strip())
    return Subject(name, label, str(entry.get("description") or ""), said)


def sentences(source: Any) -> tuple[str, ...]:
    """One sentence a line of a file, or as they are; empty lines and those behind a # do not count.

    An empty sequence is allowed, a file without a sentence is not. Raises ConfigError.
    """
    if isinstance(source, Path | str):
        try:
            found = _counting(Path(source).read_text("utf-8-sig").split("\n"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"others: {source}: {error}") from error
        if not found:
            raise ConfigError(f"others: {source}: no sentence in it; without any, all would be about some topic")
        return found
    if isinstance(source, bytes) or not isinstance(source, Sequence):
        raise ConfigError(f"others: a {type(source).__name__} is no path and no sequence of sentences")
    if not all(isinstance(each, str) for each in source):
        raise ConfigError("others: a list of sentences is expected")
    return _counting(source)


def _counting(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.strip("\r") for line in lines if line.strip() and not line.startswith("#"))


def said(given: Any) -> list[Transcript]:
    """Turns, oldest first: a text, a turn, or an iterable of those. A turn is a text (the customer's), a transcript, or
    a mapping of "text" with "party", "start_ms" and "end_ms" (ten seconds apart where they are left out).

    Raises BadMessage for anything else, naming the turn.
    """
    if isinstance(given, str | Transcript | Mapping):
        given = [given]
    if isinstance(given, bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise BadMessage(f"a text or turns are expected, not a {type(given).__name__}")
    return [_turn(each, number) for number, each in enumerate(given, 1)]


def _turn(each: Any, number: int) -> Transcript:
    if isinstance(each, Transcript):
        if not isinstance(each.text, str) or each.party not in PARTIES:
            raise BadMessage(f"turns: turn {number}: a transcript with a text and a party is expected")
        return each
    if isinstance(each, str):
        each = {"text": str(each)}
    if not isinstance(each, Mapping) or not isinstance(each.get("text"), str):
        raise BadMessage(f"turns: turn {number}: a text, or an object with one, is expected")
    party = PARTIES.get(str(each.get("party", "customer")))
    if party is None:
        raise BadMessage(f"turns: turn {number}: party is {each['party']!r}; there are {', '.join(PARTIES)}")
    start_ms = each.get("start_ms", (number - 1) * 10_000)
    end_ms = each.get("end_ms", start_ms + 5_000 if _is_time(start_ms) else None)
    if not _is_time(start_ms) or not _is_time(end_ms) or start_ms > end_ms:
        raise BadMessage(
            f"turns: turn {number}: start_ms and end_ms must be whole numbers up to {LATEST_MS}, and in order"
        )
    return Transcript(f"u{number}", party, start_ms, end_ms, each["text"])


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LATEST_MS


def sound(path: Path, channel: int | None = None) -> tuple[NDArray[np.float32], int]:
    """A recording's samples, float32, -1..1, shape (n,), and its rate in Hz.

    `channel` counts from 0 and must be named where there is more than one. Raises BadMessage (no such file),
    BadEncoding (no sound file, no such channel, a rate that no speech has), Oversize.
    """
    import soundfile

    try:
        there = path.is_file()
    except OSError as error:  # a name that no file can have
        raise BadMessage(f"wav: {str(path)[:80]}: {error.strerror}") from error
    if not there:
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
