"""README and chart say of other servers what the kept result says, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chart import CHART, CLOSE, NOT_YET, OPEN, README, markdown, newest, replaced, svg
from benchmarks.peers.__main__ import Asked, Found, document
from benchmarks.peers.judge import OURS, Heard, breaks, figures
from benchmarks.peers.kinds import KINDS


def made(**changed: Any) -> dict[str, Any]:
    """A small result: ours and the loop at four calls, the loop failing three turns; WhisperLive not installed."""
    found = Found(failed={"whisper-live": "not installed: no network"})
    found.heard = {
        (OURS, "tiny", 4): Heard([480.0] * 19 + [540.0]),
        ("loop", "tiny", 4): Heard([2_000.0] * 17 + [15_000.0] * 3, failed=3),
    }
    for cell, heard in found.heard.items():
        found.steps[cell] = {**figures(heard), "broke": breaks(figures(heard))}
    asked = Asked(KINDS[:3], (("tiny", 4),), 1, 40.0, 20.0, ("tiny",), 4, Path("camera_call"))
    said = document(asked, found, {(OURS, "tiny"): 4, ("loop", "tiny"): 0})
    machine = {"cpu": "a < b", "cores": 2, "commit": "abc"}
    return {"at": "2026-11-25T22:00:00+00:00", "quiet": True, **said, "machine": machine, **changed}


def test_readme_says_what_the_result_says() -> None:
    said, readme = newest(), README.read_text("utf-8")
    assert replaced(readme, markdown(said)) == readme, "python -m benchmarks.chart"
    if said is not None:
        assert CHART.read_text("utf-8") == svg(said), "python -m benchmarks.chart"


def test_the_table() -> None:
    text = markdown(made())
    assert "| this server, plain dialect, as it ships | 480 / 480 | 4 (not broken) |" in text
    assert "| 2000 / 15000, 3 of 20 failed | 0 |" in text
    assert "whisper-live could not be run: not installed: no network" in text
    assert "nearest (loop tiny) is 31.25 times ours" in text
    assert "at least 4 times as many" in text
    assert "NOT a quiet machine" not in text
    assert "NOT a quiet machine" in markdown(made(quiet=False))


def test_nothing_measured_is_said() -> None:
    assert markdown(None) == NOT_YET


def test_the_newest_result_counts(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for day in ("2026-01-02", "2026-11-01"):
        (tmp_path / f"peers-{day}.json").write_text(f'{{"at": "{day}"}}')
    assert newest(tmp_path) == {"at": "2026-11-01"}


def test_the_chart_is_well_formed_and_complete() -> None:
    drawn = ET.fromstring(svg(made()))
    said = " ".join(text for each in drawn.iter() if (text := each.text))
    for part in (OURS, "loop", "0.48 s", "15.00 s, 3 of 20 failed", "Whisper tiny, 4 calls at once", "a < b"):
        assert part in said, part
    bars = {each.get("class"): float(each.get("width", "0")) for each in drawn.iter() if each.tag.endswith("rect")}
    assert 0 < bars["ours"] < bars["other"]


def test_only_the_part_between_the_markers_changes() -> None:
    assert replaced(f"a\n{OPEN}\nold\n{CLOSE}\nb\n", "new") == f"a\n{OPEN}\nnew\n{CLOSE}\nb\n"
    with pytest.raises(ValueError, match="peers"):
        replaced("no markers", "new")
