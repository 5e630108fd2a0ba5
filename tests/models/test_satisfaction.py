"""Satisfaction: what each sign is made of, the published formula, calls that end well and badly, strange turns."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import Party, Utterance
from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript, Turn
from benchmarks.accuracy import satisfaction as written
from models import encoder, outcome, satisfaction, sentiment
from models.satisfaction import Signs


@pytest.fixture(scope="module")
def encode() -> encoder.Encoder:
    return encoder.load()


def said(number: int, party: Party, text: str, start_ms: int = 0) -> Transcript:
    return Transcript(f"u{number}", party, start_ms, start_ms + 1000, text)


def call(*lines: tuple[Party, str], pause_ms: int = 500) -> list[Transcript]:
    return [said(n, party, text, n * (1000 + pause_ms)) for n, (party, text) in enumerate(lines)]


def together(turns: list[Transcript]) -> Conversation:
    return Conversation("c", tuple(Turn(each) for each in turns))


def test_the_formula() -> None:
    assert Signs().weighed() == pytest.approx(1 / (1 + math.exp(-satisfaction.BIAS)))
    signs = Signs(mood=-0.5, repeats=1.0)
    total = satisfaction.BIAS - 0.5 * satisfaction.WEIGHTS["mood"] + satisfaction.WEIGHTS["repeats"]
    assert signs.weighed() == pytest.approx(1 / (1 + math.exp(-total)))


@pytest.mark.parametrize("name", list(satisfaction.WEIGHTS))
def test_every_sign_moves_the_score_its_way(name: str) -> None:
    up = replace(Signs(), **{name: 0.5}).weighed() > Signs().weighed()
    assert up == (satisfaction.WEIGHTS[name] > 0)


def test_every_weight_belongs_to_one_part() -> None:
    named = [name for names in satisfaction.PARTS.values() for name in names]
    assert sorted(named) == sorted(satisfaction.WEIGHTS)


@pytest.mark.parametrize(
    ("text", "is_repeated"),
    [
        ("I already told your colleague", True),
        ("this is the third time I'm calling", True),
        ("as I said, the lamp is broken", True),
        ("so I have to do it all again", True),
        ("I’ve explained it twice", True),
        ("I told her about the offer", False),
        ("can you call me again tomorrow", False),
        ("the first time was lovely", False),
    ],
)
def test_repeating_oneself(text: str, is_repeated: bool) -> None:
    assert outcome.repeated(text) is is_repeated


@pytest.mark.parametrize(
    ("party", "text", "news"),
    [
        ("customer", "it works now", 1),
        ("customer", "that's fixed, thank you", 1),
        ("customer", "no it still doesn't work", -1),
        ("customer", "that's not fixed at all", -1),
        ("customer", "I was told that it works everywhere", 0),
        ("customer", "does it work on a tablet", 0),
        ("customer", "my number is four two", 0),
        ("agent", "I've sent you a new one", 1),
        ("agent", "I can't change that", -1),
        ("agent", "how can I help", 0),
        ("system", "it works now", 0),
    ],
)
def test_news_of_the_outcome(party: Party, text: str, news: int) -> None:
    assert outcome.news(text, party) == news


def test_silence_counts_beyond_the_pace_of_a_call(encode: encoder.Encoder) -> None:
    turns = call(("customer", "hello there"), ("agent", "one moment please"))
    assert satisfaction.signs(together(turns), encode).waits == 0
    late = [turns[0], said(1, "agent", "one moment please", 1000 + satisfaction.PAUSE_MS + 30_000)]
    assert satisfaction.signs(together(late), encode).waits == pytest.approx(0.5)


def test_being_passed_on_and_asking_the_same_again(encode: encoder.Encoder) -> None:
    turns = call(
        ("customer", "where is the refund for my ticket please"),
        ("agent", "I'll transfer you to my colleague"),
        ("customer", "yes, hello, my name is Taylor Smith"),
        ("agent", "that's another department, I'll put you through"),
        ("customer", "where is the refund for my ticket"),
    )
    found = satisfaction.signs(together(turns), encode)
    assert found.transfers == 1
    assert found.repeats == pytest.approx(1 / 3)


def test_stress_of_the_latest_three_judged_turns(encode: encoder.Encoder) -> None:
    turns = []
    for number, (label, score) in enumerate(
        [("tense", 0.9), ("calm", 0.2), ("none", 0.0), ("tense", 0.6), ("calm", 0.1)]
    ):
        finding = Finding("stress", label, score, Evidence())
        turns.append(Turn(said(number, "customer", "hello"), (finding,)))
    assert satisfaction.signs(Conversation("c", tuple(turns)), encode).tense == pytest.approx(0.3)


def test_a_call_that_ends_well_and_one_that_does_not(encode: encoder.Encoder) -> None:
    judge = satisfaction.judge(encode)
    well = judge(call(
        ("customer", "the router keeps dropping the connection"), ("agent", "I've reset it, please try again"),
        ("customer", "oh yes, it works now"), ("customer", "thank you so much, you've been very helpful"),
    ))  # fmt: skip
    badly = judge(call(
        ("customer", "this is the fifth time I'm calling about it"), ("agent", "I can't help with that"),
        ("customer", "that doesn't help me at all"), ("customer", "this is ridiculous, I'm very disappointed"),
    ))  # fmt: skip
    assert (well.label, badly.label) == ("satisfied", "unsatisfied")
    assert well.detail["stars"] == pytest.approx(1 + 4 * well.score, abs=0.01)
    assert well.detail["stars"] > 4 and badly.detail["stars"] < 2
    assert badly.evidence.utterance == "u3"


def test_only_the_customer_is_asked_and_not_too_early(encode: encoder.Encoder) -> None:
    analyse = satisfaction.load(encode)

    def heard(party: Party, text: str) -> Heard:
        return Heard(Utterance("u", party, 0, 1, 1, np.zeros(0, dtype=np.int16)), said(9, party, text))

    assert analyse(heard("agent", "how can I help"), Conversation("c")) == ()
    assert [f.label for f in analyse(heard("customer", "it's broken"), Conversation("c"))] == ["none"]
    before = Turn(said(1, "customer", "x"), (Finding("sentiment", "neutral", 0.0, Evidence()),))
    (finding,) = analyse(heard("customer", "great, thank you"), Conversation("c", (before,)))
    assert finding.label == "satisfied"
    assert set(satisfaction.WEIGHTS) <= set(finding.detail)


def test_the_written_calls_are_told_apart(encode: encoder.Encoder) -> None:
    feels = sentiment.load(encode)
    calls = written.calls()
    assert len(calls) >= 40
    by_stars: dict[int, list[float]] = {}
    for each in calls:
        score = satisfaction.signs(written.heard(each, feels), encode).weighed()
        by_stars.setdefault(each.satisfied, []).append(score)
    means = [float(np.mean(by_stars[stars])) for stars in range(1, 6)]
    assert means == sorted(means)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=80), max_size=6))
def test_any_turns_get_a_finding(encode: encoder.Encoder, turns: list[str]) -> None:
    finding = satisfaction.judge(encode)(turns)
    assert finding.label in {"none", "satisfied", "mixed", "unsatisfied"}
    assert 0 <= finding.score <= 1


def test_long_calls_cost_no_more_than_their_last_part(encode: encoder.Encoder) -> None:
    judge = satisfaction.judge(encode)
    began = time.perf_counter()
    finding = judge(["thank you, that is very kind"] * 5_000)
    assert time.perf_counter() - began < 10
    assert finding.label == "satisfied"
    assert judge("word " * 5_000).label == "none"
    assert judge([]).label == "none"
