"""The peers' own environments: made once, pinned, under `.peers/`, and never mixed with ours.

`pip` runs as its user has set it up. Torch comes first and in the build for processors, so that nobody's requirements
can bring in the gigabytes of a GPU's libraries; where PyPI is all that pip knows, PIP_EXTRA_INDEX_URL must name
https://download.pytorch.org/whl/cpu. What a peer needs only for GPUs, microphones or other recognisers is left out.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.report import ROOT

FOLDER: Final = ROOT / ".peers"
TORCH: Final = "torch==2.13.0"
LIMIT_S: Final = 900.0


@dataclass(frozen=True)
class Place:
    """One environment: `needs` with their dependencies, `alone` without."""

    name: str
    needs: tuple[str, ...]
    alone: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return FOLDER / self.name / "bin" / "python"

    def made(self) -> Path:
        """Make it where it is not there; its interpreter. Raises RuntimeError with pip's last words."""
        ready, wanted = FOLDER / self.name / "ready", "\n".join((TORCH, *self.needs, *self.alone)) + "\n"
        if ready.is_file() and ready.read_text("utf-8") == wanted:
            return self.python
        print(f"making the environment of {self.name} (once, some minutes)", file=sys.stderr, flush=True)
        FOLDER.mkdir(exist_ok=True)
        _run(sys.executable, "-m", "venv", "--clear", str(FOLDER / self.name))
        bounds = FOLDER / self.name / "bounds.txt"
        bounds.write_text(TORCH + "\n", "utf-8")
        pip = (str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(*pip, f"{TORCH}+cpu")
        _run(*pip, "-c", str(bounds), *self.needs)
        _run(*pip, "--no-deps", *self.alone)
        ready.write_text(wanted, "utf-8")
        return self.python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not installed within {LIMIT_S:.0f} s: {' '.join(command[-3:])}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise RuntimeError(f"not installed: {' '.join(errors[-3:])}")


WHISPER_LIVE: Final = Place(
    "whisper-live",
    (
        "faster-whisper==1.2.0",
        "fastapi==0.165.0",
        "numpy==2.4.6",
        "python-multipart==0.0.34",
        "scipy==1.17.1",
        "soundfile==0.14.0",
        "tokenizers==0.20.3",
        "uvicorn==0.54.0",
        "websockets==17.4",
    ),
    ("whisper-live==0.10.0",),
)
REALTIME_STT: Final = Place(
    "realtime-stt",
    (
        "colorama==0.4.6",
        "fastapi==0.165.0",
        "faster-whisper==1.2.1",
        "halo==0.0.31",
        "scipy==1.17.1",
        "soundfile==0.13.1",
        "uvicorn[standard]==0.54.0",
        "webrtcvad-wheels==2.0.14",
        "websocket-client==1.9.0",
        "websockets==16.0",
    ),
    ("silero-vad==6.2.1", "realtimestt==1.1.2"),
)
