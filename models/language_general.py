"""The general part of the language model: public customer dialogues and the package's own English, built once.

It is kept as a file, so that a change to the knowledge base needs none of its sources. It knows no knowledge base.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pocketsphinx

from models.ngram import END, START, Gram, Ngrams, count, estimate, mix, prune, with_backoffs
from models.spoken import Sentence, spoken

DIALOGUE_SHARE: Final = 0.65  # of customer dialogues in the general model; the rest is the package's English
FREQUENT_WORDS: Final = 9_000  # the package's most frequent words are in the vocabulary whatever the dialogues say
PAIRED_WORDS: Final = 3_000  # of these, all pairs are looked at
PAIR_GAIN, TRIPLE_GAIN = 3e-6, 2e-6  # how much an n-gram must tell beyond its shorter one to be kept
EXTENDED_PAIRS: Final = 30_000
DIALOGUE_GRAMS: Final = 160_000

Pronunciations = dict[str, list[str]]


class English:
    """The package's dictionary and language model."""

    def __init__(self) -> None:
        folder = Path(pocketsphinx.get_model_path()) / "en-us"
        self.dictionary = read_dictionary(folder / "cmudict-en-us.dict")
        self._log = pocketsphinx.LogMath()
        self._model = pocketsphinx.NGramModel(pocketsphinx.Config(), self._log, str(folder / "en-us.lm.bin"))
        plain = (word for word in self.dictionary if re.fullmatch(r"[a-z]+('[a-z]+)?", word))
        self.frequency = {word: self.prob(word) for word in plain}

    def prob(self, *gram: str) -> float:
        """p(last word | words before it). The package wants the words last first."""
        return float(self._log.exp(self._model.prob(list(reversed(gram)))))

    def frequent(self, number: int) -> list[str]:
        """The most frequent words."""
        return sorted(self.frequency, key=lambda word: -self.frequency[word])[:number]


def read_dictionary(path: Path) -> Pronunciations:
    """word -> pronunciations from CMU-style text; `word(2)` lines are further ones of `word`."""
    found: Pronunciations = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition(" ")
        if phones.strip() and not line.startswith((";;;", "#")):
            found.setdefault(re.sub(r"\(\d+\)$", "", word).lower(), []).append(" ".join(phones.split()))
    return found


def trimmed(english: English, words: set[str]) -> Ngrams:
    """The package's model over `words`, with the pairs and triples that tell most.

    An n-gram hw tells p(h) p(w | h) log(p(w | h) / p(w | h')), as in relative entropy pruning (Stolcke 1998).
    Triples are looked for where a telling pair meets another.
    """
    stop = english.prob(END)
    single = {word: max(english.frequency.get(word, 0.0), 1e-9) for word in words} | {END: stop}
    total = sum(single.values())
    probs: dict[Gram, float] = {(word,): p / total for word, p in single.items()}
    often = [word for word in english.frequent(PAIRED_WORDS) if word in words]
    gains: dict[Gram, float] = {}
    after: dict[str, list[str]] = defaultdict(list)
    for first in (START, *often):
        p_first = stop if first == START else single[first]
        for second in (*often, END):
            p = english.prob(first, second)
            gain = p_first * p * math.log(p / single[second])
            if gain > PAIR_GAIN:
                gains[first, second] = gain
                probs[first, second] = p
                after[first].append(second)
    for first, second in sorted(gains, key=lambda pair: -gains[pair])[:EXTENDED_PAIRS]:
        p_pair = (stop if first == START else single[first]) * probs[first, second]
        for third in after[second]:
            p = english.prob(first, second, third)
            if p_pair * p * math.log(p / probs[second, third]) > TRIPLE_GAIN:
                probs[first, second, third] = p
    return with_backoffs(probs)


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


def dialogues(folder: Path, english: English) -> Ngrams:
    """A model of the public dialogues over their words and the package's frequent ones."""
    seen = Counter(sentence for text in dialogue_text(folder) for sentence in spoken(text))
    # Wizards chose from fixed sentences: a hundredth saying of one teaches nothing that the third did not.
    by_times: dict[int, list[Sentence]] = {1: [], 2: [], 3: []}
    for sentence, times in seen.items():
        by_times[min(times, 3)].append(sentence)
    counts: Counter[Gram] = Counter()
    for times, sentences in by_times.items():
        count(sentences, counts, times)
    words = set(english.frequent(FREQUENT_WORDS))
    words |= {gram[0] for gram, n in counts.items() if len(gram) == 1 and n >= 2 and gram[0] in english.dictionary}
    base = {word: english.frequency.get(word, 0.0) + 1e-9 for word in sorted(words)} | {END: 0.1}
    return prune(estimate(counts, base, least=(0, 2, 2)), DIALOGUE_GRAMS)


def build_general(data: Path) -> Ngrams:
    """The general model from the dialogues in `data` (../shared/data, see the card) and the package."""
    english = English()
    talk = dialogues(data, english)
    return mix(talk, trimmed(english, talk.words - {END}), DIALOGUE_SHARE)
