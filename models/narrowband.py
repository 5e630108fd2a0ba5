"""The package's wideband acoustic model turned into one for telephone speech, and the features both listen to.

The model's Gaussians are over 13 cepstra of 25 mel filters up to 6.8 kHz; a telephone line fills only the lower
ones. Both sides are linear up to the cepstra, so the model of what the lower filters show follows from the one that
is there: no training. Over all 25 the same formula gives the model back as it was, for calls that come wide.
It knows no decoder and no language.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Samples

FILTERS: Final = 25
HEARD_FILTERS: Final = 20  # of 25; the 20th ends at 4.2 kHz. 18 and 19 gave more errors
CEPSTRA: Final = 13
SPREAD: Final = 0.3  # 0.1 to 0.3 did alike; 1 gave a tenth more errors, 0.03 and 3 more still
WINDOW: Final = 410  # samples, 25.6 ms
HOP: Final = 160  # samples, 10 ms
FFT: Final = 512
LOWEST_HZ, HIGHEST_HZ = 130.0, 6_800.0
LIFTER: Final = 22
PRE_EMPHASIS: Final = 0.97
TOP_FILTERS, MIDDLE_FILTERS = slice(23, 25), slice(12, 19)  # 5.0 to 6.8 kHz; 1.6 to 3.7 kHz
WIDE_DB: Final = -35.0
"""Power above 5 kHz against the middle: telephone speech doubled to 16 kHz has under -46, wideband speech over -22."""
POWER_FLOOR: Final = 10.0  # just under what the rounding of mu-law leaves: digital silence is no abyss
LINKED: Final = ("mdef", "sendump", "transition_matrices", "noisedict")

Floats = NDArray[np.float64]


def _filterbank() -> Floats:
    """Triangular mel filters of unit area with edges on FFT bins, as SphinxBase builds them: (25, 257)."""

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    bin_hz = RATE_HZ / FFT
    edges = 700 * (10 ** (np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), FILTERS + 2) / 2595) - 1)
    edges = np.round(edges / bin_hz) * bin_hz
    low, centre, high = (edges[i : i + FILTERS, None] for i in range(3))
    hz = np.arange(FFT // 2 + 1) * bin_hz
    sides = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre))
    return np.asarray(np.clip(sides, 0, None) * 2 / (high - low), dtype=np.float64)


def _cosines() -> Floats:
    """The orthonormal DCT over the filters: (25, 25), a row per cepstrum."""
    rows = np.arange(FILTERS)[:, None]
    cosines = np.cos(np.pi * rows * (np.arange(FILTERS) + 0.5) / FILTERS) * np.sqrt(2 / FILTERS)
    cosines[0] /= np.sqrt(2)
    return np.asarray(cosines)


_BANK: Final = _filterbank().T
_COSINES: Final = _cosines()
_LIFT: Final = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
_HAMMING: Final = np.hamming(WINDOW)


def log_energies(samples: Samples) -> Floats:
    """Log mel energies, shape (frames, 25); no frame for less than 25.6 ms."""
    if len(samples) < WINDOW:
        return np.zeros((0, FILTERS))
    sound = samples.astype(np.float64)
    sound[1:] -= PRE_EMPHASIS * sound[:-1].copy()
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP] * _HAMMING
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    return np.asarray(np.log(power @ _BANK + POWER_FLOOR))


def is_wide(energies: Floats) -> bool:
    """Whether there is sound that no telephone line carries; `energies` as from `log_energies`."""
    power = np.exp(energies).sum(axis=0) - len(energies) * POWER_FLOOR
    return bool(power[TOP_FILTERS].sum() > 10 ** (WIDE_DB / 10) * max(power[MIDDLE_FILTERS].sum(), POWER_FLOOR))


@dataclass(frozen=True, slots=True)
class Table:
    """One parameter file of the model. `values`: (codebooks, streams, densities, 13)."""

    header: bytes
    values: NDArray[np.float64]


def read_table(path: Path) -> Table:
    """A Sphinx-3 `means` or `variances` file with streams of 13. Raises ValueError."""
    data = path.read_bytes()
    start = data.find(b"endhdr\n") + len(b"endhdr\n")
    ints = np.frombuffer(data[start : start + 32], "<i4")
    codebooks, streams, densities = ints[1:4]
    if ints[0] != 0x11223344 or streams != 3 or set(ints[4:7]) != {CEPSTRA}:
        raise ValueError(f"{path} is not the three-stream acoustic model this file knows")
    values = np.frombuffer(data[start + 32 : start + 32 + 4 * int(ints[7])], "<f4").astype(np.float64)
    # The check sum would no longer hold; a header without that name is read without one.
    header = data[: start + 32].replace(b"chksum0", b"nosum00")
    return Table(header, values.reshape(codebooks, streams, densities, CEPSTRA))


@dataclass(frozen=True, slots=True)
class Narrowband:
    """The model of what the lower filters show. `to_cepstra`: (13, filters), log energies to estimated cepstra."""

    to_cepstra: Floats
    means: Table
    variances: Table

    def features(self, energies: Floats) -> NDArray[np.float32]:
        """What the decoder is fed: (frames, 13), less their mean over the utterance. `energies`: (frames, 25)."""
        heard = energies[:, : self.to_cepstra.shape[1]] @ self.to_cepstra.T
        return np.ascontiguousarray(heard - heard.mean(axis=0) if len(heard) else heard, dtype=np.float32)

    def write(self, source: Path, folder: Path) -> None:
        """An acoustic model directory in `folder`; what stays as it was is linked to `source`."""
        for name in LINKED:
            (folder / name).symlink_to(source / name)
        parameters = (source / "feat.params").read_text().replace("-cmn batch", "-cmn none")
        (folder / "feat.params").write_text(parameters)
        for name, table in (("means", self.means), ("variances", self.variances)):
            (folder / name).write_bytes(table.header + table.values.astype("<f4").tobytes())


def narrow(source: Path, filters: int = HEARD_FILTERS) -> Narrowband:
    """The model over the lower `filters` that follows from the wideband one in `source`. Raises OSError, ValueError.

    With lower log energies x = B c + r, r ~ N(0, R) the detail that 13 cepstra leave out, and cepstra c of covariance
    S, the best linear estimate of c from x is G x, G = S B' (B S B' + R)^-1 (Wiener). A density of mean m and
    variance v then has mean G B m and variance diag(G B diag(v) B' G' + G R G') in the estimates.
    S is taken as SPREAD of the covariance over all densities: what is left to guess once the sound is known.
    """
    means, variances = read_table(source / "means"), read_table(source / "variances")
    centre, spread = means.values / _LIFT, variances.values / _LIFT**2
    up = _COSINES[:CEPSTRA, :filters].T
    detail = _COSINES[CEPSTRA:, :filters]
    static = centre[:, 0].reshape(-1, CEPSTRA)
    overall = SPREAD * (np.cov(static.T) + np.diag(spread[:, 0].reshape(-1, CEPSTRA).mean(axis=0)))

    def rest(stream: int) -> Floats:
        # Cepstra above the 13th are not in the model: they are taken to vary as much as the 13th.
        return detail.T @ detail * np.median(spread[:, stream, :, -1]) + 1e-3 * np.eye(filters)

    to_cepstra = overall @ up.T @ np.linalg.inv(up @ overall @ up.T + rest(0))
    through = to_cepstra @ up
    shrunk = centre @ through.T
    widened = spread @ (through**2).T
    for stream in range(3):
        widened[:, stream] += np.diag(to_cepstra @ rest(stream) @ to_cepstra.T)
    return Narrowband(to_cepstra, Table(means.header, shrunk), Table(variances.header, widened))
