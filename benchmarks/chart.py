"""Draws the kept comparison with other servers: python -m benchmarks.chart

From the newest `benchmarks/results/peers-DATE.json` it writes `benchmarks/results/peers.svg` and the part of README.md
between `<!-- peers -->` and `<!-- /peers -->`, so that no figure there is typed by hand. It measures nothing and needs
no drawing library; the colours follow the reader's light or dark setting.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from benchmarks.peers.judge import HEADLINE_CALLS, OURS
from benchmarks.report import RESULTS, ROOT

README: Final = ROOT / "README.md"
CHART: Final = RESULTS / "peers.svg"
OPEN, CLOSE = "<!-- peers -->", "<!-- /peers -->"
NOT_YET: Final = "Not measured yet on a quiet machine: `python -m benchmarks.peers && python -m benchmarks.chart`."

WIDTH, LEFT, RIGHT, TOP, ROW, GAP = 760, 120, 220, 56, 22, 26
TICKS: Final = (200, 500, 1_000, 2_000, 5_000, 10_000, 15_000)
STYLE: Final = (
    "svg{background:#fff;color:#1b1f24;font:12px system-ui,sans-serif}"
    "text{fill:currentColor}.axis{stroke:currentColor;opacity:.2}.head{font-weight:600}"
    ".other{fill:#8a929b}.ours{fill:#2f6fb3}.reach{stroke:currentColor;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){svg{background:#14171a;color:#e6e9ec}.ours{fill:#79b8ff}}"
)


def newest(folder: Path = RESULTS) -> dict[str, Any] | None:
    """The newest kept comparison; None where there is none."""
    kept = sorted(folder.glob("peers-*.json"))
    return dict(json.loads(kept[-1].read_text("utf-8"))) if kept else None


def cells(said: Mapping[str, Any]) -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """(weights, calls) → peer → its figures, in the order measured."""
    found: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for name, peer in said["peers"].items():
        for weights, each in peer.items():
            if weights not in ("what", "failed"):
                for calls, figures in each["final"].items():
                    found.setdefault((weights, int(calls)), {})[name] = figures
    return dict(sorted(found.items(), key=lambda item: (item[0][0] != "tiny", item[0])))


def _x(ms: float) -> float:
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(min(max(ms, TICKS[0]), TICKS[-1])) - low) / (high - low)


def svg(said: Mapping[str, Any]) -> str:
    """A bar from p50 to p95 and a line for the p95's interval, on a logarithmic axis; a group per weights and calls."""
    groups = cells(said)
    tall = TOP + sum(GAP + ROW * len(peers) for peers in groups.values()) + 24
    marks = []
    for tick in TICKS:
        x = _x(tick)
        marks += [
            f'<line class="axis" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{tall - 24}"/>',
            f'<text x="{x:.1f}" y="{tall - 8}" text-anchor="middle">{tick / 1000:g} s</text>',
        ]
    y = float(TOP)
    for (weights, calls), peers in groups.items():
        one = "call" if calls == 1 else "calls"
        marks.append(f'<text class="head" x="8" y="{y + 18:.0f}">Whisper {weights}, {calls} {one} at once</text>')
        y += GAP
        for name, each in peers.items():
            marks += _bar(name, each, y)
            y += ROW
    title = "End of speech to final text: p50 to p95 (bar), 95% interval of the p95 (line)"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall:.0f}" role="img"'
            f' aria-label="{title}">',
            f"<style>{STYLE}</style>",
            f'<text class="head" x="8" y="20">{title}</text>',
            f'<text x="8" y="38">{escape(_made(said))}</text>',
            *marks,
            "</svg>",
            "",
        ]
    )


