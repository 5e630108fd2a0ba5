"""What a running server takes and how it feels: memory, descriptors, threads, tasks, the lag of its loop.

Read from outside, from /proc and /metrics, so that looking costs the server one answer. It starts nothing and knows
no call. Where the system has no /proc the numbers are 0.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

Counts = dict[str, float]
"""What /metrics says, by name with its labels."""

_LAG: Final = "assist_loop_lag_seconds"
_BUCKET: Final = re.compile(rf'{_LAG}_bucket{{le="(.+)"}}')
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Vitals:
    """One look at a server, `at_s` seconds after some beginning. `rss_mb` and `fds` include its child processes."""

    at_s: float
    rss_mb: float
    fds: int
    threads: int
    tasks: int
    calls: int
    subscribers: int
    level: int
    counts: Counts


def look(pid: int, url: str, at_s: float) -> Vitals:
    """Ask now. Raises OSError where the server does not answer."""
    with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
        counts = read(answer.read().decode())
    family = [pid, *children(pid)]
    return Vitals(
        at_s,
        round(sum(_rss_mb(each) for each in family), 2),
        sum(_descriptors(each) for each in family),
        _threads(pid),
        int(counts["assist_tasks"]),
        int(counts["assist_calls_live"]),
        int(counts["assist_subscribers"]),
        int(counts["assist_load_level"]),
        counts,
    )


def read(exposition: str) -> Counts:
    """Prometheus text to numbers; comments are left out."""
    lines = (line.rsplit(" ", 1) for line in exposition.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def children(pid: int) -> list[int]:
    """Processes that this one started and that still run."""
    with contextlib.suppress(OSError):
        texts = [path.read_text("ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
        return [int(each) for text in texts for each in text.split()]
    return []


def lag_p99_ms(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """The upper edge of the bucket that holds the 99th percentile of the loop's lag between two looks."""
    edges = []
    for name, value in after.items():
        if found := _BUCKET.fullmatch(name):
            edges.append((float(found[1]), value - before.get(name, 0.0)))
    edges.sort()
    if not edges or not edges[-1][1]:
        return None
    rank = math.ceil(0.99 * edges[-1][1])
    edge = next(edge for edge, below in edges if below >= rank)
    return round(1000 * edge, 1) if math.isfinite(edge) else 1e6


def drift(values: Sequence[float], at_s: Sequence[float], calls: Sequence[float]) -> float:
    """By how much a value rose from the first to the last look beyond what the number of live calls explains.

    Least squares: value = a + b calls + c time; the drift is c times the time between them.
    """
    if len(values) < 4:
        return 0.0
    wall = np.asarray(at_s, dtype=np.float64)
    columns = np.stack([np.ones(len(wall)), np.asarray(calls, dtype=np.float64), wall - wall[0]], axis=1)
    slopes = np.linalg.lstsq(columns, np.asarray(values, dtype=np.float64), rcond=None)[0]
    return float(slopes[2] * (wall[-1] - wall[0]))


def tenths(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the first and of the last tenth."""
    size = max(1, len(values) // 10)
    return float(np.median(values[:size])), float(np.median(values[-size:]))


def percent(value: float, of: float) -> float:
    """Rounded; 0 of nothing."""
    return round(100 * value / of, 2) if of else 0.0


def named(counts: Iterable[tuple[str, float]], family: str) -> dict[str, int]:
    """The counters of one family by their only label's value."""
    label = re.compile(rf'{family}{{\w+="(.*)"}}')
    return {found[1]: int(value) for name, value in counts if value and (found := label.fullmatch(name))}


def _rss_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_MB
    return 0.0


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a folder of a process that may end meanwhile
    return 0


def _threads(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - the same
    return 0
