"""Phrases are found through fillers, endings and a recogniser's small mistakes, and not where they were not said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.phrase import content, find, find_any, gist, tokens

SAID = [
    ("speak to a manager", "I want to, uh, speak to the manager please"),
    ("speak to a manager", "just let me speak with a manger"),  # one letter lost
    ("cancel my contract", "I'm cancelling that contract today"),
    ("your account number", "could you give me your, erm, account number"),
    ("how can i help you", "How may I help you today?"),
    ("restart the device", "have you restarted your device"),
    ("never again", "Never again will I come here"),
    ("can't afford", "I can’t really afford it"),
]
NOT_SAID = [
    ("speak to a manager", "I managed to speak to my mother"),
    ("never again", "the email never arrives"),
    ("ordered in my name", "my name is Maria"),
    ("change my plan", "you charge me for the plan"),
    ("called last week", "I bought it last week"),
    ("calm down", "the line is down"),
    ("not my job", "it is not working"),
    ("your postcode", ""),
]


@pytest.mark.parametrize(("phrase", "text"), SAID)
def test_said_loosely_is_found(phrase: str, text: str) -> None:
    assert find(phrase, text) is not None


@pytest.mark.parametrize(("phrase", "text"), NOT_SAID)
def test_not_said_is_not_found(phrase: str, text: str) -> None:
    assert find(phrase, text) is None


def test_span_points_at_the_words() -> None:
    text = "Well, I want to speak to a manager, now!"
    span = find("speak to a manager", text)
    assert span is not None
    assert text[span.start : span.end] == "speak to a manager"


def test_find_any_gives_the_first_that_is_said() -> None:
    text = "thanks, your postcode please"
    span = find_any(("your account number", "your postcode"), text)
    assert span is not None
    assert text[span.start : span.end] == "your postcode"


@given(st.text(), st.text())
def test_any_text_is_taken_and_spans_lie_inside(phrase: str, text: str) -> None:
    span = find(phrase, text)
    assert span is None or 0 <= span.start < span.end <= len(text)


@given(st.lists(st.sampled_from(["camera", "black", "manager", "refund", "never"]), min_size=1))
def test_a_phrase_with_content_is_found_in_itself(words: list[str]) -> None:
    phrase = " ".join(words)
    assert find(phrase, f"um {phrase} okay") is not None


@given(st.text(), st.integers(1, 12))
def test_a_gist_is_short_and_holds_a_telling_word(text: str, most: int) -> None:
    span = gist(text, most_words=most)
    assert (span is None) == (not content(text))
    if span:
        assert 1 <= len(tokens(text[span.start : span.end])) <= most
        assert content(text[span.start : span.end])


def test_a_gist_prefers_the_words_that_tell() -> None:
    text = "my sister came over on Sunday and the camera only shows a black screen again"
    span = gist(text, ["camera", "black", "screen"])
    assert span is not None
    assert text[span.start : span.end] == "camera only shows a black screen"
