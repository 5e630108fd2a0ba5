"""Topics learnt from a few phrases: what is named, what is none, how a call adds up, and strange text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import Party, Utterance
from assist.conversation import Conversation, Finding, Heard, Transcript, Turn
from models import encoder, topic


@dataclass(frozen=True)
class Subject:
    id: str
    label: str
    description: str
    examples: tuple[str, ...]


SUBJECTS = (
    Subject(
        "camera",
        "Camera fault",
        "The camera of a phone does not work.",
        ("my camera is black on video calls", "every picture I take is blurry", "the camera app keeps closing"),
    ),
    Subject(
        "delivery",
        "Late delivery",
        "A parcel has not come when it should.",
        ("my parcel has not arrived", "where is my order", "the delivery was meant to come on Monday"),
    ),
    Subject(
        "cancellation",
        "Cancellation",
        "The customer wants to leave or end a contract.",
        ("I want to cancel my contract", "please close my account", "I am leaving for another provider"),
    ),
)


@pytest.fixture(scope="module")
def analyse() -> topic.TopicAnalyser:
    return topic.load(encoder.load(), SUBJECTS)


def heard(text: str, party: Party = "customer", name: str = "u1") -> Heard:
    utterance = Utterance(name, party, 1000, 2000, 2000, np.zeros(0, dtype=np.int16))
    return Heard(utterance, Transcript(name, party, 1000, 2000, text))


def talk(analyse: topic.TopicAnalyser, *lines: str) -> list[Finding]:
    so_far = Conversation("c")
    found = []
    for number, line in enumerate(lines):
        now = heard(line, name=f"u{number}")
        (finding,) = analyse(now, so_far)
        found.append(finding)
        so_far = so_far.with_turn(Turn(now.transcript, (finding,)))
    return found


def test_a_plain_request_is_named(analyse: topic.TopicAnalyser) -> None:
    (finding,) = analyse(heard("the camera of my phone does not work, the picture is black"), Conversation("c"))
    assert (finding.analyser, finding.label) == ("topic", "camera")
    assert 0.4 <= finding.score <= 1
    assert finding.detail["camera"] == finding.score
    assert len(finding.detail) == 3


@pytest.mark.parametrize("text", ["what is the weather tomorrow", "good morning, how are you", "a large pizza please"])
def test_what_fits_nothing_is_none(analyse: topic.TopicAnalyser, text: str) -> None:
    (finding,) = analyse(heard(text), Conversation("c"))
    assert finding.label == "none"
    assert finding.evidence.quote == ""


def test_the_agent_and_the_system_have_no_topic(analyse: topic.TopicAnalyser) -> None:
    for party in ("agent", "system"):
        assert analyse(heard("I want to cancel my contract", party), Conversation("c")) == ()


def test_small_talk_does_not_undo_a_topic_and_evidence_points_back(analyse: topic.TopicAnalyser) -> None:
    first, *_, last = talk(analyse, "my parcel has not arrived yet", "yes that's right", "yes", "it's four seven two")
    assert first.label == last.label == "delivery"
    assert last.evidence.utterance == "u0"
    assert last.evidence.quote == "my parcel has not arrived yet"


def test_a_new_subject_takes_over(analyse: topic.TopicAnalyser) -> None:
    found = talk(
        analyse,
        "my camera is black on every video call",
        "the pictures are blurry too",
        "well then I want to cancel my contract",
        "yes please close the account, I'm leaving",
    )
    assert found[1].label == "camera"
    assert found[-1].label == "cancellation"


def test_the_quote_is_the_deciding_stretch_of_a_long_turn(analyse: topic.TopicAnalyser) -> None:
    text = (
        "hello good morning my name is Sarah Thompson and I hope you are well today, "
        "the parcel I ordered has still not been delivered to me, so that is why I am calling you on my lunch break"
    )
    (finding,) = analyse(heard(text), Conversation("c"))
    assert finding.label == "delivery"
    evidence = finding.evidence
    assert "parcel" in evidence.quote and "Sarah" not in evidence.quote
    assert text[evidence.start_char : evidence.end_char] == evidence.quote


@pytest.mark.parametrize(
    "text", ["", " ", "yes", "\x00\x07", "🙂 🙂 🙂", "camera " * 5000, "a" * 20_000, "\u202e\u200b ok ?"]
)
def test_strange_text_gets_a_finding(analyse: topic.TopicAnalyser, text: str) -> None:
    (finding,) = analyse(heard(text), Conversation("c"))
    assert finding.label in {"none", *(s.id for s in SUBJECTS)}
    assert 0 <= finding.score <= 1


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=400))
def test_pieces_are_stretches_of_the_text(text: str) -> None:
    parts = topic.pieces(text)
    assert 1 <= len(parts) <= topic.MAX_PIECES
    assert all(part in text for part in parts)
    if len(text.split()) <= topic.MAX_WORDS:
        assert " ".join(parts).split() == text.split()


def test_probabilities_leave_room_for_none(analyse: topic.TopicAnalyser) -> None:
    encode = encoder.load()
    learnt = topic.learn(encode, SUBJECTS, topic.background())
    share = learnt.probabilities(encode(["my camera broke", "what time is it"])).sum(axis=1)
    assert 0 < share[1] < share[0] < 1


def test_no_topics_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        topic.learn(encoder.load(), [], ["hello"])
