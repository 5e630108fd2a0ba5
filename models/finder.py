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

Said = str | Sequence[str | Transcript]
"""The newest turn, or turns oldest first; plain strings are the customer's."""


def judge(encode: Encoder, knowledge: Path, limit: int = 3) -> Callable[[Said], list[Finding]]:
    """A callable: what was said → at most `limit` findings, best first; none where no article answers.

    `label` is the article's id, `score` its likeness to the query, the evidence its passage. Raises KnowledgeError.
    """
    known = Knowledge.load(knowledge) if knowledge.is_dir() else articles(knowledge)
    search = Search(known, encode)
    guide = Guide(known, search)

    def found(said: Said) -> list[Finding]:
        turns = [said] if isinstance(said, str) else list(said)
        conversation = Conversation("judged", tuple(_turn(each, n) for n, each in enumerate(turns, 1)))
        if not turns:
            return []
        return [_finding(hit, conversation.turns[-1].transcript) for hit in search(guide.query(conversation), limit)]

    return found


def articles(file: Path) -> Knowledge:
    """Articles from lines of JSON: {"id", "title", "text"}, "keywords" where there are some. Raises KnowledgeError."""
    try:
        lines = file.read_text("utf-8").splitlines()
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
        keywords = tuple(str(each) for each in entry.get("keywords", ()))
        found[entry["id"]] = Article(entry["id"], entry["title"], (), keywords, datetime.date.today(), body)
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
        except ValueError as error:
            raise KnowledgeError(f"{file}: line {number}: not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise KnowledgeError(f"{file}: line {number}: an object is expected")
        yield number, entry


def _turn(said: str | Transcript, number: int) -> Turn:
    if isinstance(said, Transcript):
        return Turn(said)
    return Turn(Transcript(f"u{number}", "customer", number * 10_000 - 10_000, number * 10_000 - 5_000, said))


def _finding(hit: Hit, said: Transcript) -> Finding:
    evidence = Evidence(
        utterance=said.utterance,
        start_ms=said.start_ms,
        end_ms=said.end_ms,
        quote=hit.passage,
        source=f"article:{hit.article.id}",
    )
    return Finding("search", hit.article.id, round(hit.score, 4), evidence, {"fused": round(hit.fused, 4)})
