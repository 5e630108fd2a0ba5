"""A short call out of the shipped one, and the smallest random weights: what the smoke tests play."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.calls import SHIPPED, script_of
from benchmarks.make_weights import make

BEFORE_MS, AFTER_MS = 300, 80
SHORTEST_MS, LONGEST_MS, ALONE_MS = 1_200, 3_500, 350


@pytest.fixture(scope="session")
def short_call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short turn of the customer that nobody talks into, silence after it, and its script."""
    script = script_of(SHIPPED)
    assert script
    turn = next(
        t
        for t in script.turn
        if t.party == "customer"
        and SHORTEST_MS <= t.end_ms - t.start_ms <= LONGEST_MS
        and all(o is t or o.end_ms < t.start_ms - ALONE_MS or o.start_ms > t.end_ms + ALONE_MS for o in script.turn)
    )
    from_ms = turn.start_ms - BEFORE_MS
    folder = tmp_path_factory.mktemp("calls") / "short_call"
    folder.mkdir()
    sound, rate_hz = soundfile.read(SHIPPED / "call.wav", dtype="int16")
    cut = sound[from_ms * rate_hz // 1000 : (turn.end_ms + AFTER_MS) * rate_hz // 1000]
    cut = np.pad(cut, ((0, -len(cut) % (rate_hz // 50) + rate_hz), (0, 0)))
    soundfile.write(folder / "call.wav", cut, rate_hz)
    (folder / "script.toml").write_text(
        f'[[turn]]\nparty = "{turn.party}"\nstart_ms = {turn.start_ms - from_ms}\nend_ms = {turn.end_ms - from_ms}\n'
        f'text = "{turn.text}"\n'
    )
    return folder


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper's smallest shape with random weights."""
    return make("micro", tmp_path_factory.mktemp("weights") / "random-micro")
