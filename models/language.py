"""Build the embedded recogniser's language model and dictionary: `python -m models.language [--data FOLDER]`.

The text is the knowledge base's own words, the phrases of any call, and a general model of customer talk that
is built once from public dialogues (`--data`) and kept. It knows no audio and no recogniser.
"""

from __future__ import annotations

import argparse
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.language_general import English, Pronunciations, build_general, read_dictionary
from models.ngram import END, Ngrams, count, estimate, mix, read_arpa, write_arpa
from models.spoken import Sentence, spoken

HERE: Final = Path(__file__).parent
KNOWLEDGE: Final = HERE.parent / "knowledge_base"
PHRASES: Final = HERE / "language_phrases.txt"
WEIGHTS: Final = HERE / "weights" / "language"
GENERAL, TRIGRAMS, DICTIONARY = "general.arpa.gz", "language.arpa.gz", "words.dict"

OWN_SHARE: Final = 0.6  # of the knowledge base and phrases in the mixture; the rest is general customer talk
PHRASE_WEIGHT: Final = 3.0
FILLS: Final = 12  # how often a phrase with slots is written out
SEED: Final = 20


def knowledge_text(folder: Path) -> Iterator[str]:
    """Every sentence of the knowledge base that an agent or a customer may say. Raises OSError, TOMLDecodeError."""
    for path in sorted(folder.glob("articles/*.md")):
        _, front, body = path.read_text(encoding="utf-8").split("+++", 2)
        meta = tomllib.loads(front)
        yield meta["title"]
        yield from meta.get("keywords", [])
        yield from meta.get("asked", [])
        yield re.sub(r"(?m)^(#+|-|\d+\.)\s+", "", body).replace("*", "").replace("`", "")
    for path in (folder / "topics.toml", folder / "actions.toml", *sorted(folder.glob("playbooks/*.toml"))):
        if path.exists():
            yield from _said(tomllib.loads(path.read_text(encoding="utf-8")))


def _said(entry: Any, key: str = "") -> Iterator[str]:
    """The strings of a TOML tree, except identifiers and links."""
    if isinstance(entry, str) and key not in {"id", "topics", "action", "next", "kind"}:
        yield entry
    elif isinstance(entry, dict):
        for name, inner in entry.items():
            yield from _said(inner, name)
    elif isinstance(entry, list):
        for inner in entry:
            yield from _said(inner, key)


def phrases(path: Path = PHRASES) -> list[Sentence]:
    """The phrases of any call; those with {slots} are written out several times with seeded choices."""
    chance = random.Random(SEED)
    slots: dict[str, list[str]] = {}
    said: list[Sentence] = []

    def choice(slot: re.Match[str]) -> str:
        return chance.choice(slots[slot[1]])

    for line in path.read_text(encoding="utf-8").splitlines():
        name, given, words = line.partition(" = ")
        if given:
            slots[name] = words.split()
        elif line and not line.startswith("#"):
            said.extend(tuple(re.sub(r"{(\w+)}", choice, line).split()) for _ in range(FILLS if "{" in line else 1))
    return said


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made: the model, its dictionary, and the words it had to leave out with how often they occur."""

    model: Ngrams
    dictionary: Pronunciations
    unpronounced: Counter[str]


def build(knowledge: Path, general: Ngrams) -> Built:
    """Mix the model of `knowledge` and the phrases with `general`; the dictionary covers every word of both."""
    dictionary = English().dictionary
    own = knowledge / "pronunciations.dict"
    dictionary |= read_dictionary(own) if own.exists() else {}
    said = [sentence for text in knowledge_text(knowledge) for sentence in spoken(text)]
    unpronounced = Counter(word for sentence in said for word in sentence if word not in dictionary)
    counts = count(said)
    count(phrases(), counts, PHRASE_WEIGHT)
    words = {word for word in general.words | {gram[0] for gram in counts if len(gram) == 1} if word in dictionary}
    base = {word: max(general.prob((word,)), 1e-7) for word in sorted(words)} | {END: general.prob((END,))}
    model = mix(estimate(counts, base), general, OWN_SHARE)
    return Built(model, {word: dictionary[word] for word in sorted(words)}, unpronounced)


def write(built: Built, folder: Path) -> None:
    """`language.arpa.gz` and `words.dict` into `folder`."""
    write_arpa(built.model, folder / TRIGRAMS)
    lines = (
        f"{word}{f'({n})' if n > 1 else ''} {phones}"
        for word, entries in built.dictionary.items()
        for n, phones in enumerate(entries, 1)
    )
    (folder / DICTIONARY).write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(built: Built, out: Path) -> Iterable[str]:
    sizes = Counter(len(gram) for gram in built.model.probs)
    yield f"{sizes[1]} words, {sizes[2]} bigrams, {sizes[3]} trigrams in {out}"
    if built.unpronounced:
        missing = ", ".join(f"{word} ({n})" for word, n in built.unpronounced.most_common())
        yield f"left out, no pronunciation (add to knowledge_base/pronunciations.dict): {missing}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--knowledge", type=Path, default=KNOWLEDGE)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--data", type=Path, help="rebuild the general model too, from the dialogues in this folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.data:
        write_arpa(build_general(options.data), options.out / GENERAL)
    built = build(options.knowledge, read_arpa(options.out / GENERAL))
    write(built, options.out)
    print("\n".join(report(built, options.out)))


if __name__ == "__main__":
    main()
