"""How tense the customer's voice sounds against their own first speech: calm, tense or "none".

It knows no words. It is an estimate of arousal in the voice, never a diagnosis, and is heard on the customer's own
channel only unless a deployment says otherwise (see `load`).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Party, Samples
from assist.conversation import Conversation, Evidence, Finding, Heard
from assist.errors import ConfigError
from models import voice

log = logging.getLogger("assist.stress")

NAME: Final = "stress 3"
CUSTOMER: Final[tuple[Party, ...]] = ("customer",)

# Feature: (how far it wanders from utterance to utterance of one calm speaker, weight). Nothing is fitted: no corpus
# with stress labels here may be shipped. Which features, their direction and rough size follow the literature.
# - Pitch and high-frequency energy against the speaker's own neutral speech, weighing alike, rate arousal across
#   corpora without training (Bone, Lee & Narayanan, IEEE Trans. Affective Computing 5, 2014). Their third, loudness, is
#   left out: a telephone's gain is nobody's mood.
# - The floor of the pitch instead of its middle: in fear it rises as a whole, in joy it swings (Juslin & Laukka,
#   Psychological Bulletin 129, 2003: little and much variability of pitch).
# - Spectral balance at higher frequencies tells valence and control as well as arousal (Goudbeek & Scherer, J. Acoust.
#   Soc. Am. 128, 2010); faster speech and irregular pitch go with anger and fear (Juslin & Laukka).
FEATURES: Final = {
    "floor_st": (3.0, 1.5),
    "bright_db": (4.0, 1.2),
    "peaks_db": (5.0, 0.6),
    "jitter_st": (0.03, 0.45),
    "rate_hz": (1.0, 0.3),
}
Z_LIMIT: Final = 3.0  # no feature decides alone, however wrong its measurement
BIAS: Final = -2.0  # one turn in eight is tense where the voice says nothing
TENSE: Final = 0.5

BASELINE_MS: Final = 2_500  # voiced speech of the same person before anything is said about them
BASELINE_FULL_MS: Final = 10_000  # after this much the baseline no longer moves
SURE_MS: Final = 400  # so much voiced speech counts half
SURE_BASELINE_MS: Final = 1_000  # so does a baseline of this length
SURE_SNR_DB: Final = 12.0
LEAST_SNR_DB: Final = 7.0  # of voice and noise together over noise: white noise as loud as the speech has 4 to 7
MOST_CLIPPED: Final = 0.25  # up to there nothing was lost in acted speech
MOST_STEADY: Final = 0.32  # the steadiest of a thousand stretches of speech had 0.21, a synthetic voice 0.29
MOST_ALIKE: Final = 0.97
LEAST_SWING_DB: Final = 1.2

# What a voice that nobody has heard before is held against: midway between read English and what actors say neutrally,
# each on a telephone. Lines and languages differ by as much, so it counts half; pitch, a person's own, not at all.
TYPICAL: Final = {"bright_db": -5.0, "peaks_db": -20.0, "jitter_st": 0.09, "rate_hz": 4.5}
TYPICAL_COUNTS: Final = 0.5
TYPICAL_MS: Final = 800  # so much voiced speech is asked for where there is no baseline
CALM: Final = 0.2  # up to there it is named so without a baseline; between this and `TENSE` it is named neither

MOST_KNOWN: Final = 256  # baselines a judge remembers

DRIFT: Final = 0.1  # a change of score within this is no change
MOST_STEP: Final = 0.3  # of one turn: a single outburst is no turn of the call
ALARM: Final = 0.3  # what must have added up beyond the drift


class StressAnalyser:
    """One finding per utterance of the parties it may hear; nothing for others, whose sound is not looked at.

    Nothing either where `heard.alone` is False: the channel may carry somebody else's voice. `score`, 0..1, is

        1 / (1 + exp(2 - c * sum_f w_f * clip((x_f - b_f) / u_f, -3, 3)))

    with x the features, b the voiced-weighted medians of the speaker's first 2.5 to 10 s of voiced speech, w and u the
    constants in `FEATURES`, and c the confidence, 0..1: v / (v + 400) of the utterance's voiced ms v, times
    b / (b + 1000) of the baseline's, times the share that noise leaves. "tense" from 0.5.

    `detail`: the features (later turns read their baseline from there), "confidence", "because.<feature>": what that
    feature added to the log-odds, and, where the score has turned, "change": 1 or -1 with "change_ms", when that
    began. Label "none" (score 0) comes with "abstained.<reason>": 1: `short` (under 0.3 s voiced), `noise` (voice less
    than 7 dB above it), `clipped` (a quarter of the samples), `still` (tones, music, machines), `baseline` (none yet).
    """

    def __init__(self, parties: Collection[Party]) -> None:
        self._parties = frozenset(parties)

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        utterance = heard.utterance
        if utterance.party not in self._parties or not heard.alone:
            return ()
        evidence = Evidence(utterance=utterance.id, start_ms=utterance.start_ms, end_ms=utterance.end_ms, source=NAME)
        found = features(utterance.samples)
        finding = judged(found, baseline(so_far, utterance.party), evidence)
        if finding.label == "none":
            return (finding,)
        before = [
            (turn.transcript.start_ms, said.score)
            for turn in so_far.by(utterance.party)
            if (said := turn.finding("stress")) is not None and said.label != "none"
        ]
        turned = turn_of([score for _, score in before] + [finding.score])
        if turned is not None:
            began, sign = turned
            starts = [start_ms for start_ms, _ in before] + [utterance.start_ms]
            finding.detail.update(change=float(sign), change_ms=float(starts[began]))
        return (finding,)


def load(parties: Collection[Party] = CUSTOMER, reason: str = "") -> StressAnalyser:
    """The analyser for `parties`. Raises ConfigError for anybody but the customer without a `reason`.

    Inferring the emotions of people at work from their voice is prohibited in the EU (Regulation (EU) 2024/1689,
    article 5(1)(f)), so the agent is not heard unless a deployment outside that rule adds them with a recorded
    reason; doing so for customers calls for telling them (article 50(3)). Prompts have no moods.
    """
    others = sorted(set(parties) - set(CUSTOMER))
    if set(others) - {"agent"}:
        raise ConfigError(f"stress is judged of people, not of {', '.join(map(repr, others))}")
    if others and not reason.strip():
        raise ConfigError("stress of the agent's voice: give the reason as mind.stress_reason (see the stress card)")
    if others:
        log.warning("the agent's voice is judged for stress; the reason given: %s", reason)
    return StressAnalyser(parties)


Judge = Callable[..., Finding]


def judge() -> Judge:
    """A callable (samples, rate_hz, baseline=None) -> Finding for one stretch of one person's voice.

    `samples`: int16, or floats in -1..1, shape (n,), `rate_hz` 8000 or more; `baseline`: the same of the same person
    while calm, one stretch or a sequence of them; without any the voice is a stranger's (`judged`), which a live call
    never scores. Several channels at once count as mixed and are not judged
    ("abstained.mixed"); nor is what no rate explains ("abstained.rate"). Never raises for what it is given to hear.
    """
    known: dict[bytes, dict[str, float]] = {}

    def remembered(samples: Any, rate_hz: int) -> dict[str, float]:
        # A baseline comes again with every stretch that is held against it.
        sound = _last(np.asarray(samples), rate_hz)
        key = hashlib.blake2b(f"{rate_hz} {sound.dtype} {sound.shape} ".encode() + sound.tobytes()).digest()
        if key not in known:
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[key] = features(sound, rate_hz)
        return known[key]

    def judge_one(samples: Any, rate_hz: Any, baseline: Any = None) -> Finding:
        rate_hz = _whole(rate_hz)
        found = features(samples, rate_hz)
        if isinstance(baseline, np.ndarray) and baseline.ndim == 1:
            baseline = [baseline]
        known_calm = baseline if isinstance(baseline, Iterable) and not isinstance(baseline, str | bytes) else ()
        first = typical([remembered(each, rate_hz) for each in known_calm])
        length_ms = 1000 * np.shape(samples)[0] / rate_hz if np.ndim(samples) and rate_hz > 0 else 0
        evidence = Evidence(end_ms=round(length_ms), source=NAME)
        return judged(found, first, evidence, stranger=baseline is None)

    return judge_one


def _whole(rate_hz: Any) -> int:
    """A rate in Hz that is a whole number, however it is written down in Python; else 0, which is no rate."""
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int | float | np.integer | np.floating):
        return 0
    return int(rate_hz) if math.isfinite(rate_hz) and rate_hz == int(rate_hz) else 0


def features(samples: Samples | NDArray[Any], rate_hz: int = RATE_HZ) -> dict[str, float]:
    """`voice.features` of the sound and "clipped", or {"voiced_ms": 0} with the reason why there are none."""
    sound = _last(np.asarray(samples), rate_hz)
    if sound.ndim == 2 and 1 in sound.shape:
        sound = sound.reshape(-1)
    if sound.ndim > 1:
        return {"voiced_ms": 0.0, "abstained.mixed": 1.0}
    if not voice.HZ <= rate_hz <= 384_000 or sound.dtype.kind not in "iuf":
        return {"voiced_ms": 0.0, "abstained.rate": 1.0}
    heard = voice.track(voice.narrow(sound, rate_hz))
    if heard is None:
        return {"voiced_ms": 0.0, "abstained.short": 1.0}
    found = voice.features(heard) | {"clipped": round(voice.clipped(sound), 3)}
    reason = _unfit(found)
    # Features of what is not clearly a voice would be taken for the speaker's own by later turns.
    return {k: v for k, v in found.items() if k not in FEATURES} | {f"abstained.{reason}": 1.0} if reason else found


def _last(sound: NDArray[Any], rate_hz: int) -> NDArray[Any]:
    """As much as is listened to, so that an hour costs no more."""
    return sound[-voice.MAX_SECONDS * max(rate_hz, 1) :] if sound.ndim else sound.reshape(1)


def _unfit(found: Mapping[str, float]) -> str:
    """Why these features are not to be judged, or nothing."""
    if "floor_st" not in found:
        return "short"
    if found["steady"] > MOST_STEADY or found["alike"] > MOST_ALIKE or found["swing_db"] < LEAST_SWING_DB:
        return "still"
    if found["clipped"] > MOST_CLIPPED:
        return "clipped"
    return "noise" if found["snr_db"] < LEAST_SNR_DB else ""


def judged(
    found: dict[str, float], first: Mapping[str, float] | None, evidence: Evidence, *, stranger: bool = False
) -> Finding:
    """The finding for features `found` against the baseline `first`; see `StressAnalyser`.

    `stranger`: without a baseline a voice of 0.8 s and more is held against `TYPICAL`, with half the confidence and
    "baseline": 0 in `detail`. Between 0.2 and 0.5 the score stands, and the label is "none" ("abstained.baseline").
    """
    if any(name.startswith("abstained.") for name in found):
        return Finding("stress", "none", 0.0, evidence, found)
    confidence = found["voiced_ms"] / (found["voiced_ms"] + SURE_MS) * min(1.0, found["snr_db"] / SURE_SNR_DB)
    if first is not None:
        confidence *= first["voiced_ms"] / (first["voiced_ms"] + SURE_BASELINE_MS)
        score, because = _scored(found, first, confidence)
        detail = found | {"confidence": round(confidence, 3)} | because
        return Finding("stress", "tense" if score >= TENSE else "calm", score, evidence, detail)
    if not stranger or found["voiced_ms"] < TYPICAL_MS:
        return Finding("stress", "none", 0.0, evidence, found | {"abstained.baseline": 1.0})
    confidence *= TYPICAL_COUNTS
    score, because = _scored(found, TYPICAL, confidence)
    detail = found | {"confidence": round(confidence, 3), "baseline": 0.0} | because
    if CALM < score < TENSE:
        return Finding("stress", "none", score, evidence, detail | {"abstained.baseline": 1.0})
    return Finding("stress", "tense" if score >= TENSE else "calm", score, evidence, detail)


def _scored(
    found: Mapping[str, float], first: Mapping[str, float], confidence: float
) -> tuple[float, dict[str, float]]:
    """The score against `first`, and what each feature that it has added."""
    odds = BIAS
    because = {}
    for name, (unit, weight) in FEATURES.items():
        if name in first:
            z = min(Z_LIMIT, max(-Z_LIMIT, (found[name] - first[name]) / unit))
            because[f"because.{name}"] = round(confidence * weight * z, 3)
            odds += confidence * weight * z
    return round(1 / (1 + math.exp(-odds)), 4), because


def baseline(so_far: Conversation, party: Party) -> dict[str, float] | None:
    """What `typical` makes of the party's first 10 s of voiced speech; None under `BASELINE_MS` of it."""
    turns: list[dict[str, float]] = []
    voiced_ms = 0.0
    for turn in so_far.by(party):
        finding = turn.finding("stress")
        if finding is not None and all(name in finding.detail for name in FEATURES):
            turns.append(finding.detail)
            voiced_ms += finding.detail["voiced_ms"]
            if voiced_ms >= BASELINE_FULL_MS:
                break
    return typical(turns)


