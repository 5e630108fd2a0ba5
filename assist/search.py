"""Search over articles for what was said on a call: candidates by meaning and by words, ranked by learnt weights.

It knows no call, no topic analyser and no model; the encoder is passed in. Nothing it holds is a store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assist import index, overlap
from assist.knowledge import Encoder, Knowledge
from assist.material import Article
from assist.overlap import Overlap, Spans
from assist.phrase import content
from assist.rank import LIKENESS, Floats, Scope, Usual, Weights, probability

_BLOCK: Final = re.compile(r"\n\s*\n")
_LIST_MARK: Final = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9“\"'])")
_BEYOND: Final = Path(__file__).with_name("beyond.txt")
_NEAREST: Final = 3
_ALIKE: Final = 0.7  # cosine from which on a sentence of other people's business is this knowledge base's own
_OUTSIDE: Final = 250  # sentences from which the usual score of what is outside is taken
_HOLDERS: Final = 2_000  # articles that hold the words looked for: the common ones are everywhere and cost most
_FEW_ROWS: Final = 8_000  # vectors that are all looked at for each query; above that each article's mean goes first


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """When something is shown. `floor`: the probability that some article answers, None for the learnt one; `each`:
    that of a single article, so that runners-up far behind stay away.

    `depth`: how many candidates are looked for by meaning, and as many again by words.
    """

    floor: float | None = None
    each: float = 0.02
    depth: int = 40


class Said(NamedTuple):
    """One turn of a query with its weight; the newest words weigh most."""

    text: str
    weight: float = 1.0


class Hit(NamedTuple):
    """An article that may answer. `score`: the probability that it does, 0..1.

    `fused`: its score against the best one's, 1 for that and falling to 0. `passage` is the sentence that answers,
    `terms` the stems it shares with the query.
    """

    article: Article
    score: float
    fused: float
    passage: str
    terms: tuple[str, ...]


class Found(NamedTuple):
    """Candidates of one query: numbers of articles, shape (n,), and what speaks for each, (n, len(LIKENESS)).

    `vector`: the query's; `scope`: of the whole query and of its newest turn, shape (2,).
    """

    articles: NDArray[np.intp]
    likeness: Floats
    vector: Floats
    scope: Floats


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


@cache
def beyond() -> tuple[str, ...]:
    """What callers say that is no question for most knowledge bases."""
    lines = _BEYOND.read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


class Search:
    """Thread-safe: what is built is read only, and the index keeps its own lock."""

    def __init__(
        self,
        knowledge: Knowledge,
        encode: Encoder,
        settings: SearchSettings | None = None,
        weights: Weights | None = None,
    ) -> None:
        """Encodes every passage, title, way of asking and topic example once.

        Raises KnowledgeError where there are more articles than can be searched without libraries that are missing,
        ModelMissing where the shipped weights are not there. Without articles nothing is needed and nothing found.
        """
        self.settings = settings or SearchSettings()
        self._encode = encode
        self._articles = articles = tuple(knowledge.articles.values())
        if not articles:
            return
        self.weights = weights or Weights.read()
        self._passages = [tuple(_cut(article)) for article in articles]
        texts = [
            [_head(article), *(passage.text for passage in passages), *article.asked]
            for article, passages in zip(articles, self._passages, strict=True)
        ]
        self._rows = Spans(np.cumsum([0, *map(len, texts)], dtype=np.intp))
        self._asked_from = np.array([1 + len(passages) for passages in self._passages], dtype=np.intp)
        self._vectors = encode([text for own in texts for text in own])
        # By columns, which a product with one vector reads fastest; above it single rows are wanted.
        self._few = np.asfortranarray(self._vectors) if len(self._vectors) <= _FEW_ROWS else None
        self._index = index.build(self._means(), map(_stems, articles))
        self._words = Overlap(map(_fields, articles), overlap.words)
        self._letters = Overlap((_fields(article)[:3] for article in articles), overlap.letters)
        examples = [(*topic.examples, topic.description) for topic in knowledge.topics.values()]  # at least four
        self._examples = encode([text for own in examples for text in own])
        counts = np.array([len(own) for own in examples], dtype=np.intp)
        self._topics = (np.cumsum(counts) - counts, counts)
        numbers = {topic: number for number, topic in enumerate(knowledge.topics)}
        most = max(len(article.topics) for article in articles)
        none = len(numbers)  # after the last topic's comes the likeness of no topic
        self._topic_of = np.array(
            [
                [*(numbers[topic] for topic in article.topics), *[none] * (most - len(article.topics))]
                for article in articles
            ],
            dtype=np.intp,
        ).reshape(len(articles), most)
        self._scope, outside = self._scoped(knowledge, texts)
        self.outside = [found for text in outside if (found := self.candidates([Said(text)]))]
        """What is found for sentences that no article answers."""
        self._usual = Usual.of(np.array([(found.likeness @ self.weights.order).max() for found in self.outside]))

    def __call__(self, query: Sequence[Said], limit: int = 3) -> list[Hit]:
        """The articles that answer the turns of `query` (newest first), best first, at most `limit`; often none."""
        found = self.candidates(query)
        if found is None:
            return []
        scores: Floats = found.likeness @ self.weights.order
        best = float(scores.max())
        answered = self.weights.answered(self._usual(best), *found.scope)
        floor = self.weights.floor if self.settings.floor is None else self.settings.floor
        if probability(answered) < floor:
            return []
        each = self.weights.each(scores, answered)
        stems = {token.stem for said in query for token in content(said.text)}
        return [
            self._hit(int(found.articles[at]), found.vector, float(each[at]), float(np.exp(scores[at] - best)), stems)
            for at in index.best(scores, limit)
            if each[at] >= self.settings.each
        ]

    def _hit(self, number: int, vector: Floats, score: float, fused: float, stems: set[str]) -> Hit:
        article, passages = self._articles[number], self._passages[number]
        first = self._rows.starts[number] + 1
        nearest = passages[int(np.argmax(self._vectors[first : first + len(passages)] @ vector))]
        sentence, shared = _answer(passages[0].sentences[0], nearest, stems)
        shared |= {token.stem for token in content(_head(article))} & stems
        return Hit(article, score, fused, sentence, tuple(sorted(shared)))

    def candidates(self, query: Sequence[Said]) -> Found | None:
        """What may answer, and why; None where there is nothing to compare.

        Each turn is encoded by itself, so that only a new one costs anything.
        """
        said = [turn for turn in query if turn.text.strip() and turn.weight > 0]
        if not said or not self._articles:
            return None
        rows = self._read([turn.text for turn in said])
        call = _unit(np.array([turn.weight for turn in said], dtype=np.float32) @ rows)
        vector = _unit(call[: self._vectors.shape[1]])
        chosen, likeness = self._compared(vector, said)
        likeness[:, 5] = self._words(said, chosen)
        likeness[:, 6] = self._letters(said, chosen)
        return Found(chosen, likeness, vector, self._scope(np.stack([call, rows[0]])))

    def _compared(self, vector: Floats, said: Sequence[Said]) -> tuple[NDArray[np.intp], Floats]:
        """Candidates and their cosines with `vector`, as LIKENESS; its last two columns are still empty."""
        depth = self.settings.depth
        everything: Floats | None = None
        if self._few is not None:
            everything = self._few @ vector
            near = index.best(np.maximum.reduceat(everything, self._rows.starts[:-1]), depth)
        else:
            near = self._index.near(vector, 2 * depth)
        terms = self._words.rarest({term for turn in said for term in overlap.words(turn.text)}, _HOLDERS)
        chosen = np.unique(np.concatenate([near, np.array(self._index.wordy(terms, depth), dtype=np.intp)]))
        runs, cuts = self._rows.runs(chosen)
        asked = cuts + self._asked_from[chosen]
        # One more at the end, so that an article nobody asks for in words may be the last.
        if everything is None:
            compared = np.concatenate([self._vectors[run] for run in runs]) @ vector
        else:
            compared = np.concatenate([everything[run] for run in runs])
        cosines = np.append(compared, np.float32(-1.0))
        likeness = np.zeros((len(chosen), len(LIKENESS)), dtype=np.float32)
        likeness[:, 3] = cosines[cuts]
        likeness[:, 2] = np.maximum.reduceat(cosines, np.stack([cuts + 1, asked], 1).ravel())[::2]
        plain = likeness[:, 2:4].mean(axis=1)
        counts = np.append(cuts[1:], len(compared)) - asked
        nearest = _nearest(cosines, asked, counts)
        likeness[:, 0] = np.where(counts > 0, nearest[:, 0], plain)
        likeness[:, 1] = np.where(counts > 0, nearest.sum(axis=1) / np.clip(counts, 1, _NEAREST), plain)
        topics = np.append(_nearest(self._examples @ vector, *self._topics).sum(axis=1) / _NEAREST, -1.0)
        of_topic = topics[self._topic_of[chosen]].max(axis=1, initial=-1.0)
        likeness[:, 4] = np.where(of_topic > -1.0, of_topic, plain)
        return chosen, likeness

    def _means(self) -> Floats:
        """The direction of each article, shape (articles, d)."""
        return _unit(np.add.reduceat(self._vectors, self._rows.starts[:-1], axis=0))

    def _read(self, texts: Sequence[str]) -> Floats:
        """What the texts are about and, where the encoder can tell, what their speakers want; rows of length 1."""
        rows = self._encode(texts)
        intents = getattr(self._encode, "intents", None)
        return rows if intents is None else np.hstack([rows, intents(texts)]) * np.float32(0.5**0.5)

    def _scoped(self, knowledge: Knowledge, texts: Sequence[Sequence[str]]) -> tuple[Scope, list[str]]:
        """What is inside (titles, ways of asking or else passages, topics' examples); some sentences of what is not."""
        inside = [example for topic in knowledge.topics.values() for example in (*topic.examples, topic.description)]
        for number, (article, own) in enumerate(zip(self._articles, texts, strict=True)):
            inside += [own[0], *(own[self._asked_from[number] :] if article.asked else own[1:])]
        known = self._read(_some(inside, Scope.MOST))
        others = self._read(beyond())
        strange = [text for text, near in zip(beyond(), (others @ known.T).max(axis=1), strict=True) if near < _ALIKE]
        outside = [*strange, *knowledge.beyond]
        return Scope(known, self._read(outside)), _some(outside, _OUTSIDE)


def _some(texts: list[str], most: int) -> list[str]:
    """At most `most` of them, spread evenly."""
    return texts if len(texts) <= most else [texts[at] for at in np.linspace(0, len(texts) - 1, most).astype(int)]


def _nearest(cosines: Floats, begins: NDArray[np.intp], counts: NDArray[np.intp]) -> Floats:
    """The highest `_NEAREST` of each run of `counts` cosines from `begins` on, 0 where there are fewer."""
    found = np.zeros((len(begins), _NEAREST), dtype=np.float32)
    columns = np.arange(int(counts.max(initial=0)))
    if len(columns):
        there = columns < counts[:, None]
        runs = np.where(there, cosines[np.minimum(begins[:, None] + columns, len(cosines) - 1)], -np.inf)
        highest = -np.sort(-runs, axis=1)[:, :_NEAREST]
        found[:, : highest.shape[1]] = np.where(np.isfinite(highest), highest, 0.0)
    return found


def _unit(rows: Floats) -> Floats:
    found: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return found


def _head(article: Article) -> str:
    return f"{article.title}. {', '.join(article.keywords)}"


def _cut(article: Article) -> Iterator[_Passage]:
    """Its paragraphs with title and heading before them; the title alone where there is none."""
    empty = True
    for heading, sentences in paragraphs(article.body):
        head = f"{article.title}. {heading}. " if heading else f"{article.title}. "
        yield _Passage(heading, head + " ".join(sentences), sentences)
        empty = False
    if empty:
        yield _Passage("", article.title, (article.title,))


def _fields(article: Article) -> list[overlap.Field]:
    sentences = [sentence for _, found in paragraphs(article.body) for sentence in found]
    return [(3.0, [article.title]), (3.0, article.keywords), (2.0, article.asked), (1.0, sentences)]


def _stems(article: Article) -> index.Fields:
    head, asked, body = (
        [token.stem for token in content(text)] for text in (_head(article), " . ".join(article.asked), article.body)
    )
    return head, asked, body


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
