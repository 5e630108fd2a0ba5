"""Whether the search finds what answers callers, clean and as they were heard, and stays silent where nothing does.

Weights and floor were learnt from the dev half of the queries (`python -m models.train search`); figures are of the
test half at that one operating point unless they say otherwise. It knows no screen and no call.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from assist.index import best
from assist.knowledge import Encoder, Knowledge
from assist.material import Article
from assist.rank import LIKENESS
from assist.search import Found, Said, Search, SearchSettings
from assist.suggest import Guide
from benchmarks.accuracy.figures import Figure, Measured, bootstrap, calibration_error, share
from benchmarks.report import ROOT, percentile, table
from models import encoder
from models.train.queries import Query, heard, read

DEPTH: Final = 10
SHOWN: Final = 3
OPEN: Final = SearchSettings(floor=0.0, each=0.0)
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "words alone": ("words",),
    "words and letters alone": ("words", "letters"),
    "meaning alone": ("asked", "asked_three", "passage", "head", "topic"),
}


@dataclass(frozen=True)
class Judged:
    """What became of some queries: whether one that answers is among the first `SHOWN` (of queries that have one) and
    whether nothing was shown (of those that have none)."""

    right: list[bool]
    silent: list[bool]


def judged(search: Search, knowledge: Knowledge, queries: Sequence[Query]) -> Judged:
    guide = Guide(knowledge, search)
    outcome = Judged([], [])
    for query in queries:
        ids = {hit.article.id for hit in search(guide.query(query.conversation()), SHOWN)}
        if query.articles:
            outcome.right.append(bool(ids & query.articles))
        else:
            outcome.silent.append(not ids)
    return outcome


def ranks(
    search: Search, knowledge: Knowledge, queries: Sequence[Query], columns: Sequence[str] = LIKENESS
) -> list[int]:
    """For each query that has an answer, the rank (from 1) of the first that answers, by some likenesses alone."""
    guide, ids = Guide(knowledge, search), list(knowledge.articles)
    some = np.array([name in columns for name in LIKENESS])
    found = []
    for query in queries:
        if query.articles:
            seen = search.candidates(guide.query(query.conversation()))
            found.append(_rank(seen, search.weights.order * some, ids, query.articles) if seen else len(ids))
    return found


def _rank(found: Found, weights: NDArray[np.float32], ids: Sequence[str], articles: frozenset[str]) -> int:
    ordered = found.articles[np.argsort(-(found.likeness @ weights), kind="stable")]
    return next((rank for rank, number in enumerate(ordered, 1) if ids[number] in articles), len(ids))


def without_asked(knowledge: Knowledge) -> Knowledge:
    bare = {key: msgspec.structs.replace(article, asked=()) for key, article in knowledge.articles.items()}
    return replace(knowledge, articles=MappingProxyType(bare))


def stackfaq(data: Path) -> tuple[Knowledge, list[tuple[str, str]]]:
    """Each question as an article's title with its answers as text, and (paraphrase, id of its article)."""
    file = data / "stackfaq" / "stackExchange-FAQ.json"
    if not file.exists():
        raise SystemExit(f"{file} is not there: this needs the shared data; point to it with --data FOLDER")
    articles: dict[str, Article] = {}
    asked = []
    for number, row in enumerate(json.loads(file.read_text("utf-8"))["root"]["qapair"]):
        answers = [row["answer"]] if isinstance(row["answer"], str) else row["answer"]
        key = f"faq-{number}"
        articles[key] = Article(key, row["question"], (), (), datetime.date(2018, 1, 1), "\n\n".join(answers))
        asked += [(text, key) for text in row["rephr"] if text and text != "*"]
    none: Mapping[str, Any] = MappingProxyType({})
    return Knowledge(MappingProxyType(articles), none, none, none, none), asked


def gains(search: Search, asked: Sequence[tuple[str, str]], columns: Sequence[str] = LIKENESS) -> NDArray[np.float64]:
    """nDCG@10 of each paraphrase with its one right article: 1 / log2(1 + rank), 0 beyond the tenth."""
    some = search.weights.order * np.array([name in columns for name in LIKENESS])
    found = []
    for text, key in asked:
        seen = search.candidates([Said(text)])
        numbers = seen.articles[best(seen.likeness @ some, DEPTH)] if seen else ()
        rank = next((rank for rank, number in enumerate(numbers, 1) if f"faq-{number}" == key), 0)
        found.append(1 / np.log2(1 + rank) if rank else 0.0)
    return np.array(found)


