"""Encodes training texts, remembering the result between runs in the system's temporary folder.

It knows nothing of labels.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def encoded(
    encode: Callable[[Sequence[str]], NDArray[np.float32]], texts: Sequence[str], name: str | None = None
) -> NDArray[np.float32]:
    """What `encode` reads of `texts`, float32, shape (n, 384).

    `name` says which reading of which encoder it is; without one it is the encoder's own name, for its vectors.
    """
    known_as = name or str(encode.name)  # type: ignore[attr-defined]
    digest = hashlib.sha256("\0".join([known_as, *texts]).encode("utf-8", "replace")).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / f"assist-vectors-{digest}.npy"
    if not file.exists():
        np.save(file, encode(texts))
    vectors: NDArray[np.float32] = np.load(file)
    return vectors
