"""The language model and dictionary: text as said, builds that repeat, nothing measured was read. It hears no audio."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import language
from models.language import (
    DICTIONARY,
    GENERAL,
    KNOWLEDGE,
    TRIGRAMS,
    WEIGHTS,
    build,
    knowledge_text,
    phrases,
    write,
)
from models.language_general import read_dictionary
from models.ngram import read_arpa
from models.spoken import number_words, spoken

CALLS = Path(__file__).parents[2] / "benchmarks" / "calls"


@pytest.fixture(scope="module")
def built() -> language.Built:
    return build(KNOWLEDGE, read_arpa(WEIGHTS / GENERAL))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Open Settings › Apps.", ["open settings", "apps"]),
        ("It’s OK: 30-day returns", ["it's okay", "thirty day returns"]),
        ("£10 off, 25%", ["ten pounds off twenty five percent"]),
        ("£7.99 a month", ["seven pounds ninety nine a month"]),
        ("call 0845 or 1,250", ["call zero eight four five or one thousand two hundred and fifty"]),
        ("?!", []),
    ],
)
def test_text_is_written_as_it_is_said(text: str, said: list[str]) -> None:
    assert [" ".join(sentence) for sentence in spoken(text)] == said


@given(st.text())
def test_any_text_becomes_words(text: str) -> None:
    for sentence in spoken(text):
        assert sentence
        for word in sentence:
            assert re.fullmatch(r"[a-z]+([a-z']*[a-z])?", word)


@given(st.integers(0, 999_999))
def test_numbers_are_said_apart(number: int) -> None:
    assert number == 0 or number_words(number) != number_words(number - 1)


def test_identifiers_and_links_are_not_said() -> None:
    said = {" ".join(sentence) for text in knowledge_text(KNOWLEDGE) for sentence in spoken(text)}
    assert "camera_fault" not in said and "camera fault" in said  # the label is, the id is not
    assert "check identity first" in said
    assert "check_identity" not in said


def test_slots_are_filled() -> None:
    assert not [word for sentence in phrases() for word in sentence if "{" in word or "=" in word]


def test_every_word_of_the_knowledge_base_has_a_pronunciation(built: language.Built) -> None:
    assert not built.unpronounced, "add these to knowledge_base/pronunciations.dict"


def test_model_and_dictionary_cover_each_other(built: language.Built) -> None:
    assert built.model.words - {"</s>"} == set(built.dictionary)


def test_shipped_weights_read_and_cover_each_other() -> None:
    dictionary = read_dictionary(WEIGHTS / DICTIONARY)
    assert read_arpa(WEIGHTS / TRIGRAMS).words - {"</s>"} == set(dictionary)
    assert {"camera", "northgate", "postcode", "refund"} <= set(dictionary)


def test_a_build_repeats_itself(tmp_path: Path, built: language.Built) -> None:
    write(built, tmp_path)
    first = [(tmp_path / name).read_bytes() for name in (TRIGRAMS, DICTIONARY)]
    write(build(KNOWLEDGE, read_arpa(WEIGHTS / GENERAL)), tmp_path)
    assert [(tmp_path / name).read_bytes() for name in (TRIGRAMS, DICTIONARY)] == first


def test_a_missing_pronunciation_is_reported(tmp_path: Path) -> None:
    (tmp_path / "topics.toml").write_text('[[topic]]\nid = "x"\nexamples = ["my frobnicator is black"]\n')
    made = build(tmp_path, read_arpa(WEIGHTS / GENERAL, words={"my", "is", "black"}))
    assert made.unpronounced == {"frobnicator": 1}
    assert "frobnicator" not in made.dictionary
    (tmp_path / "pronunciations.dict").write_text("frobnicator  F R AA B N IH K EY T ER\n")
    assert "frobnicator" in build(tmp_path, read_arpa(WEIGHTS / GENERAL, words={"my", "is", "black"})).dictionary


def test_the_model_has_not_read_what_it_is_measured_on() -> None:
    """Agents may read playbook lines out; what the customer says, and the held-out list, is new to the model."""
    script = tomllib.loads((CALLS / "camera_call" / "script.toml").read_text())
    measured = [turn["text"] for turn in script["turn"] if turn["party"] == "customer"]
    measured += (CALLS / "held_out.txt").read_text().splitlines()
    read = {sentence for text in knowledge_text(KNOWLEDGE) for sentence in spoken(text)} | set(phrases())
    assert not [sentence for text in measured for sentence in spoken(text) if len(sentence) > 6 and sentence in read]