def certainty(
    search: Search, knowledge: Knowledge, queries: Sequence[Query]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The best hit's score and whether it answers, of every query, answered or not, with floors off."""
    guide = Guide(knowledge, search)
    shut, search.settings = search.settings, OPEN
    hits = [(search(guide.query(query.conversation()), 1), query) for query in queries]
    search.settings = shut
    pairs = [(found[0].score, found[0].article.id in query.articles) for found, query in hits if found]
    return np.array([score for score, _ in pairs]), np.array([right for _, right in pairs])


def times_ms(search: Search, knowledge: Knowledge, queries: Sequence[Query]) -> list[float]:
    """One search each, its turns encoded before."""
    guide = Guide(knowledge, search)
    asked = [guide.query(query.conversation()) for query in queries]
    took = []
    for said in asked:
        search(said, SHOWN)
        began = time.perf_counter()
        search(said, SHOWN)
        took.append((time.perf_counter() - began) * 1000)
    return took


def measure(data: Path, *, quick: bool) -> Measured:
    """`quick`: the project's own queries only, in what the repository holds of them."""
    encode: Encoder = encoder.load()
    knowledge = Knowledge.load(ROOT / "knowledge_base")
    search = Search(knowledge, encode)
    clean = read()
    noisy, recogniser = heard(clean)
    figures: dict[str, Figure] = {}
    rows = []
    for part in ("test", "dev", "test and dev"):
        for name, queries in (("clean", clean), ("heard", noisy)):
            these = [query for query in queries if query.part in part]
            outcome = judged(search, knowledge, these)
            found = share(outcome.right, f"{part} half, {name}")
            silent = share(outcome.silent, f"{part} half, {name}")
            open_ranks = np.array(ranks(search, knowledge, these))
            without_floor = (f"{np.mean(open_ranks <= k):.3f}" for k in (1, 3, 10))
            rows.append((part, name, *map(_interval, (found, silent)), *without_floor))
            if part == "test":
                figures["search.kb_r3" if name == "clean" else "search.kb_r3_asr"] = found
                if name == "clean":
                    figures["search.kb_abstain"] = silent
    head = ("queries", "as", "R@3, floors on", "silent where nothing answers", "R@1 open", "R@3 open", "R@10 open")
    tables = [f"heard by {recogniser}", table(head, rows)]
    if quick:
        return Measured(figures, tables)
    test, test_heard = ([query for query in queries if query.part == "test"] for queries in (clean, noisy))
    tables.append(_alone(search, knowledge, test, test_heard, encode))
    faq, asked = stackfaq(data)
    other = Search(faq, encode)
    figures["search.stackfaq_ndcg10"] = bootstrap(
        _mean, gains(other, asked), split="every paraphrase", of=[key for _, key in asked]
    )
    ways = {"all": LIKENESS, **FIELDS, "question text alone": ("head",)}
    alone = [(name, f"{gains(other, asked, columns).mean():.3f}") for name, columns in ways.items()]
    tables.append(table(("StackFAQ nDCG@10", "value"), alone))
    score, right = certainty(search, knowledge, test)
    took = times_ms(search, knowledge, test)
    extra: dict[str, float | None] = {
        "search.ece": calibration_error(score, right),
        "search.p50_ms": percentile(took, 0.5),
        "search.p95_ms": percentile(took, 0.95),
    }
    return Measured(figures, tables, {"search": (score, right)}, extra)


def _alone(
    search: Search, knowledge: Knowledge, clean: Sequence[Query], noisy: Sequence[Query], encode: Encoder
) -> str:
    """R@3 of the test half by some likenesses alone, and without ways of asking; floors off."""
    poorer = without_asked(knowledge)
    bare = Search(poorer, encode)
    rows: list[tuple[str, Search, Knowledge, Sequence[str]]] = [("everything", search, knowledge, LIKENESS)]
    rows += [(name, search, knowledge, columns) for name, columns in FIELDS.items()]
    rows += [("without ways of asking", bare, poorer, LIKENESS)]
    rows += [(f"{name}, without ways of asking", bare, poorer, columns) for name, columns in FIELDS.items()]
    shown = [
        (
            name,
            *(f"{np.mean(np.array(ranks(by, known, queries, columns)) <= SHOWN):.3f}" for queries in (clean, noisy)),
        )
        for name, by, known, columns in rows
    ]
    return table(("test half, R@3 open", "clean", "heard"), shown)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _interval(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}, n {figure.n})"
