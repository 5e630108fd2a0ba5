"""How well stress is heard in acted speech that a telephone has carried, and that nothing is heard where nobody speaks.

It knows ten actors' German and made sounds, no real caller. Nothing of it was trained on, but of five settings of the
weights one was chosen by it, and where a stranger's calm lies (models/stress.py, TYPICAL) comes from its neutral clips.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from assist.conversation import Evidence, Finding
from benchmarks.accuracy import sounds
from benchmarks.accuracy.figures import Figure, Measured, auc, bootstrap, calibration_error, share
from benchmarks.accuracy.sounds import HZ, telephone
from benchmarks.report import table
from models import stress, voice
from models.train import stress as trained

Floats = NDArray[np.float64]
Sound = NDArray[np.int16]
Line = Callable[[Floats, np.random.Generator], Floats]

FRAME: Final = HZ // 50
LOST: Final = 0.03
AFTER: Final = "EMO-DB, 8 kHz mu-law, each clip after its speaker's other neutral ones"
SPLIT: Final = f"{AFTER}; of five settings one was chosen by it"


@dataclass(frozen=True, slots=True)
class Clips:
    """The corpus: floats and their rate, and for each clip whose it is and what it was to sound like."""

    sounds: list[tuple[Floats, int]]
    speaker: NDArray[Any]
    emotion: NDArray[Any]

    @property
    def tense(self) -> NDArray[np.bool_]:
        """Anger and fear."""
        return np.isin(self.emotion, ("anger", "fear"))

    @property
    def neutral(self) -> NDArray[np.bool_]:
        return np.asarray(self.emotion == "neutral")


def emodb(data: Path) -> Clips:
    """All 535 clips. Raises SystemExit where they are absent."""
    folder = data / "emodb"
    if not folder.exists():
        raise SystemExit(f"{folder} is not there: this needs the shared data; point to it with --data FOLDER")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    read = [soundfile.read(folder / row["path"]) for row in rows]
    return Clips(read, *(np.array([row[name] for row in rows]) for name in ("speaker", "emotion")))


def _with_noise(snr_db: float) -> Line:
    def line(sound: Floats, rng: np.random.Generator) -> Floats:
        level = float(np.sqrt((sound**2).mean())) * 10.0 ** (-snr_db / 20)
        return np.asarray(sound + rng.standard_normal(len(sound)) * level)

    return line


def _with_gain(gain_db: float) -> Line:
    factor = 10.0 ** (gain_db / 20)
    return lambda sound, _: sound * factor


def _with_loss(repeated: bool) -> Line:
    """3% of frames of 20 ms are gone, one by one; silence or the frame before stands in their place."""

    def line(sound: Floats, rng: np.random.Generator) -> Floats:
        whole = sound.copy()
        for start in range(FRAME, len(sound) - FRAME, FRAME):
            if rng.random() < LOST:
                whole[start : start + FRAME] = whole[start - FRAME : start] if repeated else 0.0
        return whole

    return line


def _clipping(sound: Floats, _: np.random.Generator) -> Floats:
    top = float(np.percentile(np.abs(sound), 98))
    return np.clip(sound, -top, top)


LINES: Final[dict[str, Line]] = {
    "clean": lambda sound, _: sound,
    "noise 20 dB": _with_noise(20),
    "noise 10 dB": _with_noise(10),
    "gain +12 dB": _with_gain(12),
    "gain -12 dB": _with_gain(-12),
    "loss 3%, silence": _with_loss(repeated=False),
    "loss 3%, repeated": _with_loss(repeated=True),
    "tops cut off (2%)": _clipping,
    "offset 10%": lambda sound, _: sound + 0.1,
}
"""What happens on the way. Loss strikes what was coded, the rest what is coded; gain cuts off what grows too loud."""


def carried(clips: Clips, name: str) -> list[Sound]:
    """Every clip as it comes out of line `name`: int16 at 8 kHz. Same clip and line, same noise."""
    line = LINES[name]
    result = []
    for number, (sound, rate_hz) in enumerate(clips.sounds):
        rng = np.random.default_rng(number)
        narrow = np.asarray(telephone(sound, rate_hz))
        there = line(telephone(narrow), rng) if name.startswith("loss") else telephone(line(narrow, rng))
        result.append(np.rint(there * 32767).astype(np.int16))
    return result


def judged(
    clips: Clips, heard: Sequence[dict[str, float]], calm: Sequence[dict[str, float]] | None = None
) -> list[Finding]:
    """Each clip of features `heard` judged after its speaker's neutral ones in `calm` (itself left out)."""
    calm = heard if calm is None else calm
    findings = []
    for n, found in enumerate(heard):
        own = np.flatnonzero(clips.neutral & (clips.speaker == clips.speaker[n])).tolist()
        first = stress.typical([calm[k] for k in own if k != n])
        findings.append(stress.judged(dict(found), first, Evidence(source=stress.NAME)))
    return findings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one set of findings is worth. AUCs count those who were judged; `none` is the share that was not."""

    rest: Figure
    neutral: Figure
    none: float
    score: Floats
    known: NDArray[np.bool_]
    label: NDArray[Any]


def outcome(clips: Clips, findings: Sequence[Finding], split: str) -> Outcome:
    """Anger and fear against all the rest, and against neutral."""
    score = np.array([each.score for each in findings])
    label = np.array([each.label for each in findings])
    known = label != "none"
    near = known & (clips.tense | clips.neutral)
    return Outcome(
        bootstrap(auc, clips.tense[known], score[known], split=split, of=clips.speaker[known]),
        bootstrap(auc, clips.tense[near], score[near], split=f"{split}; against neutral", of=clips.speaker[near]),
        float((~known).mean()),
        score,
        known,
        label,
    )


def strangers(clips: Clips, heard: Sequence[dict[str, float]]) -> dict[str, Figure]:
    """Each clip judged without a baseline; those between calm and tense have a score and count."""
    found = [stress.judged(dict(each), None, Evidence(), stranger=True) for each in heard]
    score, label = np.array([each.score for each in found]), np.array([each.label for each in found])
    known = score > 0
    near = known & (clips.tense | clips.neutral)
    split = "EMO-DB, 8 kHz mu-law, no baseline, 0.8 s voiced; calm set between its neutral clips and others'"
    whose = clips.speaker
    return {
        "stress.emodb_stranger_auc": bootstrap(auc, clips.tense[known], score[known], split=split, of=whose[known]),
        "stress.emodb_stranger_neutral_auc": bootstrap(
            auc, clips.tense[near], score[near], split=f"{split}; against neutral", of=whose[near]
        ),
        "stress.emodb_stranger_tense": share(
            label[known & clips.tense] == "tense", f"{split}; anger, fear: tense", whose[known & clips.tense]
        ),
        "stress.emodb_stranger_false_alarm": share(
            label[known & ~clips.tense] == "tense", f"{split}; the rest: tense", whose[known & ~clips.tense]
        ),
    }


def leave_one_speaker_out(clips: Clips, heard: Sequence[Sound]) -> Floats:
    """Scores (n,) of a classifier trained on the other nine speakers; its settings are chosen among those nine."""
    tracks = [voice.track(voice.narrow(sound, HZ)) for sound in heard]
    values = trained.table([each for each in tracks if each is not None])
    scores = np.empty(len(values))
    for speaker in np.unique(clips.speaker):
        out = clips.speaker == speaker
        rows = trained.against_own(values, clips.neutral, clips.speaker, ~out)
        scores[out] = trained.chosen(rows[~out], clips.tense[~out], clips.speaker[~out])(rows[out])
    return scores


def _uar(tense: NDArray[np.bool_], score: Floats) -> float:
    """Unweighted average recall at 0."""
    return float(((score > 0)[tense].mean() + (score <= 0)[~tense].mean()) / 2)


def made(count: int) -> dict[str, Figure]:
    """`count` made voices each: calm ones named calm, raised ones tense, and all that is no voice left alone."""
    judge = stress.judge()
    calm = [sounds.voice(120, 5, seed=n) for n in range(4)]
    as_before = [judge(sounds.voice(120, 5, seed=10 + n), HZ, calm).label == "calm" for n in range(count)]
    raised = [
        judge(sounds.voice(165, 5, tilt=0.9, rough=0.004, syllables=5, seed=10 + n), HZ, calm).label == "tense"
        for n in range(count)
    ]
    nobody = [
        judge(sound, HZ, calm).label == "none"
        for seconds in (0.05, 3.0)
        for sound in sounds.no_voices(seconds).values()
    ]
    return {
        "stress.made_calm": share(as_before, "made voices, no more raised than before: named calm"),
        "stress.made_tense": share(raised, "made voices, higher, brighter, rougher, faster: named tense"),
        "stress.made_none": share(nobody, "music, tones, noise, silence: abstained"),
    }


def measure(data: Path, *, quick: bool) -> Measured:
    """`stress.*`; `quick`: made sounds only. Raises SystemExit where `data` lacks EMO-DB."""
    figures = made(6 if quick else 40)
    if quick:
        return Measured(figures)
    clips = emodb(data)
    heard = {name: carried(clips, name) for name in LINES}
    features = {name: [stress.features(sound, HZ) for sound in each] for name, each in heard.items()}
    found = {name: outcome(clips, judged(clips, each), f"{SPLIT}; {name}") for name, each in features.items()}
    clean, noisy = found["clean"], found["noise 10 dB"]
    figures |= {
        "stress.emodb_auc": clean.rest,
        "stress.emodb_neutral_auc": clean.neutral,
        "stress.emodb_noise10_auc": noisy.rest,
    }
    calm = features["clean"]
    later = {name: outcome(clips, judged(clips, each, calm), name) for name, each in features.items()}
    glad = clips.emotion == "happiness"
    without = clean.known & ~glad
    figures["stress.emodb_no_joy_auc"] = bootstrap(
        auc, clips.tense[without], clean.score[without], split=f"{SPLIT}; happiness left out", of=clips.speaker[without]
    )
    figures["stress.emodb_ece"] = bootstrap(
        calibration_error,
        clean.score[clean.known],
        clips.tense[clean.known],
        split=f"{SPLIT}; not calibrated",
        of=clips.speaker[clean.known],
    )
    figures["stress.emodb_no_joy_ece"] = bootstrap(
        calibration_error,
        clean.score[without],
        clips.tense[without],
        split=f"{SPLIT}; happiness left out",
        of=clips.speaker[without],
    )
    figures |= strangers(clips, features["clean"])
    scores = leave_one_speaker_out(clips, heard["clean"])
    nine = f"{AFTER}; trained on the other nine speakers, settings chosen among them"
    figures["stress.emodb_loso_auc"] = bootstrap(auc, clips.tense, scores, split=nine, of=clips.speaker)
    figures["stress.emodb_loso_uar"] = bootstrap(_uar, clips.tense, scores, split=nine, of=clips.speaker)
    tables = [_lines(found, later), _named(clips, clean, noisy)]
    return Measured(figures, tables, {"stress": (clean.score[clean.known], clips.tense[clean.known])})


def _lines(found: Mapping[str, Outcome], later: Mapping[str, Outcome]) -> str:
    rows: list[Sequence[object]] = [
        (
            name,
            f"{each.rest.value:.3f}",
            f"{each.neutral.value:.3f}",
            f"{each.none:.3f}",
            f"{later[name].rest.value:.3f}",
            f"{later[name].neutral.value:.3f}",
            f"{later[name].none:.3f}",
        )
        for name, each in found.items()
    ]
    heads = ("line", "AUC rest", "neutral", "none", "AUC rest, calm before it was so", "neutral", "none")
    return table(heads, rows)


def _named(clips: Clips, clean: Outcome, noisy: Outcome) -> str:
    rows: list[Sequence[object]] = [
        (emotion, *(f"{np.mean(each.label[clips.emotion == emotion] == 'tense'):.2f}" for each in (clean, noisy)))
        for emotion in np.unique(clips.emotion)
    ]
    return table(("named tense", "clean", "noise 10 dB"), rows)
