"""Reads the training and measuring data, each set into (text, label) pairs or the like.

It knows where files lie and how they are written, and nothing of what is learnt from them.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gzip
import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
PHRASES: Final = Path(__file__).resolve().parent / "data" / "service_phrases.toml"
PATTERNS: Final = PHRASES.with_name("service_patterns.toml")
MESSAGES: Final = PHRASES.with_name("service_messages.toml")
TURNED: Final = PHRASES.with_name("service_turned.toml")
LOG: Final = ROOT / "models" / "LOG.md"
MANNERS: Final = 4
"""Words of praise up to which it may be manners."""
Labelled = list[tuple[str, str]]


def parser(name: str) -> argparse.ArgumentParser:
    """`--data FOLDER`, `--evaluate`, `--note TEXT`."""
    parser = argparse.ArgumentParser(prog=f"python -m models.train {name}")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="default ../shared/data")
    parser.add_argument("--evaluate", action="store_true", help="measure the shipped file, change nothing")
    parser.add_argument("--note", default="", help="what was tried, for models/LOG.md")
    return parser


def options(name: str, argv: Sequence[str]) -> argparse.Namespace:
    """What `parser` reads of `argv`."""
    return parser(name).parse_args(argv)


def keep(line: str) -> None:
    """Append one dated line to models/LOG.md."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} {line}\n")


def _there(path: Path) -> Path:
    if not path.exists():
        raise SystemExit(f"{path} is not there: this needs the shared data; point to it with --data FOLDER")
    return path


def service_phrases() -> Labelled:
    """The project's own labelled sentences: (text, negative | neutral | positive)."""
    rows = tomllib.loads(PHRASES.read_text("utf-8"))
    return [(text, label) for label in ("negative", "neutral", "positive") for text in rows[label]]


def service_patterns(each: int, seed: int) -> Labelled:
    """Every pattern filled in `each` times (one without slots is repeated), the same for the same seed."""
    return _filled(PATTERNS, "patterns", each, seed)


def service_messages(each: int, seed: int) -> Labelled:
    """The same of what customers type."""
    return _filled(MESSAGES, "patterns", each, seed)


def service_irony(each: int, seed: int) -> list[str]:
    """What is said and typed of which words and meaning part, filled in as `service_patterns` does."""
    return [text for file in (PATTERNS, MESSAGES) for text, _ in _filled(file, "irony", each, seed)]


def service_turned(each: int, seed: int, *, held_out: bool = False) -> list[tuple[str, str, str]]:
    """(text, label, kind) of turns whose telling word points elsewhere, filled in as `service_patterns` does.

    `held_out`: every fourth pattern, told in every fourth clause, else the others in the other clauses.
    """
    written = tomllib.loads(TURNED.read_text("utf-8"))

    def part(all_of: list[str]) -> list[str]:
        return [one for number, one in enumerate(all_of) if (number % 4 == 3) == held_out]

    slots = written["slots"] | {name: part(clauses) for name, clauses in written["clauses"].items()}
    return [
        (text, label, kind)
        for kind, patterns in written["patterns"].items()
        for text, label in _fill(slots, {label: part(sentences) for label, sentences in patterns.items()}, each, seed)
    ]


def service_turns(count: int, seed: int) -> Labelled:
    """Filled patterns put together to turns of two or three sentences, half of them punctuated.

    What is said beside a complaint does not take it away, nor does a request take away thanks; complaints and praise
    are not mixed, for who knows what that makes. Of praise beside a fact only whole sentences are taken: "great" and
    "thanks" before a number are manners.
    """
    negative, neutral, positive = "negative", "neutral", "positive"
    shapes = (
        (negative, ((neutral, negative), (negative, neutral), (negative, negative), (neutral, negative, negative))),
        (neutral, ((neutral, neutral), (neutral, neutral, neutral))),
        (positive, ((neutral, positive), (positive, neutral), (positive, positive))),
    )
    rng = random.Random(seed)
    sentences: dict[str, list[str]] = {}
    for text, label in service_patterns(6, seed):
        sentences.setdefault(label, []).append(text)
    whole = [text for text in sentences[positive] if len(text.split()) > MANNERS]
    turns: Labelled = []
    for number in range(count):
        label, ways = shapes[number % len(shapes)]
        way = rng.choice(ways)
        parts = [rng.choice(whole if each == positive and neutral in way else sentences[each]) for each in way]
        if rng.random() < 0.5:
            turns.append((" ".join(f"{part[0].upper()}{part[1:]}." for part in parts), label))
        else:
            turns.append((rng.choice((", ", " and ", " ")).join(parts), label))
    return turns


def _filled(file: Path, group: str, each: int, seed: int) -> Labelled:
    written = tomllib.loads(file.read_text("utf-8"))
    return _fill(written["slots"], written[group], each, seed)


def _fill(slots: dict[str, list[str]], patterns: dict[str, list[str]], each: int, seed: int) -> Labelled:
    rng = random.Random(seed)
    return [
        (pattern.format_map({slot: rng.choice(words) for slot, words in slots.items()}), label)
        for label, sentences in patterns.items()
        for pattern in sentences
        for _ in range(each)
    ]


def service_judged() -> Labelled:
    """Our own turns to measure on, never trained on: (text, negative | neutral | positive | ironic)."""
    rows = tomllib.loads(PHRASES.with_name("service_judged.toml").read_text("utf-8"))
    return [(text, label) for label, texts in rows.items() for text in texts]


