"""A short call out of the shipped one, and the smallest random weights: what the smoke tests play."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.calls import SHIPPED, script_of
from benchmarks.make_weights import make

FROM_MS, TO_MS, LONG_MS = 87_900, 90_480, 3_200


@pytest.fixture(scope="session")
def short_call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.2 s with one turn of the customer, silence after it, and its script."""
    folder = tmp_path_factory.mktemp("calls") / "short_call"
    folder.mkdir()
    sound, rate_hz = soundfile.read(SHIPPED / "call.wav", dtype="int16")
    cut = sound[FROM_MS * rate_hz // 1000 : TO_MS * rate_hz // 1000]
    cut = np.pad(cut, ((0, LONG_MS * rate_hz // 1000 - len(cut)), (0, 0)))
    soundfile.write(folder / "call.wav", cut, rate_hz)
    script = script_of(SHIPPED)
    assert script
    (turn,) = [t for t in script.turn if t.start_ms >= FROM_MS and t.end_ms <= TO_MS]
    (folder / "script.toml").write_text(
        f'[[turn]]\nparty = "{turn.party}"\nstart_ms = {turn.start_ms - FROM_MS}\nend_ms = {turn.end_ms - FROM_MS}\n'
        f'text = "{turn.text}"\n'
    )
    return folder


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper's smallest shape with random weights."""
    return make("micro", tmp_path_factory.mktemp("weights") / "random-micro")
