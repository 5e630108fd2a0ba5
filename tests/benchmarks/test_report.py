"""The report: percentiles by nearest rank, a last line that is the kept document, and who else used the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report import Machine, figures, finish, percentile, spread, table

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile([], 0.95) is None
    assert percentile([3.0], 0.5) == 3.0
    assert percentile([1, 2, 3, 4], 0.5) == 2
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile(range(1, 20), 0.95) == 19, "19 values: the highest"


@given(VALUES, st.floats(0.01, 1.0))
def test_a_percentile_was_measured_and_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9


@given(VALUES)
def test_the_spread_is_ordered(values: list[float]) -> None:
    found = spread(values)
    p50, p95, p99, most = (found[k] for k in ("p50", "p95", "p99", "max"))
    assert p50 is not None and p95 is not None and p99 is not None and most is not None
    assert p50 <= p95 <= p99 <= most
    assert found["n"] == len(values)


def test_figures_of_nothing_are_null() -> None:
    assert figures("final", []) == {"final_p50_ms": None, "final_p95_ms": None, "final_p99_ms": None, "final_n": 0}


def test_a_table_lines_up() -> None:
    lines = table(["stage", "p50"], [["frame", 1.5], ["a longer stage", None]]).splitlines()
    assert lines == [
        "stage           p50",
        "--------------  ---",
        "frame           1.5",
        "a longer stage    -",
    ]


def test_the_last_line_is_the_document_and_the_file_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish("latency-random-micro", {"final_p50_ms": 510.0, "weights": "random-micro"}, Machine(), tmp_path)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    (kept,) = tmp_path.glob("latency-random-micro-*.json")
    assert json.loads(kept.read_text("utf-8")) == last
    assert last["final_p50_ms"] == 510.0
    assert last["machine"]["cores"] >= 1
    assert len(last["machine"]["load_before"]) == 3


def test_figures_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        finish("broken", {"final_p50_ms": float("nan")}, Machine(), tmp_path)


def test_what_our_children_used_is_not_others() -> None:
    machine = Machine()
    burn = "import time; e = time.process_time() + 0.3\nwhile time.process_time() < e: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    facts = machine.facts()
    assert facts["own_cores"] > 0.05
    assert facts["others_cores"] >= 0.0
