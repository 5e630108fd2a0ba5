"""Measures the shipped encoder's speed on one thread; `models.train.export_encoder` makes it.

It knows nothing of quality: the topic and sentiment cards measure what the vectors are good for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import numpy as np

from models import encoder
from models.train.records import service_phrases


def main(argv: Sequence[str]) -> None:
    """Print p50 and p95 in ms for texts of 5 and 22 words never seen before. `argv` is ignored."""
    encode = encoder.load()
    words = " ".join(text for text, _ in service_phrases()).split()
    rng = np.random.default_rng(0)
    figures: dict[str, float] = {}
    for length in (5, 22):
        spent_ms = []
        for _ in range(500):
            text = " ".join(rng.choice(words, length))
            began = time.perf_counter()
            encode([text])
            spent_ms.append((time.perf_counter() - began) * 1000)
        figures |= {f"words_{length}_p{p}_ms": round(float(np.percentile(spent_ms, p)), 2) for p in (50, 95)}
    print(json.dumps({"encoder": encode.name, **figures}))
