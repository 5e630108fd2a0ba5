"""Sentences to vectors, three readings from one pass: all-MiniLM-L6-v2 and a tuned upper half beside its own, int8.

It refuses to know what the vectors are for: topic, sentiment, next action and search each judge by themselves.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from assist.errors import ModelMissing

log = logging.getLogger("models.encoder")

WEIGHTS: Final = Path(__file__).resolve().parent / "weights"
READINGS: Final = ("vector", "intent", "tone")
DIMENSIONS: Final = 384
MAX_TOKENS: Final = 128
# A token has at least one character, so no text needs more than this to fill MAX_TOKENS with ordinary words,
# and a 5,000-word text costs no more to tokenise than a long turn.
MAX_CHARACTERS: Final = 4_000
MEND: Final = (
    "restore it with `git checkout -- models/weights`, or make it anew with "
    "`python -m models.train encoder` (models/cards/encoder.md says how)"
)
REMEMBERED_TEXTS: Final = 4_096  # 5 kB each
KEPT_TEXTS: Final = 10_000  # on disk, between starts


class Encoder:
    """Callable from any thread. Texts are encoded one by one, never padded together: int8 activations are
    scaled per run, so a text's vector would otherwise depend on its neighbours."""

    def __init__(self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, name: str) -> None:
        self.name = name
        """Model and hash prefix; an index of vectors must be rebuilt when it changes."""
        self._session = session
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._kept: Kept | None = None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of `texts`: float32, shape (n, 384), each of length 1. Only the first 128 tokens count.

        Any string is taken, the empty one too. Recently seen texts cost a dictionary look-up.
        """
        return self._readings(texts, 0)

    def intents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """What the speakers of `texts` want, from the same pass: float32, shape (n, 384), each of length 1.

        Tuned to tell requests of service calls apart, next to nothing else; `__call__` is for all other likeness.
        """
        return self._readings(texts, 1)

    def tones(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """How `texts` are said, from the same pass: the first token's last state, float32, (n, 384).

        Vectors say what a text is about and are the same for a thing praised and a thing cursed, or nearly so.
        """
        return self._readings(texts, 2)

    def forget(self) -> None:
        """Drop the remembered texts, so that a measurement pays for every one of them."""
        with self._lock:
            self._remembered.clear()

    def keep_in(self, folder: Path) -> None:
        """From now on readings are looked for in a file of `folder`, and new ones are noted until `kept` writes them.

        What a knowledge base says is encoded at every start; only what is new of it should cost anything.
        """
        self._kept = Kept(folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.name)}.npz")

    def kept(self) -> None:
        """Write what was read since `keep_in`, and note no more. If that fails the next start is slow too."""
        kept, self._kept = self._kept, None
        if kept:
            kept.write()

    def _readings(self, texts: Sequence[str], which: int) -> NDArray[np.float32]:
        # Rows of their own: a view of all three readings would keep thrice the memory and slow every product down.
        rows = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            rows[row] = self._read(text)[which]
        return rows

    def _read(self, text: str) -> NDArray[np.float32]:
        with self._lock:
            known = self._remembered.get(text)
            if known is not None:
                self._remembered.move_to_end(text)
                return known
        kept = self._kept
        found = kept.get(text) if kept else None
        if found is not None:
            return found
        # Lone surrogates cannot cross into the tokenizer.
        clean = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        ids = np.array([self._tokenizer.encode(clean).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        readings: NDArray[np.float32] = np.concatenate(self._session.run(READINGS, feed))
        with self._lock:
            self._remembered[text] = readings
            if len(self._remembered) > REMEMBERED_TEXTS:
                self._remembered.popitem(last=False)
        if kept:
            kept.add(text, readings)
        return readings


class Kept:
    """Readings by the hash of their text, in a file that is replaced whole; of too many, those asked for last stay."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: dict[bytes, NDArray[np.float32]] = {}
        self._asked: dict[bytes, NDArray[np.float32]] = {}
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
                keys, rows = stored["keys"], stored["rows"]
            if rows.shape != (len(keys), len(READINGS), DIMENSIONS) or not np.isfinite(rows).all():
                raise ValueError(f"shape {rows.shape}")
            self._rows = {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}
        except FileNotFoundError:
            pass
        except Exception as error:  # numpy and zipfile raise half a dozen kinds for damaged files
            log.warning("%s is damaged and made anew: %s", file, error)

    def get(self, text: str) -> NDArray[np.float32] | None:
        """The readings of `text`, shape (3, 384), or None."""
        key = _key(text)
        found = self._rows.get(key)
        if found is not None:
            self._asked[key] = found
        return found

    def add(self, text: str, readings: NDArray[np.float32]) -> None:
        """Note what was read of `text`."""
        self._asked[_key(text)] = readings

    def write(self) -> None:
        """Replace the file, unless it holds all this already."""
        if self._asked.keys() <= self._rows.keys():
            return
        unasked = {key: row for key, row in self._rows.items() if key not in self._asked}
        newest = list({**unasked, **self._asked}.items())[-KEPT_TEXTS:]
        keys = np.frombuffer(b"".join(key for key, _ in newest), dtype=np.uint8).reshape(len(newest), -1)
        part = self._file.with_suffix(f".{os.getpid()}.part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as out:
                np.savez(out, keys=keys, rows=np.stack([row for _, row in newest]))
            part.replace(self._file)  # whole or not at all, whoever else starts now
        except OSError as error:
            log.warning("%s could not be written, so the next start is slow too: %s", self._file, error)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def load(path: Path | str | None = None) -> Encoder:
    """The encoder from the folder `path` (default: the shipped `models/weights`), warmed.

    Raises ModelMissing where a file is absent or its hash is not the one in `encoder.json` (truncated, replaced).
    """
    folder = Path(path) if path is not None else WEIGHTS
    try:
        described = json.loads((folder / "encoder.json").read_bytes())
        name, hashes = str(described["name"]), dict(described["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelMissing(
            f"the sentence encoder needs {folder / 'encoder.json'}, which cannot be read "
            f"({type(error).__name__}: {error}): {MEND}"
        ) from error
    graph = _verified(folder / "encoder.onnx", hashes)
    words = _verified(folder / "encoder-tokenizer.json", hashes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # two threads were slower at the median, and calls share the cores anyway
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("texts", 1)  # so that shapes are worked out once
    slower = ["SkipLayerNormFusion"]  # its kernel takes longer than what it fuses, by 5 to 9 % of the whole
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(graph, options, providers=providers, disabled_optimizers=slower)
    tokenizer = Tokenizer.from_str(words.decode("utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    encoder = Encoder(session, tokenizer, name)
    encoder(["a first sentence, so that no caller waits for the first allocation"])
    return encoder


def _verified(file: Path, hashes: Mapping[str, str]) -> bytes:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelMissing(
            f"the sentence encoder needs {file}, which cannot be read ({error.strerror}): {MEND}"
        ) from error
    found = hashlib.sha256(raw).hexdigest()
    expected = str(hashes.get(file.name, ""))
    if found != expected:
        raise ModelMissing(
            f"{file} is damaged or another version ({len(raw)} bytes, sha256 {found[:12]}…, "
            f"expected {expected[:12]}…): {MEND}"
        )
    return raw