def typical(sounds: Sequence[Mapping[str, float]]) -> dict[str, float] | None:
    """Voiced-weighted medians of the features of `sounds`, or None under `BASELINE_MS` of voiced speech."""
    usable = [each for each in sounds if all(name in each for name in FEATURES)]
    voiced_ms = np.array([each["voiced_ms"] for each in usable])
    if voiced_ms.sum() < BASELINE_MS:
        return None
    return {name: _median(np.array([each[name] for each in usable]), voiced_ms) for name in FEATURES} | {
        "voiced_ms": float(voiced_ms.sum())
    }


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted median, straight between the middles of neighbouring weights, so that two values give their mean."""
    order = np.argsort(values)
    middles = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(weights.sum() / 2, middles, values[order]))


def turn_of(scores: Sequence[float]) -> tuple[int, int] | None:
    """Where the last of `scores` shows that they have turned: (index at which that began, 1 up or -1 down), or None.

    Two-sided cumulative sums (E. S. Page, Biometrika 41, 1954) of the steps away from the mean since the last turn,
    each at most 0.3 and less 0.1; beyond 0.3 they alarm and start anew from there. So it takes two at least.
    """
    found = None
    began = {1: 0, -1: 0}
    sums = {1: 0.0, -1: 0.0}
    level, count = 0.0, 0
    for at, score in enumerate(scores):
        found = None
        for sign in (1, -1) if count else ():
            if sums[sign] <= 0:
                began[sign] = at
            sums[sign] = max(0.0, sums[sign] + min(sign * (score - level), MOST_STEP) - DRIFT)
            if sums[sign] > ALARM:
                found = (began[sign], sign)
        if found is None:
            level, count = (level * count + score) / (count + 1), count + 1
        else:
            since = list(itertools.islice(scores, found[0], at + 1))
            level, count = sum(since) / len(since), len(since)
            sums = {1: 0.0, -1: 0.0}
    return found
