"""Each benchmark runs, small: its document has the promised keys and its books add up. No figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import capacity, encoder, hotpath, latency
from benchmarks.calls import script_of
from benchmarks.follow import Waits
from benchmarks.report import ROOT


def test_the_hot_path() -> None:
    document = hotpath.measure(1)
    hotpath.show(document)
    assert {"mind_p50_ms", "mind_p95_ms", "frame_mean_us"} <= document.keys()
    for stage in hotpath.STAGES:
        assert document["stages_ms"][stage]["n"] > 0, stage
        assert document[f"{stage}_p95_ms"] > 0, stage
    assert document["articles"] >= 100
    assert document["stages_ms"]["mind"]["n"] == document["turns"]
    paid = document["stages_ms"]
    assert paid["sentiment"]["p50"] > paid["encode"]["p50"] / 2, "no text of the call before is remembered"
    assert document["suggestions"] > 0, "what is timed is a mind that has something to say"


def test_ways_to_make_whisper_cheaper(micro: Path) -> None:
    groups = encoder.measure(str(micro), 1)
    assert {"encode 10 s", "encode 12 s", "mel 3 s"} <= groups["encode"].keys()
    assert {"generate", "draft, nothing kept", "draft, all good"} <= groups["generate"].keys()
    assert groups["batch 3 s"].keys() == {f"{kind} 3 s x {n}" for kind in ("whole", "trimmed") for n in (1, 2, 4)}
    assert groups["encode"]["encode 30 s"] > groups["encode"]["encode 10 s"] > 0


def test_what_a_loop_takes_for_a_message(tmp_path: Path) -> None:
    given = ["--rate", "500", "--hold_s", "2", "--repeat", "1", "--out", str(tmp_path)]
    said = subprocess.check_output([sys.executable, "-m", "benchmarks.sockets", *given], cwd=ROOT, text=True)
    document = json.loads(said.splitlines()[-1])
    assert len(document["loops"]) >= 2
    for kind, each in document["loops"].items():
        assert each["rate"] == pytest.approx(500, rel=0.6), kind
        assert 0 <= each["system_us"] <= each["us"], kind


def asked(weights: Path, call: Path, *, noise: bool = False) -> latency.Asked:
    return latency.Asked("whisper", str(weights), call, 1, noise)


def test_latency_with_the_words_of_the_script(micro: Path, short_call: Path, tmp_path: Path) -> None:
    document = latency.run(asked(micro, short_call), tmp_path)
    latency.show(document)
    assert document["engine"] == ("scripted words.json at the cost of whisper-micro RANDOM WEIGHTS int8 window=fit")
    assert (document["weights"], document["end_of_speech"]) == ("random-micro", "script")
    assert (document["turns"], document["turns_unheard"], document["final_n"]) == (1, 0, 1)
    assert document["final_p50_ms"] > 100
    assert document["vad_final_p50_ms"] > 100
    assert document["compute_p50_ms"] > 0
    assert document["unaccounted_ms"] == 0
    for key in ("final_p95_ms", "suggestion_p95_ms", "first_partial_p50_ms"):
        assert key in document


@pytest.mark.parametrize(
    ("recogniser", "noise", "kind"), [("whisper", True, "whisper"), ("scripted", False, "scripted")]
)
def test_what_the_server_is_told(
    recogniser: str, noise: bool, kind: str, micro: Path, short_call: Path, tmp_path: Path
) -> None:
    given = latency.Asked(recogniser, str(micro), short_call, 1, noise)
    told = latency.settings(given, script_of(short_call), tmp_path)
    assert told["ASSIST_RECOGNISER_KIND"] == kind
    assert ("ASSIST_RECOGNISER_TOKENS_PER_S" in told) == (kind == "whisper")


def test_capacity_of_two_calls(micro: Path, short_call: Path, tmp_path: Path) -> None:
    given = capacity.Asked(
        str(micro), short_call, start=2, step=2, most=2, hold_s=3.5, settle_s=1.0, partials=False, seed=1
    )
    document = capacity.run(given, tmp_path)
    capacity.show(document)
    (step,) = document["steps"]
    assert step["finals"] > 0
    assert step["queue_compute_p95_ms"] > 0
    assert (step["refused"], step["faltered"]) == (0, 0)
    assert document["unaccounted_ms"] == 0
    assert document["calls_without_books"] == []
    assert {"calls", "p95_ms", "final_p95_ms", "stopped_by"} <= document.keys()


def waited(queue_compute_ms: float, count: int = 20, unheard: int = 0) -> Waits:
    return Waits(queue_compute=[queue_compute_ms] * count, unheard=unheard)


@pytest.mark.parametrize(
    ("waits", "late_ms", "refused", "faltered", "broke"),
    [
        (waited(400), 2.0, 0, 0, ""),
        (waited(1_001), 2.0, 0, 0, "p95"),
        (waited(400, unheard=2), 2.0, 0, 0, "p95"),
        (waited(400), 11.0, 0, 0, "sender late"),
        (waited(400), 2.0, 1, 0, "calls refused"),
        (waited(400), 2.0, 0, 1, "transcriptions failed"),
        (waited(400, count=0), 2.0, 0, 0, "nothing heard"),
    ],
)
def test_a_step_breaks_for_a_named_reason(
    waits: Waits, late_ms: float, refused: int, faltered: int, broke: str
) -> None:
    assert capacity.judged(waits, late_ms, refused, faltered)["broke"] == broke
