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

DIALECTS = sorted(dialects(Settings()).keys() - {"text"})  # which has no sound to be played
NEAR_MS = 200
"""A word stands within its final, and where that ends hangs a little on frame sizes and on how busy a machine is."""
Said = tuple[str, int, str]
"""Party, start_ms, word."""


async def heard(
    server: door.Door, dialect: str, url: str = ""
) -> tuple[list[Said], list[dict[str, Any]], replay.Played]:
    """What a server makes of the shipped call: the words of its finals by party and time, each call's last event.

    `url`: where the dialect is spoken, if not with all the others.
    """
    before = {each["call"] for each in server.get("/calls")["calls"]}
    recording = replay.read(SHIPPED)
    client = make(dialect, Setup(new_id(), recording.rate_hz, metadata={"queue": "sales"}))
    played = await replay.send(client, recording, url or server.ws, speed=15)

    def ended() -> list[list[Any]]:
        calls = [each["call"] for each in server.get("/calls")["calls"] if each["call"] not in before]
        logs = [[entry["event"] for entry in server.get(f"/calls/{call}/log")["entries"]] for call in calls]
        return logs if logs and all(log and log[-1]["type"] == "CallEnded" for log in logs) else []

    await until(ended)
    logs = ended()
    said = [event["transcript"] for log in logs for event in log if event["type"] == "Transcribed"]
    finals = [(t["party"], t["start_ms"], t) for t in said if t["stage"] == "final"]
    ordered = sorted(finals, key=lambda each: each[:2])
    words = [(party, word["start_ms"], word["text"]) for party, _, final in ordered for word in final["words"]]
    return words, [log[-1] for log in logs], played


@pytest.fixture(scope="module")
def wanted(server: door.Door) -> list[Said]:
    """What the plain dialect gives. Where one final ends and the next begins, may hang on how busy a machine is."""
    return asyncio.run(heard(server, "plain"))[0]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_gives_the_same_finals_and_books_that_add_up(
    server: door.Door, script: Script, wanted: list[Said], dialect: str
) -> None:
    assert dialect in MODULES, f"{dialect}: a dialect of the server without a client in assist/clients"
    check(dialect, script, wanted, *await heard(server, dialect))


def check(
    dialect: str,
    script: Script,
    wanted: list[Said],
    words: list[Said],
    ends: list[dict[str, Any]],
    played: replay.Played,
) -> None:
    """What was heard is what the plain dialect gives, and every millisecond of it is accounted for."""
    assert (played.outcome, played.reason) == ("ended", "")
    assert [(party, word) for party, _, word in words] == [(party, word) for party, _, word in wanted]
    late = [(word, got - meant) for (_, got, word), (_, meant, _) in zip(words, wanted, strict=True)]
    assert all(abs(off_ms) <= NEAR_MS for _, off_ms in late), late
    spoken = sum(len(turn.text.split()) for turn in script.turn)
    assert 0.95 * spoken <= len(words) <= spoken
    duration_ms = replay.read(SHIPPED).duration_ms
    ledgers = list(itertools.chain.from_iterable(end["ledger"].items() for end in ends))
    assert sorted(party for party, _ in ledgers) == ["agent", "customer"]
    for party, books in ledgers:
        assert books["gap_ms"] == 0, party
        # A platform fills its last frame up, and sends whole ones.
        assert duration_ms - 20 <= books["received_ms"] <= duration_ms + make(dialect, Setup("c")).frame_ms, party
        counted = books["transcribed_ms"] + books["silence_ms"] + sum(books["skipped_ms"].values())
        assert books["received_ms"] == pytest.approx(counted, abs=1e-3), party
