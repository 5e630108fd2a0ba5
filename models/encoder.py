"""Sentences to vectors: all-MiniLM-L6-v2 in int8, run by onnxruntime on one thread.

It refuses to know what the vectors are for: topic, sentiment and search each bring their own reading.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from assist.errors import ModelMissing

WEIGHTS: Final = Path(__file__).resolve().parent / "weights"
SHA256: Final = {
    "encoder.onnx": "e096e87a8d3d8b17af7161a9e6ff5bb27c1151391691de0a002dd19cf2cb8b43",
    "encoder-tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
DIMENSIONS: Final = 384
MAX_TOKENS: Final = 128
# A token has at least one character, so no text needs more than this to fill MAX_TOKENS with ordinary words,
# and a 5,000-word text costs no more to tokenise than a long turn.
MAX_CHARACTERS: Final = 4_000
REMEMBERED_TEXTS: Final = 4_096  # 1.5 kB each


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

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of `texts`: float32, shape (n, 384), each of length 1. Only the first 128 tokens count.

        Any string is taken, the empty one too. Recently seen texts cost a dictionary look-up.
        """
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._vector(text)
        return vectors

    def forget(self) -> None:
        """Drop the remembered texts, so that a measurement pays for every one of them."""
        with self._lock:
            self._remembered.clear()

    def _vector(self, text: str) -> NDArray[np.float32]:
        with self._lock:
            known = self._remembered.get(text)
            if known is not None:
                self._remembered.move_to_end(text)
                return known
        # Lone surrogates cannot cross into the tokenizer.
        clean = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        ids = np.array([self._tokenizer.encode(clean).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        vector: NDArray[np.float32] = self._session.run(None, feed)[0][0]
        with self._lock:
            self._remembered[text] = vector
            if len(self._remembered) > REMEMBERED_TEXTS:
                self._remembered.popitem(last=False)
        return vector


def load(path: Path | str | None = None) -> Encoder:
    """The encoder from the folder `path` (default: the shipped `models/weights`), warmed.

    Raises ModelMissing where a file is absent or its hash is not the pinned one (truncated, replaced).
    """
    folder = Path(path) if path is not None else WEIGHTS
    graph = _verified(folder / "encoder.onnx")
    words = _verified(folder / "encoder-tokenizer.json")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # two threads were slower at the median, and calls share the cores anyway
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_str(words.decode("utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    encoder = Encoder(session, tokenizer, f"all-MiniLM-L6-v2 int8 {SHA256['encoder.onnx'][:8]}")
    encoder(["a first sentence, so that no caller waits for the first allocation"])
    return encoder


def _verified(file: Path) -> bytes:
    mend = (
        "restore it with `git checkout -- models/weights`, or make it anew with "
        "`python -m models.train.export_encoder` (models/cards/encoder.md says how)"
    )
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelMissing(
            f"the sentence encoder needs {file}, which cannot be read ({error.strerror}): {mend}"
        ) from error
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256[file.name]:
        raise ModelMissing(
            f"{file} is damaged or another version ({len(raw)} bytes, sha256 {found[:12]}…, "
            f"expected {SHA256[file.name][:12]}…): {mend}"
        )
    return raw
