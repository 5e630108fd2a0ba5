"""One recording through every dialect that the server speaks: the same finals, word for word, and books that add up.

Whoever adds a dialect adds its client to `assist/clients`, or this fails by its name.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from assist import replay
from assist.clients import MODULES, Setup, make
from assist.config import Settings
from benchmarks import door
from benchmarks.calls import SHIPPED, Script
from server import dialects
from tests.wire import new_id, until

DIALECTS = sorted(dialects(Settings()))
NEAR_MS = 100
"""Frames of another size may move the ends of an utterance by so much."""
Final = tuple[str, int, int, str]
"""Party, start_ms, end_ms, text."""


async def heard(server: door.Door, dialect: str) -> tuple[list[Final], list[dict[str, Any]], replay.Played]:
    """What a server makes of the shipped call: finals by party and time, the last event of each of its calls."""
    before = {each["call"] for each in server.get("/calls")["calls"]}
    recording = replay.read(SHIPPED)
    client = make(dialect, Setup(new_id(), recording.rate_hz, metadata={"queue": "sales"}))
    played = await replay.send(client, recording, server.ws, speed=15)

    def ended() -> list[list[Any]]:
        calls = [each["call"] for each in server.get("/calls")["calls"] if each["call"] not in before]
        logs = [[entry["event"] for entry in server.get(f"/calls/{call}/log")["entries"]] for call in calls]
        return logs if logs and all(log and log[-1]["type"] == "CallEnded" for log in logs) else []

    await until(ended)
    logs = ended()
    said = [event["transcript"] for log in logs for event in log if event["type"] == "Transcribed"]
    finals = [(t["party"], t["start_ms"], t["end_ms"], t["text"]) for t in said if t["stage"] == "final" and t["text"]]
    return sorted(finals), [log[-1] for log in logs], played


@pytest.fixture(scope="module")
def wanted(server: door.Door) -> list[Final]:
    """What the plain dialect gives."""
    return asyncio.run(heard(server, "plain"))[0]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_gives_the_same_finals_and_books_that_add_up(
    server: door.Door, script: Script, wanted: list[Final], dialect: str
) -> None:
    assert dialect in MODULES, f"{dialect}: a dialect of the server without a client in assist/clients"
    finals, ends, played = await heard(server, dialect)
    assert (played.outcome, played.reason) == ("ended", "")
    assert [(party, text) for party, _, _, text in finals] == [(party, text) for party, _, _, text in wanted]
    for (_, *got, text), (_, *meant, _) in zip(finals, wanted, strict=True):
        assert all(abs(a - b) <= NEAR_MS for a, b in zip(got, meant, strict=True)), (text, got, meant)
    said = {word for _, _, _, text in finals for word in text.split()}
    assert len(said & {word for turn in script.turn for word in turn.text.split()}) > 100
    duration_ms = replay.read(SHIPPED).duration_ms
    ledgers = list(itertools.chain.from_iterable(end["ledger"].items() for end in ends))
    assert sorted(party for party, _ in ledgers) == ["agent", "customer"]
    for party, books in ledgers:
        assert books["gap_ms"] == 0, party
        # A platform fills its last frame up, and sends whole ones.
        assert duration_ms - 20 <= books["received_ms"] <= duration_ms + make(dialect, Setup("c")).frame_ms, party
        counted = books["transcribed_ms"] + books["silence_ms"] + sum(books["skipped_ms"].values())
        assert books["received_ms"] == pytest.approx(counted, abs=1e-3), party


def test_every_client_is_one_of_a_dialect_that_there_is() -> None:
    assert set(MODULES) <= set(DIALECTS), f"clients of nothing: {set(MODULES) - set(DIALECTS)}"
