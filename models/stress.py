"""How tense the customer's voice sounds against their own first speech: calm, tense or "none".

It knows no words. It is an estimate of arousal in the voice, never a diagnosis, and is heard on the customer's
channel only unless a deployment says otherwise (see `load`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Party, Samples
from assist.conversation import Conversation, Evidence, Finding, Heard

Floats = NDArray[np.floating]

NAME: Final = "stress 1"
CUSTOMER: Final[tuple[Party, ...]] = ("customer",)
HZ: Final = RATE_HZ // 2  # telephone speech holds nothing above 4 kHz
FRAME: Final = HZ * 40 // 1000
HOP_MS: Final = 20
HOP: Final = HZ * HOP_MS // 1000
TRANSFORM: Final = 1024
LOWEST_HZ: Final = 70
HIGHEST_HZ: Final = 500
PERIODIC: Final = 0.4
OCTAVE_COST: Final = 0.03  # of a longer lag, per octave
LEAP_COST: Final = 0.15  # of a pitch away from the utterance's usual one, per octave
MAX_SECONDS: Final = 20  # the last ones of a longer utterance: work stays bounded

BASELINE_MS: Final = 4_000  # voiced speech of the same person before anything is said about them
BASELINE_FULL_MS: Final = 10_000  # after this much the baseline no longer moves
LEAST_VOICED_MS: Final = 300
SURE_MS: Final = 400  # an utterance with this much voiced speech counts half
TENSE: Final = 0.5

# Feature: (what one unit of z is, weight). Hand-set from what the literature on vocal arousal agrees on (pitch
# first, then high-frequency energy and loudness, then pitch range and rate: Scherer 2003; Juslin & Laukka 2003;
# Eyben et al. 2016, "GeMAPS"). Nothing is fitted: no corpus with stress labels here may be shipped.
FEATURES: Final = {
    "f0_st": (3.0, 1.0),
    "tilt_db": (4.0, 0.6),
    "energy_db": (5.0, 0.6),
    "range_st": (3.0, 0.3),
    "rate_hz": (1.0, 0.2),
}
BIAS: Final = -1.5
Z_LIMIT: Final = 3.0


def features(samples: Samples) -> dict[str, float]:
    """What the voice in `samples` (int16, shape (n,), 16 kHz) is like; {"voiced_ms": 0.0} where none is found.

    f0_hz: median pitch; f0_st: the same in semitones above 55 Hz; range_st: 10th to 90th percentile of pitch;
    jitter_st: median step of pitch between neighbouring frames; energy_db: level of voiced frames, dB below
    full scale; tilt_db: 1-3.4 kHz against 0.1-1 kHz; rate_hz: loudness peaks (roughly syllables) per second;
    voiced_share: of all frames; voiced_ms: how much of the sound was voiced.

    Pitch is the peak of the autocorrelation of Hann-windowed 40 ms frames divided by the window's own
    (Boersma 1993).
    """
    sound = samples[-MAX_SECONDS * RATE_HZ :].astype(np.float32) / np.float32(32768)
    sound = sound[: len(sound) // 2 * 2].reshape(-1, 2).mean(axis=1)
    if len(sound) < FRAME:
        return {"voiced_ms": 0.0}
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * _WINDOW
    spectrum = np.fft.rfft(frames, TRANSFORM, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    level = power.sum(axis=1) / (TRANSFORM * (_WINDOW**2).sum()) * 2
    pitch_hz, periodicity = _pitch(power)
    loud = level > max(float(np.percentile(level, 95)) * 10 ** (-25 / 10), 1e-7)
    voiced = loud & (periodicity > PERIODIC)
    count = int(voiced.sum())
    if count * HOP_MS < LEAST_VOICED_MS:
        return {"voiced_ms": float(count * HOP_MS)}
    pitch_st = 12 * np.log2(_steadied(pitch_hz[voiced]) / 55.0)
    low, middle, high = np.percentile(pitch_st, (10, 50, 90))
    together = np.diff(np.flatnonzero(voiced)) == 1
    steps = np.abs(np.diff(pitch_st))[together]
    mean_power = power[voiced].mean(axis=0)
    tilt = mean_power[_HIGH_BAND].sum() / max(mean_power[_LOW_BAND].sum(), 1e-12)
    found = {
        "f0_hz": 55.0 * 2 ** (middle / 12),
        "f0_st": middle,
        "range_st": high - low,
        "jitter_st": np.median(steps) if len(steps) else 0.0,
        "energy_db": 10 * np.log10(level[voiced].mean()),
        "tilt_db": 10 * np.log10(max(tilt, 1e-6)),
        "rate_hz": _peaks(level, voiced) / (_span(voiced) * HOP_MS / 1000),
        "voiced_share": count / len(voiced),
        "voiced_ms": count * HOP_MS,
    }
    return {name: round(float(value), 3) for name, value in found.items()}


class StressAnalyser:
    """One finding per utterance of the parties it may hear, nothing for others (their sound is not looked at).

    `detail` holds the features of this utterance; later turns read their baseline from there. "none" while the
    speaker's own first speech is under 4 s voiced, or this utterance under 0.3 s. Else `score`, 0..1, is

        1 / (1 + exp(1.5 - v / (v + 400) * sum_f w_f * clip((x_f - b_f) / u_f, -3, 3)))

    with v the voiced ms, x the features, b the voiced-weighted mean of the speaker's first 4 to 10 s of voiced
    speech, and w, u the constants in `FEATURES`; "tense" from 0.5. A gain that stays the same over the call
    cancels out.
    """

    def __init__(self, parties: Collection[Party]) -> None:
        self._parties = frozenset(parties)

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        utterance = heard.utterance
        if utterance.party not in self._parties:
            return ()
        evidence = Evidence(utterance=utterance.id, start_ms=utterance.start_ms, end_ms=utterance.end_ms, source=NAME)
        found = features(utterance.samples)
        first = baseline(so_far, utterance.party)
        if first is None or "f0_st" not in found:
            return (Finding("stress", "none", 0.0, evidence, found),)
        score = round(tension(found, first), 4)
        return (Finding("stress", "tense" if score >= TENSE else "calm", score, evidence, found),)


def load(parties: Collection[Party] = CUSTOMER) -> StressAnalyser:
    """The analyser for `parties`.

    Inferring the emotions of people at work from their voice is prohibited in the EU (Regulation (EU) 2024/1689,
    article 5(1)(f)), so the agent is not heard unless a deployment outside that rule adds them with a recorded
    reason; doing so for customers calls for telling them (article 50(3)).
    """
    return StressAnalyser(parties)


def baseline(so_far: Conversation, party: Party) -> dict[str, float] | None:
    """Voiced-weighted means of the party's first speech, or None under `BASELINE_MS` of it."""
    sums = dict.fromkeys(FEATURES, 0.0)
    voiced_ms = 0.0
    for turn in so_far.by(party):
        finding = turn.finding("stress")
        if finding is None or any(name not in finding.detail for name in FEATURES):
            continue
        weight = finding.detail["voiced_ms"]
        voiced_ms += weight
        for name in FEATURES:
            sums[name] += weight * finding.detail[name]
        if voiced_ms >= BASELINE_FULL_MS:
            break
    return {name: total / voiced_ms for name, total in sums.items()} if voiced_ms >= BASELINE_MS else None


