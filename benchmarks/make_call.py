"""Speak a call from its script with flite voices: `python -m benchmarks.make_call [FOLDER]`.

Reads FOLDER/script.toml, writes FOLDER/call.wav (8 kHz mu-law, left agent, right customer) and writes the
measured `start_ms` and `end_ms` of each turn back into the script. It knows no recogniser and no server.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

CALL: Final = Path(__file__).parent / "calls" / "camera_call"
LINE_HZ: Final = 8_000
PARTIES: Final = ("agent", "customer")
SPEECH_PEAK: Final = 0.4
NOISE_RMS: Final = 0.0010  # about -60 dBFS: the hiss of a quiet line
TAIL_MS: Final = 900

Sound = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placed:
    """One turn's sound on the call's clock. `sound`: 8 kHz, shape (n,), trimmed to the speech itself."""

    party: str
    start_ms: int
    sound: Sound

    @property
    def end_ms(self) -> int:
        return self.start_ms + round(len(self.sound) * 1000 / LINE_HZ)


def speak(text: str, voice: str, stretch: float = 1.0, pitch_hz: float | None = None) -> tuple[Sound, int]:
    """`text` spoken by a flite voice: samples in -1..1, shape (n,), and their rate in Hz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}"]
        if pitch_hz is not None:
            command += ["--setf", f"int_f0_target_mean={pitch_hz}"]
        subprocess.run([*command, "-t", text, "-o", str(path)], check=True)
        sound, rate_hz = soundfile.read(path, dtype="float64")
    return sound, rate_hz


def narrow(sound: Sound, rate_hz: int) -> Sound:
    """`sound` at 8 kHz, low-passed to 3.8 kHz by a windowed-sinc filter. The rate must be a multiple of 8 kHz."""
    step = rate_hz // LINE_HZ
    if step * LINE_HZ != rate_hz:
        raise ValueError(f"{rate_hz} Hz is not a multiple of {LINE_HZ} Hz")
    if step == 1:
        return sound
    taps = np.arange(-100, 101)
    kernel = np.sinc(2 * 3_800 / rate_hz * taps) * np.hamming(len(taps))
    return np.convolve(sound, kernel / kernel.sum(), mode="same")[::step]


def trim(sound: Sound, floor_db: float = -42.0) -> Sound:
    """`sound` without the silence around it: from its first to its last 10 ms above `floor_db` under the loudest."""
    step = LINE_HZ // 100
    frames = sound[: len(sound) // step * step].reshape(-1, step)
    power = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(power > power.max() * 10 ** (floor_db / 20))
    return sound[loud[0] * step : (loud[-1] + 1) * step]


def voiced(turn: dict[str, Any], voice: str) -> Sound:
    """The trimmed 8 kHz sound of one turn of the script, with the pause inside it where the script has one."""
    text, cut = turn["text"], turn.get("break_after", "")
    parts = [cut, text.removeprefix(cut)] if cut else [text]
    if cut and not text.startswith(cut):
        raise ValueError(f"break_after {cut!r} does not begin {text!r}")
    spoken = [trim(narrow(*speak(part, voice, turn.get("stretch", 1.0), turn.get("pitch_hz")))) for part in parts]
    gap = np.zeros(turn.get("break_ms", 0) * LINE_HZ // 1000)
    sound = np.concatenate([spoken[0], *(piece for part in spoken[1:] for piece in (gap, part))])
    return np.asarray(sound * (SPEECH_PEAK / np.abs(sound).max()))


def place(script: dict[str, Any]) -> list[Placed]:
    """Each turn of the script spoken and set on the clock."""
    placed: list[Placed] = []
    end_ms = 0
    for turn in script["turn"]:
        sound = voiced(turn, script["voices"][turn["party"]])
        placed.append(Placed(turn["party"], max(0, end_ms + turn["pause_ms"]), sound))
        end_ms = placed[-1].end_ms
    return placed


def mix(placed: list[Placed]) -> Sound:
    """Two channels over a faint, seeded hiss: shape (n, 2), 8 kHz, agent left."""
    length = (max(turn.end_ms for turn in placed) + TAIL_MS) * LINE_HZ // 1000
    line = np.random.default_rng(7).normal(0.0, NOISE_RMS, (length, len(PARTIES)))
    for turn in placed:
        first = turn.start_ms * LINE_HZ // 1000
        line[first : first + len(turn.sound), PARTIES.index(turn.party)] += turn.sound
    return line


def with_times(text: str, placed: list[Placed]) -> str:
    """The script's own text with `start_ms` and `end_ms` under each turn's `party`, earlier ones replaced."""
    text = re.sub(r"(?m)^(start|end)_ms = -?\d+\n", "", text)
    times = iter(placed)

    def stamp(match: re.Match[str]) -> str:
        turn = next(times)
        return f"{match.group(0)}start_ms = {turn.start_ms}\nend_ms = {turn.end_ms}\n"

    return re.sub(r'(?m)^\[\[turn\]\]\nparty = ".*"\n', stamp, text)


def make(folder: Path) -> list[Placed]:
    """Write `folder`/call.wav and the measured times into `folder`/script.toml."""
    script_path = folder / "script.toml"
    text = script_path.read_text()
    placed = place(tomllib.loads(text))
    soundfile.write(folder / "call.wav", mix(placed), LINE_HZ, subtype="ULAW")
    script_path.write_text(with_times(text, placed))
    return placed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=CALL)
    folder = parser.parse_args().folder
    placed = make(folder)
    size = (folder / "call.wav").stat().st_size
    print(f"{folder / 'call.wav'}: {len(placed)} turns, {placed[-1].end_ms / 1000:.1f} s, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
