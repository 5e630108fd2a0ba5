"""Encodes training texts, remembering the result between runs in the system's temporary folder.

It knows nothing of labels.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.encoder import Encoder


def encoded(encode: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of `texts`, float32, shape (n, 384)."""
    digest = hashlib.sha256("\0".join([encode.name, *texts]).encode("utf-8", "replace")).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / f"assist-vectors-{digest}.npy"
    if not file.exists():
        np.save(file, encode(texts))
    vectors: NDArray[np.float32] = np.load(file)
    return vectors
