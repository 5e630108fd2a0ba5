"""A classifier of tense voices trained on labelled clips, to hold the shipped, untrained judgement against.

It is never shipped: the clips at hand may be measured with only. Nothing of models/stress.py is fitted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import voice
from models.train import records
from models.voice import BINS_HZ, HOP_MS, MEL, Track

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CEPSTRA: Final = 13
EDGES_HZ: Final = ((80, 500, 3400), (100, 1000, 3400), (100, 2000, 3400), (100, 500, 1000), (100, 1000, 2000))
"""Where a spectrum is cut in two: from, at, to. The upper part against the lower, in dB."""
PSEUDO_CLIPS: Final = 20.0  # of neutral speech by other people that a speaker's own baseline is mixed with
LIMIT: Final = 3.5  # standard deviations
WIDTHS: Final = (0.15, 0.3, 0.6)
RIDGES: Final = (0.1, 0.3, 1.0)


def profile(heard: Track) -> dict[str, float]:
    """About 170 figures of a voice: those of `voice.features` and statistics of what they are made from."""
    found = {k: v for k, v in voice.features(heard).items() if k not in ("voiced_ms", "snr_db", "level_db")}
    at = np.flatnonzero(heard.voiced)
    joined = np.diff(at) == 1
    columns, names = _columns(heard)
    spoken = columns[at]
    statistics = {
        "mean": spoken.mean(axis=0),
        "sd": spoken.std(axis=0),
        "p20": np.percentile(spoken, 20, axis=0),
        "p80": np.percentile(spoken, 80, axis=0),
        "moves": np.abs(np.diff(spoken, axis=0))[joined].mean(axis=0) if joined.any() else np.zeros(len(names)),
    }
    rest = ~heard.voiced & (heard.level_db > np.percentile(heard.level_db, 95) - 35)
    statistics["unvoiced"] = columns[rest].mean(axis=0) if rest.sum() > 5 else np.full(len(names), np.nan)
    for kind, values in statistics.items():
        found |= {f"{name} {kind}": float(value) for name, value in zip(names, values, strict=True)}
    return found | _contour(heard, at, joined) | _pace(heard, at, joined)


def _columns(heard: Track) -> tuple[Floats, list[str]]:
    """What is known of every frame, gain left out: shape (n, columns)."""
    power = heard.power.astype(np.float64) + 1e-12
    bands_db = 10 * np.log10(power @ MEL + 1e-9)
    count = bands_db.shape[1]
    turns = np.cos(np.pi * np.arange(1, CEPSTRA + 1)[:, None] * (np.arange(count) + 0.5) / count) * np.sqrt(2 / count)
    balances = []
    for low, middle, high in EDGES_HZ:
        upper, lower = (
            power[:, (a <= BINS_HZ) & (b > BINS_HZ)].sum(axis=1) for a, b in ((middle, high), (low, middle))
        )
        balances.append(10 * np.log10(upper / lower))
    below = power[:, BINS_HZ < 2000]
    strongest_st = 12 * np.log2(np.maximum(BINS_HZ[below.argmax(axis=1)], 60) / 55)
    ratio = np.clip(heard.periodicity, 0.01, 0.99)
    open_hz = (BINS_HZ >= 200) & (BINS_HZ < 1100)  # where the first formant lies
    first_hz = (power[:, open_hz] * BINS_HZ[open_hz]).sum(axis=1) / power[:, open_hz].sum(axis=1)
    relative_db = heard.level_db - np.percentile(heard.level_db, 95)
    harmonic_db = 10 * np.log10(ratio / (1 - ratio))
    columns = np.column_stack([bands_db @ turns.T, *balances, strongest_st, first_hz, harmonic_db, relative_db])
    names = [f"cepstrum {n}" for n in range(1, CEPSTRA + 1)] + [f"balance {edges}" for edges in EDGES_HZ]
    return columns, [*names, "strongest", "first", "harmonic", "relative"]


def _contour(heard: Track, at: NDArray[np.intp], joined: Flags) -> dict[str, float]:
    pitch_st = 12 * np.log2(heard.pitch_hz[at].astype(np.float64) / 55)
    levels = np.percentile(pitch_st, (5, 20, 50, 80, 95))
    steps = np.diff(pitch_st)[joined].clip(-2, 2)
    level_db = heard.level_db[at]
    bends_db = np.abs(level_db[2:] - 2 * level_db[1:-1] + level_db[:-2])[joined[1:] & joined[:-1]]
    fifth = len(at) // 5 + 1
    return {
        **{f"pitch {n}": float(value) for n, value in enumerate(levels)},
        "pitch middle": float(levels[3] - levels[1]),
        "pitch sd": float(pitch_st.std()),
        "pitch step": float(np.abs(steps).mean()) if len(steps) else 0.0,
        "pitch drift": float(steps.mean()) if len(steps) else 0.0,
        "pitch trend": float(np.polyfit(np.linspace(0, 1, len(at)), pitch_st, 1)[0]),
        "pitch at first": float(np.median(pitch_st[:fifth]) - levels[2]),
        "pitch at last": float(np.median(pitch_st[-fifth:]) - levels[2]),
        "pitch highest at": float(pitch_st.argmax() / len(at)),
        "shimmer": float(np.median(bends_db)) if len(bends_db) else 0.0,
    }


def _pace(heard: Track, at: NDArray[np.intp], joined: Flags) -> dict[str, float]:
    span = at[-1] - at[0] + 1
    pieces = 1 + int((~joined).sum())
    return {
        "voiced share": len(at) / span,
        "pieces a second": pieces / (span * HOP_MS / 1000),
        "piece ms": len(at) * HOP_MS / pieces,
    }


def table(tracks: Sequence[Track]) -> Floats:
    """A row of `profile` for each sound; what one lacks (speech without unvoiced sounds) is the others' mean."""
    rows = [profile(each) for each in tracks]
    values = np.array([[row[name] for name in rows[0]] for row in rows])
    return np.where(np.isfinite(values), values, np.nanmean(values, axis=0))


