"""What every benchmark ends with: a table for people, a kept file, and one line of JSON. It measures nothing itself.

The last line on stdout is the whole result as one JSON document; the same document, indented, is kept as
`benchmarks/results/<name>-<date>.json`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = Path(__file__).with_name("results")
QUIET: Final = 0.15
"""Cores that others may use while a benchmark runs before its result is called disturbed."""
_LIBRARIES: Final = ("ctranslate2", "numpy", "onnxruntime", "uvicorn", "websockets")


def percentile(values: Iterable[float], share: float) -> float | None:
    """The nearest-rank percentile: the smallest value that `share` (0..1) of them do not exceed; None of none.

    Always a value that was measured. With fewer than 20 values the 95th is the highest, with fewer than 100 the 99th.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float | None]:
    """p50, p95, p99, highest, mean and count, rounded."""
    found = {f"p{round(share * 100)}": percentile(values, share) for share in (0.5, 0.95, 0.99)}
    found["max"] = max(values, default=None)
    found["mean"] = sum(values) / len(values) if values else None
    return {**{k: None if v is None else round(v, digits) for k, v in found.items()}, "n": len(values)}


def figures(name: str, values: Sequence[float], digits: int = 1) -> dict[str, float | None]:
    """`<name>_p50_ms`, `<name>_p95_ms`, `<name>_p99_ms` and `<name>_n` for the document."""
    found = spread(values, digits)
    return {**{f"{name}_{p}_ms": found[p] for p in ("p50", "p95", "p99")}, f"{name}_n": found["n"]}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain columns, the first to the left and the others to the right; None as a dash."""
    cells = [tuple(head), *(tuple("-" if c is None else str(c) for c in row) for row in rows)]
    wide = [max(len(row[n]) for row in cells) for n in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, wide, strict=True))).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in wide), *lines[1:]])


class Machine:
    """What this machine is, and how busy others kept it. Made before the benchmark, asked after its children ended."""

    def __init__(self) -> None:
        self._load = os.getloadavg()
        self._began = time.monotonic()
        self._busy, self._own = _busy_s(), _own_s()

    def facts(self) -> dict[str, Any]:
        """Plain values. `others_cores`: what processes that are not ours used, on average, in cores."""
        wall_s = max(1e-6, time.monotonic() - self._began)
        own = (_own_s() - self._own) / wall_s
        others = max(0.0, (_busy_s() - self._busy) / wall_s - own)
        return {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(aliased=True, terse=True),
            "python": platform.python_version(),
            "libraries": {name: version(name) for name in _LIBRARIES},
            "commit": _commit(),
            "load_before": [round(x, 2) for x in self._load],
            "load_after": [round(x, 2) for x in os.getloadavg()],
            "own_cores": round(own, 2),
            "others_cores": round(others, 2),
            "quiet": others <= QUIET,
        }


def finish(name: str, document: Mapping[str, Any], machine: Machine, out: Path | None = RESULTS) -> dict[str, Any]:
    """Print the document as one line after keeping it in the folder `out` (None: not kept). Returns it."""
    now = datetime.now(UTC)
    facts = machine.facts()
    whole: dict[str, Any] = {
        "benchmark": name,
        "at": now.isoformat(timespec="seconds"),
        "quiet": facts["quiet"],
        **document,
        "machine": facts,
    }
    if not whole["machine"]["quiet"]:
        print(f"\nNot a quiet machine: others used {whole['machine']['others_cores']} cores meanwhile.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}-{now.date().isoformat()}.json"
        path.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", "utf-8")
        print(f"\nkept as {path}")
    print(json.dumps(whole, allow_nan=False), flush=True)
    return whole


def _busy_s() -> float:
    """CPU seconds since boot that were neither idle nor waiting for a disk; 0 where the system does not say."""
    try:
        ticks = [int(x) for x in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0
    user, nice, system, _, _, irq, soft, stolen = ticks
    return (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Short hash of what was measured, "+" behind it where files differ from it; "" outside a repository."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
