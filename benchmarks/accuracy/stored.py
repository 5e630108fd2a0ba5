"""The quick figures as they were when somebody last looked at them, and what has become worse since.

It knows no model; `python -m benchmarks.accuracy --quick --store` writes the file, the tests read it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.accuracy.figures import Figure, Z
from benchmarks.accuracy.keys import less_is_better, task_of

FILE: Final = Path(__file__).with_name("stored.toml")
COMMAND: Final = "python -m benchmarks.accuracy --quick --store"
LEAST: Final = 0.005
"""No tolerance is smaller: another CPU rounds int8 sums differently, and a few judgements on the edge move."""


class Kept(NamedTuple):
    """A stored figure and how much worse it may get unnoticed."""

    value: float
    tolerance: float


def tolerance(figure: Figure) -> float:
    """One standard error, read off the 95% interval.

    The whole interval would be too kind: the same items are judged each time, so that most of its width, which is
    chance in drawing items, cannot be the reason why a figure moved.
    """
    return max(LEAST, (figure.high - figure.low) / (2 * Z))


def worse(figures: Mapping[str, Figure], kept: Mapping[str, Kept], task: str) -> list[str]:
    """What a person should read, one line for each figure of `task` that is gone, new or worse than it may be."""
    lines = []
    mine = {key: each for key, each in kept.items() if task_of(key) == task}
    for key, (value, slack) in mine.items():
        if key not in figures:
            lines.append(f"{key} is no longer measured (stored: {value:g})")
            continue
        now = figures[key].value
        lost = now - value if less_is_better(key) else value - now
        if not lost <= slack:  # so that a NaN is worse
            lines.append(f"{key} is {now:.4f}; stored {value:.4f}, at most {slack:.4f} worse is taken for chance")
    lines += [f"{key} is measured and not stored" for key in figures if key not in mine]
    return lines


def complaint(figures: Mapping[str, Figure], kept: Mapping[str, Kept], task: str) -> str:
    """What `worse` found and what to do about it; empty where nothing is worse."""
    lines = worse(figures, kept, task)
    return "\n".join([*lines, f"where that is meant, store it with: {COMMAND} {task}"]) if lines else ""


def read(file: Path = FILE) -> dict[str, Kept]:
    """Key to stored figure; nothing where the file is not there yet."""
    if not file.exists():
        return {}
    table = tomllib.loads(file.read_text("utf-8"))["figure"]
    return {key: Kept(float(each["value"]), float(each["tolerance"])) for key, each in table.items()}


def write(figures: Mapping[str, Figure], encoder: str, file: Path = FILE) -> None:
    """Replace the figures of the tasks that `figures` names; those of other tasks stay."""
    fresh = {key: Kept(round(each.value, 4), round(tolerance(each), 4)) for key, each in figures.items()}
    tasks = {task_of(key) for key in fresh}
    kept = {key: each for key, each in read(file).items() if task_of(key) not in tasks} | fresh
    lines = [
        f"# What `{COMMAND.removesuffix(' --store')}` found when somebody last looked; the tests allow no more than",
        f"# `tolerance` (one standard error) worse. Written by `{COMMAND}`.",
        f"# Encoder of the last writing: {encoder}",
        "",
        "[figure]",
        *(f'"{key}" = {{ value = {v:g}, tolerance = {t:g} }}' for key, (v, t) in sorted(kept.items())),
    ]
    file.write_text("\n".join(lines) + "\n", "utf-8")
