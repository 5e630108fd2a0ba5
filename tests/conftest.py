"""What tests share: real servers in their own processes, and the script of the shipped call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from benchmarks import calls, door

QUICK = {
    # Recordings are played faster than speech in tests; the limit itself has a test of its own.
    "ASSIST_INGEST_SPEED": "1000",
    "ASSIST_RECOGNISER_KIND": "scripted",
    # How long a pause lasts must not depend on whether its words are there in time, fifteen times as fast as speech.
    "ASSIST_ENDPOINTING_OPEN_MS": "360",
}

settings.register_profile("ours", deadline=None)  # a machine that stalls is no finding
settings.load_profile("ours")


@pytest.fixture(scope="session")
def script() -> calls.Script:
    found = calls.script_of(calls.SHIPPED)
    assert found, "the shipped call has lost its script"
    return found


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory, script: calls.Script) -> dict[str, str]:
    """Settings for a server whose recogniser says the shipped call's script."""
    path = calls.for_scripted(script, tmp_path_factory.mktemp("script") / "say.json")
    return {**QUICK, "ASSIST_RECOGNISER_SCRIPT": str(path)}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, scripted: dict[str, str]) -> Iterator[door.Door]:
    """One server for all tests that do it no harm."""
    with door.running(tmp_path_factory.mktemp("server"), scripted) as running:
        yield running
