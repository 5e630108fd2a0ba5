"""Topics learnt from a few phrases: what is named, what is none, how a call adds up, and strange text."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from assist.audio import Party, Utterance
from assist.conversation import Conversation, Finding, Heard, Transcript, Turn
from assist.knowledge import Knowledge
from models import encoder, topic
from models.topic_learnt import SLOTS, read


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
    share = learnt.probabilities(read(encode, ["my camera broke", "what time is it"])).sum(axis=1)
    assert 0 < share[1] < share[0] < 1


PHRASES = {each.id: each.examples for each in SUBJECTS}


@pytest.fixture(scope="module")
def encode() -> encoder.Encoder:
    return encoder.load()


def test_a_judge_reads_topics_as_they_come(encode: encoder.Encoder, tmp_path: Path) -> None:
    lines = [f"[[topic]]\nid = {json.dumps(name)}\nexamples = {json.dumps(said)}" for name, said in PHRASES.items()]
    (tmp_path / "topics.toml").write_text("\n".join(lines))
    for source in (SUBJECTS, PHRASES, tmp_path / "topics.toml", str(tmp_path / "topics.toml")):
        judge = topic.judge(encode, source)
        assert judge("my camera is all black in video calls").label == "camera"
        assert judge("could you tell me the time please").label == "none"


def test_a_judge_adds_up_turns(encode: encoder.Encoder) -> None:
    judge = topic.judge(encode, SUBJECTS)
    once = judge("it has not come yet")
    twice = judge(["it has not come yet", "yes", "it was meant to be here on Monday"])
    assert once.label == twice.label == "delivery"
    assert twice.score > once.score
    assert judge(["hello", "yes thank you"]).label == "none"
    assert judge([]).label == "none"


def test_a_hundred_thousand_turns_cost_no_more_than_a_call(encode: encoder.Encoder) -> None:
    judge = topic.judge(encode, SUBJECTS)
    began = time.thread_time()
    found = judge(["my parcel has not arrived"] * 3 + ["my"] * 100_000 + ["my camera is black on video calls"])
    assert time.thread_time() - began < 5
    assert found.label == "camera"
    assert found.evidence.utterance == "u100004"


def test_what_was_said_long_ago_changes_nothing(encode: encoder.Encoder) -> None:
    judge = topic.judge(encode, SUBJECTS)
    call = [SUBJECTS[number % 3].examples[number % 2] for number in range(60)]
    whole, tail = judge(call), judge(call[-topic.TURNS :])
    assert (whole.label, whole.score, whole.detail) == (tail.label, tail.score, tail.detail)


def test_without_others_everything_is_about_some_topic(encode: encoder.Encoder) -> None:
    judge = topic.judge(encode, PHRASES, others=())
    for text in ("what is the weather tomorrow", "hi", "🙂"):
        found = judge(text)
        assert found.label in PHRASES
        assert sum(found.detail.values()) == pytest.approx(1, abs=0.03)
    assert judge("please cancel it").label == "cancellation"


def test_without_others_the_chances_of_turns_multiply(encode: encoder.Encoder) -> None:
    judge = topic.judge(encode, PHRASES, others=())
    turns = ["hello sir", "my phone"]  # both are unsure, each in its way
    once, again, both = (judge(said).detail for said in (*turns, turns))
    product = {name: float(once[name]) * float(again[name]) for name in PHRASES}
    for name in PHRASES:
        assert both[name] == pytest.approx(product[name] / sum(product.values()), abs=0.05)


def test_a_misspelt_word_shares_its_parts(encode: encoder.Encoder) -> None:
    right, misspelt, other = read(encode, ["cancellation", "cancelation", "delivery"])[:, -SLOTS:]
    assert right @ misspelt > len("cancel") > abs(right @ other)


BILLS = ("my bill is too high", "I was overcharged", "there's a charge I don't know", "why is it so expensive")
PARCELS = ("my parcel is late", "where is my order", "it never came", "the courier left it outside")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("said", [{"a": BILLS}, {"a": BILLS, "b": PARCELS}], ids=["one topic", "two topics"])
def test_a_few_examples_are_enough_to_name_them(
    encode: encoder.Encoder, said: dict[str, tuple[str, ...]], count: int
) -> None:
    few = {name: phrases[:count] for name, phrases in said.items()}
    judge = topic.judge(encode, few)
    assert all(judge(phrase).label == name for name, phrases in few.items() for phrase in phrases)
    for text in ("what is the weather tomorrow", "hello", "zxcvb qwert", "I would like to book a flight to Rome"):
        assert judge(text).label == "none", text


def test_no_sign_of_a_topic_speaks_against_it(encode: encoder.Encoder) -> None:
    odd = {"a": ["meine Rechnung ist zu hoch", "b", "c"] * 4, "d": ["e", "wo ist mein Paket", "42"] * 4}
    for topics in (odd, PHRASES, {"a": BILLS[:1]}):
        subjects = [Subject(name, name, "", tuple(said)) for name, said in topics.items()]
        gate = topic.learn(encode, subjects, topic.background()).gate
        assert gate is not None and gate[0] >= 0 >= gate[1] and gate[2] >= 0


def test_others_of_ones_own_are_none(encode: encoder.Encoder) -> None:
    others = ["play some music", "put on a song", "turn the radio on", "what is playing", "skip this song"]
    judge = topic.judge(encode, PHRASES, others)
    assert judge("could you play another song").label == "none"
    assert judge("where is my parcel").label == "delivery"


def test_a_phrase_of_two_topics_is_half_of_each(encode: encoder.Encoder) -> None:
    three = {"a": ["good morning", "my camera is black"], "b": ["good morning", "where is my parcel"]}
    found = topic.judge(encode, {**three, "c": ["I want to cancel", "please close it"]}, others=())("good morning")
    assert found.detail["a"] == pytest.approx(found.detail["b"], abs=0.15)
    assert found.detail["c"] < found.detail["a"]


def test_small_talk_of_one_house_is_the_business_of_another(encode: encoder.Encoder) -> None:
    flights = {"flight": ["I want to book a flight to Rome", "a flight to Berlin please"], "car": ["rent me a car"]}
    assert "I want to book a flight to Berlin" in topic.background()
    assert topic.judge(encode, flights)("I want to book a flight to Berlin").label == "flight"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=12))
def test_any_turns_get_a_finding(analyse: topic.TopicAnalyser, said: list[str]) -> None:
    found = topic.Judge(analyse)(said)
    assert found.label in {"none", *PHRASES}
    assert 0 <= found.score <= 1


def test_learning_needs_no_second_reading() -> None:
    whole = encoder.load()
    learnt = topic.learn(lambda texts: whole(texts), SUBJECTS, topic.background())
    assert learnt.meaning.anchors.shape[1] == encoder.DIMENSIONS


def test_a_topic_learns_how_its_articles_are_asked_for(encode: encoder.Encoder) -> None:
    knowledge = Knowledge.load(models.KNOWLEDGE)
    plain = tuple(knowledge.topics.values())
    taught = topic.taught(plain, knowledge.articles.values())
    assert [each.id for each in taught] == [each.id for each in plain]
    assert all(set(less.examples) <= set(more.examples) for less, more in zip(plain, taught, strict=True))
    assert sum(len(each.examples) for each in taught) <= sum(len(each.examples) for each in plain) + topic.MOST_ASKED
    article = knowledge.articles["account-locked"]
    learnt = next(each for each in taught if each.id == article.topics[0])
    assert set(article.asked[:5]) & set(learnt.examples)


def test_of_very_many_ways_of_asking_some_of_every_topic_are_taken() -> None:
    knowledge = Knowledge.load(models.KNOWLEDGE)
    much = [msgspec.structs.replace(each, asked=each.asked * 40) for each in knowledge.articles.values()]
    taught = topic.taught(knowledge.topics.values(), much)
    before = {each.id: len(each.examples) for each in knowledge.topics.values()}
    assert sum(len(each.examples) - before[each.id] for each in taught) == topic.MOST_ASKED
    assert all(len(each.examples) > before[each.id] for each in taught)
    assert [len(each.examples) for each in topic.taught(knowledge.topics.values(), ())] == list(before.values())


def test_no_topics_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        topic.learn(encoder.load(), [], ["hello"])
