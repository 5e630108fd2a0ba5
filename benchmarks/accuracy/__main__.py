"""What every model is worth: `python -m benchmarks.accuracy [--all | TASK …] [--quick] [--data DIR]`.

    --all      every task; what the cards say comes from this (reads ../shared/data; long)
    TASK …     only these
    --quick    only what the repository itself ships, in seconds: what the tests hold against stored figures
    --store    with --quick: write the stored figures anew (benchmarks/accuracy/stored.toml)
    --cards    with --all: draw the calibration plots beside the cards anew

It prints a table per task and, as the last line, one JSON document with a value for every key; a key that could not
be measured is null, `missing` says why, and the exit status is 1. It measures nothing itself.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import math
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assist.errors import AssistError
from benchmarks.accuracy import calibration, stored
from benchmarks.accuracy.figures import Figure, Measured
from benchmarks.accuracy.keys import TARGETS, TASKS, owed
from benchmarks.report import RESULTS, ROOT, Machine, finish, table
from models import encoder

DATA: Final = ROOT.parent / "shared" / "data"
DIGITS: Final = 4


@dataclass
class Found:
    """What one run has measured so far. `missing`: key, or task where it owes no key → why."""

    figures: dict[str, Figure] = field(default_factory=dict)
    extra: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    plots: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def measured(task: str, data: Path, *, quick: bool) -> Measured | str:
    """What the task's module found, or why it found nothing. Never raises but for an interrupt."""
    try:
        module = importlib.import_module(f"benchmarks.accuracy.{task}")
        found: Measured = module.measure(data, quick=quick)
    except AssistError as error:
        return f"{error.code}: {error}"
    except SystemExit as leave:
        return str(leave)
    except Exception as error:  # one task's fault must not cost the others their figures
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return found


def run(tasks: Iterable[str], data: Path, *, quick: bool, cards: Path | None = None) -> Found:
    """Measure `tasks` one after the other and print a table for each. `cards`: the folder that gets the plots."""
    found = Found()
    for task in tasks:
        print(f"\n{task}", flush=True)
        began = time.monotonic()
        result = measured(task, data, quick=quick)
        found.seconds[task] = round(time.monotonic() - began, 1)
        gc.collect()
        if isinstance(result, str):
            print(f"not measured: {result}")
            found.missing |= dict.fromkeys(owed(task) or (task,), result)
            continue
        found.figures |= result.figures
        found.extra |= result.extra
        if not quick:
            found.missing |= {key: "its task did not measure it" for key in owed(task) if not _there(result, key)}
        print(shown(result.figures, result.extra))
        for text in result.tables:
            print(f"\n{text}")
        for name, (probability, right) in result.calibration.items():
            if cards is not None:
                found.plots[name] = calibration.write(cards, name, probability, right)
    return found


def _there(result: Measured, key: str) -> bool:
    value = result.figures[key].value if key in result.figures else result.extra.get(key)
    return value is not None and math.isfinite(value)


def shown(figures: Mapping[str, Figure], extra: Mapping[str, float | None]) -> str:
    """The table for people."""
    rows: list[Sequence[object]] = []
    for key, each in figures.items():
        target = TARGETS.get(key)
        verdict = None if target is None else f"{target} {'✓' if target.met(each.value) else '✗'}"
        interval = f"{each.low:.3f} to {each.high:.3f}"
        rows.append((key, f"{each.value:.3f}", interval, each.n, verdict))
    rows += [(key, None if v is None else f"{v:.3f}", None, None, None) for key, v in extra.items()]
    splits = ["split", "-----", *(each.split for each in figures.values()), *("" for _ in extra)]
    lines = table(("figure", "value", "95%", "n", "target"), rows).splitlines()
    wide = max(map(len, lines))
    return "\n".join(f"{line:{wide}}  {split}".rstrip() for line, split in zip(lines, splits, strict=True))


def document(found: Found, *, quick: bool) -> dict[str, Any]:
    """Key → value for all that was measured or owed, then what stands behind the values."""
    try:
        name: str | None = encoder.load().name
    except AssistError:
        name = None
    values = {key: each.value for key, each in found.figures.items()} | found.extra
    flat = {key: None if v is None or not math.isfinite(v) else round(v, DIGITS) for key, v in values.items()}
    missed = [k for k, t in TARGETS.items() if (v := flat.get(k)) is not None and not t.met(v)]
    return {
        **dict.fromkeys(found.missing),
        **flat,
        "data": "shipped with the repository" if quick else "full",
        "encoder": name,
        "recognisers": sorted({key.split(".")[1] for key in found.figures if key.startswith("wer.")}),
        "missing": found.missing,
        "missed": missed,
        "figures": {
            key: {
                **{part: _finite(getattr(each, part)) for part in ("value", "low", "high")},
                "n": each.n,
                "split": each.split,
                **({"target": str(TARGETS[key])} if key in TARGETS else {}),
            }
            for key, each in found.figures.items()
        },
        "plots": [path.name for path in found.plots.values()],
        "took_s": found.seconds,
    }


def _finite(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parsed and checked. Raises SystemExit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--all", action="store_true", help="every task")
    parser.add_argument("--quick", action="store_true", help="only what the repository ships")
    parser.add_argument("--store", action="store_true", help="with --quick: write the stored figures anew")
    parser.add_argument("--cards", action="store_true", help="draw the calibration plots beside the cards anew")
    parser.add_argument("--data", type=Path, default=DATA, help="default ../shared/data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result of --all; others are not kept")
    asked = parser.parse_args(argv)
    unknown = [task for task in asked.tasks if task not in TASKS]
    if unknown:
        parser.error(f"no such task: {', '.join(unknown)}; there are {', '.join(TASKS)}")
    if asked.all == bool(asked.tasks) and not asked.quick:
        parser.error("name tasks, or --all for every one")
    if asked.store and not asked.quick:
        parser.error("--store goes with --quick")
    if asked.cards and asked.quick:
        parser.error("--cards takes its plots from the full data, so it does not go with --quick")
    asked.tasks = [task for task in TASKS if task in asked.tasks] or list(TASKS)
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 where every key was measured, else 1. A figure that misses its target is no error: it is a figure."""
    asked = arguments(argv)
    machine = Machine()
    found = run(asked.tasks, asked.data, quick=asked.quick, cards=calibration.CARDS if asked.cards else None)
    whole = document(found, quick=asked.quick)
    if asked.store:
        stored.write(found.figures, str(whole["encoder"]))
        print(f"\nstored in {stored.FILE}")
    for why in dict.fromkeys(found.missing.values()):
        print(f"\nmissing: {', '.join(key for key, reason in found.missing.items() if reason == why)}: {why}")
    whole_run = len(asked.tasks) == len(TASKS) and not asked.quick
    finish("accuracy", whole, machine, asked.out if whole_run else None)
    return 1 if found.missing else 0


if __name__ == "__main__":
    sys.exit(main())