def _bar(name: str, each: Mapping[str, Any], y: float) -> list[str]:
    label = f'<text x="{LEFT - 8}" y="{y + 14:.0f}" text-anchor="end">{escape(name)}</text>'
    if each["p95_ms"] is None:
        return [label, f'<text x="{LEFT + 6}" y="{y + 14:.0f}">nothing came</text>']
    low, high, middle, end = (_x(each[key]) for key in ("p95_ms_low", "p95_ms_high", "p50_ms", "p95_ms"))
    kind, at = "ours" if name == OURS else "other", y + 10
    return [
        label,
        f'<rect class="{kind}" x="{middle - 2:.1f}" y="{y + 3:.0f}" width="{end - middle + 4:.1f}" height="14"/>',
        f'<line class="reach" x1="{low:.1f}" y1="{at:.0f}" x2="{high:.1f}" y2="{at:.0f}"/>',
        f'<text x="{max(end, high) + 6:.1f}" y="{y + 14:.0f}">{_seconds(each["p95_ms"])}{_failures(each)}</text>',
    ]


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.2f} s"


def _failures(each: Mapping[str, Any]) -> str:
    found = f", {each['failed']} of {each['turns']} failed" if each["failed"] else ""
    return found + (f", {each['refused']} refused" if each["refused"] else "")


def _made(said: Mapping[str, Any]) -> str:
    machine = said["machine"]
    busy = "" if said["quiet"] else "; NOT a quiet machine"
    return f"{said['at'][:10]}, {machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}{busy}"


def markdown(said: Mapping[str, Any] | None) -> str:
    """What README says of it."""
    if said is None:
        return NOT_YET
    groups = cells(said)
    climbed = [weights for weights in dict.fromkeys(w for w, _ in groups) if _capacity(said, OURS, weights) != "-"]
    heads = [f"{w}, {c} call{'s' * (c != 1)}" for w, c in groups] + [f"calls held, {w}" for w in climbed]
    lines = [
        "| end of speech → final, p50 / p95 ms | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name, peer in said["peers"].items():
        row = [_cell(peers.get(name)) for peers in groups.values()]
        lines.append(f"| {peer['what']} | " + " | ".join([*row, *(_capacity(said, name, w) for w in climbed)]) + " |")
    failed = [
        f"{name} could not be run: {peer['failed'].splitlines()[0]}"
        for name, peer in said["peers"].items()
        if peer["failed"]
    ]
    return "\n".join([*lines, "", "![](benchmarks/results/peers.svg)", "", *_sentences(said), *failed])


def _cell(each: Mapping[str, Any] | None) -> str:
    if each is None or each["p95_ms"] is None:
        return "-"
    return f"{each['p50_ms']:.0f} / {each['p95_ms']:.0f}{_failures(each)}"


def _capacity(said: Mapping[str, Any], name: str, weights: str) -> str:
    held = said["peers"].get(name, {}).get(weights, {}).get("capacity")
    return "-" if held is None else f"{held}{' (not broken)' if held and held == said['most'] else ''}"


def _sentences(said: Mapping[str, Any]) -> list[str]:
    found = [f"{_made(said)}. A turn without a final after {said['wait_ms'] / 1000:g} s has failed and counts as that."]
    if ratios := said["final_p95_ratios"]:
        name, least = min(ratios.items(), key=lambda item: item[1]["ratio"])
        found.append(
            f"At {HEADLINE_CALLS} calls the p95 of the nearest ({name}) is {least['ratio']:g} times ours "
            f"(95 % interval {least['low']:g} to {least['high']:g})."
        )
    if said["capacity_ratio_min"] is not None:
        found.append(
            f"Calls held (p95 at most {said['limit_ms'] / 1000:g} s): at least {said['capacity_ratio_min']:g} times "
            "as many as any other; one that holds none counts as holding one."
        )
    return found


def replaced(readme: str, part: str) -> str:
    """The README with `part` between its markers. Raises ValueError where they are not there."""
    before, opened, rest = readme.partition(OPEN)
    _, closed, after = rest.partition(CLOSE)
    if not opened or not closed:
        raise ValueError(f"no {OPEN} ... {CLOSE} to write between")
    return f"{before}{OPEN}\n{part}\n{CLOSE}{after}"


def main() -> int:
    said = newest()
    if said is None:
        print("chart: no benchmarks/results/peers-*.json: run python -m benchmarks.peers first", file=sys.stderr)
    else:
        CHART.write_text(svg(said), "utf-8")
    README.write_text(replaced(README.read_text("utf-8"), markdown(said)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
