"""Overlap counts shared words and letters by how rare they are, and takes any text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.overlap import Overlap, Spans, letters, words

TEXTS = (
    [(3.0, ["Router lights"]), (1.0, ["The red light means no line.", "Restart the router."])],
    [(3.0, ["Cracked screen"]), (1.0, ["A cracked screen is repaired in a shop."])],
    [(3.0, ["Refund"]), (1.0, [])],
)
ALL = np.arange(len(TEXTS))


@pytest.fixture(scope="module")
def by_words() -> Overlap:
    return Overlap(TEXTS, words)


def test_the_text_that_holds_the_words_has_the_greatest_share(by_words: Overlap) -> None:
    assert by_words([("my router has a red light", 1.0)], ALL).argmax() == 0
    assert by_words([("it's cracked", 1.0)], ALL).argmax() == 1
    assert by_words([("cracked", 1.0)], np.array([0, 2])).tolist() == [0.0, 0.0]


def test_words_nobody_holds_lower_every_share(by_words: Overlap) -> None:
    plain, vague = (by_words([(text, 1.0)], ALL)[1] for text in ("cracked screen", "cracked screen of a submarine"))
    assert 0 < vague < plain < 1


def test_turns_count_by_their_weight(by_words: Overlap) -> None:
    shares = by_words([("cracked", 1.0), ("router", 0.1)], ALL)
    assert shares[1] > shares[0] > 0
    assert by_words([("cracked", 0.0)], ALL).tolist() == [0.0, 0.0, 0.0]


def test_misheard_words_still_share_letters() -> None:
    by_letters = Overlap([fields[:1] for fields in TEXTS], letters)
    assert by_letters([("rooter flights", 1.0)], ALL).argmax() == 0


def test_the_rarest_words_come_first_and_frequent_ones_not_at_all() -> None:
    held = Overlap([[(1.0, ["phone screen"])], [(1.0, ["phone"])], [(1.0, ["phone bill"])]], words)
    assert held.rarest({"phon", "screen", "boat"}, 10) == ["screen", "phon"]
    assert held.rarest({"phon", "screen", "boat"}, 1) == ["screen"]
    assert held.rarest({"phon"}, 1) == ["phon"]
    assert held.rarest({"boat"}, 10) == []


def test_spans_give_the_rows_of_what_was_chosen() -> None:
    spans = Spans(np.array([0, 2, 2, 5]))
    runs, cuts = spans.runs(np.array([2, 1, 0]))
    assert [row for run in runs for row in range(5)[run]] == [2, 3, 4, 0, 1]
    assert cuts.tolist() == [0, 3, 3]
    assert spans.runs(np.zeros(0, dtype=np.intp))[0] == []


@given(st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=3), st.lists(st.text(), max_size=3))
def test_any_text_gives_shares(said: list[tuple[str, float]], texts: list[str]) -> None:
    for terms in (words, letters):
        overlap = Overlap([[(2.0, [text])] for text in texts], terms)
        shares = overlap(said, np.arange(len(texts)))
        assert shares.shape == (len(texts),)
        assert ((shares >= 0) & (shares <= 1 + 1e-6)).all()
