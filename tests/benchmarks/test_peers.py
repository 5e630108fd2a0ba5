"""The comparison judges everyone by one rule, counts what failed, and ends a climb where it broke."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.calls import Turn
from benchmarks.follow import Span
from benchmarks.peers.__main__ import Asked, Found, asked_of, climb, document, show
from benchmarks.peers.judge import (
    OURS,
    WAIT_MS,
    Heard,
    Text,
    answer,
    breaks,
    figures,
    headline,
    heard,
    interval,
    ratio,
)
from benchmarks.peers.kinds import KINDS, Voice, read_loop, read_realtime_stt, read_whisper_live, running
from benchmarks.peers.play import call_of, places, play
from benchmarks.peers.serve import counted
from benchmarks.peers.serve.loop_server import Channel
from benchmarks.report import ROOT

BEGAN = 100.0
TURN = Turn("customer", 1_000, 4_000, "words")
BY_NAME = {kind.name: kind for kind in KINDS}


def text(ms: float, start_ms: float, end_ms: float, party: str = "customer") -> Text:
    return Text(party, start_ms, end_ms, BEGAN + ms / 1000)


def test_a_wait_counts_from_when_the_last_speech_was_meant_to_be_sent() -> None:
    found = heard([replace_end(3_990)], [text(4_500, 900, 4_100)], BEGAN, Span())
    assert found.waits == pytest.approx([500.0])
    assert found.failed == 0


def replace_end(end_ms: int) -> Turn:
    return Turn(TURN.party, TURN.start_ms, end_ms, TURN.text)


@pytest.mark.parametrize(
    "wrong",
    [
        text(2_600, 900, 2_100),  # an earlier part of it
        text(4_500, 900, 4_100, "agent"),
        text(9_000, 5_000, 8_000),  # the next turn
        text(500, 100, 900),  # the turn before
    ],
)
def test_what_does_not_cover_the_end_is_no_answer(wrong: Text) -> None:
    assert answer(TURN, [wrong]) is None
    found = heard([TURN], [wrong], BEGAN, Span())
    assert (found.waits, found.failed) == ([WAIT_MS], 1)


def test_the_first_final_that_covers_the_end_counts() -> None:
    first, again = text(4_500, 900, 3_700), text(6_000, 900, 4_200)
    assert answer(TURN, [again, first]) == first


def test_a_final_that_comes_too_late_has_failed() -> None:
    found = heard([TURN], [text(4_000 + WAIT_MS + 1, 900, 4_100)], BEGAN, Span())
    assert (found.waits, found.failed) == ([WAIT_MS], 1)


def test_speech_outside_the_span_does_not_count() -> None:
    assert heard([TURN], [], BEGAN, Span(BEGAN + 4.5)).waits == []


@given(st.lists(st.floats(1.0, 15_000.0), min_size=1, max_size=80))
def test_intervals_lie_within_what_was_measured(waits: list[float]) -> None:
    low, high = interval(waits, 0.95)
    assert min(waits) <= low <= high <= max(waits)
    said = figures(Heard(waits))
    assert said["p95_ms_low"] - 0.1 <= said["p95_ms"] <= said["p95_ms_high"] + 0.1


def test_an_interval_of_a_known_spread() -> None:
    waits = [float(x) for x in range(1, 1_001)]
    low, high = interval(waits, 0.5)
    assert 455 <= low <= 485, "the median's standard error is 16"
    assert 515 <= high <= 545
    assert interval([500.0] * 40, 0.95) == (500.0, 500.0)


def test_figures_of_nothing_say_so() -> None:
    said = figures(Heard())
    assert (said["turns"], said["p95_ms"], said["p95_ms_low"]) == (0, None, None)
    assert breaks(said) == "nothing heard"


@pytest.mark.parametrize(
    ("played", "why"),
    [
        (Heard([400.0] * 20), ""),
        (Heard([1_000.0] * 20), ""),
        (Heard([400.0] * 18 + [1_001.0] * 2), "p95"),
        (Heard([400.0] * 20, late_p99_ms=11.0), "sender late"),
        (Heard([400.0] * 20, refusals=["full"]), "connections refused"),
    ],
)
def test_a_step_breaks_for_a_named_reason(played: Heard, why: str) -> None:
    assert breaks(figures(played)) == why


def test_the_headline_is_the_closest_peer() -> None:
    ours, slow, slower = [500.0] * 20, [2_000.0] * 20, [5_000.0] * 20
    said = headline(
        {
            (OURS, "tiny", 4): ours,
            ("loop", "tiny", 4): slow,
            ("other", "tiny", 4): slower,
            ("loop", "tiny", 1): ours,  # only four calls count
            ("loop", "base", 4): ours,  # no figure of ours with the same weights
        },
        {(OURS, "tiny"): 24, ("loop", "tiny"): 3, ("other", "tiny"): 0},
    )
    assert said["final_p95_ratio_min"] == 4.0
    assert said["final_p95_ratios"].keys() == {"loop tiny", "other tiny"}
    assert said["final_p95_ratios"]["loop tiny"] == {"ratio": 4.0, "low": 4.0, "high": 4.0}
    assert said["capacity_ratios"] == {"loop tiny": 8.0, "other tiny": 24.0}, "none held counts as one"
    assert said["capacity_ratio_min"] == 8.0


def test_a_headline_without_peers_is_none() -> None:
    said = headline({(OURS, "tiny", 4): [500.0]}, {})
    assert (said["final_p95_ratio_min"], said["capacity_ratio_min"]) == (None, None)


def test_a_ratio_can_be_against_us() -> None:
    assert ratio([250.0] * 30, [500.0] * 30)["ratio"] == 0.5


def test_a_climb_ends_with_the_first_step_that_breaks() -> None:
    tried: list[tuple[str, int]] = []

    def step(kind: Any, calls: int) -> dict[str, Any] | None:
        tried.append((kind.name, calls))
        if kind.name == "whisper-live":
            return None
        return {"broke": "p95" if kind.name == "loop" and calls == 2 else ""}

    kinds = [BY_NAME[name] for name in (OURS, "loop", "whisper-live")]
    assert climb([1, 2, 3], kinds, step) == {OURS: 3, "loop": 1}
    assert tried.count(("loop", 3)) == 0
    assert tried.count(("whisper-live", 2)) == 0
    assert tried[:3] == [(OURS, 1), ("loop", 1), ("whisper-live", 1)], "step by step, one after the other"


def test_every_call_begins_where_it_does_for_everyone() -> None:
    assert places(4, 5_000) == places(8, 5_000)[:4]
    assert len({first for first, _ in places(8, 5_000)}) == 8


def test_a_failed_peer_is_named_and_counted() -> None:
    asked = Asked(KINDS[:2], (("tiny", 4),), 1, 10.0, 10.0, (), 0, Path("camera_call"))
    found = Found({(OURS, "tiny", 4): Heard([500.0] * 20)}, failed={"loop": "it did not start"})
    said = document(asked, found, {(OURS, "tiny"): 4})
    assert said["failed_peers"] == 1
    assert said["peers"]["loop"]["failed"] == "it did not start"
    assert said["peers"][OURS]["tiny"]["final"]["4"]["p95_ms"] == 500.0
    assert "vosk-server" in said["not_comparable"]
    show(said)
    json.dumps(said, allow_nan=False)


def test_the_full_run_has_the_bigger_weights_at_four_calls_only() -> None:
    given = argparse.Namespace(
        weights="tiny,base", calls="1,4,8", peers="", repeat=1, seconds=40.0, step_seconds=20.0, most=32, quick=False,
        call=Path("c"), out=None,
    )  # fmt: skip
    asked = asked_of(given)
    assert asked.rounds == (("tiny", 1), ("tiny", 4), ("tiny", 8), ("base", 4))
    assert asked.ramp == ("tiny",)
    given.peers = "nobody"
    with pytest.raises(ValueError, match="nobody"):
        asked_of(given)


def test_whisper_live_segments_count_once_and_only_when_completed() -> None:
    voice = Voice("agent")
    open_one = {"start": "3.000", "end": "4.100", "text": "b", "completed": False}
    done = {"start": "0.500", "end": "2.900", "text": "a", "completed": True}
    assert read_whisper_live({"segments": [done, open_one]}, voice) == [(500.0, 2_900.0)]
    assert read_whisper_live({"segments": [done, open_one]}, voice) == []
    assert read_whisper_live({"segments": [done, {**open_one, "completed": True}]}, voice) == [(3_000.0, 4_100.0)]


def test_realtime_stt_finals_are_placed_on_the_calls_clock() -> None:
    voice = Voice("agent", began_wall=1_000.0)
    message = {"type": "final", "segment": {"recordingEndedAt": 1_004.0}, "timestamp": 1_004.7}
    assert read_realtime_stt(message, voice) == [(0.0, 4_000.0)]
    early = {**message, "segment": {"recordingEndedAt": None}}
    assert read_realtime_stt(early, voice)[0] == pytest.approx((0.0, 4_700.0))
    assert read_realtime_stt({**message, "type": "realtime"}, voice) == []


def test_what_the_loop_says() -> None:
    assert read_loop({"start_ms": 1, "end_ms": 2, "text": ""}, Voice("agent")) == [(1, 2)]
    assert read_loop({"ready": True}, Voice("agent")) == []


def test_the_loop_cuts_a_turn_out_of_silence(short_call: Path) -> None:
    call = call_of(short_call)
    (turn,) = call.script.turn
    channel = Channel()
    cut = [found for frame in call.alone[turn.party] if (found := channel.push(frame))]
    assert len(cut) == 1
    start_ms, end_ms, pcm = cut[0]
    assert start_ms <= turn.start_ms
    assert abs(end_ms - turn.end_ms) < 300
    assert len(pcm) // 32 == pytest.approx(end_ms - start_ms + 500, abs=20)


def log_mel(*loud: bool) -> Any:
    """Half a second of each, then padding."""
    shape = np.concatenate([np.full((80, 50), 1.0 if each else -0.5, np.float32) for each in loud], axis=1)
    return np.pad(shape, ((0, 0), (0, 3_000 - shape.shape[1])))


def test_the_sound_ends_where_the_padding_begins() -> None:
    assert counted.sound_frames(log_mel(True, False)) == 100
    assert counted.sound_frames(np.zeros((80, 3_000))) == 0


def test_segments_are_cut_at_pauses() -> None:
    features = log_mel(True, True, False, True)
    cuts = counted.pauses(features, 200)
    assert cuts == pytest.approx([1.25], abs=0.02)
    words = counted.Vocabulary(50_257)
    tokens = counted.told(7, 2.0, cuts, words, timed=True)
    stamps = [token for token in tokens if token >= words.times]
    assert stamps == [words.stamp(at) for at in (0, cuts[0], cuts[0], 2.0)]
    assert len(tokens) - len(stamps) == 7
    assert counted.told(7, 2.0, cuts, words, timed=False) == [t for t in tokens if t < words.times]


def test_more_sound_changes_no_word_that_was_said() -> None:
    words = counted.Vocabulary(50_257)
    some, more = (counted.told(n, n / 3.4, [], words, timed=False) for n in (10, 20))
    assert more[:10] == some
    assert len(set(more)) == 20
    assert counted.told(10, 3.0, [], words, timed=False, verse=1) != some


COUNTED = """
import sys, ctranslate2, numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from benchmarks.peers.serve import counted

