"""Sentiment of turns and of the call: plain cases, the published formula, abstaining, strange text, damaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import Party, Utterance
from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript, Turn
from assist.errors import ModelMissing
from models import encoder, sentiment


@pytest.fixture(scope="module")
def analyse() -> sentiment.SentimentAnalyser:
    return sentiment.load(encoder.load())


def heard(text: str, party: Party = "customer") -> Heard:
    utterance = Utterance("u", party, 1000, 2000, 2000, np.zeros(0, dtype=np.int16))
    return Heard(utterance, Transcript("u", party, 1000, 2000, text))


def one(analyse: sentiment.SentimentAnalyser, text: str, party: Party = "customer") -> Finding:
    (finding,) = analyse(heard(text, party), Conversation("c"))
    return finding


def before(*scored: tuple[Party, str, float]) -> Conversation:
    so_far = Conversation("c")
    for party, label, score in scored:
        said = Transcript("e", party, 0, 1, "earlier words")
        so_far = so_far.with_turn(Turn(said, (Finding("sentiment", label, score, Evidence()),)))
    return so_far


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I am really disappointed, nobody called me back", "negative"),
        ("you lost my parcel and I have been on hold for an hour", "negative"),
        ("thank you so much, that was very kind of you", "positive"),
        ("great, it works perfectly now", "positive"),
        ("my account number is four seven two", "neutral"),
        ("I would like to change my address", "neutral"),
    ],
)
def test_plain_cases(analyse: sentiment.SentimentAnalyser, text: str, label: str) -> None:
    finding = one(analyse, text)
    assert finding.label == label
    assert finding.score == pytest.approx(finding.detail["positive"] - finding.detail["negative"], abs=1e-3)
    assert finding.detail["confidence"] >= sentiment.LEAST_CONFIDENCE
    assert finding.evidence.quote == text
    assert finding.evidence.source.startswith("sentiment ")


def test_the_call_is_a_decayed_mean_that_counts_neutral_turns(analyse: sentiment.SentimentAnalyser) -> None:
    so_far = before(("customer", "negative", -0.9), ("customer", "neutral", 0.0), ("customer", "neutral", 0.1))
    (finding,) = analyse(heard("my account number is four seven two"), so_far)
    scores, weights = [-0.9, 0.0, 0.1, finding.score], [0.512, 0.64, 0.8, 1.0]
    expected = sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)
    assert finding.detail["call"] == pytest.approx(expected, abs=1e-3)


def test_the_agent_is_read_but_does_not_move_the_call(analyse: sentiment.SentimentAnalyser) -> None:
    so_far = before(("customer", "negative", -0.5), ("agent", "positive", 0.9))
    (finding,) = analyse(heard("that is wonderful news, thank you very much", "agent"), so_far)
    assert finding.label == "positive"
    assert finding.detail["call"] == -0.5


def test_there_is_no_call_score_before_the_customer_spoke(analyse: sentiment.SentimentAnalyser) -> None:
    assert "call" not in one(analyse, "good morning, how can I help you", "agent").detail


def test_turns_without_a_label_do_not_count(analyse: sentiment.SentimentAnalyser) -> None:
    so_far = before(("customer", "negative", -0.5), ("customer", "none", 0.0))
    (finding,) = analyse(heard("yes"), so_far)
    assert finding.label == "none"
    assert finding.detail == {"call": -0.5}


def test_prompts_have_no_sentiment(analyse: sentiment.SentimentAnalyser) -> None:
    assert analyse(heard("we are sorry for the wait", "system"), Conversation("c")) == ()


@pytest.mark.parametrize(
    "text", ["", " ", "yes", "\x00\x07", "🙂 🙂", "good " * 5000, "x" * 20_000, "12 34", "\u202e no ?"]
)
def test_strange_text_gets_a_finding(analyse: sentiment.SentimentAnalyser, text: str) -> None:
    finding = one(analyse, text)
    assert finding.label in {"none", *sentiment.LABELS}
    assert -1 <= finding.score <= 1


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(), max_size=200))
def test_any_text_gets_a_finding(analyse: sentiment.SentimentAnalyser, text: str) -> None:
    assert -1 <= one(analyse, text).score <= 1


def test_case_and_punctuation_of_words_do_not_matter_for_their_slots() -> None:
    assert sentiment.slots("Thank you, Daniel!") == sentiment.slots("thank you daniel")
    assert len(sentiment.slots("word " * 5000)) < 2 * sentiment.MAX_WORDS


@pytest.mark.parametrize("harm", ["missing", "truncated", "other", "shapes"])
def test_wrong_files_are_named_with_the_way_out(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "sentiment.npz"
    if harm == "truncated":
        file.write_bytes(sentiment.WEIGHTS.read_bytes()[:5000])
    elif harm == "other":
        file.write_bytes(b"not weights at all")
    elif harm == "shapes":
        one_by_one = np.zeros((1, 1), np.float32)
        np.savez(file, w1=one_by_one, b1=one_by_one, w2=one_by_one, b2=one_by_one, words=one_by_one, temperature=1.0)
    with pytest.raises(ModelMissing, match="git checkout"):
        sentiment.load(encoder.load(), file)
