"""Sentiment of turns and of the call: plain cases, the published formula, abstaining, strange text, damaged weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assist.audio import Party, Utterance
from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript, Turn
from assist.errors import ModelMissing
from models import encoder, sentiment
from models.train import records
from models.train import sentiment as training


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
    (finding,) = analyse(heard("12 34"), so_far)
    assert finding.label == "none"
    assert finding.detail == sentiment.mood([-0.5])


def test_the_score_stands_on_a_scale_of_five_too(analyse: sentiment.SentimentAnalyser) -> None:
    finding = one(analyse, "the worst support I have ever had, I am furious")
    assert finding.detail["score_5"] == pytest.approx(5 * finding.score, abs=1e-3)
    assert finding.detail["call_5"] == pytest.approx(5 * finding.detail["call"], abs=1e-3)
    assert finding.detail["score_5"] < -3
    assert -2 < one(analyse, "my postcode is L S six").detail["score_5"] < 2


@pytest.mark.parametrize(
    ("shares", "label"),
    [
        ((0.7, 0.2, 0.1), "negative"),
        ((0.1, 0.8, 0.1), "neutral"),
        ((0.39, 0.38, 0.23), "none"),  # sure of nothing
        ((0.5, 0.1, 0.4), "none"),  # torn between the ends
        ((0.45, 0.32, 0.23), "negative"),
    ],
)
def test_it_abstains_where_it_is_unsure_or_torn(shares: tuple[float, float, float], label: str) -> None:
    assert sentiment.named(np.array(shares)) == label


def test_trend_compares_the_latest_three_with_those_before() -> None:
    assert "trend" not in sentiment.mood([0.1, 0.2, 0.3])
    assert sentiment.mood([-0.5, 0.1, 0.2, 0.3])["trend"] == pytest.approx(0.7)
    assert sentiment.mood([9.0, -0.3, -0.3, -0.3, 0.6, 0.6, 0.6])["trend"] == pytest.approx(0.9)


def test_a_turning_point_is_told_once_when_it_has_become_plain() -> None:
    scores = [0.0, -0.8, -0.8, -0.8, 0.7, 0.7, 0.7, 0.7]
    told = [(n, mood) for n in range(1, len(scores) + 1) if "turned" in (mood := sentiment.mood(scores[:n], True))]
    assert [(n, mood["turned"]) for n, mood in told] == [(3, -1.0), (6, 1.0)]
    assert told[0][1]["turned_ago"] == 2
    assert told[1][1]["turned_ago"] == 2, "the mood was lowest after the fourth turn"
    assert "turned" not in sentiment.mood(scores[:3]), "an agent's turn does not tell it again"


def test_one_outburst_early_in_a_call_turns_nothing() -> None:
    scores = [0.1, 0.0, -0.9, -0.2, 0.0, 0.1, 0.9]
    assert [sentiment.mood(scores[:n])["turns"] for n in range(1, len(scores) + 1)] == [0.0] * len(scores)


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_turning_points_alternate_and_lie_where_the_curve_was_extreme(levels: list[float]) -> None:
    found = sentiment.turning_points(levels)
    for extreme, plain_at, way in found:
        assert 0 <= extreme < plain_at < len(levels)
        assert way * (levels[plain_at] - levels[extreme]) >= sentiment.SWING
    assert all(left[2] == -right[2] and left[0] < right[0] for left, right in itertools.pairwise(found))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_the_mood_stays_on_its_scales(scores: list[float]) -> None:
    mood = sentiment.mood(scores, True)
    assert -1 <= mood["call"] <= 1
    assert -2 <= mood.get("trend", 0.0) <= 2


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


@pytest.mark.parametrize(
    "text",
    [
        "ich warte seit zwei stunden auf meine bestellung und niemand hilft mir",
        "llevo tres horas esperando y nadie me ayuda con mi pedido",
        "je suis très déçu du service que vous avez fourni aujourd'hui",
        "ho aspettato tre ore e nessuno mi ha risposto al telefono",
        "Где моя посылка, жду три недели",
        "我的包裹还没有到",
        "ich komme nicht rein",
        "geht nicht",
        "mi teléfono no funciona",
        "no quiero esperar más",
        "je n'ai rien reçu",
        "non voglio aspettare",
        "isso não serve",
        "ik wacht nog steeds",
        "nie mam czasu",
        "kaise karu bhai",
        "🙂 🙂",
        "",
    ],
)
def test_what_is_not_english_gets_no_label(analyse: sentiment.SentimentAnalyser, text: str) -> None:
    assert one(analyse, text).label == "none"


@pytest.mark.parametrize(
    "text",
    [
        "no no no",
        "oh um I I mean",
        "Ada Santos",
        "El Paso",
        "my mum, Maria de la Cruz",
        "Los Angeles to San Diego",
        "zip nine four five Hayward CA",
        "AT and T",
        "four two seven one",
        "yeah nah",
        "a café on the Rue",
        "will do",
        "me too",
        "so so",
        "Mon to Fri",
        "per month",
    ],
)
def test_what_is_short_stays_english(text: str) -> None:
    assert sentiment.legible(text)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("the lady was so friendly but I still have no refund", "negative"),
        ("I had to call twice but you were wonderful and it works now", "positive"),
        ("I've had enough of this", "negative"),
        ("I'd be delighted if you'd finally send somebody", "negative"),
        ("great, and what do I do with the old box", "neutral"),
        ("no thanks", "neutral"),
        ("excuse me", "neutral"),
        ("top marks, I'm chuffed to bits", "positive"),
    ],
)
def test_a_telling_word_does_not_tell_all(analyse: sentiment.SentimentAnalyser, text: str, label: str) -> None:
    assert one(analyse, text).label == label


def test_what_stands_at_the_end_of_a_long_turn_is_read(analyse: sentiment.SentimentAnalyser) -> None:
    facts = "my postcode is L S six and the order number is four seven two one. " * 12
    anger = "this is the worst support I have ever had, nobody called me back and I am furious about it"
    assert one(analyse, facts).label == "neutral"
    assert one(analyse, facts + anger).label == "negative"
    assert one(analyse, f"{anger}. {facts}").label == "negative"


def test_at_most_two_parts_are_read() -> None:
    assert sentiment.parts("it was kind, but it broke, but it is back now") == [
        "it was kind, but it broke, but it is back now",
        "it is back now",
    ]
    assert sentiment.parts("but it never came") == ["but it never came"]
    assert [len(part.split()) for part in sentiment.parts("nice but slow " * 5000)] == [80, 30]


def test_handles_links_and_marks_go_and_speech_stays_as_it_is() -> None:
    assert sentiment.plain("@shop my parcel\nis  late #fail https://x.y/z") == "my parcel is late fail"
    assert sentiment.plain("I can't hear you, sorry") == "I can't hear you, sorry"


def test_one_line_judges_a_text_and_the_last_of_many_turns() -> None:
    judge = sentiment.judge(encoder.load())
    assert judge("great, it works perfectly now").label == "positive"
    turns = ["you lost my parcel and nobody called me back", "the number is four two", "great, it works perfectly now"]
    finding = judge(turns)
    assert (finding.label, finding.evidence.utterance) == ("positive", "u3")
    assert -1 < finding.detail["call"] < finding.score
    assert judge([]).label == "none"
    assert judge(["great, thank you"] * 500).detail["call"] > 0.5


def test_a_head_of_another_encoder_is_refused() -> None:
    def read(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 384), np.float32)

    with pytest.raises(ModelMissing, match="trained on"):
        sentiment.load(read)


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
        parts = dict.fromkeys(("w1", "b1", "w2", "b2", "words"), one_by_one)
        np.savez(file, **parts, temperature=1.0, reads="")  # type: ignore[arg-type]
    with pytest.raises(ModelMissing, match="git checkout"):
        sentiment.load(encoder.load(), file)


def test_what_is_held_out_of_the_turned_is_not_trained_on() -> None:
    taught = {training.spoken(text) for text, _, _ in records.service_turned(20, 1)}
    held_out = records.service_turned(5, 2, held_out=True)
    assert {kind for _, _, kind in held_out} == {kind for _, _, kind in records.service_turned(1, 1)}
    assert not [text for text, _, _ in held_out if training.spoken(text) in taught]


def test_nothing_judged_is_trained_on() -> None:
    said = [*records.service_phrases(), *records.service_patterns(20, 1), *records.service_messages(20, 1)]
    turned = [text for text, _, _ in records.service_turned(20, 1)]
    taught = {training.spoken(text) for text in [*(text for text, _ in said), *records.service_irony(20, 1), *turned]}
    assert not [text for text, _ in records.service_judged() if training.spoken(text) in taught]