said = []
plain = ctranslate2.models.Whisper.generate
def spy(self, features, prompts, **options):
    found = plain(self, features, prompts, **options)
    said.append([len(each.sequences_ids[0]) for each in found])
    return found
ctranslate2.models.Whisper.generate = spy
counted.install(3.4, int(sys.argv[2]))
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=1)
sound = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)
segments, _ = model.transcribe(sound, language="en")
texts = [segment.text for segment in segments]
again = [s.text for s in BatchedInferencePipeline(model).transcribe(sound, language="en", vad_filter=False,
         clip_timestamps=[{"start": 0.0, "end": 4.0}])[0]]
print(said, len(texts), len("".join(texts).split()), texts == again)
"""


def test_a_peer_decodes_once_for_as_many_tokens_as_speech_comes_to(micro: Path) -> None:
    command = [sys.executable, "-c", COUNTED, str(micro), "1024"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    # 4 s of sound: 14 tokens (3.4 a second, rounded), decoded once with five beams and once in a batch.
    assert done.stdout.startswith("[[14], [14]] 1 "), done.stdout


@pytest.mark.parametrize("kind", ["loop", "loop-greedy", OURS])
def test_a_play_over_real_sockets(kind: str, micro: Path, short_call: Path, tmp_path: Path) -> None:
    call = call_of(short_call)
    # Long enough for the recording to come round with a turn that ends after everything is warm.
    seconds = call.both.duration_ms / 1000
    with running(BY_NAME[kind], str(micro), 1, tmp_path / "server") as url:
        found = play(BY_NAME[kind], url, call, 1, seconds)
    assert found.refusals == []
    assert (len(found.waits), found.failed) == (1, 0)
    assert 240 < found.waits[0] < WAIT_MS, "no server can know earlier that a turn is over"


def test_who_does_not_start_is_no_silent_zero(micro: Path, tmp_path: Path) -> None:
    broken = replace(BY_NAME["loop"], command=lambda *_: ["/bin/false"])
    with pytest.raises(RuntimeError, match="did not start"), running(broken, str(micro), 1, tmp_path):
        pass


@pytest.mark.parametrize("kind", ["whisper-live", "realtime-stt"])
def test_peers_that_hang_up_are_refusals(kind: str, short_call: Path) -> None:
    found = play(BY_NAME[kind], "ws://127.0.0.1:9", call_of(short_call), 1, 0.1)
    assert (len(found.refusals), found.waits) == (1, [])
