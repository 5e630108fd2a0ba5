"""Which words a recogniser is told to expect: the knowledge base's own first, each once. It hears nothing."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from models.keywords import Hint, keywords
from models.language import KNOWLEDGE


def test_what_no_dictionary_has_comes_first_then_names_then_keywords() -> None:
    found = keywords(KNOWLEDGE)
    assert len({word.lower() for word in found}) == len(found) > 100
    assert found.index("eSIM") < found.index("Northgate") < found.index("locked")


def test_a_folder_without_articles_gives_none(tmp_path: Path) -> None:
    assert keywords(tmp_path) == ()


@given(st.lists(st.text(min_size=1, max_size=8), max_size=30), st.integers(0, 60))
def test_no_more_is_spent_than_may_be(words: list[str], most: int) -> None:
    spent = Hint(tuple(words), most).spent(lambda text: list(text.encode()))
    assert len(spent) <= most
    text = bytes(spent).decode()
    assert not text or text.strip(" ").startswith(words[0].strip(" "))
