"""This server beside others: python -m benchmarks.peers [--weights tiny,base] [--calls 1,4,8] [--repeat N] [--quick]

From the true end of each turn to its final text at the client, for this server and for each peer in benchmarks/peers/
(kinds.py says which, serve/ how each is run), one after the other in every round, each freshly started and alone on the
machine, on the same calls with the same random weights. Frames go out at absolute deadlines and waits count from when
the frame with the last sample of speech was meant to go out. A turn without a final after 15 s has failed and counts as
15 s. Then the ramp: the most calls at which p95 stays at a second or less.

benchmarks/README.md says what is done for the peers because the weights are random, and what is not compared.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.calls import SHIPPED
from benchmarks.make_weights import TOKENS_PER_S
from benchmarks.make_weights import found as made
from benchmarks.peers.judge import LIMIT_MS, WAIT_MS, Heard, breaks, figures, headline
from benchmarks.peers.kinds import KINDS, NOT_COMPARABLE, Kind, running, weights_root
from benchmarks.peers.play import Call, call_of, play
from benchmarks.report import RESULTS, Machine, finish, table

RAMP: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
ALONE: Final = 1.5
"""One call alone is listened to so many times as long: it has few turns."""

Cell = tuple[str, str, int]
"""Peer, weights, calls."""


@dataclass(frozen=True)
class Asked:
    """The command line."""

    kinds: tuple[Kind, ...]
    rounds: tuple[tuple[str, int], ...]
    """Weights and calls at once of each round, in order."""
    repeat: int
    seconds: float
    step_seconds: float
    ramp: tuple[str, ...]
    """Weights for which the ramp is climbed."""
    most: int
    recording: Path


@dataclass
class Found:
    """What has been measured so far. `failed`: peer → why it could not be run; it is not tried again."""

    heard: dict[Cell, Heard] = field(default_factory=dict)
    steps: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def once(found: Found, kind: Kind, weights: str, calls: int, call: Call, seconds: float) -> Heard | None:
    """One play against a server started for it; None, and a reason in `found`, where it does not run."""
    began = time.monotonic()
    path = made(str(weights_root() / f"random-{weights}"))
    try:
        with tempfile.TemporaryDirectory() as folder, running(kind, path, calls, Path(folder)) as url:
            heard = play(kind, url, call, calls, seconds)
    except Exception as error:  # whatever one server does must not lose the figures of the others
        found.failed[kind.name] = str(error)
        print(f"  {kind.name}: failed: {error}", file=sys.stderr, flush=True)
        return None
    said = figures(heard)
    print(
        f"  {weights} {calls} calls {kind.name}: p50 {said['p50_ms']} p95 {said['p95_ms']} ms, {said['turns']} turns, "
        f"{said['failed']} failed, {said['refused']} refused {said['refusals'][:1] or ''} "
        f"({time.monotonic() - began:.0f} s)",
        file=sys.stderr,
        flush=True,
    )
    return heard


def rounds(asked: Asked, call: Call, found: Found) -> None:
    """Every round, all servers one after the other; another one goes first each time."""
    turn = 0
    for _ in range(asked.repeat):
        for weights, calls in asked.rounds:
            order = asked.kinds[turn % len(asked.kinds) :] + asked.kinds[: turn % len(asked.kinds)]
            turn += 1
            for kind in order:
                if kind.name in found.failed:
                    continue
                seconds = asked.seconds * (ALONE if calls == 1 else 1)
                if (heard := once(found, kind, weights, calls, call, seconds)) is not None:
                    found.heard.setdefault((kind.name, weights, calls), Heard()).add(heard)


def climb(
    steps: Sequence[int], kinds: Sequence[Kind], step: Callable[[Kind, int], dict[str, Any] | None]
) -> dict[str, int]:
    """The most calls that each server held. Step by step, all that still hold one after the other; the first that
    breaks ends a server's climb. `step` None: it could not be run."""
    held = {kind.name: 0 for kind in kinds}
    climbing = list(kinds)
    for calls in steps:
        for kind in list(climbing):
            said = step(kind, calls)
            if said is None or said["broke"]:
                climbing.remove(kind)
                if said is None:
                    held.pop(kind.name)
            else:
                held[kind.name] = calls
    return held


def capacities(asked: Asked, call: Call, found: Found) -> dict[tuple[str, str], int]:
    """(peer, weights) → the most calls held. Steps that the rounds have measured are not measured again."""
    held: dict[tuple[str, str], int] = {}
    for weights in asked.ramp:

        def step(kind: Kind, calls: int, weights: str = weights) -> dict[str, Any] | None:
            cell = (kind.name, weights, calls)
            heard = found.heard.get(cell) or once(found, kind, weights, calls, call, asked.step_seconds)
            if heard is None:
                return None
            said = figures(heard)
            found.steps[cell] = {**said, "broke": breaks(said)}
            return found.steps[cell]

        runnable = [kind for kind in asked.kinds if kind.name not in found.failed]
        reached = climb([calls for calls in RAMP if calls <= asked.most], runnable, step)
        held.update({(name, weights): calls for name, calls in reached.items()})
    return held