def goemotions(data: Path, part: str) -> Labelled:
    """Comments with exactly one group; ambiguous counts as neutral. `part`: train | dev."""
    names = {"0": "neutral", "1": "negative", "2": "neutral", "3": "positive"}  # as its labels.txt orders them
    pairs: Labelled = []
    for line in _there(data / "goemotions" / "group" / f"{part}.tsv").read_text("utf-8").splitlines():
        text, groups, _ = line.split("\t")
        labels = {names[group] for group in groups.split(",")}
        if len(labels) == 1:
            pairs.append((text, labels.pop()))
    return pairs


def airline_tweets(data: Path) -> Labelled:
    """Tweets to airlines; to measure only (licence unclear)."""
    with _there(data / "airline_tweets" / "tweets.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["airline_sentiment"]) for row in csv.DictReader(file)]


def banking77(data: Path) -> Labelled:
    with _there(data / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def held_out(text: str) -> bool:
    """Whether a text of banking77 belongs to the fifth that nothing is trained on (the set has no such part here)."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), 16) % 5 == 0


def clinc150(data: Path, part: str) -> Labelled:
    """`part`: train | val | oos_train | oos_val."""
    with gzip.open(_there(data / "clinc150" / "train_val.json.gz"), "rt", encoding="utf-8") as file:
        return [(text, label) for text, label in json.load(file)[part]]


def natcs_insurance(data: Path) -> Labelled:
    """Spoken-style requests to an insurer with their intents; nothing is trained on them."""
    rows = map(json.loads, _there(data / "natcs_insurance" / "utterances.jsonl").read_text("utf-8").splitlines())
    return [(row["utterance"], row["intent"]) for row in rows]


class Said(NamedTuple):
    """One customer turn of multidogo; `number` counts the turns of both parties."""

    domain: str
    call: str
    number: int
    text: str
    intent: str


DOMAINS: Final = ("airline", "fastfood", "finance", "insurance", "media", "software")


def multidogo(data: Path, part: str) -> list[Said]:
    """Customer turns in order, call after call. `part`: train | dev. A few hundred broken rows are left out."""
    turns: list[Said] = []
    for domain in DOMAINS:
        with gzip.open(_there(data / "multidogo" / domain / f"{part}.tsv.gz"), "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                number = row["turnNumber"] or ""  # "4" in most files, "4.0" in finance
                if row["intent"] and row["utterance"] and number.replace(".", "", 1).isdigit():
                    turns.append(
                        Said(domain, row["conversationId"], int(float(number)), row["utterance"], row["intent"])
                    )
    return sorted(turns, key=lambda turn: (turn.domain, turn.call, turn.number))


def emotions(data: Path, part: str) -> list[tuple[str, tuple[int, ...], str]]:
    """GoEmotions with its 28 labels (27 and neutral, numbered as published) and the group where it has exactly one."""
    groups = dict(goemotions(data, part))
    rows: list[tuple[str, tuple[int, ...], str]] = []
    for line in _there(data / "goemotions" / "original" / f"{part}.tsv").read_text("utf-8").splitlines():
        text, named, _ = line.split("\t")
        rows.append((text, tuple(int(number) for number in named.split(",")), groups.get(text, "")))
    return rows


VADER_SHA256: Final = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
VADER_PARTS: Final = {
    "tweets": "tweets",
    "amazonReviewSnippets": "products",
    "movieReviewSnippets": "films",
    "nytEditorialSnippets": "editorials",
}


def vader(cache: Path | None = None, part: str = "train") -> list[tuple[str, str, tuple[float, ...]]]:
    """(source, text, ratings) of 23,703 snippets, each rated -4..4 by 15 people or more (Hutto & Gilbert, ICWSM 2014).

    MIT licence. `source`: tweets (public timeline) | products | films | editorials. `part`: dev is the tenth of all
    texts whose crc32 ends in 0, train the rest. The file comes once from PyPI (vaderSentiment 0.5) into the folder
    `cache` (default: the system's temporary one). Raises SystemExit where it cannot be had or is another.
    """
    folder = cache or Path(tempfile.gettempdir()) / "assist-vader"
    file = folder / "vaderSentiment-0.5.zip"
    if not file.exists():
        fetch = ["download", "--no-deps", "--no-binary", ":all:", "vaderSentiment==0.5"]
        got = subprocess.run(
            [sys.executable, "-m", "pip", *fetch, "--dest", str(folder)], capture_output=True, text=True, check=False
        )
        if not file.exists():
            raise SystemExit(
                f"vaderSentiment 0.5 could not be fetched: put {file.name} from PyPI into {folder}\n{got.stderr}"
            )
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != VADER_SHA256:
        raise SystemExit(f"{file} has sha256 {found}, expected {VADER_SHA256}: delete it and run again")
    with zipfile.ZipFile(file) as outer:
        inner = io.BytesIO(outer.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"))
    rows: list[tuple[str, str, tuple[float, ...]]] = []
    with tarfile.open(fileobj=inner, mode="r:gz") as tar:
        for name, source in VADER_PARTS.items():
            texts = _vader_lines(tar, f"{name}_GroundTruth.txt")
            ratings = {line[0]: line[3] for line in _vader_lines(tar, f"{name}_anonDataRatings.txt")}
            for number, _, text in texts:
                if (zlib.crc32(text.encode()) % 10 == 0) == (part == "dev"):
                    rows.append((source, text, tuple(json.loads(ratings[number]))))
    return rows


def _vader_lines(tar: tarfile.TarFile, name: str) -> list[list[str]]:
    file = tar.extractfile(f"hutto_ICWSM_2014/{name}")
    assert file is not None, name
    return [line.split("\t") for line in file.read().decode("utf-8-sig").splitlines()]
