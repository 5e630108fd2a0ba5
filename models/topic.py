"""What the call is about: one of the knowledge base's topics or "none", added up over the customer's turns.

It knows neither articles nor actions, and reads the customer's words only.
How topics are learnt stands in models/topic_learnt.py.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from assist.audio import Utterance
from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript, Turn
from assist.errors import ModelMissing
from models.given import Subject
from models.given import topics as given_topics
from models.topic_learnt import Encode, Floats, Learnt, Topic, learn, read

__all__ = ["Asked", "Learnt", "Topic", "TopicAnalyser", "background", "judge", "learn", "load", "pieces", "taught"]

BACKGROUND: Final = Path(__file__).resolve().parent / "weights" / "topic_background.txt"
THRESHOLD: Final = 0.35  # what an agent is shown; models/cards/topic.md has what passes for a topic at it
ANY: Final = 0.5  # below it "none" is likelier than all topics together
TURNS: Final = 10
STAYS: Final = 2 / 3
CHANGE: Final = 0.02  # how likely a turn opens another subject
LEAST_NONE: Final = 0.02  # no single turn is surer than this
LEAST_CHANCE: Final = 0.001  # the same where nothing is out of scope, and no small talk can sound like a topic
MIN_WORDS: Final = 2
PIECE_WORDS: Final = 16  # a turn up to here is read once, as a whole
MAX_PIECES: Final = 3
MAX_WORDS: Final = 100
OUTSIDE: Final = 0.5  # in a live call much is said that is about nothing
ALIKE: Final = 0.65  # cosine from which a sentence of the shipped background says what some example says
REMEMBERED_TEXTS: Final = 1_024
MOST_ASKED: Final = 1_500
MOST_TURNS: Final = 40  # a judge's: TURNS count, and before them some to see which topic was named last


class TopicAnalyser:
    """Finds what the call is about after each customer turn. Stateless: re-reads the last turns each time.

    A turn's odds for topic j are r_j = P_j / P_none, of the whole turn, or of that piece of it that is more than
    twice as much about any topic (a request may hide in a long greeting). Over the customer's last turns, oldest
    first, with a_j = P(j | turns so far) and a_0 = P(none): first a part CHANGE of every a_j goes to a_0 (the
    customer may have changed the subject), then a_j <- a_j (1 + r_j) + a_0 r_j, and all are scaled to sum to 1.
    So one turn alone is judged by itself, agreeing turns add up, small talk leaves a topic nearly as it was and
    a new subject replaces it within a turn or two. Where topics were learnt without `others` a call is about one
    of them throughout: CHANGE is 0, and the chances of its turns are multiplied.

    `live`, a topic is named from THRESHOLD on where "none" has at most half. It then keeps its name down to half of
    that, and until another is half as likely again: a turn that touches three subjects does not undo the call's.
    Otherwise the likeliest topic is named where "none" has at most half, whatever was named before.
    """

    def __init__(self, encode: Encode, learnt: Learnt, *, live: bool = True) -> None:
        self._encode = encode
        self._learnt = learnt
        self._live = live
        self._least_words = MIN_WORDS if live else 1  # in a live call one word is mostly an answer
        self._source = f"topic {len(learnt.ids)} topics"
        self._odds = lru_cache(REMEMBERED_TEXTS)(self._read)
        self._shares = lru_cache(REMEMBERED_TEXTS)(self._judged)

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        """One finding per customer turn: a topic id, or "none" where nothing fits; nothing for other parties.

        `score` is the probability of the label ("none" too). `detail` holds the three best topics. The
        evidence is the stretch of the turn, this one or an earlier one, that speaks most for the label.
        """
        if heard.transcript.party != "customer":
            return ()
        before = so_far.by("customer")[-(TURNS - 1) :]
        last = before[-1].finding("topic") if before else None
        spoken = [t for t in (*(turn.transcript for turn in before), heard.transcript) if self._speaks(t)]
        here = _evidence(heard.transcript, "", self._source)
        if not spoken:
            return (Finding("topic", "none", 1.0, here),)
        odds = [self._odds(turn.text) for turn in spoken]
        share = self._added_up(odds)
        probability, none = share[:-1], float(share[-1])
        order = np.argsort(-probability)
        detail = {self._learnt.ids[int(j)]: round(float(probability[j]), 4) for j in order[:3]}
        held = self._learnt.ids.index(last.label) if last is not None and last.label in self._learnt.ids else None
        best = self._named(probability, none, held)
        if best is None:
            return (Finding("topic", "none", round(none, 4), here, detail),)
        # The latest turn that says it at least half as clearly as the clearest one: fresh evidence reads best.
        gains = np.log1p([each[best] for each in odds])
        decider = spoken[int(np.flatnonzero(gains >= gains.max() / 2)[-1])]
        evidence = _evidence(decider, self._quote(decider.text, best), self._source)
        score = round(float(probability[best]), 4)
        return (Finding("topic", self._learnt.ids[best], score, evidence, detail),)

    def _named(self, probability: Floats, none: float, held: int | None) -> int | None:
        """Which topic to name, or none of them. `held`: the one that the turn before was given."""
        best = int(np.argmax(probability))
        if not self._live:
            return best if 1.0 - none >= ANY else None
        if held is not None and probability[held] >= STAYS * probability[best]:
            best = held
        half = 0.5 if best == held else 1.0
        return best if probability[best] >= THRESHOLD * half and 1.0 - none >= ANY * half else None

    def _speaks(self, transcript: Transcript) -> bool:
        return len(transcript.text.split(maxsplit=self._least_words)) >= self._least_words

    def _added_up(self, odds: Sequence[Floats]) -> Floats:
        """P(topic | turns) for each topic, then P(none)."""
        change = CHANGE if self._learnt.rejects else 0.0
        share = np.zeros(len(self._learnt.ids) + 1)
        share[-1] = 1.0
        for each in odds:
            share *= 1.0 - change
            share[-1] += change
            share[:-1] = share[:-1] * (1.0 + each) + share[-1] * each
            share /= share.sum()
        return share

    def _read(self, text: str) -> Floats:
        """Odds of each topic against "none" in one turn, shape (k,)."""
        telling = self._shares(text)
        # A piece that is twice as much about some topic is looked for where there can be one: encoding it costs most.
        # Where all is in scope there is none, since one piece is as much about some topic as another.
        if self._learnt.rejects and telling.sum() < 0.5 and len(parts := pieces(text)) > 1:
            most = max(map(self._shares, parts), key=np.sum)
            telling = most if telling.sum() < most.sum() / 2 else telling
        least = LEAST_NONE if self._learnt.rejects else LEAST_CHANCE
        odds: Floats = telling / max(1.0 - float(telling.sum()), least)
        return odds

    def _quote(self, text: str, topic: int) -> str:
        parts = pieces(text)
        return max(parts, key=lambda part: float(self._shares(part)[topic])) if len(parts) > 1 else parts[0]

    def _judged(self, text: str) -> Floats:
        """P(topic) of one text by itself, shape (k,)."""
        row: Floats = self._learnt.probabilities(read(self._encode, [text]))[0]
        return row


class Asked(Protocol):
    """What an article must have to teach a topic: its topics, the main one first, and how callers ask for it."""

    @property
    def topics(self) -> Sequence[str]: ...
    @property
    def asked(self) -> Sequence[str]: ...


def taught(topics: Collection[Topic], articles: Iterable[Asked]) -> tuple[Topic, ...]:
    """`topics`, each with the ways of asking for the `articles` that it is the main topic of as further examples.

    An article's other topics would be taught to be taken for it. Of more than 1,500 ways of asking so many are taken,
    evenly: learning grows with the cube of their number, and a server's start waits for it.
    """
    taken = {topic.id: list(topic.examples) for topic in topics}
    asked = [(article.topics[0], text) for article in articles if article.topics for text in article.asked]
    count = min(MOST_ASKED, len(asked))
    for number in range(count):
        name, text = asked[number * len(asked) // count]
        taken[name].append(text)
    return tuple(Subject(each.id, each.label, each.description, tuple(taken[each.id])) for each in topics)


def load(encode: Encode, topics: Sequence[Topic]) -> TopicAnalyser:
    """The analyser for `topics`, learnt now. Raises ModelMissing where the shipped background is not there."""
    return TopicAnalyser(encode, learn(encode, topics, background(), ALIKE))


def judge(
    encode: Encode,
    topics: Path | str | Sequence[Any] | Mapping[str, Sequence[str]],
    others: Sequence[str] | None = None,
    outside: float = OUTSIDE,
) -> Callable[[str | Sequence[str]], Finding]:
    """What reads one text, or a customer's turns (oldest first), and finds what they are about.

    `topics`: what `models.given.topics` takes. `others`: what belongs to none of them; None takes the
    shipped background but for sentences that say what an example says, and an empty sequence means that
    everything said is about one of the topics. `outside`: the share of what will be said that is out of scope, 0..1;
    the smaller it is, the less is turned away. Unlike the analyser of a live call it names the likeliest topic
    however close the next one is, as long as "none" is less likely than all topics together: whoever asks
    may cut at a score. Raises ConfigError or KnowledgeError for topics that cannot be read, ModelMissing without the
    background.
    """
    subjects = given_topics(topics)
    if others is None:
        return Judge(TopicAnalyser(encode, learn(encode, subjects, background(), ALIKE, outside), live=False))
    return Judge(TopicAnalyser(encode, learn(encode, subjects, others, outside=outside), live=False))


class Judge:
    """An analyser as a callable of texts."""

    def __init__(self, analyse: TopicAnalyser) -> None:
        self._analyse = analyse

    def __call__(self, said: str | Sequence[str]) -> Finding:
        """The finding after the last of `said`: a text, or a customer's turns, oldest first. "none" of nothing.

        Of many turns the last 40 are read, so that a line of a hundred thousand costs no more.
        """
        so_far = Conversation("")
        finding = Finding("topic", "none", 1.0, Evidence())
        turns = [said] if isinstance(said, str) else said
        first = max(0, len(turns) - MOST_TURNS)
        for number, text in enumerate(turns[first:], first + 1):
            transcript = Transcript(f"u{number}", "customer", 0, 0, text)
            utterance = Utterance(transcript.utterance, "customer", 0, 0, 0, np.zeros(0, dtype=np.int16))
            (finding,) = self._analyse(Heard(utterance, transcript), so_far)
            so_far = so_far.with_turn(Turn(transcript, (finding,)))
        return finding


def background() -> list[str]:
    """The shipped sentences that belong to no topic. Raises ModelMissing."""
    try:
        lines = BACKGROUND.read_text("utf-8").splitlines()
    except OSError as error:
        raise ModelMissing(f"topics need {BACKGROUND}; restore it with `git checkout -- models/weights`") from error
    return [line for line in lines if line and not line.startswith("#")]


def pieces(text: str) -> list[str]:
    """`text` in at most three stretches of about sixteen words or more, cut at punctuation where there is any.

    Only the first 100 words count: nobody says more before the recogniser cuts, and work must stay bounded.
    """
    text = text.strip()
    words = list(itertools.islice(re.finditer(r"\S+", text), MAX_WORDS))
    if len(words) <= PIECE_WORDS:
        return [text]
    length = max(PIECE_WORDS, math.ceil(len(words) / MAX_PIECES))
    parts: list[str] = []
    begin = 0
    for number, word in enumerate(words):
        taken = number + 1 - begin
        closes = taken >= length or (taken >= length // 2 and word.group()[-1] in ".?!,;:")
        if closes and len(parts) < MAX_PIECES - 1 and len(words) - number > 3:
            parts.append(text[words[begin].start() : word.end()])
            begin = number + 1
    return [*parts, text[words[begin].start() : words[-1].end()]]


def _evidence(transcript: Transcript, quote: str, source: str) -> Evidence:
    start = transcript.text.find(quote) if quote else -1
    return Evidence(
        utterance=transcript.utterance,
        start_ms=transcript.start_ms,
        end_ms=transcript.end_ms,
        start_char=start if start >= 0 else None,
        end_char=start + len(quote) if start >= 0 else None,
        quote=quote,
        source=source,
    )
