"""Build the embedded recogniser's language model and dictionary: `python -m models.language [--data FOLDER]`.

The text is the knowledge base's own words, the phrases of any call, and a general model of customer talk that
is built once from public dialogues (`--data`) and kept. It knows no audio and no recogniser.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pocketsphinx

from models.ngram import END, Gram, Ngrams, count, estimate, mix, prune, read_arpa, write_arpa

HERE: Final = Path(__file__).parent
KNOWLEDGE: Final = HERE.parent / "knowledge_base"
PHRASES: Final = HERE / "language_phrases.txt"
WEIGHTS: Final = HERE / "weights" / "language"
GENERAL, TRIGRAMS, DICTIONARY = "general.arpa.gz", "language.arpa.gz", "words.dict"

OWN_SHARE: Final = 0.6  # of the knowledge base and phrases in the mixture; the rest is general customer talk
PHRASE_WEIGHT: Final = 3.0
FILLS: Final = 12  # how often a phrase with slots is written out
COMMON_WORDS: Final = 9_000  # the package's most frequent words are in the vocabulary whatever the text says
GENERAL_GRAMS: Final = 160_000
SEED: Final = 20

Sentence = tuple[str, ...]
Pronunciations = dict[str, list[str]]
ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS: Final = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(number: int) -> list[str]:
    """A number 0..999999 as it is said: 230 -> two hundred and thirty."""
    if number < 20:
        return [ONES[number]]
    if number < 100:
        return [TENS[number // 10 - 1], *(number_words(number % 10) if number % 10 else [])]
    if number < 1000:
        rest = ["and", *number_words(number % 100)] if number % 100 else []
        return [ONES[number // 100], "hundred", *rest]
    rest = number_words(number % 1000) if number % 1000 else []
    return [*number_words(number // 1000), "thousand", *rest]


def spoken(text: str) -> list[Sentence]:
    """Written text as spoken sentences: lower-case words, numbers said, marks gone."""
    text = (
        re.sub(r"\bok\b", "okay", text.lower())
        .replace("’", "'")
        .replace("%", " percent ")
        .replace("&", " and ")
        .replace("+", " plus ")
    )
    text = re.sub(r"£(\d+)\.(\d\d)", r"\1 pounds \2", text)
    text = re.sub(r"£(\d+)", r"\1 pounds", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"\d+", lambda digits: f" {_digits(digits.group())} ", text)
    sentences = []
    for part in re.split(r"[.!?;:\n()›|]+", text):
        words = [word.strip("'") for word in re.findall(r"[a-z']+", part)]
        if sentence := tuple(word for word in words if word):
            sentences.append(sentence)
    return sentences


def _digits(digits: str) -> str:
    if len(digits) > 4 or digits.startswith("0"):
        return " ".join(ONES[int(digit)] for digit in digits)
    return " ".join(number_words(int(digits)))


def knowledge_text(folder: Path) -> Iterator[str]:
    """Every sentence of the knowledge base that an agent or a customer may say. Raises OSError, TOMLDecodeError."""
    for path in sorted(folder.glob("articles/*.md")):
        _, front, body = path.read_text(encoding="utf-8").split("+++", 2)
        meta = tomllib.loads(front)
        yield meta["title"]
        yield from meta.get("keywords", [])
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


def dialogue_text(folder: Path) -> Iterator[str]:
    """Turns of the public dialogues whose licences let a model be shipped (../shared/data, see the card)."""
    with gzip.open(folder / "star/dialogues.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            for event in json.loads(line)["Events"]:
                if event.get("Action") in {"utter", "pick_suggestion"} and event.get("Agent") in {"User", "Wizard"}:
                    yield event.get("Text") or ""
    for path in sorted(folder.glob("multidogo/*/*.tsv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from (row["utterance"] or "" for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    for chat in json.loads((folder / "abcd_guidelines/data/abcd_sample.json").read_text(encoding="utf-8")):
        yield from (text for speaker, text in chat["original"] if speaker != "action")
    with (folder / "banking77/train.csv").open(encoding="utf-8") as lines:
        yield from (row["text"] for row in csv.DictReader(lines))
    with (folder / "natcs_insurance/utterances.jsonl").open(encoding="utf-8") as lines:
        yield from (json.loads(line)["utterance"] for line in lines)


def read_dictionary(path: Path) -> Pronunciations:
    """word -> pronunciations from CMU-style text; `word(2)` lines are further ones of `word`."""
    found: Pronunciations = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition(" ")
        if phones.strip() and not line.startswith((";;;", "#")):
            found.setdefault(re.sub(r"\(\d+\)$", "", word).lower(), []).append(" ".join(phones.split()))
    return found


def package_words() -> tuple[Pronunciations, dict[str, float]]:
    """The package's dictionary, and its language model's unigram probabilities over it."""
    folder = Path(pocketsphinx.get_model_path()) / "en-us"
    dictionary = read_dictionary(folder / "cmudict-en-us.dict")
    log = pocketsphinx.LogMath()
    model = pocketsphinx.NGramModel(pocketsphinx.Config(), log, str(folder / "en-us.lm.bin"))
    plain = (word for word in dictionary if re.fullmatch(r"[a-z]+('[a-z]+)?", word))
    return dictionary, {word: log.exp(model.prob([word])) for word in plain}


def build_general(data: Path) -> Ngrams:
    """The general model of customer talk, pruned to what a repository may carry."""
    dictionary, frequency = package_words()
    seen = Counter(sentence for text in dialogue_text(data) for sentence in spoken(text))
    # Wizards chose from fixed sentences: a hundredth saying of one teaches nothing that the third did not.
    counts: Counter[Gram] = Counter()
    for times in (1, 2, 3):
        count((sentence for sentence, n in seen.items() if min(n, 3) == times), counts, times)
    common = set(sorted(frequency, key=lambda word: -frequency[word])[:COMMON_WORDS])
    words = common | {gram[0] for gram, n in counts.items() if len(gram) == 1 and n >= 2 and gram[0] in dictionary}
    base = {word: frequency.get(word, 0.0) + 1e-9 for word in sorted(words)} | {END: 0.1}
    return prune(estimate(counts, base, least=(0, 2, 2)), GENERAL_GRAMS)


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made: the model, its dictionary, and the words it had to leave out with how often they occur."""

    model: Ngrams
    dictionary: Pronunciations
    unpronounced: Counter[str]


def build(knowledge: Path, general: Ngrams) -> Built:
    """Mix the model of `knowledge` and the phrases with `general`; the dictionary covers every word of both."""
    dictionary, _ = package_words()
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