def tension(found: dict[str, float], first: dict[str, float]) -> float:
    """The score of `StressAnalyser` for features `found` against the baseline `first`."""
    total = 0.0
    for name, (unit, weight) in FEATURES.items():
        total += weight * float(np.clip((found[name] - first[name]) / unit, -Z_LIMIT, Z_LIMIT))
    sure = found["voiced_ms"] / (found["voiced_ms"] + SURE_MS)
    return float(1 / (1 + np.exp(-(BIAS + sure * total))))


_NEIGHBOURS: Final = np.array([1, 2, 3, 2, 1], dtype=np.float32) / 9
_WINDOW: Final = np.hanning(FRAME).astype(np.float32)
_BINS_HZ: Final = np.fft.rfftfreq(TRANSFORM, 1 / HZ)
_LOW_BAND: Final = (_BINS_HZ >= 100) & (_BINS_HZ < 1000)
_HIGH_BAND: Final = (_BINS_HZ >= 1000) & (_BINS_HZ < 3400)
_PITCH_BAND: Final = (_BINS_HZ >= 60) & (_BINS_HZ < 1500)
_SHORTEST: Final = HZ // HIGHEST_HZ
_LONGEST: Final = HZ // LOWEST_HZ


def _window_correlation() -> Floats:
    # The window as the pitch band leaves it: dividing by it undoes the taper's pull towards short lags.
    spectrum = np.abs(np.fft.rfft(_WINDOW, TRANSFORM)) ** 2
    correlation = np.fft.irfft(spectrum)[: _LONGEST + 2]
    whole: Floats = correlation / correlation[0]
    return whole


