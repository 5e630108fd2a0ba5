"""Have the queries of the search spoken and heard anew: `python -m benchmarks.queries [--jobs N]`.

Synthetic voices speak over an 8 kHz mu-law line to the embedded recogniser, and what it made of them is kept as
models/train/data/queries_heard.toml. It takes minutes, and is needed again when the recogniser changes. It knows no
search.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from assist.audio import RATE_HZ, Party
from benchmarks.make_call import NOISE_RMS, SPEECH_PEAK, speak
from benchmarks.wer import PADDING_MS, plain, telephone
from models.pocketsphinx import LANGUAGE, TRIGRAMS, Ear
from models.train.queries import HEARD, Query, read

__all__ = ["Query", "hear", "read"]

VOICES: Final = ("slt", "rms", "awb", "kal16")  # callers; agents speak with the next one


def voice(key: str, party: Party) -> str:
    """Which synthetic voice speaks, by the query's key."""
    return VOICES[(int(key, 16) // 2 + (party == "agent")) % len(VOICES)]


def _said(queries: list[Query]) -> dict[str, list[str]]:
    ear = Ear()
    padding = np.zeros(PADDING_MS * RATE_HZ // 1000)
    found: dict[str, list[str]] = {}
    for query in queries:
        chance = np.random.default_rng(int(query.key, 16))
        found[query.key] = []
        for party, text in query.said:
            sound, rate_hz = speak(text, voice(query.key, party))
            if rate_hz != RATE_HZ:
                raise ValueError(f"{voice(query.key, party)} speaks at {rate_hz} Hz")
            sound = np.concatenate([padding, sound * (SPEECH_PEAK / np.abs(sound).max()), padding])
            samples = telephone(sound + chance.normal(0, NOISE_RMS, len(sound)))
            found[query.key].append(plain(" ".join(word for word, *_ in ear.hear(samples))))
    return found


def hear(queries: list[Query], jobs: int = 1) -> dict[str, list[str]]:
    """Each query's lines as they were recognised, by key, in the order of `queries`."""
    with ProcessPoolExecutor(jobs) as pool:
        parts = pool.map(_said, [queries[job::jobs] for job in range(jobs)])
        found = {key: texts for part in parts for key, texts in part.items()}
    return {query.key: found[query.key] for query in queries}


def write(found: dict[str, list[str]], path: Path = HEARD) -> None:
    weights = hashlib.sha256((LANGUAGE / TRIGRAMS).read_bytes()).hexdigest()[:8]
    lines = [
        "# queries.toml as synthetic voices over an 8 kHz mu-law line were recognised, by each query's key; written by",
        "# `python -m benchmarks.queries`.",
        f'recogniser = "pocketsphinx en-us narrowband, language model {weights}"',
        "",
        "[text]",
        *(f"{key} = {json.dumps(texts)}" for key, texts in found.items()),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes that recognise")
    parser.add_argument("--out", type=Path, default=HEARD)
    options = parser.parse_args()
    queries = read()
    write(hear(queries, options.jobs), options.out)
    print(f"{len(queries)} queries heard: {options.out}")


if __name__ == "__main__":
    main()
