"""Where a search looks first: the articles nearest in meaning and those that share words.

It knows no article and no encoder, only a vector and the words of each by number. Up to MOST articles SQLite FTS5 and
numpy do it, above that tantivy and faiss, behind the same two questions.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from assist.errors import KnowledgeError

Floats = NDArray[np.float32]
Fields = tuple[Sequence[str], Sequence[str], Sequence[str]]
"""Stems of an article's title and keywords, of how it is asked for, and of its text."""

MOST: Final = 10_000
WEIGHTS: Final = (3.0, 2.0, 1.0)
_RANK: Final = f"bm25(article, {', '.join(map(str, WEIGHTS))})"
_ASK: Final = f"SELECT rowid FROM article WHERE article MATCH ? ORDER BY {_RANK} LIMIT ?"
TERMS: Final = 8  # of a query, the rarest: the common ones are in every article and cost most


class Index(Protocol):
    """Callable from any thread."""

    def near(self, vector: Floats, depth: int) -> NDArray[np.intp]:
        """Numbers of about `depth` articles nearest to the unit vector `vector`, shape (d,), best first."""
        ...

    def wordy(self, terms: Sequence[str], depth: int) -> list[int]:
        """Numbers of at most `depth` articles that hold some of `terms` (stems, rarest first), best first."""
        ...


def build(vectors: Floats, texts: Iterable[Fields]) -> Index:
    """The index for `vectors`, shape (n, d), one a row for each article, and its words. Raises KnowledgeError."""
    if len(vectors) <= MOST:
        return Plain(vectors, texts)
    return Vast(vectors, texts)


class Plain:
    """Every vector is looked at, in the directions in which they differ most; the words are in SQLite's memory."""

    # Of 384: a third to read per query, and of 10,000 sentences all of the ten nearest are among 80 found.
    AXES: Final = 128

    def __init__(self, vectors: Floats, texts: Iterable[Fields]) -> None:
        _, axes = np.linalg.eigh(vectors.T @ vectors)
        self._axes: Floats = np.ascontiguousarray(axes[:, -self.AXES :])
        # By columns, which a product with one vector reads up to four times faster.
        self._along = np.asfortranarray(vectors @ self._axes)
        self._lock = threading.Lock()
        self._words = sqlite3.connect(":memory:", check_same_thread=False)
        self._words.execute("CREATE VIRTUAL TABLE article USING fts5(head, asked, body, content='', tokenize='ascii')")
        self._words.executemany(
            "INSERT INTO article (rowid, head, asked, body) VALUES (?, ?, ?, ?)",
            ((number, *map(" ".join, fields)) for number, fields in enumerate(texts)),
        )

    def near(self, vector: Floats, depth: int) -> NDArray[np.intp]:
        return best(self._along @ (vector @ self._axes), depth)

    def wordy(self, terms: Sequence[str], depth: int) -> list[int]:
        # Quoted, so that no word of a call is ever read as FTS5 syntax.
        match = " OR ".join(f'"{term}"' for term in terms[:TERMS] if term.isalnum())
        if not match:
            return []
        with self._lock:
            return [number for (number,) in self._words.execute(_ASK, (match, depth))]


class Vast:
    """Vectors in lists around their neighbourhoods' centres, one byte a number (faiss IVF with a scalar quantiser);
    words in tantivy's memory."""

    LOOKED_AT: Final = 32  # lists
    TAUGHT_BY: Final = 64  # vectors a list, at most, for finding the centres

    def __init__(self, vectors: Floats, texts: Iterable[Fields]) -> None:
        """Raises KnowledgeError where the libraries are missing."""
        self._tantivy, faiss = _libraries(len(vectors))
        count, width = vectors.shape
        lists = 2 ** round(math.log2(4 * math.sqrt(count)))
        self._faiss = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width), width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        faiss.omp_set_num_threads(1)  # a query is too small to share, and the cores are for other calls
        self._faiss.cp.max_points_per_centroid = self.TAUGHT_BY
        self._faiss.train(vectors[:: max(1, count // (lists * self.TAUGHT_BY))])
        self._faiss.add(vectors)
        self._faiss.nprobe = self.LOOKED_AT
        self._words = self._written(texts)

    def _written(self, texts: Iterable[Fields]) -> Any:
        fields = self._tantivy.SchemaBuilder()
        fields.add_unsigned_field("number", stored=True, fast=True)
        for name in ("head", "asked", "body"):
            fields.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
        self._schema = fields.build()
        index = self._tantivy.Index(self._schema)
        writer = index.writer(heap_size=256_000_000, num_threads=1)
        for number, (head, asked, body) in enumerate(texts):
            document = self._tantivy.Document()
            document.add_unsigned("number", number)
            for name, stems in (("head", head), ("asked", asked), ("body", body)):
                document.add_text(name, " ".join(stems))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        return index.searcher()

    def near(self, vector: Floats, depth: int) -> NDArray[np.intp]:
        _, numbers = self._faiss.search(vector[None], depth)
        found: NDArray[np.intp] = numbers[0][numbers[0] >= 0].astype(np.intp)
        return found

    def wordy(self, terms: Sequence[str], depth: int) -> list[int]:
        library = self._tantivy
        clauses = []
        for term in filter(str.isalnum, terms[:TERMS]):
            for name, weight in zip(("head", "asked", "body"), WEIGHTS, strict=True):
                query = library.Query.term_query(self._schema, name, term)
                clauses.append((library.Occur.Should, library.Query.boost_query(query, weight)))
        if not clauses:
            return []
        hits = self._words.search(library.Query.boolean_query(clauses), depth, count=False).hits
        return [int(self._words.doc(address)["number"][0]) for _, address in hits]


def best(scores: Floats, depth: int) -> NDArray[np.intp]:
    """Where the `depth` highest of `scores` stand, highest first."""
    some = np.argpartition(scores, -depth)[-depth:] if 0 < depth < len(scores) else np.arange(len(scores))[:depth]
    return some[np.argsort(-scores[some], kind="stable")]


def _libraries(count: int) -> tuple[Any, Any]:
    try:
        import faiss
        import tantivy
    except ImportError as error:
        raise KnowledgeError(
            f"{count} articles are searched with faiss and tantivy, and {error.name} is not installed: "
            f"`pip install -e '.[large]'`, or keep the knowledge base under {MOST + 1} articles"
        ) from error
    return tantivy, faiss
