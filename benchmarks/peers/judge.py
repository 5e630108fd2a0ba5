"""What a peer's finals are worth: waits per turn, failures, intervals, ratios. It plays nothing and knows no peer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.calls import Turn
from benchmarks.follow import EARLY_MS, Span
from benchmarks.pace import LATE_MS, due_s
from benchmarks.report import percentile

WAIT_MS: Final = 15_000.0
"""A turn whose final has not come by then has failed, and counts as having waited so long."""
LIMIT_MS: Final = 1_000.0
SHARES: Final = (0.5, 0.95, 0.99)
ROUNDS: Final = 2_000
OURS: Final = "assist"
HEADLINE_CALLS: Final = 4


@dataclass(frozen=True)
class Text:
    """A final text at the client: what it covers on the call's clock, and when it came (time.monotonic(), s)."""

    party: str
    start_ms: float
    end_ms: float
    at_s: float


@dataclass
class Heard:
    """One or several plays: a wait for each turn, in ms; `WAIT_MS` for those without a final, which `failed` counts."""

    waits: list[float] = field(default_factory=list)
    failed: int = 0
    late_p99_ms: float = 0.0
    refusals: list[str] = field(default_factory=list)
    """Why a call was not taken, or was hung up on; one text for each such call."""

    def add(self, other: Heard) -> None:
        """Take over the values of another."""
        self.waits += other.waits
        self.failed += other.failed
        self.refusals += other.refusals
        self.late_p99_ms = max(self.late_p99_ms, other.late_p99_ms)


def answer(turn: Turn, finals: Iterable[Text]) -> Text | None:
    """The first final that covers the true end of `turn`, by the rule of benchmarks/follow.py; None where none does."""
    covering = (
        each
        for each in finals
        if each.party == turn.party
        and each.start_ms < turn.end_ms
        and each.end_ms > turn.start_ms
        and each.end_ms >= turn.end_ms - EARLY_MS
    )
    return min(covering, key=lambda each: each.at_s, default=None)


def heard(turns: Sequence[Turn], finals: Sequence[Text], began: float, span: Span) -> Heard:
    """The waits for the turns of one call that ended within `span`."""
    found = Heard()
    for turn in turns:
        due = due_s(began, turn.end_ms)
        if due not in span:
            continue
        got = answer(turn, finals)
        wait = WAIT_MS if got is None else (got.at_s - due) * 1000
        found.waits.append(min(wait, WAIT_MS))
        found.failed += wait >= WAIT_MS
    return found


def interval(values: Sequence[float], share: float, seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap over turns (Efron 1979) of a percentile. Raises ValueError of nothing."""
    low, high = np.percentile(_drawn(values, share, seed), [2.5, 97.5])
    return float(low), float(high)


def _drawn(values: Sequence[float], share: float, seed: int) -> NDArray[np.float64]:
    if not values:
        raise ValueError("no turn was heard to the end")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    rows = np.random.default_rng(seed).integers(0, len(ordered), (ROUNDS, len(ordered)))
    return np.quantile(ordered[rows], share, axis=1, method="inverted_cdf")


def figures(heard: Heard) -> dict[str, Any]:
    """p50, p95 and p99 with intervals (`..._low`, `..._high`), count and failures, for the document."""
    found: dict[str, Any] = {"turns": len(heard.waits), "failed": heard.failed, "refused": len(heard.refusals)}
    found["refusals"] = sorted(set(heard.refusals))
    for share in SHARES:
        name, value = f"p{share * 100:.0f}_ms", percentile(heard.waits, share)
        low, high = interval(heard.waits, share) if heard.waits else (None, None)
        for key, each in ((name, value), (f"{name}_low", low), (f"{name}_high", high)):
            found[key] = None if each is None else round(each, 1)
    return {**found, "sender_late_p99_ms": round(heard.late_p99_ms, 2), "sender_in_time": heard.late_p99_ms <= LATE_MS}


def ratio(peer: Sequence[float], ours: Sequence[float], share: float = 0.95) -> dict[str, float]:
    """How many times as long as with us: the peer's percentile over ours, with its bootstrap interval."""
    mine = percentile(ours, share)
    theirs = percentile(peer, share)
    if mine is None or theirs is None:
        raise ValueError("no turn was heard to the end")
    low, high = np.percentile(_drawn(peer, share, 1) / _drawn(ours, share, 2), [2.5, 97.5])
    return {"ratio": round(theirs / mine, 2), "low": round(float(low), 2), "high": round(float(high), 2)}


def breaks(step: Mapping[str, Any]) -> str:
    """Why a step of the ramp does not hold; "" where it does."""
    reasons = (
        (not step["sender_in_time"], "sender late"),
        (step["refused"] > 0, "connections refused"),
        (not step["turns"], "nothing heard"),
        (step["p95_ms"] is not None and step["p95_ms"] > LIMIT_MS, "p95"),
    )
    return ", ".join(why for broke, why in reasons if broke)


def headline(
    waits: Mapping[tuple[str, str, int], Sequence[float]], capacities: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    """The two figures and what they are the smallest of.

    `waits`: (peer, weights, calls) → waits; `capacities`: (peer, weights) → calls held. A peer that holds no call at
    all counts as holding one, so its ratio is a lower bound.
    """
    ratios = {
        f"{peer} {weights}": ratio(each, waits[OURS, weights, calls])
        for (peer, weights, calls), each in waits.items()
        if peer != OURS and calls == HEADLINE_CALLS and each and waits.get((OURS, weights, calls))
    }
    capacity = {
        f"{peer} {weights}": round(capacities[OURS, weights] / max(1, each), 2)
        for (peer, weights), each in capacities.items()
        if peer != OURS and (OURS, weights) in capacities
    }
    return {
        "final_p95_ratio_min": min((each["ratio"] for each in ratios.values()), default=None),
        "capacity_ratio_min": min(capacity.values(), default=None),
        "final_p95_ratios": ratios,
        "capacity_ratios": capacity,
    }
