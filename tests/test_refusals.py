"""What the door refuses, over real sockets: each by its name, counted, and to nobody else's harm."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from benchmarks import door
from tests.wire import SILENCE, answer, follow, hello, new_id, open_ingest, rest, say


def counter(server: door.Door, name: str) -> float:
    text = urllib.request.urlopen(server.url + "/metrics", timeout=10).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def resident_bytes(server: door.Door) -> int:
    """The most memory it had since this was last asked."""
    process = Path(f"/proc/{server.process.pid}")
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    (process / "clear_refs").write_text("5")  # proc(5): from here on the peak is counted anew
    return int(kib) * 1024


BAD: dict[str, tuple[list[Any], str, int]] = {
    "not json": (["{nonsense"], "bad_message", 4400),
    "not an object": (["[1, 2]"], "bad_message", 4400),
    "no hello": ([{"type": "bye"}], "bad_message", 4400),
    "audio first": ([SILENCE], "bad_message", 4400),
    "unknown type": ([hello("{id}"), {"type": "sing"}], "unknown_message", 4400),
    "text where audio belongs": ([hello("{id}"), "base64maybe"], "bad_message", 4400),
    "wrong types": ([hello("{id}", rate_hz="fast")], "bad_message", 4400),
    "unknown encoding": ([hello("{id}", encoding="opus")], "bad_encoding", 4415),
    "unknown rate": ([hello("{id}", rate_hz=44100)], "bad_encoding", 4415),
    "no channels": ([hello("{id}", channels=[])], "bad_encoding", 4415),
    "unknown party": ([hello("{id}", channels=["robot"])], "bad_message", 4400),
    "a path for an id": ([hello("../../etc/passwd")], "bad_message", 4400),
    "an endless id": ([hello("x" * 300)], "bad_message", 4400),
    "second hello": ([hello("{id}"), hello("{id}")], "bad_message", 4400),
    "oversize": ([hello("{id}"), b"\xff" * 70_000], "oversize", 1009),
    "oversize text": ([hello("{id}"), "x" * 70_000], "oversize", 1009),
    "index beyond the channels": ([hello("{id}", layout="tagged"), b"\x07" + SILENCE], "bad_message", 4400),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_named_counted_and_harms_nobody(server: door.Door, name: str) -> None:
    messages, code, close_code = BAD[name]
    good, bad = new_id(), new_id()
    async with open_ingest(server.ws) as bystander:
        await bystander.send(json.dumps(hello(good)))
        await bystander.send(SILENCE * 10)
        before = counter(server, f'assist_errors_total{{code="{code}"}}')
        filled = [json.loads(json.dumps(m).replace("{id}", bad)) if isinstance(m, dict) else m for m in messages]
        replies, closed = await say(server.ws, filled)
        named = [r for r in replies if r["type"] == "error"]
        assert [r["code"] for r in named] == [code], replies
        assert named[0]["message"] and closed == close_code
        assert counter(server, f'assist_errors_total{{code="{code}"}}') == before + 1
        await bystander.send(SILENCE * 10)
        await bystander.send(json.dumps({"type": "bye"}))
        replies, closed = await rest(bystander)
    assert closed == 1000 and replies[-1]["ledger"]["customer"] == {
        "received_ms": 400.0, "transcribed_ms": 0.0, "silence_ms": 400.0, "skipped_ms": {}, "missing_ms": 0.0,
        "gap_ms": 0.0,
    }  # fmt: skip


async def test_far_too_large_is_hung_up_by_the_library(server: door.Door) -> None:
    _, closed = await say(server.ws, [hello(new_id()), b"\xff" * 400_000])
    assert closed == 1009


async def test_what_was_accepted_before_an_error_is_kept(server: door.Door) -> None:
    call = new_id()
    replies, _ = await say(server.ws, [hello(call), *[SILENCE] * 50, {"type": "sing"}])
    assert replies[-1]["type"] == "ended" and replies[-1]["ledger"]["agent"]["received_ms"] == 1000
    log = server.get(f"/calls/{call}/log")["entries"]
    assert log[-1]["event"]["reason"] == "error:unknown_message"


async def test_a_call_id_is_taken_once(server: door.Door) -> None:
    call = new_id()
    async with open_ingest(server.ws) as first:
        await first.send(json.dumps(hello(call)))
        await first.recv()
        replies, closed = await say(server.ws, [hello(call)])
        assert replies[0]["code"] == "duplicate_call" and closed == 4409
        await first.send(json.dumps({"type": "bye"}))
        assert (await rest(first))[1] == 1000
    replies, closed = await say(server.ws, [hello(call)])
    assert replies[0]["code"] == "duplicate_call" and closed == 4409, "an id of the past was taken again"


async def test_odd_but_normal_things_are_counted_not_fatal(server: door.Door) -> None:
    call = new_id()
    odd: list[Any] = [
        hello(call),
        b"",
        SILENCE[:7],
        SILENCE[:1],
        SILENCE,
        {"type": "resume"},
        {"type": "pause"},
        SILENCE * 5,
    ]
    replies, closed = await say(server.ws, [*odd, {"type": "pause"}, {"type": "resume"}, SILENCE, {"type": "bye"}])
    assert closed == 1000
    ended = server.get(f"/calls/{call}/log")["entries"][-1]["event"]
    assert {"empty", "resume_without_pause", "second_pause"} <= set(ended["anomalies"])
    ledger = ended["ledger"]["agent"]
    assert ledger["gap_ms"] == 0 and ledger["skipped_ms"]["paused"] == 100
    assert replies[-1]["type"] == "ended"


@pytest.mark.parametrize(
    ("call", "after", "code", "close_code"),
    [
        ("{id}", "99999", "future_cursor", 4416),
        ("nobody", "0", "unknown_call", 4404),
        ("{id}", "x", "bad_message", 4400),
    ],
)
async def test_event_cursors_are_checked(server: door.Door, call: str, after: str, code: str, close_code: int) -> None:
    known = new_id()
    await say(server.ws, [hello(known), {"type": "bye"}])
    _, notes, closed = await follow(server.ws, call.replace("{id}", known), after=after)
    assert [n["code"] for n in notes] == [code] and closed == close_code


async def test_audio_faster_than_speech_is_refused_by_name(tmp_path: Path, scripted: dict[str, str]) -> None:
    settings = {**scripted, "ASSIST_INGEST_SPEED": "1.25", "ASSIST_INGEST_BURST_S": "5"}
    with door.running(tmp_path, settings) as server:
        call = new_id()
        replies, closed = await say(server.ws, [hello(call), *[SILENCE * 20] * 30])
        assert [r["code"] for r in replies if r["type"] == "error"] == ["too_fast"] and closed == 4429
        received = replies[-1]["ledger"]["agent"]["received_ms"]
        assert 4_500 <= received <= 6_500, "what fits the burst is accepted, no more"
        assert replies[-1]["ledger"]["agent"]["gap_ms"] == 0


async def test_a_flood_of_messages_is_refused_by_name(tmp_path: Path, scripted: dict[str, str]) -> None:
    settings = {**scripted, "ASSIST_INGEST_SPEED": "1.25", "ASSIST_INGEST_BURST_S": "2"}
    with door.running(tmp_path, settings) as server:
        call = new_id()
        flood: list[Any] = [{"type": "pause"}, {"type": "resume"}] * 1_000
        replies, closed = await say(server.ws, [hello(call), *flood])
        assert [r["code"] for r in replies if r["type"] == "error"] == ["too_fast"] and closed == 4429
        assert len(server.get(f"/calls/{call}/log")["entries"]) < 1_000
        replies, _ = await say(server.ws, [hello(new_id()), {"type": "pause"}, *[SILENCE * 20] * 30])
        assert [r["code"] for r in replies if r["type"] == "error"] == ["too_fast"], "a pause opened a back door"


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example", "Origin": "http://evil.example"}]
)
async def test_other_peoples_pages_get_nothing(server: door.Door, headers: dict[str, str]) -> None:
    """A page an agent visits, and a name that was made to resolve to this machine."""
    answers = {}
    for method, path, body in (("GET", "/calls", None), ("POST", "/calls/x/marks", b"{}")):
        asked = urllib.request.Request(server.url + path, body, headers, method=method)
        answers[method] = answer(asked)
    assert answers["POST"] == (403, "forbidden")
    assert answers["GET"] == ((403, "forbidden") if "Host" in headers else (200, ""))
    for path in ("/ingest/plain", "/calls/x/events"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(
                f"ws://{headers.get('Host', '127.0.0.1')}:{server.port}{path}",
                origin=Origin(headers["Origin"]),
                host="127.0.0.1",
                port=server.port,
            )
        assert refused.value.response.status_code == 403


def test_bodies_are_small(server: door.Door) -> None:
    asked = urllib.request.Request(server.url + "/calls/x/marks", b"{" + b" " * 70_000 + b"}")
    assert answer(asked) == (413, "oversize")


@pytest.mark.parametrize(
    ("path", "origin", "comes_in"),
    [
        ("/ingest/plain", "http://localhost:3000", True),
        ("/ingest/plain", "https://[::1]", True),
        ("/vosk", "http://127.0.0.1", True),
        ("/ingest/plain", "null", False),
        ("/ingest/plain", "http://127.0.0.1.evil.example", False),
        ("/ingest/plain", "http://[::1", False),
        ("/ingest/twilio", "https://softphone.example", False),
        ("/calls/x/events", "http://localhost:3000", False),
    ],
)
async def test_a_page_of_this_machine_may_bring_audio(
    server: door.Door, path: str, origin: str, comes_in: bool
) -> None:
    refused = None
    try:
        async with connect(server.ws + path, origin=Origin(origin)):
            pass
    except InvalidStatus as answer:
        refused = answer.response.status_code
    assert refused == (None if comes_in else 403)


@pytest.mark.parametrize("more", ["", "Content-Length: 10\r\n"])
@pytest.mark.parametrize("path", ["/contacts", "/calls/x/marks"])
async def test_a_body_in_chunks_is_counted_whatever_its_headers_say(server: door.Door, path: str, more: str) -> None:
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{more}Transfer-Encoding: chunked\r\n\r\n"
    resident_bytes(server)
    before = resident_bytes(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode())
    for _ in range(480):
        writer.write(chunk)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    assert b'"code":"oversize"' in await reader.readuntil(b"}")
    assert resident_bytes(server) - before < 16 * 2**20, "30 MiB that nobody asked for were kept"
    writer.write(head.encode() + b"2\r\n{}\r\n0\r\n\r\n")  # what is small may come in chunks, on the same connection
    assert (await reader.readline()).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    writer.close()


async def test_max_calls_holds_when_all_come_at_once(tmp_path: Path, scripted: dict[str, str]) -> None:
    with door.running(tmp_path, {**scripted, "ASSIST_INGEST_MAX_CALLS": "2"}) as server:
        answered = asyncio.Barrier(10)

        async def one() -> str:
            async with open_ingest(server.ws) as socket:
                await socket.send(json.dumps(hello(new_id())))
                answer = str(json.loads(await socket.recv())["type"])
                await answered.wait()
                return answer

        answers = await asyncio.gather(*(one() for _ in range(10)))
        assert sorted(answers) == ["error"] * 8 + ["welcome"] * 2


async def test_a_paused_call_may_be_silent(tmp_path: Path, scripted: dict[str, str]) -> None:
    with door.running(tmp_path, {**scripted, "ASSIST_INGEST_IDLE_TIMEOUT_S": "0.5"}) as server:
        async with open_ingest(server.ws) as socket:
            for message in (hello(new_id()), {"type": "pause", "reason": "card"}):
                await socket.send(json.dumps(message))
            await asyncio.sleep(1.5)
            await socket.send(json.dumps({"type": "bye"}))
            replies, closed = await rest(socket)
        assert closed == 1000 and replies[-1]["reason"] == "bye"


async def test_silence_of_the_peer_has_a_limit(tmp_path: Path, scripted: dict[str, str]) -> None:
    settings = {**scripted, "ASSIST_INGEST_IDLE_TIMEOUT_S": "3", "ASSIST_INGEST_HELLO_TIMEOUT_S": "3"}
    with door.running(tmp_path, {**settings, "ASSIST_INGEST_MAX_CALLS": "1"}) as server:
        replies, closed = await say(server.ws, [])
        assert replies[0]["code"] == "idle" and closed == 4408
        call = new_id()
        async with open_ingest(server.ws) as first:
            await first.send(json.dumps(hello(call)))
            await first.recv()
            replies, closed = await say(server.ws, [hello(new_id())])
            assert replies[0]["code"] == "busy" and closed == 1013
            assert 5 <= replies[0]["retry_after_s"] <= 60
            replies, closed = await rest(first)
            assert [r["type"] for r in replies if r["type"] != "ack"] == ["error", "ended"] and closed == 4408


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"ASSIST_SERVER_PROT": "1"},
            "bad_config: environment: unknown setting ASSIST_SERVER_PROT; did you mean ASSIST_SERVER_PORT",
        ),
        ({"ASSIST_RECOGNISER_KIND": "whisper", "ASSIST_RECOGNISER_WEIGHTS": "/nowhere"}, "model_missing: "),
        ({"ASSIST_MIND_KNOWLEDGE_BASE": "/nowhere"}, "bad_knowledge: "),
        ({"ASSIST_MIND_ANALYSERS": '["mood"]'}, "bad_config: mind.analysers: unknown analyser 'mood'"),
    ],
)
def test_a_wrong_start_says_what_is_wrong(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    with pytest.raises(RuntimeError, match="exit 2") as failed:
        door.start(tmp_path, settings)
    assert says in str(failed.value)
