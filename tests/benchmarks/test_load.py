"""The load's own arithmetic, and one small run of it: what it calls lost, grown or back to normal is so."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from assist.conversation import Transcript
from assist.events import Entry, Missing, Skipped, SpeechStarted, Transcribed
from benchmarks import load, vitals
from benchmarks.calls import Turn
from benchmarks.load import Asked, Phase, Waited


def asked(call: Path, **changes: float) -> Asked:
    given: dict[str, float] = {"minutes": 0.1, "overload": 0.0, "calm_s": 3.0, "max_calls": 0, "hold_s": 4.0, **changes}
    return Asked(
        minutes=given["minutes"],
        calls=2,
        weights="",
        scripted=True,
        call=call,
        hold_s=given["hold_s"],
        overload=given["overload"],
        calm_s=given["calm_s"],
        max_calls=int(given["max_calls"]),
        sample_s=1.0,
        seed=1,
    )


def test_calls_arrive_as_often_as_asked_and_alike_with_one_seed() -> None:
    plan = [Phase("calm", 1_000, 4), Phase("rush", 1_000, 16)]
    made = load.arrivals(plan, 20.0, 100, random.Random(1))
    assert [g.due_s for g in made] == [g.due_s for g in load.arrivals(plan, 20.0, 100, random.Random(1))]
    calm, rush = (sum(low <= g.due_s < low + 1_000 for g in made) for low in (0, 1_000))
    assert calm == pytest.approx(200, rel=0.25) and rush == pytest.approx(800, rel=0.15), "Little's law"
    held_s = [g.count * 0.02 for g in made]
    assert min(held_s) >= load.SHORTEST_S and max(held_s) <= load.LONGEST * 20
    for ending, share in load.ENDINGS.items():
        assert sum(g.ending == ending for g in made) / len(made) == pytest.approx(share, abs=0.05)


def entry(seq: int, event: SpeechStarted | Transcribed | Skipped | Missing) -> Entry:
    return Entry("c", seq, 0, event)


def test_speech_without_its_final_is_unanswered() -> None:
    said = Transcript("customer-1", "customer", 100, 900, "hello", stage="final")
    log = [
        entry(1, SpeechStarted("customer", 100)),
        entry(2, Transcribed(said)),
        entry(3, SpeechStarted("agent", 500)),
        entry(4, Skipped("agent", 500, 600, "too_short")),
        entry(5, SpeechStarted("customer", 2_000)),
        entry(6, Skipped("customer", 2_000, 3_000, "recogniser_failed")),
    ]
    assert load.unanswered(log) == {("customer", 2_000)}, "a failure is no final"


def test_turns_move_with_the_clock_of_the_server() -> None:
    holes = [entry(1, Missing("agent", 1_000, 1_700)), entry(2, Missing("customer", 0, 900))]
    turns = [Turn("agent", 100, 900, ""), Turn("agent", 900, 1_500, ""), Turn("agent", 1_200, 1_500, "")]
    ends = [(turn.start_ms, turn.end_ms) for turn in load.moved(turns, holes)]
    assert ends == [(100, 900), (900, 2_200), (1_900, 2_200)]


def waits(ms: float, from_s: float, to_s: float) -> list[Waited]:
    return [Waited(float(at), ms, 0.0, 0.0) for at in np.arange(from_s, to_s, 0.5)]


def test_waits_are_back_after_the_last_slow_window() -> None:
    assert load.back_s(waits(450, 0, 60), 0, 60, 500) == 0
    assert load.back_s([*waits(3_000, 0, 7), *waits(450, 7, 60)], 0, 60, 500) == 5, "the second window is half normal"
    assert load.back_s([*waits(3_000, 0, 12), *waits(450, 12, 60)], 0, 60, 500) == 10
    assert load.back_s(waits(3_000, 0, 60), 0, 60, 500) == 60, "never"
    assert load.back_s(waits(450, 0, 60), 0, 60, None) is None
    assert load.back_s(waits(450, 0, 10), 0, 60, 500) is None, "too few windows tell"


def test_drift_is_what_calls_do_not_explain() -> None:
    at_s = [float(n) for n in range(100)]
    calls = [float(n % 7 + n // 50) for n in range(100)]
    flat = [200 + 5 * n for n in calls]
    assert vitals.drift(flat, at_s, calls) == pytest.approx(0, abs=1e-6)
    assert vitals.drift([v + 0.1 * at for v, at in zip(flat, at_s, strict=True)], at_s, calls) == pytest.approx(9.9)
    assert vitals.tenths([1.0] * 50 + [3.0] * 50) == (1, 3)


def test_lag_is_read_from_what_came_between_two_looks() -> None:
    def counts(*below: int) -> vitals.Counts:
        lag = "assist_loop_lag_seconds_bucket"
        lines = [f'{lag}{{le="{edge}"}} {n}' for edge, n in zip(("0.005", "0.01", "+Inf"), below, strict=True)]
        return vitals.read("\n".join(["# HELP x", *lines]))

    assert vitals.lag_p99_ms(counts(0, 0, 9), counts(99, 100, 109)) == 5
    assert vitals.lag_p99_ms(counts(0, 0, 9), counts(98, 100, 109)) == 10
    assert vitals.lag_p99_ms(counts(5, 5, 5), counts(5, 5, 5)) is None
    assert vitals.named([('e_total{code="busy"}', 2.0), ('f{code="x"}', 1.0)], "e_total") == {"busy": 2}


@pytest.mark.timeout(180)
def test_a_small_load(short_call: Path, tmp_path: Path) -> None:
    document = load.run(asked(short_call, overload=2.0, max_calls=2), tmp_path)
    load.show(document)
    assert document["accepted"] > 2
    assert set(document["refused"]) <= {"busy"}
    assert document["turns"] > 0 and document["finals"] > 0
    assert (document["finals_lost"], document["gap_ms"], document["unreceived_ms"]) == (0, 0, 0)
    assert (document["faltered"], document["calls_without_books"], document["exit_status"]) == (0, [], 0)
    assert sum(document["ended"].values()) == document["accepted"]
    assert document["idle_after"]["tasks"] == document["idle_before"]["tasks"], "every task of a call ends with it"
    assert document["idle_after"]["fds"] <= document["idle_before"]["fds"] + 2
    assert {"back_to_normal_s", "refused_share", "rss_mb_growth_percent", "lag_p99_ms"} <= document.keys()
