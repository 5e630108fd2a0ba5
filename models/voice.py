"""How a voice sounds on a telephone: pitch, brightness, roughness and pace of one stretch of sound, whatever its gain.

It knows no words, no emotions, no call and no other sound to compare with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HZ: Final = 8_000  # telephone speech holds nothing above 4 kHz
HOP_MS: Final = 10
HOP: Final = HZ * HOP_MS // 1000
FRAME: Final = 320  # 40 ms: three periods of the lowest voice
TRANSFORM: Final = 512
MAX_SECONDS: Final = 12  # the last ones of a longer sound: work stays bounded
LOWEST_HZ: Final = 70
HIGHEST_HZ: Final = 500

PERIODIC: Final = 0.45
CANDIDATES: Final = 5
OCTAVE_COST: Final = 0.03  # of a longer lag, per octave
LEAP_COST: Final = 0.15  # of a pitch away from the sound's usual one, per octave
STEP_COST: Final = 0.35  # of a step between neighbouring frames, per octave (Praat's default)
GAP_FRAMES: Final = 5  # after a pause of so many frames a step costs a fifth
LOUD_DB: Final = 25.0  # below the loud parts: softer frames say nothing
FAINT_DB: Final = -70.0  # below full scale: rounding noise of 16 bits and of mu-law
RISE_DB: Final = 2.0  # of a syllable above the dip before it
LEAST_VOICED_MS: Final = 300

STEADY_FRAMES: Final = 5
STEADY_ST: Final = 0.1  # a pitch that stays within this for 50 ms is hardly a voice's

WINDOW: Final = np.hanning(FRAME + 1)[:-1].astype(np.float32)
BINS_HZ: Final = np.fft.rfftfreq(TRANSFORM, 1 / HZ)
_SCALE: Final = 2 / (TRANSFORM * float((WINDOW**2).sum()))
_SHORTEST: Final = HZ // HIGHEST_HZ
_LONGEST: Final = HZ // LOWEST_HZ
_LAGS: Final = np.arange(_SHORTEST, _LONGEST + 1)
_ODD: Final = 2 * np.arange(-8, 8) + 1  # taps of the half-band filter that are not zero


def _between(low_hz: float, high_hz: float) -> NDArray[np.bool_]:
    return np.asarray((low_hz <= BINS_HZ) & (high_hz > BINS_HZ))


_PITCH_BAND: Final = _between(60, 1500).astype(np.float32)
_HEARD: Final = _between(100, 4001)
_BELOW_500, _ABOVE_500 = _between(80, 500), _between(500, 3400)
_BELOW_2000, _ABOVE_2000 = _between(100, 2000), _between(2000, 3400)


def _window_correlation() -> Floats:
    # The window's own: dividing by it undoes the taper's pull towards short lags.
    correlation = np.fft.irfft(np.abs(np.fft.rfft(WINDOW, TRANSFORM)) ** 2)[: _LONGEST + 2]
    return np.asarray(correlation / correlation[0], dtype=np.float32)


def _half_band() -> Floats:
    kernel = np.sinc(_ODD / 2) * np.kaiser(16, 6.0)
    return np.asarray(kernel / kernel.sum() / 2, dtype=np.float32)


def _bands(count: int, low_hz: float, high_hz: float) -> Floats:
    """Triangles of unit area, evenly spaced in mel: (bins, count)."""
    low_mel, high_mel = (2595 * math.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    edges = 700 * (10 ** (np.linspace(low_mel, high_mel, count + 2) / 2595) - 1)
    low, centre, high = (edges[i : i + count, None] for i in range(3))
    sides = np.clip(np.minimum((BINS_HZ - low) / (centre - low), (high - BINS_HZ) / (high - centre)), 0, None)
    return np.asarray((sides / sides.sum(axis=1, keepdims=True)).T, dtype=np.float32)


_WINDOW_CORRELATION: Final = _window_correlation()
_HALF_BAND: Final = _half_band()
MEL: Final = _bands(20, 150, 3400)


@dataclass(frozen=True, slots=True)
class Track:
    """One sound in frames of 40 ms, one every 10 ms.

    `level_db` (n,): dB below full scale; `pitch_hz` (n,): 0 where none; `periodicity` (n,): 0..1; `voiced` (n,);
    `power` (n, 257): spectra less the noise between and under the words; `snr_db`: voiced frames above that noise.
    """

    level_db: Floats
    pitch_hz: Floats
    periodicity: Floats
    voiced: NDArray[np.bool_]
    power: Floats
    snr_db: float

    @property
    def voiced_ms(self) -> float:
        return float(int(self.voiced.sum()) * HOP_MS)


def narrow(samples: NDArray[Any], rate_hz: int) -> Floats:
    """Mono samples (int16, or floats in -1..1) of shape (n,) at `rate_hz` >= 8000 to floats at 8 kHz, the last 12 s.

    Anything that is no number counts as silence.
    """
    heard = samples[-MAX_SECONDS * rate_hz :]
    full = np.float32(32768 if samples.dtype.kind in "iu" else 1)
    sound: Floats = np.nan_to_num(heard.astype(np.float32) / full, nan=0.0, posinf=0.0, neginf=0.0).clip(-4, 4)
    if rate_hz == HZ or not len(sound):
        return sound
    if rate_hz == 2 * HZ:  # the live path: every call's sound is held at 16 kHz
        sound = sound[: len(sound) // 2 * 2]
        padded = np.pad(sound[1::2], (8, 7))
        return np.asarray(sound[0::2] / 2 + np.convolve(padded, _HALF_BAND, mode="valid")[: len(sound) // 2])
    length = max(1, len(sound) * HZ // rate_hz)
    spectrum = np.fft.rfft(sound)[: length // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, length) * (length / len(sound)), dtype=np.float32)


def clipped(samples: NDArray[Any]) -> float:
    """Share of samples within 1.5% of the loudest: under 0.003 in speech, more where its tops were cut off."""
    loud = np.abs(samples.astype(np.float32))
    top = float(loud.max(initial=0.0))
    return float((loud >= 0.985 * top).mean()) if top > 0 else 0.0


def track(sound: Floats) -> Track | None:
    """Frames of `sound` (floats at 8 kHz, shape (n,)); None where it is shorter than one."""
    if len(sound) < FRAME:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(sound - sound.mean(), FRAME)[::HOP]
    spectrum = np.fft.rfft(frames * WINDOW, TRANSFORM, axis=1)
    power: Floats = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
    power[:, BINS_HZ < 60] = 0  # hum and offset
    level: Floats = power @ _HEARD.astype(np.float32) * np.float32(_SCALE) + np.float32(1e-10)
    level_db: Floats = 10 * np.log10(level)
    loud = level_db > max(float(np.percentile(level_db, 95)) - LOUD_DB, FAINT_DB)
    pitch_hz, periodicity = _pitch(power, loud)
    voiced = loud & (periodicity > PERIODIC)
    noise = _noise(power, level)
    heard = level[voiced].mean() if voiced.any() else level.mean()
    snr_db = 10 * math.log10(max(float(heard) / max(float(noise[_HEARD].sum()) * _SCALE, 1e-10), 1e-3))
    return Track(level_db, pitch_hz, periodicity, voiced, np.maximum(power - noise, 0.05 * power), snr_db)


def features(heard: Track) -> dict[str, float]:
    """What the voice of `heard` is like; only {"voiced_ms", "snr_db"} under 0.3 s voiced. Medians over voiced frames.

    f0_hz: pitch; floor_st: its 20th percentile in semitones above 55 Hz; range_st: 5th to 95th percentile;
    jitter_st: how far a frame's pitch lies from the line between its neighbours (half the second difference times 2);
    bright_db: energy in 0.5-3.4 kHz against 80-500 Hz, every frame counting alike (HF500: Bone et al. 2014);
    peaks_db: highest spectral peak in 2-3.4 kHz against that below 2 kHz (Hammarberg index, as in GeMAPS: Eyben et
    al. 2016, its sign turned, cut at the telephone's edge); rate_hz: loudness peaks, roughly syllables, per second;
    level_db, swing_db: mean and spread of voiced frames' level; steady: share of frames whose pitch stays within
    0.1 semitones for 50 ms; alike: how alike spectra 50 ms apart are, -1..1. Both are high for music and machines.
    """
    voiced = heard.voiced
    found = {"voiced_ms": heard.voiced_ms, "snr_db": heard.snr_db}
    if heard.voiced_ms >= LEAST_VOICED_MS:
        pitch_st = 12 * np.log2(heard.pitch_hz[voiced] / 55)
        lowest, floor, middle, highest = np.percentile(pitch_st, (5, 20, 50, 95))
        at = np.flatnonzero(voiced)
        joined = at[2:] - at[:-2] == 2
        bends = np.abs(pitch_st[2:] - 2 * pitch_st[1:-1] + pitch_st[:-2])[joined]
        steady, alike = _stillness(heard)
        found |= {
            "f0_hz": 55 * 2 ** (middle / 12),
            "floor_st": floor,
            "range_st": highest - lowest,
            "jitter_st": np.median(bends) if len(bends) else 0.0,
            "rate_hz": _peaks(heard) / ((at[-1] - at[0] + 1) * HOP_MS / 1000),
            "level_db": heard.level_db[voiced].mean(),
            "swing_db": heard.level_db[voiced].std(),
            "steady": steady,
            "alike": alike,
        } | _balance(heard.power[voiced])
    return {name: round(float(value), 3) for name, value in found.items()}


def _balance(power: Floats) -> dict[str, float]:
    shares = (power / np.maximum(power[:, _HEARD].sum(axis=1, keepdims=True), 1e-12)).mean(axis=0) + 1e-9
    return {
        "bright_db": 10 * math.log10(shares[_ABOVE_500].sum() / shares[_BELOW_500].sum()),
        "peaks_db": 10 * math.log10(shares[_ABOVE_2000].max() / shares[_BELOW_2000].max()),
    }


def _noise(power: Floats, level: Floats) -> Floats:
    """What goes on while nobody speaks, per bin: the lesser of two guesses, since either alone may catch speech.

    The tenth percentile over time, raised to the mean of noise whose power is exponentially distributed (as in
    minimum statistics: R. Martin, 2001), and the mean of the quietest twelfth of the frames.
    """
    tenth = np.percentile(power, 10, axis=0) / -math.log(0.9)
    quietest = np.argpartition(level, count := max(2, len(level) // 12))[: count + 1] if len(level) > 3 else [0]
    return np.asarray(np.minimum(tenth, power[quietest].mean(axis=0)), dtype=np.float32)


def _pitch(power: Floats, loud: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Pitch in Hz (0: none) and periodicity 0..1 of each frame, both (n,), from spectra (n, bins).

    Peaks of the autocorrelation divided by the window's own (Boersma 1993), the best path through five a frame
    (Viterbi): the telephone takes the fundamental away, so single frames slip by octaves.
    """
    pitch_hz, periodicity = np.zeros(len(power), np.float32), np.zeros(len(power), np.float32)
    correlation = np.fft.irfft(power * _PITCH_BAND, axis=1)[:, : _LONGEST + 2]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / _WINDOW_CORRELATION
    correlation[1:-1] = (correlation[:-2] + 2 * correlation[1:-1] + correlation[2:]) / 4  # neighbours in time vote
    at = np.flatnonzero(loud)
    correlation = correlation[at]
    before, here, after = (correlation[:, _SHORTEST + k : _LONGEST + 1 + k] for k in (-1, 0, 1))
    # Of nearly equal peaks the shorter lag is the pitch, the longer ones its multiples.
    wanted = np.where((here >= before) & (here >= after), here - OCTAVE_COST * np.log2(_LAGS / _SHORTEST), -1)
    best = np.argpartition(-wanted, CANDIDATES, axis=1)[:, :CANDIDATES]
    strength = np.take_along_axis(wanted, best, axis=1)
    clear = strength.max(axis=1, initial=-1.0) > PERIODIC - 0.1
    if not clear.any():
        return pitch_hz, periodicity
    at, lags, strength, correlation = at[clear], _LAGS[best[clear]], strength[clear], correlation[clear]
    rows = np.arange(len(at))
    usual = np.median(lags[rows, strength.argmax(axis=1)])
    strength = np.where(strength > 0, strength - LEAP_COST * np.abs(np.log2(lags / usual)), -1)
    lag = lags[rows, _path(strength, np.log2(lags), np.diff(at))]
    left, top, right = (correlation[rows, lag + k] for k in (-1, 0, 1))
    bend = np.minimum(left - 2 * top + right, -1e-6)
    pitch_hz[at] = HZ / (lag + np.clip((left - right) / (2 * bend), -0.5, 0.5))
    periodicity[at] = top
    return pitch_hz, periodicity


def _path(strength: NDArray[Any], octaves: NDArray[Any], gaps: NDArray[Any]) -> NDArray[np.intp]:
    """Which candidate of each frame (n,): strength (n, k) less the cost of steps in pitch (octaves: (n, k))."""
    step_cost = (STEP_COST / np.minimum(gaps, GAP_FRAMES))[:, None, None]
    steps = step_cost * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    back = np.empty(steps.shape[:2], dtype=np.intp)
    total = strength[0]
    for n, (step, gain) in enumerate(zip(steps, strength[1:], strict=True)):
        reached = total[:, None] - step
        back[n] = reached.argmax(axis=0)
        total = reached.max(axis=0) + gain
    path = np.empty(len(strength), dtype=np.intp)
    path[-1] = total.argmax()
    for n in range(len(back) - 1, -1, -1):
        path[n] = back[n, path[n + 1]]
    return path


def _stillness(heard: Track) -> tuple[float, float]:
    """`steady` and `alike` of `features`."""
    far = STEADY_FRAMES
    pairs = np.flatnonzero(heard.voiced[far:] & heard.voiced[:-far])
    if len(pairs) < far:
        return 0.0, 0.0
    moved_st = 12 * np.abs(np.log2(heard.pitch_hz[pairs + far] / heard.pitch_hz[pairs]))
    bands = np.log(heard.power @ MEL + 1e-9)
    bands -= bands.mean(axis=1, keepdims=True)
    bands /= np.maximum(np.linalg.norm(bands, axis=1, keepdims=True), 1e-9)
    alike = (bands[pairs + far] * bands[pairs]).sum(axis=1)
    return float((moved_st < STEADY_ST).mean()), float(np.median(alike))


def _peaks(heard: Track) -> int:
    """Loudness peaks in voiced frames that stand 2 dB above the dip before them."""
    hump = np.hanning(11)
    curve = np.convolve(heard.level_db, hump / hump.sum(), mode="same")
    count = 0
    dip = peak = float(curve[0])
    rising = False
    for now, speaks in zip(curve.tolist(), heard.voiced.tolist(), strict=True):
        if rising:
            peak = max(peak, now)
            if now < peak - RISE_DB:
                rising, dip = False, now
        else:
            dip = min(dip, now)
            if speaks and now > dip + RISE_DB:
                rising, peak = True, now
                count += 1
    return count
