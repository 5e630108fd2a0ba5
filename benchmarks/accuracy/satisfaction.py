"""The satisfaction score on our own written calls, and what each of its parts adds.

No call with a known satisfaction was at hand: these were written by the hand that chose weights and phrases, and say
whether the parts work together as meant, not how right the score is about people. It knows no model's inside but the
weights it leaves out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import Party
from assist.conversation import Conversation, Evidence, Finding, Transcript, Turn
from benchmarks.accuracy.figures import Measured, auc, bootstrap
from benchmarks.report import table
from models import encoder, satisfaction, sentiment
from models.satisfaction import BIAS, PARTS, WEIGHTS, Signs

CALLS: Final = Path(__file__).resolve().parents[2] / "models" / "train" / "data" / "service_calls.toml"
WORD_MS: Final = 400
PAUSE_MS: Final = 800
TENSE: Final = {"c!": 0.8, "c": 0.25}
"""A written voice: what stress would have said of a turn marked tense, and of another."""
FOLDS: Final = 7
RIDGE: Final = 0.3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    """A written call and the satisfaction, 1 to 5, it was written to leave behind."""

    said: tuple[Transcript, ...]
    tense: Mapping[str, float]
    satisfied: int


def calls() -> list[Call]:
    """Our written calls, with times as if every word took 0.4 s."""
    return [_call(row) for row in tomllib.loads(CALLS.read_text("utf-8"))["call"]]


def _call(row: Mapping[str, Any]) -> Call:
    said: list[Transcript] = []
    tense: dict[str, float] = {}
    now_ms = 0
    for line in row["lines"]:
        if line.startswith("~"):
            now_ms += int(line[1:]) * 1000
            continue
        who, text = line.split(": ", 1)
        party: Party = "agent" if who == "a" else "customer"
        end_ms = now_ms + WORD_MS * len(text.split())
        said.append(Transcript(f"u{len(said)}", party, now_ms, end_ms, text))
        if party == "customer":
            tense[said[-1].utterance] = TENSE[who]
        now_ms = end_ms + PAUSE_MS
    return Call(tuple(said), tense, int(row["satisfied"]))


def heard(call: Call, feels: sentiment.SentimentAnalyser) -> Conversation:
    """The call with the findings that live analysers would have given it; stress as written."""
    so_far = Conversation("written")
    for said in call.said:
        findings: list[Finding] = []
        if said.party == "customer":
            findings.append(feels.judge(said, sentiment.counted(so_far)))
            score = call.tense[said.utterance]
            findings.append(Finding("stress", "tense" if score >= 0.5 else "calm", score, Evidence()))
        so_far = so_far.with_turn(Turn(said, tuple(findings)))
    return so_far


def measure(data: Path, *, quick: bool) -> Measured:
    """Rank correlation, AUC and mean error over the written calls; nothing of `data` is read, and quick is all."""
    encode = encoder.load()
    feels = sentiment.load(encode)
    written = calls()
    found = [satisfaction.signs(heard(call, feels), encode) for call in written]
    stars = np.array([call.satisfied for call in written], dtype=float)
    given = np.array([1 + 4 * each.weighed() for each in found])
    clear = stars != 3
    split = f"{len(written)} calls written by us, weights set by hand"
    figures = {
        "satisfaction.written_rank": bootstrap(_rank, stars, given, split=split),
        "satisfaction.written_auc": bootstrap(
            _auc, stars[clear], given[clear], split=f"{split}; 4 and 5 against 1 and 2"
        ),
        "satisfaction.written_error_wrong": bootstrap(_error, stars, given, split=f"{split}; stars off, mean"),
    }
    return Measured(figures, tables=[ablation(found, stars)])


def ablation(found: Sequence[Signs], stars: Floats) -> str:
    """What each part adds: by hand-set weights, without it and alone; and with weights fitted anew in folds."""
    rows: list[Sequence[object]] = [
        ("all", *_line(found, stars, tuple(WEIGHTS)), *_fitted(found, stars, tuple(WEIGHTS)))
    ]
    for part, names in PARTS.items():
        rest = tuple(name for name in WEIGHTS if name not in names)
        rows.append((f"without {part}", *_line(found, stars, rest), *_fitted(found, stars, rest)))
    rows += [
        (f"{part} alone", *_line(found, stars, names), *_fitted(found, stars, names)) for part, names in PARTS.items()
    ]
    return table(("signs", "rank", "AUC", "stars off", "fitted: rank", "AUC", "stars off"), rows)


def _line(found: Sequence[Signs], stars: Floats, names: Sequence[str]) -> tuple[str, ...]:
    weights = {name: WEIGHTS[name] for name in names}
    return _three(stars, np.array([1 + 4 * each.weighed(weights, BIAS) for each in found]))


def _fitted(found: Sequence[Signs], stars: Floats, names: Sequence[str]) -> tuple[str, ...]:
    """Ridge regression of stars on the signs, each call judged by weights that have not seen it (seven folds)."""
    rows = np.array([[getattr(each, name) for name in names] for each in found])
    given = np.zeros(len(stars))
    for fold in range(FOLDS):
        out = np.arange(len(stars)) % FOLDS == fold
        middle, level = rows[~out].mean(axis=0), stars[~out].mean()
        left = rows[~out] - middle
        weights = np.linalg.solve(left.T @ left + RIDGE * np.eye(len(names)), left.T @ (stars[~out] - level))
        given[out] = level + (rows[out] - middle) @ weights
    return _three(stars, np.clip(given, 1, 5))


def _three(stars: Floats, given: Floats) -> tuple[str, ...]:
    clear = stars != 3
    values = _rank(stars, given), _auc(stars[clear], given[clear]), _error(stars, given)
    return tuple(f"{value:.2f}" for value in values)


def _rank(stars: Floats, given: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank."""
    return float(np.corrcoef(_ranks(stars), _ranks(given))[0, 1]) if np.ptp(stars) and np.ptp(given) else 0.0


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[inverse]
    return ranks


def _auc(stars: Floats, given: Floats) -> float:
    return auc(stars > 3, given)


def _error(stars: Floats, given: Floats) -> float:
    return float(np.abs(stars - given).mean())
