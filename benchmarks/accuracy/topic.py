"""What a call is about: how often the topic is right, what passes for one and is none, and what a topic costs to learn.

It knows no model's inside: everything is judged through `models.topic`, one text or one call after the other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.conversation import Finding
from assist.knowledge import Knowledge
from benchmarks.accuracy.figures import Figure, Measured, bootstrap, calibration_error, share
from benchmarks.report import ROOT, table
from models import encoder, given, topic
from models.train import queries, records
from models.train.vectors import encoded

OUTSIDE: Final = 0.05  # of questions to clinc150's assistant; chosen on val, as its sets do not say
ALIKE: Final = 0.6  # of two sentences' words, from which on one gives the other away
SHOTS: Final = 10
DRAWS: Final = 5
FOLDS: Final = 5
FIRST_TURNS: Final = 3
SEED: Final = 0
Judge = Callable[[str | Sequence[str]], Finding]
Said = str | Sequence[str]
Floats = NDArray[np.float64]


class Remembered:
    """The encoder, with what is asked for by the thousand kept in the temporary folder under its name."""

    def __init__(self, encode: encoder.Encoder, texts: Iterable[str]) -> None:
        wanted = list(dict.fromkeys(texts))
        self._encode = encode
        self._row = {text: row for row, text in enumerate(wanted)}
        self._kept = encoded(self._both, wanted, f"{encode.name}, vectors and intents")

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._look_up(texts)[:, : encoder.DIMENSIONS]

    def intents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._look_up(texts)[:, encoder.DIMENSIONS :]

    def _look_up(self, texts: Sequence[str]) -> NDArray[np.float32]:
        known = [self._row.get(text) for text in texts]
        return np.stack(
            [self._both([text])[0] if row is None else self._kept[row] for text, row in zip(texts, known, strict=True)]
        )

    def _both(self, texts: Sequence[str]) -> NDArray[np.float32]:
        both = [np.concatenate([self._encode([text]), self._encode.intents([text])], axis=1) for text in texts]
        return np.concatenate(both)


@dataclass
class Judged:
    """What a judge said of some texts or calls, and what would have been right; "none" where nothing would."""

    named: list[str]
    probability: Floats
    truth: list[str]

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.array([a == b for a, b in zip(self.named, self.truth, strict=True)], dtype=bool)

    @property
    def none(self) -> NDArray[np.bool_]:
        return np.array([name == "none" for name in self.named], dtype=bool)

    def calibration(self) -> tuple[Floats, NDArray[np.bool_]]:
        """The probability of each topic that was named, and whether it was right."""
        return self.probability[~self.none], self.right[~self.none]

    def ece(self, split: str, of: Sequence[str] | None = None) -> Figure:
        whose = None if of is None else np.array(of)[~self.none]
        return bootstrap(calibration_error, *self.calibration(), split=split, of=whose)


def judged(judge: Judge, pairs: Iterable[tuple[Said, str]]) -> Judged:
    """Every text or call through `judge`."""
    found = [(judge(said), truth) for said, truth in pairs]
    return Judged([f.label for f, _ in found], np.array([f.score for f, _ in found]), [truth for _, truth in found])


def together(parts: Sequence[Judged]) -> Judged:
    """Several results as one."""
    return Judged(
        [name for part in parts for name in part.named],
        np.concatenate([part.probability for part in parts]),
        [truth for part in parts for truth in part.truth],
    )


def by_label(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Label → its texts."""
    found: dict[str, list[str]] = {}
    for text, label in pairs:
        found.setdefault(label, []).append(text)
    return found


@dataclass
class Found:
    """What has been measured so far; rows: set, figure's name, of how many, right, refused, ECE."""

    figures: dict[str, Figure] = field(default_factory=dict)
    rows: list[Sequence[object]] = field(default_factory=list)
    calibration: dict[str, tuple[Floats, NDArray[np.bool_]]] = field(default_factory=dict)
    extra: dict[str, float | None] = field(default_factory=dict)

    def add(self, key: str, result: Judged, split: str, of: Sequence[str] | None = None) -> None:
        self.figures[key] = share(result.right, split, of)
        self.row(split, result)

    def row(self, split: str, result: Judged) -> None:
        ece = f"{calibration_error(*result.calibration()):.3f}"
        right, none = result.right.mean(), result.none.mean()
        self.rows.append((split, len(result.truth), f"{right:.3f}", f"{none:.3f}", ece))


def measure(data: Path, *, quick: bool) -> Measured:
    """Quick: the shipped topics only, on their own phrases and on what callers ask. Else the public sets too."""
    encode = encoder.load()
    found = Found()
    shipped(encode, found)
    if not quick:
        banking77(encode, data, found)
        clinc150(encode, data, found)
        multidogo(encode, data, found)
        natcs(encode, data, found)
    heads = ("judged", "n", "right", "none", "ECE of the named")
    return Measured(found.figures, [table(heads, found.rows)], found.calibration, found.extra)


