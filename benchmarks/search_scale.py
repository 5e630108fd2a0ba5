"""What the search's index costs from a hundred to a million articles: `python -m benchmarks.search_scale [SIZE …]`.

    --plain N   measure SQLite FTS5 with numpy up to N articles (default 100,000), faiss with tantivy from 10,000 on
    --whole N   the whole search, ranking included, over made-up articles up to N (default 10,000)

Vectors and words are made up with a seed: vectors in neighbourhoods of about a hundred, words by Zipf's law. No text is
encoded, so building says nothing of an encoder's share (about 2 ms a sentence). Each size runs in a process of its own,
on one thread. It knows nothing of how right an answer is; recall is against looking at every vector.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from assist import index
from assist.knowledge import Knowledge
from assist.search import Said, Search
from benchmarks import synthetic
from benchmarks.report import Machine, finish, percentile, table

SIZES: Final = (100, 10_000, 100_000, 1_000_000)
KINDS: Final = ("plain", "vast")
QUERIES: Final = 200
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
WIDTH: Final = 384
CLOSE: Final = 0.75
"""How much of a vector its neighbourhood's centre makes up, and of a query the article it is about."""
VOCABULARY: Final = 50_000
LENGTHS: Final = (8, 20, 60)  # words of title with keywords, of ways of asking, of the text
TERMS: Final = 8
DEPTH: Final = 80
TEN: Final = 10
SEED: Final = 1

Floats = NDArray[np.float32]


def unit(rows: Floats) -> Floats:
    found: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def near(rows: Floats, chance: np.random.Generator) -> Floats:
    """Unit vectors whose cosine with `rows` is about CLOSE."""
    noise = unit(chance.standard_normal(rows.shape, dtype=np.float32))
    return unit(np.float32(CLOSE) * rows + np.float32((1 - CLOSE**2) ** 0.5) * noise)


def vectors(count: int, chance: np.random.Generator) -> Floats:
    """Unit rows in neighbourhoods of about a hundred, shape (count, WIDTH)."""
    centres = unit(chance.standard_normal((max(1, count // 100), WIDTH), dtype=np.float32))
    made = np.empty((count, WIDTH), dtype=np.float32)
    for begin in range(0, count, 50_000):
        end = min(begin + 50_000, count)
        made[begin:end] = near(centres[chance.integers(len(centres), size=end - begin)], chance)
    return made


def words(count: int, chance: np.random.Generator) -> Iterator[index.Fields]:
    """The words of each article, by Zipf's law."""
    rank = np.arange(1, VOCABULARY + 1)
    share = np.cumsum(1 / rank)
    vocabulary = [f"w{number}" for number in range(VOCABULARY)]
    for begin in range(0, count, 10_000):
        size = (min(10_000, count - begin), sum(LENGTHS))
        drawn = np.searchsorted(share, chance.random(size) * share[-1])
        for row in drawn.tolist():
            head, asked, body = np.cumsum(LENGTHS).tolist()
            named = [vocabulary[word] for word in row]
            yield named[:head], named[head:asked], named[asked:body]


def timed(work: Callable[[Any], Any], queries: Sequence[Any]) -> tuple[float, float]:
    """p50 and p95 in ms, each query asked once before."""
    for query in queries[:20]:
        work(query)
    took = []
    for query in queries:
        began = time.perf_counter()
        work(query)
        took.append((time.perf_counter() - began) * 1000)
    return percentile(took, 0.5) or 0.0, percentile(took, 0.95) or 0.0


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def one(count: int, kind: str) -> dict[str, float]:
    """One index over `count` articles: built, asked, and held against looking at everything."""
    chance = np.random.default_rng(SEED)
    rows = vectors(count, chance)
    before_mb, began = resident_mb(), time.perf_counter()
    written = words(count, np.random.default_rng(SEED + 1))
    made: index.Index = index.Plain(rows, written) if kind == "plain" else index.Vast(rows, written)
    built_s = time.perf_counter() - began
    built_mb = resident_mb() - before_mb
    asked = near(rows[chance.integers(count, size=QUERIES)], chance)
    picked = words(QUERIES, np.random.default_rng(SEED + 2))
    terms = [sorted({*head, *body}, key=lambda word: -int(word[1:]))[:TERMS] for head, _, body in picked]
    exact = [set(index.best(rows @ query, TEN).tolist()) for query in asked]
    right = [len(exact[at] & set(made.near(query, DEPTH)[:TEN].tolist())) / TEN for at, query in enumerate(asked)]
    near_p50, near_p95 = timed(lambda query: made.near(query, DEPTH), list(asked))
    words_p50, words_p95 = timed(lambda query: made.wordy(query, DEPTH), terms)
    return {
        "built_s": round(built_s, 2),
        "memory_mb": round(built_mb + (rows.nbytes / 2**20 if kind == "plain" else 0)),
        "recall_10": round(float(np.mean(right)), 4),
        "near_p50_ms": round(near_p50, 3),
        "near_p95_ms": round(near_p95, 3),
        "words_p50_ms": round(words_p50, 3),
        "words_p95_ms": round(words_p95, 3),
    }


def hashed(texts: Sequence[str]) -> Floats:
    """A stand-in for an encoder: each word has a seeded direction, a text the sum of its words'."""
    rows = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split() or [""]:
            row += _direction(word)
    return unit(rows)


_DIRECTIONS: dict[str, Floats] = {}


def _direction(word: str) -> Floats:
    if word not in _DIRECTIONS:
        seed = zlib.crc32(word.encode())
        _DIRECTIONS[word] = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return _DIRECTIONS[word]


def whole(count: int) -> dict[str, float]:
    """The search from a turn's vector to its ranking; turns are encoded before."""
    knowledge = synthetic.enlarged(Knowledge({}, {}, {}, {}, {}), count)
    before_mb, began = resident_mb(), time.perf_counter()
    search = Search(knowledge, hashed)
    built_s = time.perf_counter() - began
    built_mb = resident_mb() - before_mb
    asked = [article.asked[0] for article in list(knowledge.articles.values())[:: max(1, count // QUERIES)]]
    p50, p95 = timed(lambda said: search.candidates([Said(said)]), asked)
    return {
        "built_s": round(built_s, 2),
        "memory_mb": round(built_mb),
        "p50_ms": round(p50, 3),
        "p95_ms": round(p95, 3),
    }


def apart(*arguments: str) -> dict[str, float]:
    """What this module prints for one size, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search_scale", "--one", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | ONE_THREAD)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--plain", type=int, default=100_000)
    parser.add_argument("--whole", type=int, default=10_000)
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        count, kind = int(options.one[0]), options.one[1]
        print(json.dumps(whole(count) if kind == "whole" else one(count, kind)))
        return
    machine = Machine()
    sizes: dict[str, dict[str, float]] = {}
    for count in options.sizes:
        for kind in KINDS:
            if (count <= options.plain) if kind == "plain" else (count >= index.MOST):
                sizes[f"{count} {kind}"] = apart(str(count), kind)
        if count <= options.whole:
            sizes[f"{count} whole"] = apart(str(count), "whole")
    for kind in (*KINDS, "whole"):
        rows = [(name, *found.values()) for name, found in sizes.items() if name.endswith(kind)]
        if rows:
            keys = next(found for name, found in sizes.items() if name.endswith(kind))
            print(table((kind, *keys), rows), end="\n\n")
    finish("search-scale", {"sizes": sizes}, machine)


if __name__ == "__main__":
    main()
