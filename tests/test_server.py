"""The whole door over real sockets: a call from audio to pages, resuming, crashing peers, drain. The recogniser says a
script; all else is real.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from assist import replay
from assist.audio import encode_mulaw
from assist.events import CallEnded, CallStarted, Entry, Faltered, Flagged, Noticed, Suggested, Transcribed
from benchmarks import calls, door
from benchmarks.calls import SHIPPED, Script
from benchmarks.make_weights import make
from tests.conftest import QUICK
from tests.wire import SILENCE, answer, follow, hello, new_id, open_ingest, rest, say, status, until


def finals(entries: list[Entry]) -> list[tuple[str, str]]:
    return [
        (e.event.transcript.party, e.event.transcript.text)
        for e in entries
        if isinstance(e.event, Transcribed) and e.event.transcript.stage == "final"
    ]


@pytest.mark.parametrize("dialect", ["plain", "twilio"])
async def test_a_call_is_heard_understood_and_kept(server: door.Door, script: Script, dialect: str) -> None:
    call = new_id()
    recording = replay.read(SHIPPED)
    playing = asyncio.create_task(
        replay.play(recording, server.ws, call=call, dialect=dialect, metadata={"queue": "sales"}, speed=15)
    )
    await until(lambda: any(c["call"] == call for c in server.get("/calls")["calls"]))
    live, notes, code = await follow(server.ws, call)
    played = await playing

    assert played.close_code == 1000 and code == 1000
    assert [e.seq for e in live] == list(range(1, len(live) + 1)), "the live log has a hole"
    assert any(note["type"] == "live" for note in notes)
    started, ended = live[0].event, live[-1].event
    assert isinstance(started, CallStarted) and started.metadata["queue"] == "sales" and started.platform == dialect
    assert isinstance(ended, CallEnded) and ended.reason == "bye"
    for party, ledger in ended.ledger.items():
        assert ledger.gap_ms == 0, party
        assert ledger.received_ms == pytest.approx(recording.duration_ms, abs=20)
        assert ledger.transcribed_ms > 20_000
    said = " ".join(text for party, text in finals(live) if party == "customer")
    wanted = " ".join(turn.text for turn in script.turn if turn.party == "customer")
    heard, spoken = said.split(), wanted.split()
    assert len(set(spoken) - set(heard)) <= 0.05 * len(set(spoken)), "customer words are missing"
    shown = [s for e in live if isinstance(e.event, Suggested) for s in e.event.suggestions]
    assert script.expected["article"] in {s.ref for s in shown}
    assert all(s.why and s.evidence.source for s in shown)
    assert any(isinstance(e.event, Flagged) for e in live)
    analysers = {f.analyser for e in live if isinstance(e.event, Noticed) for f in e.event.findings}
    assert analysers == {"sentiment", "stress", "topic", "satisfaction"}

    summary = server.get(f"/calls/{call}")
    assert summary["ended"] and summary["topic"] == script.expected["topic"] and summary["last_seq"] == len(live)
    again = server.get(f"/calls/{call}/log?after=10")["entries"]
    assert [e["seq"] for e in again] == list(range(11, len(live) + 1))
    assert call in [c["call"] for c in server.get("/review/queue")["calls"]]


async def test_the_audio_comes_back_in_two_channels_and_by_range(server: door.Door, tmp_path: Path) -> None:
    call = new_id()
    time_s = np.arange(16_000) / 8_000
    left, right = (np.sin(2 * np.pi * hz * time_s) * 8_000 for hz in (300, 900))
    both = encode_mulaw(np.stack([left, right], 1).reshape(-1).astype(np.int16))
    replies, code = await say(server.ws, [hello(call), both[:3001], both[3001:], {"type": "bye"}])
    assert code == 1000 and replies[-1]["ledger"]["agent"]["received_ms"] == 2000
    (tmp_path / "a.wav").write_bytes(urllib.request.urlopen(f"{server.url}/calls/{call}/audio", timeout=10).read())
    heard, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == 8_000 and heard.shape == (16_000, 2)
    assert np.abs(heard[:, 0] - left).max() < 400 and np.abs(heard[:, 1] - right).max() < 400
    asked = urllib.request.Request(f"{server.url}/calls/{call}/audio", headers={"Range": "bytes=100-199"})
    with urllib.request.urlopen(asked, timeout=10) as part:
        assert part.status == 206 and len(part.read()) == 100
    peaks = server.get(f"/calls/{call}/peaks")
    assert peaks["parties"] == ["agent", "customer"] and [len(p) for p in peaks["peaks"]] == [40, 40]


async def test_a_cursor_resumes_without_a_gap(server: door.Door) -> None:
    call = new_id()
    recording = replay.read(SHIPPED)
    playing = asyncio.create_task(replay.play(recording, server.ws, call=call, speed=20))
    await until(lambda: any(c["call"] == call for c in server.get("/calls")["calls"]))
    seen: list[Entry] = []
    while not seen or not isinstance(seen[-1].event, CallEnded):
        entries, _, _ = await follow(server.ws, call, after=len(seen), most=17)  # hang up after every 17
        seen += entries
    await playing
    assert [e.seq for e in seen] == list(range(1, len(seen) + 1))
    assert [e["seq"] for e in server.get(f"/calls/{call}/log")["entries"]] == [e.seq for e in seen]


async def test_marks_and_reviews_become_events(server: door.Door) -> None:
    call = new_id()
    await say(server.ws, [hello(call), {"type": "bye"}])

    def post(path: str, body: dict[str, Any], origin: str = "") -> int:
        headers = {"Content-Type": "application/json", **({"Origin": origin} if origin else {})}
        asked = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers)
        try:
            return int(urllib.request.urlopen(asked, timeout=10).status)
        except urllib.error.HTTPError as error:
            assert "code" in json.loads(error.read())
            return error.code

    mark = {"suggestion": "s1", "ref": "camera-black-screen-video-calls", "mark": "used"}
    assert post(f"/calls/{call}/marks", mark) == 201
    assert post(f"/calls/{call}/marks", {**mark, "mark": "eaten"}) == 400
    assert post(f"/calls/{call}/marks", mark, origin="http://evil.example") == 403
    assert post("/calls/nobody/marks", mark) == 404
    assert post(f"/calls/{call}/reviews", {"verdict": "coach", "comment": "be kind", "reviewer": "Q"}) == 201
    types = [e["event"]["type"] for e in server.get(f"/calls/{call}/log")["entries"]]
    assert types[-2:] == ["Marked", "Reviewed"]
    assert server.get(f"/calls/{call}")["reviews"][0]["verdict"] == "coach"


async def test_pages_and_health_are_served_with_a_strict_policy(server: door.Door) -> None:
    for path in ("/", "/overlay?call=live", "/review", "/healthz", "/readyz", "/metrics", "/openapi.json", "/topics"):
        with urllib.request.urlopen(server.url + path, timeout=10) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy, path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    article = server.get("/articles/camera-black-screen-video-calls")
    assert article["body"] and article["title"]


def test_openapi_describes_what_the_wire_carries(server: door.Door) -> None:
    document = server.get("/openapi.json")
    schemas = document["components"]["schemas"]
    assert {"CallSummary", "Entry", "Transcribed", "Article", "MarkIn"} <= set(schemas)
    answer = document["paths"]["/calls/{call}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/CallSummary"}
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(schemas), "a reference leads nowhere"


async def test_many_may_listen_to_one_call_at_once(server: door.Door) -> None:
    call = new_id()
    await say(server.ws, [hello(call), *[SILENCE * 25] * 40, {"type": "bye"}])
    url = f"{server.url}/calls/{call}/audio"
    waves = await asyncio.gather(*(asyncio.to_thread(lambda: urllib.request.urlopen(url).read()) for _ in range(6)))
    assert len(set(waves)) == 1 and len(waves[0]) == 44 + 20 * 8_000 * 2 * 2
    for _ in range(3):
        beyond = urllib.request.Request(url, headers={"Range": "bytes=99999999-"})
        assert answer(beyond)[0] == 416
    # What was made of it while it still said goodbye is gone too.
    await until(lambda: not list(server.log.parent.glob("audio/*.[lp]*")))
    assert answer(urllib.request.Request(f"{server.url}/calls/{'x' * 300}/audio")) == (404, "unknown_call")


async def test_many_may_listen_to_a_call_that_grows(server: door.Door) -> None:
    call = new_id()
    url = f"{server.url}/calls/{call}/audio"

    def listen() -> int:
        """All that was promised, or an error."""
        with urllib.request.urlopen(url, timeout=30) as wave:
            return len(wave.read())

    async def talk() -> None:
        for _ in range(60):
            await socket.send(SILENCE * 25)
            await asyncio.sleep(0.02)

    async with open_ingest(server.ws) as socket:
        await socket.send(json.dumps(hello(call)))
        await socket.recv()
        assert call in [each["call"] for each in server.get("/calls?live=true")["calls"]]
        talking = asyncio.create_task(talk())
        lengths = []
        while not talking.done():
            lengths += await asyncio.gather(*(asyncio.to_thread(listen) for _ in range(6)))
        await talking
        assert len(set(lengths)) > 1 and sorted(lengths)[-1] > 44
        await until(lambda: not list(server.log.parent.glob("audio/*.live")))
        await socket.send(json.dumps({"type": "bye"}))
        await rest(socket)
    await until(lambda: call not in [each["call"] for each in server.get("/calls?live=true")["calls"]])


async def test_a_second_server_leaves_the_first_ones_calls_alone(tmp_path: Path, scripted: dict[str, str]) -> None:
    with door.running(tmp_path, scripted) as server:
        call = new_id()
        async with open_ingest(server.ws) as socket:
            await socket.send(json.dumps(hello(call)))
            await socket.recv()
            with pytest.raises(RuntimeError, match="another server is using"):
                await asyncio.to_thread(door.start, tmp_path, scripted)
            await socket.send(json.dumps({"type": "bye"}))
            assert (await rest(socket))[1] == 1000
        types = [e["event"]["type"] for e in server.get(f"/calls/{call}/log")["entries"]]
        told = [each for each in types if each != "ChannelFaulted"]  # the other start may take long, in silence
        assert told == ["CallStarted", "CallEnded"]


@pytest.mark.timeout(300)
async def test_a_recogniser_that_hangs_does_not_keep_the_server(tmp_path: Path, script: Script) -> None:
    stuck = calls.for_scripted(script, tmp_path / "stuck.json", hang_ms={str(n): 600_000 for n in range(1, 50)})
    settings = {**QUICK, "ASSIST_RECOGNISER_SCRIPT": str(stuck), "ASSIST_SERVER_DRAIN_S": "1"}
    server = door.start(tmp_path / "data", settings)
    messages = [m for _, batch in replay.frames(replay.read(SHIPPED), "plain", new_id(), {}) for m in batch]
    async with open_ingest(server.ws) as socket:
        for message in messages[:400]:
            await socket.send(message)
        await asyncio.sleep(0.5)
        server.process.terminate()
        # The gate gives up on each utterance after its deadline; two are on their way here.
        assert await asyncio.to_thread(server.process.wait, 100) == 0
        replies, _ = await rest(socket)
    assert replies[-1]["ledger"]["agent"]["skipped_ms"]["recogniser_failed"] > 1_000
    assert replies[-1]["ledger"]["agent"]["gap_ms"] == 0


@pytest.mark.timeout(600)
async def test_a_recogniser_that_is_killed_again_and_again_costs_no_final(tmp_path: Path, script: Script) -> None:
    effort = {"weights": str(make("micro", tmp_path / "random-micro")), "tokens_per_s": 3.4}
    file = calls.for_scripted(script, tmp_path / "say.json", effort=effort)
    recording = replay.read(SHIPPED)
    # A quicker start: what is heard does not depend on what is made of it.
    settings = {**QUICK, "ASSIST_RECOGNISER_SCRIPT": str(file), "ASSIST_MIND_ANALYSERS": "[]"}
    with door.running(tmp_path / "data", settings) as server:
        call, killed = new_id(), set()
        playing = asyncio.create_task(replay.play(recording, server.ws, call=call, speed=4))
        await until(lambda: any(c["call"] == call for c in server.get("/calls")["calls"]))
        following = asyncio.create_task(follow(server.ws, call))
        while not playing.done():
            pid = next(iter(server.processes), 0)
            if pid in killed or f"process {pid} listens" not in server.log.read_text():
                await asyncio.sleep(0.1)
                continue
            # Time to hear anew what died before: two deaths are its own fault.
            await asyncio.wait((playing,), timeout=2.0)
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.4)  # until somebody waits for it
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        entries, _, _ = await following
        assert len(killed) > 1
        assert re.search(r"died of SIGKILL; it was hearing [1-9]", server.log.read_text())
    ended = entries[-1].event
    assert isinstance(ended, CallEnded) and ended.reason == "bye"
    assert [e.event for e in entries if isinstance(e.event, Faltered)] == []
    for party, ledger in ended.ledger.items():
        assert ledger.gap_ms == 0 and "recogniser_failed" not in ledger.skipped_ms, party
        said = {word for who, text in finals(entries) if who == party for word in text.split()}
        spoken = {word for turn in script.turn if turn.party == party for word in turn.text.split()}
        assert len(spoken - said) <= 0.05 * len(spoken), f"words of the {party} are missing"


async def test_a_reset_ends_the_call_once_with_its_last_final(server: door.Door, script: Script) -> None:
    call = new_id()
    recording = replay.read(SHIPPED)
    messages = [m for _, batch in replay.frames(recording, "plain", call, {}) for m in batch]
    async with open_ingest(server.ws) as socket:
        for message in messages[: 1 + 640]:  # 12.8 s: in the middle of the customer's first turn
            await socket.send(message)
        await asyncio.sleep(0.5)
        socket.transport.abort()
    entries, _, _ = await follow(server.ws, call)
    ended = entries[-1].event
    assert isinstance(ended, CallEnded) and ended.reason == "lost"
    assert sum(isinstance(e.event, CallEnded) for e in entries) == 1
    party, text = finals(entries)[-1]
    assert party == "customer" and text.startswith("Hello.")
    assert all(ledger.gap_ms == 0 for ledger in ended.ledger.values())


async def test_sigterm_drains(tmp_path: Path, scripted: dict[str, str]) -> None:
    server = door.start(tmp_path, scripted)
    call = new_id()
    recording = replay.read(SHIPPED)
    messages = [m for _, batch in replay.frames(recording, "plain", call, {}) for m in batch]
    async with open_ingest(server.ws) as socket:
        for message in messages[:400]:
            await socket.send(message)
        await until(lambda: any(c["call"] == call for c in server.get("/calls")["calls"]))
        following = asyncio.create_task(follow(server.ws, call))
        server.process.terminate()
        await until(lambda: status(server.url + "/readyz") == 503)
        replies, closed = await say(server.ws, [hello(new_id())])
        assert replies[0]["code"] == "draining" and closed == 1012
        for message in messages[400:]:  # the live call goes on to its own end
            await socket.send(message)
        replies, closed = await rest(socket)
        assert closed == 1000 and replies[-1]["reason"] == "bye"
        entries, _, _ = await following
        assert isinstance(entries[-1].event, CallEnded)
        assert len(finals(entries)) >= 15
    assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_a_drain_has_a_limit(tmp_path: Path, scripted: dict[str, str]) -> None:
    server = door.start(tmp_path, {**scripted, "ASSIST_SERVER_DRAIN_S": "1"})
    call = new_id()
    messages = [m for _, batch in replay.frames(replay.read(SHIPPED), "plain", call, {}) for m in batch]
    async with open_ingest(server.ws) as socket:
        for message in messages[:641]:
            await socket.send(message)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        server.process.terminate()
        replies, closed = await rest(socket)
        assert closed == 1012 and replies[-1]["reason"] == "drained"
        assert 0.9 < time.monotonic() - began < 8
    assert await asyncio.to_thread(server.process.wait, 20) == 0
    server = door.start(tmp_path, scripted)
    try:
        log = server.get(f"/calls/{call}/log")["entries"]
        assert log[-1]["event"]["reason"] == "drained"
        last = [e["event"]["transcript"] for e in log if e["event"]["type"] == "Transcribed"][-1]
        assert last["stage"] == "final" and last["party"] == "customer", "the last final was not delivered"
    finally:
        assert server.stop() == 0