_WINDOW_CORRELATION: Final = _window_correlation()


def _pitch(power: Floats) -> tuple[Floats, Floats]:
    """Pitch in Hz and periodicity 0..1 of each frame, from power spectra of shape (n, bins)."""
    correlation = np.fft.irfft(power * _PITCH_BAND, axis=1)[:, : _LONGEST + 2]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / _WINDOW_CORRELATION
    # The telephone takes the fundamental away, so single frames slip by octaves. Pitch moves slowly: neighbours
    # vote. Of nearly equal peaks the shorter lag is the pitch, the longer ones its multiples.
    padded = np.pad(correlation, ((2, 2), (0, 0)), mode="edge")
    count = len(power)
    voted = sum(share * padded[k : k + count] for k, share in enumerate(_NEIGHBOURS))
    lags = np.arange(_SHORTEST, _LONGEST + 1)
    wanted = voted[:, lags] - OCTAVE_COST * np.log2(lags / _SHORTEST)
    # A second look prefers what is near the utterance's own pitch, as far as nearly equal peaks leave a choice.
    clear = wanted.max(axis=1) > PERIODIC
    if clear.any():
        usual = np.median(lags[wanted[clear].argmax(axis=1)])
        wanted = wanted - LEAP_COST * np.abs(np.log2(lags / usual))
    peak = wanted.argmax(axis=1) + _SHORTEST
    rows = np.arange(count)
    left, top, right = voted[rows, peak - 1], voted[rows, peak], voted[rows, peak + 1]
    bend = left - 2 * top + right
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (left - right) / np.where(np.abs(bend) > 1e-9, bend, 1.0), 0.0)
    # A peak at the edge of the range is the slope of something else.
    inside = (top >= left) & (top >= right)
    return HZ / (peak + np.clip(shift, -0.5, 0.5)), np.where(inside, top, 0.0)


def _steadied(pitch_hz: Floats) -> Floats:
    """Median over five frames: octave slips are short."""
    padded = np.pad(pitch_hz, 2, mode="edge")
    steady: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return steady


def _span(voiced: NDArray[np.bool_]) -> int:
    where = np.flatnonzero(voiced)
    return int(where[-1] - where[0]) + 1


def _peaks(level: Floats, voiced: NDArray[np.bool_]) -> int:
    """Loudness peaks in voiced frames that stand 3 dB above the dip before them."""
    curve = np.convolve(10 * np.log10(level + 1e-9), np.ones(3) / 3, mode="same")
    count = 0
    dip = peak = float(curve[0])
    rising = False
    for now, speaks in zip(curve.tolist(), voiced.tolist(), strict=True):
        if rising:
            peak = max(peak, now)
            if now < peak - 3:
                rising, dip = False, now
        else:
            dip = min(dip, now)
            if speaks and now > dip + 3:
                rising, peak = True, now
                count += 1
    return count