def shipped(encode: encoder.Encoder, found: Found) -> None:
    """The knowledge base's topics as the live call uses them: five-fold over the phrases of topics.toml, and on queries
    that nobody wrote phrases or ways of asking for."""
    knowledge = Knowledge.load(ROOT / "knowledge_base")
    topics = topic.taught(knowledge.topics.values(), knowledge.articles.values())
    encode(sum((list(each.examples) for each in topics), topic.background()))
    began = time.process_time()
    learnt = topic.load(encode, topics)
    found.extra["topic.learn_after_encoding_s"] = time.process_time() - began
    encode.forget()
    began = time.process_time()
    topic.load(encode, topics)
    found.extra["topic.learn_s"] = time.process_time() - began

    held: list[Judged] = []
    for fold in range(FOLDS):
        out = [(x, t.id) for t in knowledge.topics.values() for n, x in enumerate(t.examples) if n % FOLDS == fold]
        left_out = [text for text, _ in out]
        rest = [given.Subject(t.id, t.label, t.description, tuple(unlike(t.examples, left_out))) for t in topics]
        held.append(judged(topic.Judge(topic.load(encode, rest)), out))
    whole = together(held)
    found.add(
        "topic.kb_phrases",
        whole,
        "phrases of topics.toml, five-fold, and nothing like them learnt; none counts as wrong",
    )
    found.figures["topic.kb_phrases_wrong"] = share(~whole.right & ~whole.none, "the same, another topic named")

    judge = topic.Judge(learnt)
    asked = [query for query in queries.read() if query.part == "test"]
    spoken, by = queries.heard(asked)
    for key, those, how in (("kb_queries", asked, "as written"), ("kb_queries_heard", spoken, f"heard by {by}")):
        result = judged_queries(judge, knowledge, [query for query in those if query.articles])
        found.add(f"topic.{key}", result, f"callers' queries, test part, {how}; a topic of an article that answers")
        found.figures[f"topic.{key}_wrong"] = share(~result.right & ~result.none, "the same, another topic named")
    unanswered = [customer(query) for query in asked if not query.articles]
    background = list(unlike(topic.background(), [text for said in unanswered for text in said]))
    strict = topic.Judge(topic.TopicAnalyser(encode, topic.learn(encode, topics, background, topic.ALIKE)))
    others = judged(strict, [(said, "none") for said in unanswered])
    found.figures["topic.kb_others_taken"] = share(
        ~others.none, "queries no article answers, test part, and nothing like them in the background"
    )
    found.row("queries no article answers, test part; right is none", others)


def unlike(texts: Iterable[str], those: Sequence[str]) -> Iterator[str]:
    """What of `texts` shares less than 0.6 of its words with each of `those` (Jaccard)."""
    known = [set(text.lower().split()) for text in those]
    for text in texts:
        own = set(text.lower().split())
        if all(len(own & other) < ALIKE * len(own | other) for other in known):
            yield text


def judged_queries(judge: Judge, knowledge: Knowledge, asked: Sequence[queries.Query]) -> Judged:
    """Right is any topic of an article that answers; so the truth is the one named where it is among them."""
    result = judged(judge, [(customer(query), "") for query in asked])
    for number, query in enumerate(asked):
        topics = sorted({name for article in query.articles for name in knowledge.articles[article].topics})
        result.truth[number] = result.named[number] if result.named[number] in topics else topics[0]
    return result


def customer(query: queries.Query) -> list[str]:
    """The customer's turns, oldest first."""
    return [text for party, text in query.said if party == "customer"]


def banking77(encode: encoder.Encoder, data: Path, found: Found) -> None:
    """Its train set in own parts: all of the rest, and ten examples each, against the fifth that is held out."""
    pairs = records.banking77(data)
    encode_all = Remembered(encode, (text for text, _ in pairs))
    rest = [pair for pair in pairs if not records.held_out(pair[0])]
    out = [pair for pair in pairs if records.held_out(pair[0])]
    split = "banking77 train, the fifth held out"
    whole = judged(topic.judge(encode_all, by_label(rest), ()), out)
    found.add("topic.banking77", whole, split)
    found.figures["topic.banking77_ece"] = whole.ece(f"{split}, ECE")
    found.calibration["topic_banking77"] = whole.calibration()
    with_none = judged(topic.judge(encode_all, by_label(rest)), out)
    found.add("topic.banking77_or_none", with_none, f"{split}; against the shipped background")

    draws = [judged(topic.judge(encode_all, drawn(rest, SHOTS, seed), ()), out) for seed in range(DRAWS)]
    split = f"the same fifth, {SHOTS} examples each, mean of {DRAWS} draws"
    mean = np.stack([draw.right for draw in draws]).mean(axis=0)
    found.figures["topic.banking77_10shot"] = bootstrap(lambda column: float(column.mean()), mean, split=split)
    for number, draw in enumerate(draws):
        found.row(f"the same fifth, {SHOTS} examples each, draw {number}", draw)
    found.figures["topic.banking77_10shot_ece"] = together(draws).ece(
        f"{split}, ECE", [text for text, _ in out] * DRAWS
    )
    # The encoder's reading of intents was tuned on the other four fifths; its vectors have never met these topics.
    unseen = [judged(topic.judge(encode_all.__call__, drawn(rest, SHOTS, seed), ()), out) for seed in range(DRAWS)]
    mean = np.stack([draw.right for draw in unseen]).mean(axis=0)
    found.figures["topic.banking77_10shot_unseen"] = bootstrap(
        lambda column: float(column.mean()), mean, split=f"{split}; without the reading that was tuned on the rest"
    )
    first = judged(topic.judge(encode_all, drawn(rest, SHOTS, 0)), out)
    found.row(f"the same fifth, {SHOTS} examples each, draw 0; against the shipped background", first)


