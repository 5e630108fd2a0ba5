"""Made sounds at 8 kHz: voices of a given pitch, brightness and pace, and what a line carries that is no voice.

It knows no model. No recording is used: nothing here is evidence of how people sound, only that a judgement moves the
right way and stays silent where nobody speaks.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import decode, encode_mulaw

Floats = NDArray[np.float64]
Sound = NDArray[np.int16]

HZ: Final = 8_000
VOWELS_HZ: Final = np.array(
    [(300, 870, 2240), (660, 1720, 2410), (730, 1090, 2440), (530, 1840, 2480), (440, 1020, 2240)]
)
"""First three formants of five vowels of men (Peterson and Barney, J. Acoust. Soc. Am. 24, 1952)."""
WIDTHS_HZ: Final = np.array([70.0, 100.0, 140.0])


def telephone(sound: NDArray[Any], rate_hz: int = HZ) -> Floats:
    """Floats in -1..1 of shape (n,) at any rate to what is left of them after 8 kHz and mu-law, floats at 8 kHz."""
    length = len(sound) * HZ // rate_hz
    narrow = sound
    if rate_hz != HZ:
        narrow = np.fft.irfft(np.fft.rfft(sound)[: length // 2 + 1], length) * length / len(sound)
    whole = np.clip(np.rint(narrow * 32767), -32768, 32767).astype(np.int16)
    return np.asarray(decode(encode_mulaw(whole), "mulaw") / 32768.0)


def voice(
    pitch_hz: float,
    seconds: float,
    *,
    tilt: float = 1.4,
    rough: float = 0.002,
    syllables: float = 4.0,
    level: float = 0.1,
    seed: int = 0,
) -> Sound:
    """A man of wires: vowels that change with every syllable, short stops between, harmonics falling as n**-tilt.

    `rough`: how far single periods wander, as a share. int16 at 8 kHz, through mu-law.
    """
    rng = np.random.default_rng(seed)
    count = int(seconds * HZ)
    place = np.arange(count) / HZ * syllables
    beats = int(seconds * syllables) + 2
    formants = VOWELS_HZ[rng.integers(0, len(VOWELS_HZ), 3 * beats)]  # three a syllable: speech never stands still
    pitches = 2 ** (rng.normal(0, 1.5, beats) / 12) * pitch_hz
    wander = np.repeat(rng.normal(0, rough, count // 40 + 1), 40)[:count]
    glide = np.interp(place, np.arange(beats), pitches) * (1 + wander)
    phase = 2 * np.pi * np.cumsum(glide) / HZ
    moving = np.stack([np.interp(3 * place, np.arange(3 * beats), formants[:, k]) for k in range(3)])
    sound = np.zeros(count)
    for n in range(1, int(3_600 // glide.min()) + 1):
        hz = n * glide
        gain = np.ones(count)
        for centre, width in zip(moving, WIDTHS_HZ, strict=True):
            gain *= centre**2 / np.sqrt((centre**2 - hz**2) ** 2 + (width * hz) ** 2)
        sound += np.sin(n * phase) * gain * n**-tilt * (hz < 3_600)
    within = place % 1
    loudness = 10 ** (-rng.uniform(0, 10, beats)[place.astype(int)] / 20)
    sound *= np.clip(np.sin(np.pi * np.clip((within - 0.2) / 0.8, 0, 1)), 0, 1) * loudness / np.abs(sound).max()
    sound += rng.normal(0, 0.02, count) * (within < 0.15) + rng.normal(0, 0.001, count)
    return np.rint(telephone(sound * level * 3) * 32767).astype(np.int16)


def hold_music(seconds: float, *, vibrato: float = 0.0, seed: int = 0) -> Sound:
    """Chords of plucked strings, two a second. `vibrato`: how far pitch swings 5.5 times a second, as a share."""
    rng = np.random.default_rng(seed)
    step = HZ // 2
    at_s = np.arange(step) / HZ
    pieces = []
    for _ in range(int(seconds * 2) + 1):
        chord_hz = rng.choice([174.6, 196.0, 220.0, 261.6]) * np.array([1, 1.26, 1.5, 2 * rng.choice([1, 1.125, 1.26])])
        swing = 1 + vibrato * np.sin(2 * np.pi * 5.5 * at_s)
        phases = 2 * np.pi * np.cumsum(chord_hz[:, None] * swing, axis=1) / HZ
        pieces.append(np.exp(-3 * at_s) * sum((np.sin(k * phases) / k).sum(axis=0) for k in range(1, 6)))
    sound = np.concatenate(pieces)[: int(seconds * HZ)]
    return np.rint(telephone(sound / np.abs(sound).max() / 2) * 32767).astype(np.int16)


def tones(seconds: float, pairs_hz: list[tuple[float, float]], on_s: float = 0.15, off_s: float = 0.1) -> Sound:
    """Pairs of pure tones in turn, `on_s` long with `off_s` of silence after each: keys, ringing, engaged."""
    at_s = np.arange(int(seconds * HZ)) / HZ
    turn = (at_s // (on_s + off_s)).astype(int) % len(pairs_hz)
    low, high = (np.array([pair[k] for pair in pairs_hz])[turn] for k in (0, 1))
    sound = 0.2 * (np.sin(2 * np.pi * low * at_s) + np.sin(2 * np.pi * high * at_s)) * (at_s % (on_s + off_s) < on_s)
    return np.rint(telephone(sound) * 32767).astype(np.int16)


@cache
def no_voices(seconds: float = 3.0) -> dict[str, Sound]:
    """What may stand on a customer's channel while nobody speaks."""
    rng = np.random.default_rng(0)
    count = int(seconds * HZ)
    white = rng.standard_normal(count)
    crackle = (rng.random(count) < 0.002) * rng.normal(0, 12_000, count)
    hum = sum(np.sin(2 * np.pi * 98.9 * k * np.arange(count) / HZ) / k for k in range(1, 9)) * 2_000
    return {
        "silence": np.zeros(count, np.int16),
        "offset": np.full(count, 9_000, np.int16),
        "noise": (white * 3_000).astype(np.int16),
        "faint noise": (white * 2).astype(np.int16),
        "crackle": crackle.astype(np.int16),
        "hum": (hum + white * 300).astype(np.int16),
        "keys": tones(seconds, [(770, 1336), (697, 1209), (852, 1477)]),
        "ringing": tones(seconds, [(440, 480)], on_s=2.0, off_s=4.0),
        "engaged": tones(seconds, [(480, 620)], on_s=0.5, off_s=0.5),
        "dial tone": tones(seconds, [(350, 440)], on_s=60.0),
        **{f"hold music {n}": hold_music(seconds, seed=n) for n in range(4)},
        **{f"hold music, vibrato {n}": hold_music(seconds, vibrato=0.01, seed=n) for n in range(4)},
    }
