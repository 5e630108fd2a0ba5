"""What words say about whether their speaker will go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.conversation import Transcript
from assist.outlook import outlook


def said(text: str, probability: float | None = 0.9, language: str = "en") -> Transcript:
    return Transcript("u1", "customer", 0, 1_000, text, (), language, "speculative", probability)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("My camera shows a black screen.", "ended"),
        ("Can you help me?", "ended"),
        ("Really?”", "ended"),
        ("My camera shows a black screen", "unknown"),
        ("I wanted to ask about the", "open"),
        ("It worked yesterday, but", "open"),
        ("I mean, uh", "open"),
        ("My number is 47", "open"),
        ("My number is 4 7.", "open"),
        ("It is four seven", "open"),
        ("That is spelled b e", "open"),
        ("I have 1", "unknown"),
        ("I waited for ages...", "unknown"),
        ("", "unknown"),
        ("?!", "unknown"),
    ],
)
def test_how_a_text_sounds(text: str, wanted: str) -> None:
    assert outlook(said(text), "", rough=False) == wanted


def test_an_end_needs_a_sure_text_that_the_last_partial_led_to() -> None:
    whole = "My camera shows a black screen."
    assert outlook(said(whole), "my camera shows a bl", rough=False) == "ended"
    assert outlook(said(whole), "my camel shows a", rough=False) == "unknown", "the words were not settled"
    assert outlook(said(whole, 0.4), "", rough=False) == "unknown"
    assert outlook(said(whole, None), "", rough=False) == "unknown", "nobody vouches for it"


def test_rough_text_and_other_languages_hold_nothing_back() -> None:
    assert outlook(said("I wanted to ask about the"), "", rough=True) == "unknown"
    assert outlook(said("Das ist so", language="de"), "", rough=False) == "unknown"
    assert outlook(said("Das ist gut.", language="de"), "", rough=False) == "ended"


@given(st.text(max_size=200), st.text(max_size=200), st.floats(0, 1) | st.none())
def test_any_text_has_an_outlook(text: str, before: str, probability: float | None) -> None:
    assert outlook(said(text, probability), before, rough=False) in ("ended", "open", "unknown")
