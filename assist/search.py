"""Hybrid search over articles: SQLite FTS5 for words, numpy for meaning, joined by reciprocal rank fusion.

It knows no call, no topic and no model; the encoder is passed in. The database is an index in memory, not a store.

Cormack, Clarke, Buettcher: Reciprocal rank fusion outperforms Condorcet and individual rank learning methods
(SIGIR 2009): score = sum over rankings of 1 / (k + rank).
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assist.knowledge import Encoder, Knowledge
from assist.material import Article
from assist.phrase import content

_BLOCK: Final = re.compile(r"\n\s*\n")
_LIST_MARK: Final = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9“\"'])")
_BM25: Final = "bm25(article, 0.0, 4.0, 3.0, 1.0)"  # id (not indexed), title, keywords, body


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """`floor`: cosine below which an article is not worth showing (measured, see tests/test_guidance_figures.py).

    `k` and `depth`: constant of the fusion and length of each ranking. `dense`, `lexical`: weights of the rankings.
    """

    floor: float = 0.4
    k: int = 10
    depth: int = 20
    dense: float = 1.0
    lexical: float = 1.0


class Said(NamedTuple):
    """One turn of a query with its weight; the newest words weigh most."""

    text: str
    weight: float = 1.0


class Hit(NamedTuple):
    """An article that may answer. `score`: cosine of its best passage to the query, 0..1, on which the floor acts.

    `fused` orders the hits: 1 where it leads both rankings. `passage` is the sentence that answers, `terms` the
    stems it shares with the query.
    """

    article: Article
    score: float
    fused: float
    passage: str
    terms: tuple[str, ...]


class _Passage(NamedTuple):
    article: int
    text: str
    sentences: tuple[str, ...]


def paragraphs(body: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each paragraph or list of a Markdown body under its last heading: (heading or "", its sentences or items)."""
    heading = ""
    for block in _BLOCK.split(body):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if lines and lines[0].startswith("#"):
            heading = lines.pop(0).lstrip("# ").strip()
        if not lines:
            continue
        if any(_LIST_MARK.match(line) for line in lines):
            items = tuple(_LIST_MARK.sub("", line) for line in lines)
        else:
            items = tuple(part.strip() for part in _SENTENCE.split(" ".join(lines)) if part.strip())
        yield heading, items


