"""SIGKILL at random moments of a call: whatever was acknowledged is there after the next start, and the call is closed.

One data folder through all rounds, so that every start also recovers what the one before left.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from assist import replay
from assist.events import CallEnded, Entry, decode
from assist.journal import measure, read
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.wire import open_ingest

ROUNDS = 20


@pytest.mark.timeout(1_500)
async def test_nothing_acknowledged_is_lost_by_sigkill(tmp_path: Path, scripted: dict[str, str]) -> None:
    settings = {**scripted, "ASSIST_MIND_ANALYSERS": "[]"}  # a quicker start; what is kept does not depend on them
    moments = random.Random(20261121)
    recording = replay.read(SHIPPED)
    before: tuple[str, int, dict[str, int]] | None = None
    for round_number in range(ROUNDS + 1):
        server = door.start(tmp_path, settings)
        try:
            if before:
                _check(server, tmp_path, *before)
            if round_number == ROUNDS:
                assert server.stop() == 0
                return
            call = f"crash-{round_number}"
            seq, audio_ms = await _play_and_kill(server, recording, call, moments.uniform(0.0, 2.0))
            before = call, seq, audio_ms
        finally:
            server.process.kill()
            server.process.wait()


async def _play_and_kill(
    server: door.Door, recording: replay.Recording, call: str, after_s: float
) -> tuple[int, dict[str, int]]:
    """Play ten times as fast as speech, kill `after_s` after the first acknowledged audio; the last such message."""
    acknowledged: tuple[int, dict[str, int]] = (0, {})
    async with open_ingest(server.ws) as socket:

        async def listen() -> None:
            nonlocal acknowledged
            while True:
                reply = json.loads(await socket.recv())
                if reply["type"] == "ack":
                    acknowledged = reply["seq"], reply["audio_ms"]

        async def send() -> None:
            began = asyncio.get_running_loop().time()
            for at_ms, messages in replay.frames(recording, "plain", call, {}):
                await asyncio.sleep(max(0.0, began + at_ms / 10_000 - asyncio.get_running_loop().time()))
                for message in messages:
                    await socket.send(message)

        tasks = [asyncio.create_task(listen()), asyncio.create_task(send())]
        async with asyncio.timeout(30):
            while not any(acknowledged[1].values()):
                await asyncio.sleep(0.01)
        await asyncio.sleep(after_s)
        server.process.send_signal(signal.SIGKILL)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert await asyncio.to_thread(server.process.wait, 10) == -signal.SIGKILL
    assert all(result is None or isinstance(result, ConnectionClosed) for result in results), results
    return acknowledged


def _check(server: door.Door, data_dir: Path, call: str, seq: int, audio_ms: dict[str, int]) -> None:
    raw = server.get(f"/calls/{call}/log")["entries"]
    entries: list[Entry] = [decode(json.dumps(each)) for each in raw]
    assert seq > 0 and audio_ms["agent"] > 0, "nothing was acknowledged: the test would prove nothing"
    assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
    assert len(entries) >= seq, f"{call}: entries up to {seq} were acknowledged"
    ended = entries[-1].event
    assert isinstance(ended, CallEnded) and ended.reason == "interrupted"
    journal = data_dir / "audio" / f"{call.encode().hex()}.journal"
    header, records = read(journal)
    assert header.call == call and not measure(journal).damage, "repaired at start"
    for party, acknowledged_ms in audio_ms.items():
        mine = [r for r in records if r.party == party]
        end_ms = max(r.position + len(r.payload) for r in mine) * 1000 // header.rate_hz
        assert end_ms >= acknowledged_ms, f"{call}: {party} was acknowledged up to {acknowledged_ms} ms"
        kept_ms = sum(len(r.payload) for r in mine) * 1000 // header.rate_hz
        first_ms = min(r.position for r in mine) * 1000 // header.rate_hz
        assert kept_ms == end_ms - first_ms, "a hole in the audio"
        ledger = ended.ledger[party]
        assert ledger.received_ms == kept_ms and ledger.gap_ms == 0
