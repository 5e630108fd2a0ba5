"""A language is settled once for each party, never without sound enough, and few are remembered. It hears nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models import tongue
from models.tongue import Tongues

ENGLISH = [("en", 0.9), ("cy", 0.1)]
GERMAN = [("de", 0.9), ("en", 0.1)]
UNSURE = [("en", 0.4), ("de", 0.35), ("nl", 0.25)]
CUSTOMER, AGENT = ("c1", "customer"), ("c1", "agent")


def test_a_sure_language_is_settled_after_three_seconds() -> None:
    tongues = Tongues()
    assert tongues.hear(CUSTOMER, ENGLISH, 2.0, firm=True) == "en"
    assert tongues.fixed(CUSTOMER) is None
    tongues.hear(CUSTOMER, ENGLISH, 2.0, firm=True)
    assert tongues.fixed(CUSTOMER) == "en"
    assert tongues.fixed(AGENT) is None
    assert tongues.hear(CUSTOMER, GERMAN, 10.0, firm=True) == "en"  # two workers may have asked at once


def test_an_unsure_one_takes_longer_and_is_settled_all_the_same() -> None:
    tongues = Tongues()
    for _ in range(3):
        assert tongues.hear(CUSTOMER, UNSURE, 6.0, firm=True) == "en"
        assert tongues.fixed(CUSTOMER) is None
    tongues.hear(CUSTOMER, UNSURE, 6.0, firm=True)
    assert tongues.fixed(CUSTOMER) == "en"


def test_a_yes_and_a_partial_have_no_vote() -> None:
    tongues = Tongues()
    tongues.hear(CUSTOMER, ENGLISH, 2.0, firm=True)
    for _ in range(50):
        assert tongues.hear(CUSTOMER, GERMAN, 0.5, firm=True) == "en"
        assert tongues.hear(CUSTOMER, GERMAN, 5.0, firm=False) == "en"
    assert tongues.fixed(CUSTOMER) is None


def test_a_call_without_a_name_leaves_nothing_behind() -> None:
    tongues = Tongues()
    for _ in range(10):
        assert tongues.hear(("", "customer"), GERMAN, 9.0, firm=True) == "de"
    assert len(tongues) == 0


def test_few_are_remembered_the_latest() -> None:
    tongues = Tongues()
    for n in range(tongue.REMEMBERED + 50):
        tongues.hear((f"c{n}", "customer"), GERMAN, 5.0, firm=True)
        assert tongues.fixed(("c0", "customer")) == "de"  # heard all the time
    assert len(tongues) == tongue.REMEMBERED
    assert tongues.fixed(("c1", "customer")) is None


chance = st.lists(st.tuples(st.sampled_from(["en", "de", "fr"]), st.floats(0, 1)), min_size=1, max_size=3)


@given(st.lists(st.tuples(chance, st.floats(0, 60), st.booleans()), max_size=30))
def test_once_settled_it_stays(heard: list[tuple[list[tuple[str, float]], float, bool]]) -> None:
    tongues = Tongues()
    settled: str | None = None
    for chances, seconds, firm in heard:
        said = tongues.hear(CUSTOMER, chances, seconds, firm=firm)
        assert said in {"en", "de", "fr"}
        if settled:
            assert said == tongues.fixed(CUSTOMER) == settled
        settled = tongues.fixed(CUSTOMER)
