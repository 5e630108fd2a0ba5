"""A Whisper with fewer words to choose from: `python -m models.trim weights/whisper-base weights/whisper-base-english`.

Every step of the decoder scores the whole vocabulary, 52,000 tokens of a hundred languages; English and the knowledge
base need a part of them. It drops the rows of the others and renumbers what is left. It knows no audio and trains
nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tokenizers
from numpy.typing import NDArray

from assist.errors import AssistError, ModelMissing
from models.fetch import LOCK, find

HERE: Final = Path(__file__).parent
WORDS: Final = HERE / "weights" / "language" / "words.dict"
END: Final = "<|endoftext|>"
TYPES: Final = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)
"""By CTranslate2's number for them; the last, bfloat16, is only carried along."""
VERSION: Final = 6
REMADE: Final = ("model.bin", "config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt", LOCK)
ROWS: Final = ("decoder/embeddings/", "decoder/projection/")
"""Variables with a row for each token."""


@dataclass(frozen=True, slots=True)
class Binary:
    """CTranslate2's model.bin (ctranslate2/specs/model_spec.py, version 6). `aliases`: name to the variable it is."""

    name: str
    revision: int
    variables: dict[str, NDArray[Any]]
    aliases: dict[str, str]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self._data, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def raw(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise ValueError("the file ends too soon")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        return self.raw(self.number("<H"))[:-1].decode("utf-8")


def read_binary(path: Path) -> Binary:
    """The variables of a model.bin. Raises ModelMissing where it is none, or of a version this file does not know."""
    reader = _Reader(path.read_bytes())
    try:
        if (version := reader.number("<I")) != VERSION:
            raise ValueError(f"version {version}; {VERSION} is known")
        name, revision = reader.text(), reader.number("<I")
        variables: dict[str, NDArray[Any]] = {}
        for _ in range(reader.number("<I")):
            variable = reader.text()
            shape = tuple(reader.number("<I") for _ in range(reader.number("<B")))
            kind = TYPES[reader.number("<B")]
            variables[variable] = np.frombuffer(reader.raw(reader.number("<I")), dtype=kind).reshape(shape)
        aliases = {reader.text(): reader.text() for _ in range(reader.number("<I"))}
    except (ValueError, IndexError, struct.error) as error:
        raise ModelMissing(f"{path} is no model that can be trimmed: {error}") from error
    return Binary(name, revision, variables, aliases)


def write_binary(binary: Binary, path: Path) -> None:
    def text(string: str) -> bytes:
        return struct.pack("<H", len(string.encode()) + 1) + string.encode() + b"\0"

    with path.open("wb") as file:
        file.write(struct.pack("<I", VERSION) + text(binary.name))
        file.write(struct.pack("<II", binary.revision, len(binary.variables)))
        for name, value in binary.variables.items():
            kind = TYPES.index(value.dtype.type)
            file.write(text(name) + struct.pack(f"<B{value.ndim}IB", value.ndim, *value.shape, kind))
            file.write(struct.pack("<I", value.nbytes) + value.tobytes())
        file.write(struct.pack("<I", len(binary.aliases)))
        for alias, name in binary.aliases.items():
            file.write(text(alias) + text(name))


def vocabulary(folder: Path) -> list[str]:
    """The tokens of a model by their number."""
    listed = folder / "vocabulary.json"
    if listed.is_file():
        return [str(token) for token in json.loads(listed.read_text("utf-8"))]
    return (folder / "vocabulary.txt").read_text("utf-8").removesuffix("\n").split("\n")


def needed(tokenizer: tokenizers.Tokenizer, words: Iterable[str]) -> set[str]:
    """Tokens that spell `words` as they stand in a sentence or begin one, whatever else there is in ASCII that is no
    letter, and every single byte, so that any text can still be written."""
    found = {token for token in tokenizer.get_vocab() if len(token) == 1 or _marks(token)}
    for word in words:
        for form in (word, f" {word}", word.capitalize(), f" {word.capitalize()}", f" {word.upper()}"):
            found.update(tokenizer.encode(form, add_special_tokens=False).tokens)
    return found


def _marks(token: str) -> bool:
    plain = token.removeprefix("Ġ")
    return plain.isascii() and not any(letter.isalpha() for letter in plain)


def _closed(kept: set[str], merges: Iterable[tuple[str, str]]) -> set[str]:
    """`kept` and what its tokens are merged from on the way: without it they could not be reached."""
    parts: dict[str, tuple[str, str]] = {}
    for first, second in merges:
        parts.setdefault(first + second, (first, second))
    waiting, closed = list(kept), set(kept)
    while waiting:
        for part in parts.get(waiting.pop(), ()):
            if part not in closed:
                closed.add(part)
                waiting.append(part)
    return closed


def _renumbered(raw: dict[str, Any], kept: set[str], number: dict[str, int]) -> dict[str, Any]:
    """A tokenizer.json over the tokens that are left."""
    model = raw["model"]
    merges = [tuple(each.split(" ")) if isinstance(each, str) else tuple(each) for each in model["merges"]]
    left = [[a, b] for a, b in merges if {a, b, a + b} <= kept]
    vocab = {token: number[token] for token in model["vocab"] if token in kept}
    added = [{**each, "id": number[each["content"]]} for each in raw["added_tokens"] if each["content"] in number]
    # The template that puts special tokens around a text has their old numbers; nobody here asks for it.
    return {**raw, "model": {**model, "vocab": vocab, "merges": left}, "added_tokens": added, "post_processor": None}


def trim(source: Path, to: Path, words: Iterable[str], first: int = 0) -> tuple[int, int]:
    """Write `source` with the tokens that `words` need, and its `first` ones, to the new folder `to`.

    Returns the number of tokens before and after. All special tokens stay: languages, tasks, timestamps.
    Raises ModelMissing (no such model), FileExistsError.
    """
    tokens = vocabulary(source)
    end = tokens.index(END)
    raw = json.loads((source / "tokenizer.json").read_text("utf-8"))
    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    merges = [tuple(each.split(" ")) if isinstance(each, str) else tuple(each) for each in raw["model"]["merges"]]
    kept = _closed(needed(tokenizer, words), ((a, b) for a, b in merges))
    ids = [n for n, token in enumerate(tokens) if n >= end or n < first or token in kept or not token]
    number = {tokens[old]: new for new, old in enumerate(ids)}
    moved = {old: new for new, old in enumerate(ids)}
    binary = read_binary(source / "model.bin")
    rows = np.array(ids)
    variables = {
        name: value[rows] if name.startswith(ROWS) and value.shape[:1] == (len(tokens),) else value
        for name, value in binary.variables.items()
    }
    to.mkdir(parents=True)
    write_binary(Binary(binary.name, binary.revision, variables, binary.aliases), to / "model.bin")
    config = json.loads((source / "config.json").read_text("utf-8"))
    for key in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        config[key] = [moved[n] for n in config.get(key) or () if n in moved]
    written = {
        "config.json": config,
        "vocabulary.json": [tokens[n] for n in ids],
        "tokenizer.json": _renumbered(raw, {tokens[n] for n in ids}, number),
    }
    for name, content in written.items():
        (to / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    for path in source.iterdir():
        if path.name not in REMADE and path.is_file():
            shutil.copy(path, to / path.name)
    return len(tokens), len(ids)


def english(path: Path = WORDS) -> list[str]:
    """The words the embedded recogniser knows: general English and the knowledge base's."""
    lines = path.read_text("utf-8").splitlines()
    return [word for line in lines if "(" not in (word := line.partition(" ")[0])]


def main() -> None:
    """Exit status 1 with a line on stderr where there is no such model."""
    parser = argparse.ArgumentParser(prog="python -m models.trim", description=__doc__)
    parser.add_argument("weights", help="a name (whisper-base) or a folder with a CTranslate2 Whisper")
    parser.add_argument("to", type=Path, help="a new folder; then recogniser.weights = that folder")
    parser.add_argument("--first", type=int, default=0, help="keep so many tokens besides: the most frequent are first")
    asked = parser.parse_args()
    try:
        before, after = trim(find(asked.weights), asked.to, english(), asked.first)
    except (AssistError, FileExistsError) as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{after:,} of {before:,} tokens are left in {asked.to}; use it with recogniser.weights = {str(asked.to)!r}")


if __name__ == "__main__":
    main()
