"""What callers ask and which articles answer, clean and as a recogniser heard it.

It knows no search and no encoder. Which part a query belongs to follows from its words alone, so that it never moves.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Final, Literal, NamedTuple

from assist.audio import Party
from assist.conversation import Conversation, Transcript, Turn

DATA: Final = Path(__file__).parent / "data"
QUERIES: Final = DATA / "queries.toml"
HEARD: Final = DATA / "queries_heard.toml"

Part = Literal["dev", "test"]


class Query(NamedTuple):
    """`said`: what was said with who said it, newest last. `articles`: ids that answer; empty: none does.

    `key`: what it is known by, however it was heard.
    """

    key: str
    said: tuple[tuple[Party, str], ...]
    articles: frozenset[str]
    part: Part

    def conversation(self) -> Conversation:
        """The call up to its newest turn, 4 s of speech every 5 s."""
        call = Conversation(self.key)
        for number, (party, text) in enumerate(self.said):
            call = call.with_turn(Turn(Transcript(f"u{number}", party, number * 5000, number * 5000 + 4000, text)))
        return call


def read(path: Path = QUERIES) -> list[Query]:
    """Every query. dev: even key, or seen by earlier settings; test: the others, on which nothing may be chosen."""
    found = []
    for row in tomllib.loads(path.read_text("utf-8"))["query"]:
        said = tuple(_line(line) for line in row["said"])
        words = " / ".join(text for _, text in said).encode()
        key = hashlib.md5(words, usedforsecurity=False).hexdigest()[:10]
        part: Part = "dev" if int(key, 16) % 2 == 0 or row.get("seen", False) else "test"
        found.append(Query(key, said, frozenset(row["articles"]), part))
    return found


def _line(line: str) -> tuple[Party, str]:
    return ("agent", line[3:]) if line.startswith("A: ") else ("customer", line.removeprefix("C: "))


def heard(queries: list[Query], path: Path = HEARD) -> tuple[list[Query], str]:
    """The same queries as a recogniser heard them, and its name. Raises SystemExit where one was never heard."""
    kept = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    texts = kept.get("text", {})
    missing = [query.key for query in queries if query.key not in texts]
    if missing:
        raise SystemExit(f"{path}: {len(missing)} queries were never heard: run `python -m benchmarks.queries`")
    return [
        query._replace(said=tuple((party, text) for (party, _), text in zip(query.said, texts[query.key], strict=True)))
        for query in queries
    ], str(kept.get("recogniser", ""))
