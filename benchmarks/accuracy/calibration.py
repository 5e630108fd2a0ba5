"""A reliability diagram as plain SVG: how often a judgement was right against how sure it was.

It knows no model and needs no drawing library; the colours follow the reader's light or dark setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.figures import calibration_error
from benchmarks.report import ROOT

CARDS: Final = ROOT / "models" / "cards"
BINS: Final = 10
WIDTH, HEIGHT = 420, 470
LEFT, TOP, SIDE = 56, 44, 320  # of the square in which both axes run from 0 to 1
BOTTOM = TOP + SIDE  # its lower edge
COUNTS = 40  # height of the counts under it
FEET = BOTTOM + 24 + COUNTS
STYLE: Final = (
    "svg{background:#fff;color:#1b1f24;font:12px system-ui,sans-serif}"
    "text{fill:currentColor}.axis{stroke:currentColor;opacity:.55;fill:none}"
    ".even{stroke:currentColor;opacity:.45;stroke-dasharray:4 4}"
    ".bar{fill:#2f6fb3}.reach{stroke:#2f6fb3;stroke-width:1.5}.count{fill:currentColor;opacity:.35}"
    "@media(prefers-color-scheme:dark){svg{background:#14171a;color:#e6e9ec}"
    ".bar{fill:#79b8ff}.reach{stroke:#79b8ff}}"
)


class Bin(NamedTuple):
    """Judgements whose probability fell into one tenth: how many, how sure on average, how often right."""

    n: int
    sure: float
    right: float


def binned(probability: NDArray[np.floating[Any]], right: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """The bins that hold anything, from unsure to sure. Raises ValueError for what is no probability or has no pair."""
    if len(probability) != len(right) or not len(right):
        raise ValueError(f"{len(probability)} probabilities for {len(right)} judgements")
    if not (np.isfinite(probability).all() and probability.min() >= 0 and probability.max() <= 1):
        raise ValueError("a probability lies outside 0..1")
    which = np.minimum((probability * bins).astype(int), bins - 1)
    insides = (which == b for b in range(bins))
    return [
        Bin(int(inside.sum()), float(probability[inside].mean()), float(right[inside].mean()))
        for inside in insides
        if inside.any()
    ]


def svg(title: str, probability: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> str:
    """The diagram. Dots: share right of each tenth with its 95% interval (normal); bars below: how many judgements.

    Dots on the dashed line are calibrated, under it too sure. Raises ValueError as `binned` does.
    """
    error = calibration_error(probability, right)
    found = binned(probability, right)
    most = max(each.n for each in found)
    marks = [f'<line class="even" x1="{LEFT}" y1="{BOTTOM}" x2="{LEFT + SIDE}" y2="{TOP}"/>']
    for sure, n, share in ((each.sure, each.n, each.right) for each in found):
        x, y = LEFT + SIDE * sure, BOTTOM - SIDE * share
        reach = SIDE * 1.96 * (share * (1 - share) / n) ** 0.5
        top, bottom = max(TOP, y - reach), min(BOTTOM, y + reach)
        tall = max(1.0, COUNTS * n / most)
        marks += [
            f'<line class="reach" x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}"/>',
            f'<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{n} judgements, {sure:.3f} sure, '
            f"{share:.3f} right</title></circle>",
            f'<rect class="count" x="{x - 8:.1f}" y="{FEET - tall:.1f}" width="16" height="{tall:.1f}"/>',
        ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = LEFT + SIDE * tick, BOTTOM - SIDE * tick
        marks += [
            f'<text x="{x:.0f}" y="{BOTTOM + 16}" text-anchor="middle">{tick:g}</text>',
            f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{tick:g}</text>',
        ]
    says = f"{title}: expected calibration error {error:.3f} over {len(right)} judgements"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            f' aria-label="{escape(says, {chr(34): "&quot;"})}">',
            f"<style>{STYLE}</style>",
            f'<text x="{LEFT}" y="18" font-weight="600">{escape(title)}</text>',
            f'<text x="{LEFT}" y="35">expected calibration error {error:.3f}, {len(right)} judgements</text>',
            f'<rect class="axis" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>',
            *marks,
            f'<text x="{LEFT + SIDE / 2:.0f}" y="{FEET + 18}" text-anchor="middle">'
            "probability given, and how many judgements</text>",
            f'<text transform="rotate(-90)" x="{-(TOP + SIDE / 2):.0f}" y="14" text-anchor="middle">share right</text>',
            "</svg>",
            "",
        ]
    )


def write(folder: Path, name: str, probability: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> Path:
    """Draw `<name>-calibration.svg` in `folder`; its path."""
    path = folder / f"{name}-calibration.svg"
    path.write_text(svg(name.replace("_", " "), probability, right), "utf-8")
    return path
