"""Waits are worked out from the true end, from the right final, and never from what came too late to count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.audio import Party
from assist.conversation import Stage, Suggestion, Transcript
from assist.events import AnyEvent, Entry, SpeechStarted, Suggested, Transcribed, Withdrawn
from benchmarks.calls import Turn
from benchmarks.follow import Received, Span, Waits, looped, measure, unaccounted_ms

BEGAN = 100.0


def at(ms: float, event: AnyEvent, **latency_ms: float) -> Received:
    """An event that came `ms` after the sender began."""
    return Received(BEGAN + ms / 1000, Entry("c", 1, int(ms), event, latency_ms))


def said(
    ms: float, start_ms: int, end_ms: int, *, stage: Stage = "final", party: Party = "customer", name: str = "u1"
) -> Received:
    transcript = Transcript(name, party, start_ms, end_ms, "words", stage=stage)
    return at(ms, Transcribed(transcript), queue=5.0, asr=100.0)


def test_a_final_counts_from_the_true_end_and_from_the_heard_end() -> None:
    waits = measure([said(2_500, 900, 2_060)], BEGAN, [Turn("customer", 1_000, 1_990, "words")])
    assert waits.final == pytest.approx([500.0]), "the frame with the sample at 1990 ms was due at 2000"
    assert waits.vad_final == pytest.approx([440.0])
    assert waits.queue_compute == [105.0]
    assert waits.unheard == 0


def test_the_last_part_of_a_turn_closes_it() -> None:
    parts = [said(2_600, 900, 2_100), said(4_500, 2_700, 4_040, name="u2")]
    turn = Turn("customer", 1_000, 4_000, "words")
    assert measure(parts, BEGAN, [turn]).final == pytest.approx([500.0])
    early = measure(parts[:1], BEGAN, [turn])
    assert (early.final, early.unheard) == ([], 1), "an earlier part is not taken for the end"


def test_the_other_party_does_not_close_a_turn() -> None:
    turn = Turn("agent", 1_000, 2_000, "words")
    assert measure([said(2_500, 900, 2_060)], BEGAN, [turn]).unheard == 1


def test_suggestions_count_from_the_end_of_their_turn() -> None:
    card = Suggestion("s1", "article", "a", "title", "why", 0.9)
    log = [said(2_500, 900, 2_060), at(2_520, Suggested("u1", (card,)))]
    waits = measure(log, BEGAN, [Turn("customer", 1_000, 2_000, "words")])
    assert waits.suggestion == pytest.approx([520.0])
    assert waits.vad_suggestion == pytest.approx([460.0])


def test_cards_count_as_there_before_their_final_unless_they_were_taken_back() -> None:
    card = Suggestion("s1", "article", "a", "title", "why", 0.9)
    before, final = at(2_350, Suggested("u1", (card,))), said(2_500, 900, 2_060)
    turn = Turn("customer", 1_000, 2_000, "words")
    assert measure([before, final], BEGAN, [turn]).cards_before == [True]
    assert measure([before, final], BEGAN, [turn]).suggestion == pytest.approx([350.0])
    withdrawn = at(2_400, Withdrawn("u1"))
    assert measure([before, withdrawn, final], BEGAN, [turn]).cards_before == []
    again = at(2_520, Suggested("u1", (card,)))
    assert measure([before, withdrawn, final, again], BEGAN, [turn]).cards_before == [False]


def test_first_words_count_from_the_onset() -> None:
    log = [said(1_700, 760, 1_600, stage="partial"), said(2_400, 760, 2_300, stage="partial")]
    assert measure(log, BEGAN, [Turn("customer", 1_000, 3_000, "words")]).first_partial == pytest.approx([680.0])
    told = [at(860, SpeechStarted("customer", 760)), *log]
    assert measure(told, BEGAN, []).first_partial == pytest.approx([920.0]), "without a script: the told onset"


def test_a_cut_for_length_has_no_end_to_count_from() -> None:
    log = [said(10_500, 0, 7_000), said(12_000, 7_000, 11_500, name="u2")]
    waits = measure(log, BEGAN, [])
    assert waits.cuts == 1
    assert waits.vad_final == pytest.approx([500.0])
    assert len(waits.queue) == 2


def test_only_speech_that_ended_in_the_span_counts() -> None:
    log = [said(2_500, 900, 2_060), said(4_500, 2_700, 4_040, name="u2")]
    turns = [Turn("customer", 1_000, 2_000, "words"), Turn("customer", 3_000, 4_000, "words")]
    waits = measure(log, BEGAN, turns, Span(BEGAN + 3, BEGAN + 5))
    assert (len(waits.final), len(waits.vad_final), waits.unheard) == (1, 1, 0)


def test_waits_of_several_calls_add_up() -> None:
    whole = Waits()
    for _ in range(3):
        whole.add(measure([said(2_500, 900, 2_060)], BEGAN, [Turn("customer", 1_000, 2_000, "words")]))
    assert (len(whole.final), len(whole.queue)) == (3, 3)


@given(first=st.integers(0, 499), until_ms=st.integers(0, 60_000))
def test_a_looped_call_repeats_whole_turns(first: int, until_ms: int) -> None:
    turns = [Turn("agent", 500, 3_000, "one"), Turn("customer", 4_000, 9_500, "two")]
    found = looped(turns, 10_000, first, until_ms)
    assert all(0 <= turn.start_ms < until_ms for turn in found)
    for turn in found:
        (source,) = [t for t in turns if t.text == turn.text]
        assert turn.end_ms - turn.start_ms == source.end_ms - source.start_ms
        assert (turn.start_ms + first * 20 - source.start_ms) % 10_000 == 0
    assert len(found) >= 2 * (max(0, until_ms - 10_000) // 10_000)


def test_audio_that_the_books_never_saw_is_unaccounted() -> None:
    books = {"agent": {"gap_ms": 0.0, "received_ms": 1_000.0}, "customer": {"gap_ms": -20.0, "received_ms": 980.0}}
    assert unaccounted_ms(books, 1_000.0) == 40.0