@dataclass(frozen=True, slots=True)
class Classifier:
    """Kernel ridge regression of tense (1) against the rest (-1), both classes weighing alike; positive: tense."""

    middle: Floats
    spread: Floats
    rows: Floats
    dual: Floats
    width: float
    offset: float

    def __call__(self, values: Floats) -> Floats:
        """Scores (n,) of rows (n, d) of the same kind as it was trained on."""
        return _kernel(_scaled(values, self.middle, self.spread), self.rows, self.width) @ self.dual + self.offset


def fit(values: Floats, tense: Flags, width: float, ridge: float) -> Classifier:
    """Least squares with a Gaussian kernel exp(-width / d * |a - b|²) over standardised, clipped columns."""
    middle: Floats = values.mean(axis=0)
    spread: Floats = values.std(axis=0) + 1e-9
    rows = _scaled(values, middle, spread)
    weights = np.where(tense, 0.5 / tense.mean(), 0.5 / (~tense).mean())
    wanted = np.where(tense, 1.0, -1.0)
    offset = float((weights * wanted).sum() / weights.sum())
    system = _kernel(rows, rows, width) + ridge * np.diag(1 / weights)
    dual = np.linalg.solve(system, wanted - offset).astype(np.float64)
    return Classifier(middle, spread, rows, dual, width, offset)


def chosen(values: Floats, tense: Flags, speakers: NDArray[Any]) -> Classifier:
    """`fit` with the width and ridge that do best (squared error) on each of `speakers` left out in turn."""

    def error(width: float, ridge: float) -> float:
        total = 0.0
        for speaker in np.unique(speakers):
            out = speakers == speaker
            scores = fit(values[~out], tense[~out], width, ridge)(values[out])
            weights = np.where(tense[out], 0.5 / tense.mean(), 0.5 / (~tense).mean())
            total += float((weights * (scores - np.where(tense[out], 1, -1)) ** 2).sum())
        return total

    width, ridge = min(((w, r) for w in WIDTHS for r in RIDGES), key=lambda pair: error(*pair))
    return fit(values, tense, width, ridge)


def against_own(values: Floats, neutral: Flags, speakers: NDArray[Any], known: Flags) -> Floats:
    """`values` less each speaker's neutral mean without the row itself, mixed with the mean of `known` people's."""
    others = values[neutral & known].mean(axis=0)
    result = np.empty_like(values)
    for n in range(len(values)):
        own = neutral & (speakers == speakers[n])
        own[n] = False
        result[n] = values[n] - (values[own].sum(axis=0) + PSEUDO_CLIPS * others) / (own.sum() + PSEUDO_CLIPS)
    return result


def _scaled(values: Floats, middle: Floats, spread: Floats) -> Floats:
    return np.asarray(np.clip((values - middle) / spread, -LIMIT, LIMIT))


def _kernel(a: Floats, b: Floats, width: float) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.exp(-width / a.shape[1] * squares))


def main(argv: Sequence[str]) -> None:
    """Say that there is nothing to train, and where the figures come from."""
    records.options("stress", argv)
    print("stress: the weights are set by hand (models/stress.py), nothing is trained; to measure them, and a trained")
    print("classifier beside them: python -m benchmarks.accuracy stress")
