"""A real SIP call between two soft-phones reaches us as one call of two legs."""

from __future__ import annotations

from pathlib import Path

import pytest

from assist import replay
from benchmarks import door, sip
from benchmarks.calls import SHIPPED, Script
from tests.wire import new_id

SECONDS = 15


@pytest.mark.skipif(bool(sip.missing()), reason=f"NO SIP CALL WAS PLACED: it needs {sip.missing()}")
def test_what_two_telephones_say_is_heard(tmp_path: Path, scripted: dict[str, str], script: Script) -> None:
    port, call = door.free_port(), new_id()
    with door.running(tmp_path, {**scripted, "ASSIST_INGEST_AUDIOSOCKET_PORT": str(port)}) as server:
        sent = sip.ring(replay.read(SHIPPED), SECONDS, server.url, port, call)
        finals = sip.finals(server, call)
        last = server.get(f"/calls/{call}/log")["entries"][-1]["event"]
    assert last["reason"] == "closed"
    for party, books in last["ledger"].items():
        assert books["gap_ms"] == 0 and books["received_ms"] == pytest.approx(sent[party] / 16, abs=0.1)
        assert books["received_ms"] > (SECONDS - 2) * 1000
    for turn in script.turn[:2]:
        heard = " ".join(each["text"] for each in finals if each["party"] == turn.party)
        assert heard.startswith(turn.text.split(".")[0]), turn.party
