"""What a call costs, learnt, and how many of them may be live."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.admission import Admission


def test_before_any_call_the_expected_cost_decides_and_then_what_is_seen() -> None:
    made = Admission(workers=2, most=0.75, typical_ms=200.0)
    expected = 0.8 / 3.5 * 1.3 * 0.2
    assert made.cost == pytest.approx(expected)
    assert made.room == pytest.approx(1.5 / expected)
    for _ in range(6_000):  # ten minutes of ten calls that each take a tenth of a worker
        made.passed(0.1, 10, 0.1)
    assert made.cost == pytest.approx(0.1, rel=0.02)
    assert made.room == pytest.approx(15, rel=0.02)
    for _ in range(6_000):
        made.passed(0.1, 0, 0.0)
    assert made.cost == pytest.approx(0.1, rel=0.02), "an empty house unlearnt what a call costs"


def test_nothing_known_and_no_limit_let_everybody_in() -> None:
    assert Admission(2, 0.75).room == math.inf
    unlimited = Admission(2, 0.0, 200.0)
    unlimited.passed(1.0, 10, 2.0)
    assert unlimited.room == math.inf


def test_who_is_refused_is_told_about_when_the_next_call_ends() -> None:
    made = Admission(2, 0.75)
    assert made.again_s(0) == 60
    assert made.again_s(10) == 18
    assert made.again_s(1_000) == 5
    for _ in range(100):
        made.ended(60.0)
    assert made.again_s(10) == 7


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 500), st.floats(0, 20)), max_size=50), st.integers(1, 64))
def test_the_cost_is_never_negative_and_room_never_less_than_nothing(
    seen: list[tuple[float, int, float]], workers: int
) -> None:
    made = Admission(workers, 0.75, 100.0)
    for seconds, calls, worked_s in seen:
        made.passed(seconds, calls, worked_s)
        assert made.cost >= 0 and made.room >= 0
