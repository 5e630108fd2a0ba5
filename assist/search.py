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
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assist.knowledge import Encoder, Knowledge
from assist.material import Article
from assist.phrase import content

_BLOCK: Final = re.compile(r"\n\s*\n")
_LIST_MARK: Final = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9“\"'])")
_NEAREST: Final = 3
_BM25: Final = "bm25(article, 0.0, 4.0, 3.0, 1.0)"  # id (not indexed), title, keywords, body


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """`floor`: likeness to the whole query below which an article is not worth showing; `newest`: the same for the
    newest turn alone, so that small talk in a call about something shows nothing.

    `k`, `depth`: constant of the fusion and length of its rankings.
    `lexical`: weight of the words against the meaning, which weighs 1. Defaults as measured on tests/queries.toml:
    callers paraphrase, so words weigh little, yet they find the exact names that meaning blurs.
    """

    floor: float = 0.32
    newest: float = 0.24
    k: int = 10
    depth: int = 20
    lexical: float = 0.25


class Said(NamedTuple):
    """One turn of a query with its weight; the newest words weigh most."""

    text: str
    weight: float = 1.0


class Hit(NamedTuple):
    """An article that may answer. `score`: likeness to the query, about 0..1, on which the floor acts.

    `fused` orders the hits: 1 where it leads both rankings. `passage` is the sentence that answers, `terms` the
    stems it shares with the query.
    """

    article: Article
    score: float
    fused: float
    passage: str
    terms: tuple[str, ...]


class _Passage(NamedTuple):
    heading: str
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


class Likeness(NamedTuple):
    """Mean of three cosines for each article, shape (articles,), and the index of the best passage of each.

    The cosines: its best passage, its title with keywords, and its topic (the three nearest spoken examples).
    """

    score: NDArray[np.float32]
    passage: NDArray[np.intp]


class Search:
    """Thread-safe: one lock around the index of words, everything else is read only."""

    def __init__(self, knowledge: Knowledge, encode: Encoder, settings: SearchSettings | None = None) -> None:
        """Builds both indexes; encodes every passage, title and topic example once."""
        self.settings = settings or SearchSettings()
        self._encode = encode
        self._articles = articles = tuple(knowledge.articles.values())
        self._passages = [list(_cut(article)) for article in articles]
        flat = [passage.text for passages in self._passages for passage in passages]
        self._starts = np.cumsum([0, *(len(passages) for passages in self._passages)])
        topics = list(knowledge.topics)
        self._has_topic = np.array([[topic in article.topics for topic in topics] for article in articles], dtype=bool)
        if articles:
            self._vectors = encode(flat)
            self._heads = encode([f"{article.title}. {', '.join(article.keywords)}" for article in articles])
            self._examples = [encode([*topic.examples, topic.description]) for topic in knowledge.topics.values()]
        self._lock = threading.Lock()
        self._words = sqlite3.connect(":memory:", check_same_thread=False)
        self._words.execute(
            "CREATE VIRTUAL TABLE article USING fts5(id UNINDEXED, title, keywords, body, tokenize='porter unicode61')"
        )
        self._words.executemany(
            "INSERT INTO article VALUES (?, ?, ?, ?)",
            [(i, article.title, " ".join(article.keywords), article.body) for i, article in enumerate(articles)],
        )

    def __call__(self, query: Sequence[Said], limit: int = 3) -> list[Hit]:
        """The articles above both floors for the turns of `query` (newest first), best first, at most `limit`."""
        likeness = self.dense(query)
        newest = self.dense(query[:1])
        if likeness is None or newest is None:
            return []
        scores = self.fused(query, likeness)
        ranked = sorted(scores, key=lambda index: (-scores[index], -likeness.score[index]))
        near = (likeness.score >= self.settings.floor) & (newest.score >= self.settings.newest)
        kept = [index for index in ranked if near[index]][:limit]
        stems = {token.stem for said in query for token in content(said.text)}
        return [self._hit(index, likeness, scores[index], stems) for index in kept]

    def _hit(self, index: int, likeness: Likeness, fused: float, stems: set[str]) -> Hit:
        article, passages = self._articles[index], self._passages[index]
        sentence, shared = _answer(passages[0].sentences[0], passages[likeness.passage[index]], stems)
        shared |= {token.stem for token in content(f"{article.title} {' '.join(article.keywords)}")} & stems
        return Hit(article, float(likeness.score[index]), fused, sentence, tuple(sorted(shared)))

    def dense(self, query: Sequence[Said]) -> Likeness | None:
        """Likeness of every article to the weighted sum of the turns' vectors; None where there is nothing to compare.

        Each turn is encoded by itself, so that only a new one costs anything.
        """
        said = [turn for turn in query if turn.text.strip() and turn.weight > 0]
        if not said or not self._articles:
            return None
        summed = np.array([turn.weight for turn in said], dtype=np.float32) @ self._encode([turn.text for turn in said])
        vector = summed / max(float(np.linalg.norm(summed)), 1e-9)
        cosines = self._vectors @ vector
        best = np.array([np.argmax(cosines[a:b]) for a, b in pairwise(self._starts)], dtype=np.intp)
        near = np.array([np.sort(examples @ vector)[-_NEAREST:].mean() for examples in self._examples])
        topic = np.where(self._has_topic, near, -1.0).max(axis=1)
        score = (cosines[self._starts[:-1] + best] + self._heads @ vector + topic) / 3
        return Likeness(score.astype(np.float32), best)

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

    def fused(self, query: Sequence[Said], likeness: Likeness) -> dict[int, float]:
        """Reciprocal rank fusion of both rankings: article index to 0..1."""
        k, weight = self.settings.k, self.settings.lexical
        meaning = np.argsort(-likeness.score, kind="stable")[: self.settings.depth]
        scores = {int(index): 1 / (k + rank) for rank, index in enumerate(meaning, 1)}
        for rank, index in enumerate(self.lexical(query) if weight > 0 else (), 1):
            scores[index] = scores.get(index, 0.0) + weight / (k + rank)
        most = (1 + weight) / (k + 1)
        return {index: score / most for index, score in scores.items()}


def _cut(article: Article) -> Iterator[_Passage]:
    for heading, sentences in paragraphs(article.body):
        head = f"{article.title}. {heading}. " if heading else f"{article.title}. "
        yield _Passage(heading, head + " ".join(sentences), sentences)


def _answer(direct: str, passage: _Passage, stems: set[str]) -> tuple[str, set[str]]:
    """The sentence that answers, and the stems it shares with the query.

    That is the article's first sentence, unless one of the best passage shares at least two more words with the query.
    """

    def shared(sentence: str) -> set[str]:
        return {token.stem for token in content(sentence)} & stems

    best = max(passage.sentences, key=lambda sentence: len(shared(sentence)))
    if len(shared(best)) < len(shared(direct)) + 2:
        return direct, shared(direct)
    return (f"{passage.heading}: {best}" if passage.heading else best), shared(best)