class Search:
    """Thread-safe: one lock around the index of words, everything else is read only."""

    def __init__(self, knowledge: Knowledge, encode: Encoder, settings: SearchSettings | None = None) -> None:
        """Builds both indexes; encodes every passage once."""
        self.settings = settings or SearchSettings()
        self._encode = encode
        self._articles = tuple(knowledge.articles.values())
        self._passages = [passage for index, article in enumerate(self._articles) for passage in _cut(index, article)]
        self._direct = [
            next((p.sentences[0] for p in self._passages if p.article == i), "") for i in range(len(self._articles))
        ]
        self._owner = np.array([passage.article for passage in self._passages], dtype=np.intp)
        texts = [passage.text for passage in self._passages]
        self._vectors = encode(texts) if texts else np.zeros((0, 1), dtype=np.float32)
        self._lock = threading.Lock()
        self._words = sqlite3.connect(":memory:", check_same_thread=False)
        self._words.execute(
            "CREATE VIRTUAL TABLE article USING fts5(id UNINDEXED, title, keywords, body, tokenize='porter unicode61')"
        )
        self._words.executemany(
            "INSERT INTO article VALUES (?, ?, ?, ?)",
            [(i, a.title, " ".join(a.keywords), a.body) for i, a in enumerate(self._articles)],
        )

    def __call__(self, query: Sequence[Said], limit: int = 3) -> list[Hit]:
        """The articles above the floor for the turns of `query`, best first, at most `limit`."""
        if not self._articles:
            return []
        likeness = self.dense(query)
        best = self._best_passages(likeness)
        fused = self.fused(query, likeness)
        stems = {token.stem for said in query for token in content(said.text)}
        hits: list[Hit] = []
        for index in sorted(fused, key=lambda i: (-fused[i], -likeness[best[i]])):
            score = float(likeness[best[index]])
            if score >= self.settings.floor and len(hits) < limit:
                passage, terms = _answer(self._direct[index], self._passages[best[index]], stems)
                article = self._articles[index]
                shared = {token.stem for token in content(f"{article.title} {' '.join(article.keywords)}")} & stems
                hits.append(Hit(article, score, fused[index], passage, tuple(sorted(shared | set(terms)))))
        return hits

    def dense(self, query: Sequence[Said]) -> NDArray[np.float32]:
        """Cosine of every passage to the weighted sum of the turns' vectors, shape (passages,)."""
        said = [turn for turn in query if turn.text.strip() and turn.weight > 0]
        if not said or not self._passages:
            return np.zeros(len(self._passages), dtype=np.float32)
        weights = np.array([turn.weight for turn in said], dtype=np.float32)
        summed = weights @ self._encode([turn.text for turn in said])
        length = float(np.linalg.norm(summed))
        cosines: NDArray[np.float32] = self._vectors @ (summed / length if length else summed)
        return cosines

    def lexical(self, query: Sequence[Said]) -> list[int]:
        """Indexes of articles by the weighted sum of each turn's BM25, best first."""
        scores: dict[int, float] = {}
        for said in query:
            terms = sorted({token.word.replace("'s", "").replace("’s", "") for token in content(said.text)})
            if not terms or said.weight <= 0:
                continue
            # Quoted, so that no word of a call is ever read as FTS5 syntax.
            match = " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
            with self._lock:
                rows = self._words.execute(
                    f"SELECT id, {_BM25} FROM article WHERE article MATCH ? ORDER BY 2 LIMIT ?",
                    (match, self.settings.depth * 2),
                ).fetchall()
            for index, rank in rows:
                scores[index] = scores.get(index, 0.0) - said.weight * rank
        return sorted(scores, key=lambda index: (-scores[index], index))[: self.settings.depth]

    def fused(self, query: Sequence[Said], likeness: NDArray[np.float32]) -> dict[int, float]:
        """Reciprocal rank fusion of both rankings: article index to 0..1."""
        k, depth = self.settings.k, self.settings.depth
        order: dict[int, None] = {}
        for passage in np.argsort(-likeness, kind="stable"):
            order.setdefault(int(self._owner[passage]), None)
            if len(order) >= depth:
                break
        scores: dict[int, float] = {}
        rankings = ((list(order), self.settings.dense), (self.lexical(query), self.settings.lexical))
        for ranking, weight in rankings:
            for rank, index in enumerate(ranking, 1):
                scores[index] = scores.get(index, 0.0) + weight / (k + rank)
        most = (self.settings.dense + self.settings.lexical) / (k + 1)
        return {index: score / most for index, score in scores.items()}

    def _best_passages(self, likeness: NDArray[np.float32]) -> dict[int, int]:
        best: dict[int, int] = {}
        for passage in np.argsort(-likeness, kind="stable"):
            best.setdefault(int(self._owner[passage]), int(passage))
        return best


def _cut(index: int, article: Article) -> Iterator[_Passage]:
    for heading, sentences in paragraphs(article.body):
        head = f"{article.title}. {heading}. " if heading else f"{article.title}. "
        yield _Passage(index, head + " ".join(sentences), sentences)


def _answer(direct: str, passage: _Passage, stems: set[str]) -> tuple[str, tuple[str, ...]]:
    """The sentence that answers, and the stems it shares with the query.

    That is the article's first sentence, unless one of the best passage shares at least two more words with the query.
    """

    def shared(sentence: str) -> set[str]:
        return {token.stem for token in content(sentence)} & stems

    best = max(passage.sentences, key=lambda sentence: len(shared(sentence)))
    chosen = best if len(shared(best)) >= len(shared(direct)) + 2 else direct
    return chosen, tuple(sorted(shared(chosen)))
