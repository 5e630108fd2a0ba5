"""What callers ask, what a recogniser made of it, and `python -m benchmarks.queries` to have it spoken and heard anew.

It knows no search and no encoder. Which part a query belongs to follows from its words alone, so that it never moves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Final, Literal, NamedTuple

from assist.audio import Party
from assist.conversation import Conversation, Transcript, Turn

DATA: Final = Path(__file__).parent / "data"
QUERIES: Final = DATA / "queries.toml"
HEARD: Final = DATA / "queries_heard.toml"
VOICES: Final = ("slt", "rms", "awb", "kal16")  # callers; agents speak with the next one
NOISE_SEED: Final = 11

Part = Literal["dev", "test"]


class Query(NamedTuple):
    """`said`: what was said with who said it, newest last. `articles`: ids that answer; empty: none does."""

    said: tuple[tuple[Party, str], ...]
    articles: frozenset[str]
    part: Part

    @property
    def key(self) -> str:
        return digest([text for _, text in self.said])

    def conversation(self) -> Conversation:
        """The call up to its newest turn, 4 s of speech every 5 s."""
        call = Conversation(self.key)
        for number, (party, text) in enumerate(self.said):
            call = call.with_turn(Turn(Transcript(f"u{number}", party, number * 5000, number * 5000 + 4000, text)))
        return call


def digest(lines: list[str]) -> str:
    """What a query is known by: the first ten hex digits of its words' MD5."""
    return hashlib.md5(" / ".join(lines).encode(), usedforsecurity=False).hexdigest()[:10]


def read(path: Path = QUERIES) -> list[Query]:
    """Every query. dev: even MD5, or seen by earlier settings; test: the others, on which nothing may be chosen."""
    found = []
    for row in tomllib.loads(path.read_text("utf-8"))["query"]:
        said = tuple(_line(line) for line in row["said"])
        even = int(digest([text for _, text in said]), 16) % 2 == 0
        found.append(Query(said, frozenset(row["articles"]), "dev" if even or row.get("seen", False) else "test"))
    return found


def _line(line: str) -> tuple[Party, str]:
    return ("agent", line[3:]) if line.startswith("A: ") else ("customer", line.removeprefix("C: "))


def heard(queries: list[Query], path: Path = HEARD) -> tuple[list[Query], str]:
    """The same queries as a recogniser heard them, and its name. Raises SystemExit where one was never heard."""
    kept = tomllib.loads(path.read_text("utf-8")) if path.exists() else {"recogniser": "", "text": {}}
    missing = [query.key for query in queries if query.key not in kept["text"]]
    if missing:
        raise SystemExit(f"{path}: {len(missing)} queries were never heard: run `python -m benchmarks.queries`")
    return [
        query._replace(
            said=tuple((party, text) for (party, _), text in zip(query.said, kept["text"][query.key], strict=True))
        )
        for query in queries
    ], str(kept["recogniser"])


def voices(key: str) -> dict[Party, str]:
    """Which synthetic voice speaks for whom, by the query's key."""
    first = int(key, 16) // 2 % len(VOICES)
    return {"customer": VOICES[first], "agent": VOICES[(first + 1) % len(VOICES)]}


def hear(queries: list[Query], path: Path = HEARD) -> None:
    """Have every query spoken through an 8 kHz mu-law line and recognised by the embedded recogniser; write `path`."""
    import numpy as np

    from benchmarks.make_call import NOISE_RMS, SPEECH_PEAK, speak
    from benchmarks.wer import PADDING_MS, RATE_HZ, plain, telephone
    from models.pocketsphinx import LANGUAGE, TRIGRAMS, Ear

    ear = Ear()
    chance = np.random.default_rng(NOISE_SEED)
    padding = np.zeros(PADDING_MS * RATE_HZ // 1000)
    found: dict[str, list[str]] = {}
    for query in queries:
        found[query.key] = []
        for party, text in query.said:
            sound, rate_hz = speak(text, voices(query.key)[party])
            if rate_hz != RATE_HZ:
                raise ValueError(f"{voices(query.key)[party]} speaks at {rate_hz} Hz")
            sound = np.concatenate([padding, sound * (SPEECH_PEAK / np.abs(sound).max()), padding])
            samples = telephone(sound + chance.normal(0, NOISE_RMS, len(sound)))
            found[query.key].append(plain(" ".join(word for word, *_ in ear.hear(samples))))
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
    parser.add_argument("--out", type=Path, default=HEARD)
    options = parser.parse_args()
    queries = read()
    hear(queries, options.out)
    print(f"{len(queries)} queries heard: {options.out}")


if __name__ == "__main__":
    main()