def document(asked: Asked, found: Found, held: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Everything measured, without the machine."""
    peers: dict[str, Any] = {}
    for kind in asked.kinds:
        cells = {cell: heard for cell, heard in found.heard.items() if cell[0] == kind.name}
        weights = sorted({cell[1] for cell in cells} | {w for name, w in held if name == kind.name})
        peers[kind.name] = {"what": kind.what, "failed": found.failed.get(kind.name)}
        for each in weights:
            peers[kind.name][each] = {
                "final": {str(cell[2]): figures(heard) for cell, heard in sorted(cells.items()) if cell[1] == each},
                "capacity": held.get((kind.name, each)),
                "steps": {
                    str(calls): said for (name, w, calls), said in found.steps.items() if (name, w) == (kind.name, each)
                },
            }
    return {
        **headline({cell: heard.waits for cell, heard in found.heard.items()}, held),
        "call": asked.recording.name,
        "tokens_per_s": TOKENS_PER_S,
        "wait_ms": WAIT_MS,
        "limit_ms": LIMIT_MS,
        "repeat": asked.repeat,
        "seconds": asked.seconds,
        "most": asked.most,
        "peers": peers,
        "failed_peers": len(found.failed),
        "not_comparable": dict(NOT_COMPARABLE),
    }


def show(said: Mapping[str, Any]) -> None:
    """The tables for people."""
    keys = ("p50_ms", "p95_ms", "p95_ms_low", "p95_ms_high", "p99_ms", "turns", "failed", "refused",
            "sender_late_p99_ms")  # fmt: skip
    head = ("end of speech to final", "weights", "calls", "p50 ms", "p95 ms", "low", "high", "p99 ms", "turns",
            "failed", "refused", "sender p99")  # fmt: skip
    measured = [(name, w, peer[w]) for name, peer in said["peers"].items() for w in _weights(peer)]
    rows: list[list[Any]] = [
        [name, weights, calls, *(cell[key] for key in keys)]
        for name, weights, each in measured
        for calls, cell in each["final"].items()
    ]
    rows.sort(key=lambda row: (row[1], int(row[2])))
    print(table(head, rows))
    climbs = [[name, w, each["capacity"], _broke(each)] for name, w, each in measured if each["capacity"] is not None]
    if climbs:
        print("\n" + table(["p95 at most a second", "weights", "calls held", "broke by"], climbs))
    for name, peer in said["peers"].items():
        if peer["failed"]:
            print(f"\n{name} FAILED: {peer['failed']}")
    print(f"\np95, peer over ours at 4 calls, least: {said['final_p95_ratio_min']} of {said['final_p95_ratios']}")
    print(f"calls held, ours over peer, least: {said['capacity_ratio_min']} of {said['capacity_ratios']}")


def _weights(peer: Mapping[str, Any]) -> list[str]:
    return [key for key in peer if key not in ("what", "failed")]


def _broke(each: Mapping[str, Any]) -> str:
    return next((f"{calls} calls: {step['broke']}" for calls, step in each["steps"].items() if step["broke"]), "most")


def asked_of(given: argparse.Namespace) -> Asked:
    """The command line as values. Raises ValueError for a peer that is not known."""
    names = given.peers.split(",") if given.peers else [kind.name for kind in KINDS]
    unknown = set(names) - {kind.name for kind in KINDS}
    if unknown:
        raise ValueError(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(k.name for k in KINDS)}")
    kinds = tuple(kind for kind in KINDS if kind.name in names)
    weights, calls = given.weights.split(","), [int(each) for each in given.calls.split(",")]
    if given.quick:
        return Asked(kinds, ((weights[0], 1),), 1, 10.0, 10.0, (), 0, given.call)
    # The bigger weights only where the headline is: with them a peer's turns take so long that a full set takes hours.
    pairs = [(w, c) for n, w in enumerate(weights) for c in calls if n == 0 or c == 4 or len(calls) == 1]
    ramp = () if given.most < 1 else tuple(weights[:1])
    return Asked(kinds, tuple(pairs), given.repeat, given.seconds, given.step_seconds, ramp, given.most, given.call)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="tiny,base", help="the first at all --calls, the others at 4")
    parser.add_argument("--calls", default="1,4,8", help="calls at once")
    parser.add_argument("--peers", default="", help="names, joined by commas; default: all")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=40.0, help="speech that ends within so many seconds counts")
    parser.add_argument("--step_seconds", type=float, default=16.0, help="the same, for a step of the ramp")
    parser.add_argument("--most", type=int, default=32, help="the ramp's last step; 0: no ramp")
    parser.add_argument("--quick", action="store_true", help="ten seconds of one call, no ramp: does it work?")
    parser.add_argument("--call", type=Path, default=SHIPPED, help="a two-channel recording with its script")
    parser.add_argument("--out", type=Path, default=None, help="folder for the result; default: kept unless --quick")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no peer is left running
    machine, found = Machine(), Found()
    try:
        asked = asked_of(given)
        call = call_of(asked.recording)
    except ValueError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    for kind in asked.kinds:  # before anything is timed
        try:
            if kind.place:
                kind.place.made()
        except RuntimeError as error:
            found.failed[kind.name] = str(error)
    rounds(asked, call, found)
    said = document(asked, found, capacities(asked, call, found))
    show(said)
    finish("peers", said, machine, given.out or (None if given.quick else RESULTS))
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