def drawn(pairs: Sequence[tuple[str, str]], shots: int, seed: int) -> dict[str, list[str]]:
    """`shots` texts of each label at random."""
    rng = np.random.default_rng(seed)
    return {
        label: [texts[int(n)] for n in rng.permutation(len(texts))[:shots]]
        for label, texts in sorted(by_label(pairs).items())
    }


def clinc150(encode: encoder.Encoder, data: Path, found: Found) -> None:
    """Learnt from train against oos_train; val and oos_val judged at one and the same rule."""
    parts = {part: records.clinc150(data, part) for part in ("train", "oos_train", "val", "oos_val")}
    encode_all = Remembered(encode, (text for pairs in parts.values() for text, _ in pairs))
    judge = topic.judge(encode_all, by_label(parts["train"]), [text for text, _ in parts["oos_train"]], OUTSIDE)
    inside = judged(judge, parts["val"])
    outside = judged(judge, [(text, "none") for text, _ in parts["oos_val"]])
    found.add(
        "topic.clinc150",
        inside,
        "clinc150 val, learnt from train and oos_train, one in twenty expected outside, as was chosen on val; "
        "none counts as wrong",
    )
    found.add("topic.clinc150_oos_recall", outside, "clinc150 oos_val, by the same judge; right is none")
    both = together([inside, outside])
    found.figures["topic.ece"] = both.ece("clinc150 val and oos_val, what was named, ECE")
    found.calibration["topic"] = both.calibration()


def multidogo(encode: encoder.Encoder, data: Path, found: Found) -> None:
    """Domains learnt from the first turns of the training calls; dev after one, two and three."""
    parts = {part: calls(records.multidogo(data, part)) for part in ("train", "dev")}
    encode_all = Remembered(encode, (text for part in parts.values() for turns, _ in part for text in turns))
    examples = by_label((text, domain) for turns, domain in parts["train"] for text in turns)
    judge = topic.judge(encode_all, examples, ())
    for count in range(1, FIRST_TURNS + 1):
        result = judged(judge, [(turns[:count], domain) for turns, domain in parts["dev"]])
        found.add(f"topic.multidogo_turn{count}", result, f"multidogo dev, {count} customer turns")
    found.extra["topic.multidogo_turn1_most"] = most_from_first(parts["dev"])


def most_from_first(calls: Sequence[tuple[Sequence[str], str]]) -> float:
    """What no judge of the first turn's words alone can exceed: right on the commonest label of each text."""
    labels = by_label((label, turns[0]) for turns, label in calls)
    return sum(max(Counter(each).values()) for each in labels.values()) / len(calls)


def calls(said: Sequence[records.Said]) -> list[tuple[list[str], str]]:
    """The first customer turns of each call with its domain."""
    return [
        ([turn.text for turn in turns][:FIRST_TURNS], domain)
        for (domain, _), turns in groupby(said, key=lambda turn: (turn.domain, turn.call))
    ]


def natcs(encode: encoder.Encoder, data: Path, found: Found) -> None:
    """Five-fold over all requests, then a few of each against the rest; nothing here was ever trained on them."""
    pairs = records.natcs_insurance(data)
    encode_all = Remembered(encode, (text for text, _ in pairs))
    texts = {text: number for number, text in enumerate(dict.fromkeys(text for text, _ in pairs))}
    of_text = np.random.default_rng(SEED).permutation(len(texts)) % FOLDS
    fold = [int(of_text[texts[text]]) for text, _ in pairs]  # what was said twice is in one fold
    held: list[Judged] = []
    for number in range(FOLDS):
        rest = [pair for pair, own in zip(pairs, fold, strict=True) if own != number]
        out = [pair for pair, own in zip(pairs, fold, strict=True) if own == number]
        held.append(judged(topic.judge(encode_all, by_label(rest), ()), out))
    found.add("topic.natcs", together(held), "natcs_insurance, five-fold")
    for shots in (5, SHOTS):
        draws, whose = [], []
        for seed in range(DRAWS):
            few = drawn(pairs, shots, seed)
            taken = {text for own in few.values() for text in own}
            out = [pair for pair in pairs if pair[0] not in taken]
            draws.append(judged(topic.judge(encode_all, few, ()), out))
            whose += [text for text, _ in out]
        split = f"natcs_insurance, {shots} examples each, {DRAWS} draws"
        found.add(f"topic.natcs_{shots}shot", together(draws), split, whose)
