"""Search as a judge: articles of anybody's knowledge base for what a customer said, as findings.

It joins `assist.search` with an encoder, the only place in `models` that knows one; it ranks nothing itself.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assist.conversation import Conversation, Evidence, Finding, Transcript, Turn
from assist.errors import KnowledgeError
from assist.knowledge import Encoder, Knowledge
from assist.material import Article
from assist.search import Hit, Search
from assist.suggest import Guide
from models import given
from models.topic import Topic, taught

Said = str | Sequence[str | Transcript]
"""The newest turn, or turns oldest first; `models.given.said` has all that is taken."""


def judge(encode: Encoder, knowledge: Path, limit: int = 3) -> Callable[[Said], list[Finding]]:
    """A callable: what was said → at most `limit` findings, best first; none where no article answers.

    `label` is the article's id, `score` its likeness to the query, the evidence its passage. Raises KnowledgeError; the
    callable raises BadMessage for what is no text and no turns.
    """
    known = Knowledge.load(knowledge) if knowledge.is_dir() else articles(knowledge)
    search = Search(known, encode)
    guide = Guide(known, search)

    def found(said: Said) -> list[Finding]:
        turns = tuple(Turn(each) for each in given.said(said))
        conversation = Conversation("judged", turns)
        if not turns:
            return []
        return [_finding(hit, conversation.turns[-1].transcript) for hit in search(guide.query(conversation), limit)]

    return found


def topics(folder: Path) -> tuple[Topic, ...]:
    """The topics of a knowledge base, which its articles teach too. Raises KnowledgeError."""
    known = Knowledge.load(folder)
    return taught(known.topics.values(), known.articles.values())


def articles(file: Path) -> Knowledge:
    """Articles from lines of JSON: {"id", "title", "text"}, "keywords" where there are some. Raises KnowledgeError."""
    try:
        lines = file.read_text("utf-8-sig").split("\n")  # JSON may hold what `splitlines` takes for a line's end
    except (OSError, ValueError) as error:
        raise KnowledgeError(f"{file}: {error}") from error
    found: dict[str, Article] = {}
    for number, entry in _entries(lines, file):
        wrong = [key for key in ("id", "title", "text") if not isinstance(entry.get(key), str)]
        if wrong or not entry["id"]:
            raise KnowledgeError(f"{file}: line {number}: needs {', '.join(wrong or ['id'])}, a text")
        if entry["id"] in found:
            raise KnowledgeError(f"{file}: line {number}: id {entry['id']!r} is used twice")
        body = entry["text"] if entry["text"].strip() else entry["title"]
        keywords = entry.get("keywords") or []
        if not isinstance(keywords, list) or not all(isinstance(each, str) for each in keywords):
            raise KnowledgeError(f"{file}: line {number}: keywords: a list of texts is expected")
        found[entry["id"]] = Article(entry["id"], entry["title"], (), tuple(keywords), datetime.date.today(), body)
    if not found:
        raise KnowledgeError(f"{file}: no article in it")
    none: MappingProxyType[str, Any] = MappingProxyType({})
    return Knowledge(MappingProxyType(found), none, none, none, none)


def _entries(lines: Sequence[str], file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise KnowledgeError(f"{file}: line {number}: not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise KnowledgeError(f"{file}: line {number}: an object is expected")
        yield number, entry


def _finding(hit: Hit, said: Transcript) -> Finding:
    evidence = Evidence(
        utterance=said.utterance,
        start_ms=said.start_ms,
        end_ms=said.end_ms,
        quote=hit.passage,
        source=f"article:{hit.article.id}",
    )
    return Finding("search", hit.article.id, round(hit.score, 4), evidence, {"fused": round(hit.fused, 4)})
