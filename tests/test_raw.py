"""The raw family over real sockets: one recording through every dialect gives the same finals, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from assist import replay
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests import platforms
from tests.platforms import Client
from tests.wire import new_id, rest, until

RECORDING = replay.read(SHIPPED)
STEREO = np.stack([RECORDING.customer, RECORDING.agent], 1).reshape(-1).astype("<i2").tobytes()
MONO = RECORDING.customer.astype("<i2").tobytes()
BOTH = ["agent", "customer"]


def ended(server: door.Door, call: str) -> Any:
    """The log of a call that has ended."""
    entries = server.get(f"/calls/{call}/log")["entries"]
    return entries if entries[-1]["event"]["type"] == "CallEnded" else None


def words(entries: list[Any], party: str) -> list[str]:
    """Of a party's finals. Played faster than speech, where one final ends and the next begins is left to chance."""
    said = [e["event"]["transcript"] for e in entries if e["event"]["type"] == "Transcribed"]
    ours = [each for each in said if each["stage"] == "final" and each["party"] == party]
    return " ".join(each["text"] for each in sorted(ours, key=lambda each: int(each["start_ms"]))).split()


def speech_ms(entries: list[Any]) -> int:
    """When the agent was first heard to speak."""
    events = [entry["event"] for entry in entries]
    return min(int(e["start_ms"]) for e in events if e["type"] == "SpeechStarted" and e["party"] == "agent")


@pytest.fixture(scope="module")
def plain(server: door.Door) -> list[Any]:
    """The log of the recording in the plain dialect."""
    played = asyncio.run(replay.play(RECORDING, server.ws, speed=15))
    entries: list[Any] = ended(server, played.call)
    assert all(len(words(entries, party)) > 50 for party in BOTH)
    return entries


@pytest.mark.parametrize(
    ("client", "parties", "reset", "reason", "odd"),
    [
        (platforms.freeswitch, BOTH, False, "closed", {"late_text": 1}),
        (platforms.audio_fork, BOTH, True, "lost", {}),
        (platforms.jambonz, BOTH, True, "lost", {}),
        (platforms.lca, BOTH, False, "bye", {"wav_header": 1, "update_agent": 1}),
        (platforms.vonage, ["customer"], False, "closed", {}),
        (platforms.sinch, ["customer"], True, "lost", {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_every_dialect_gives_what_the_plain_one_gives(
    server: door.Door,
    plain: list[Any],
    client: Callable[[str, bytes], Client],
    parties: list[str],
    reset: bool,
    reason: str,
    odd: dict[str, int],
) -> None:
    call = new_id()
    sound = STEREO if len(parties) == 2 else MONO
    await client(call, sound).play(server.ws, bytes_per_s=16_000 * len(parties), reset=reset)
    entries = await until(lambda: ended(server, call), 30)
    started, books = entries[0]["event"], entries[-1]["event"]
    assert sorted(started["parties"]) == parties and started["encoding"] == "l16" and started["rate_hz"] == 8_000
    assert started["metadata"]["queue"] == "sales" and started["metadata"]["agent"] == "ann"
    assert "authorization" not in str(started)
    assert all(words(entries, party) == words(plain, party) for party in parties)
    assert books["reason"] == reason
    assert {k: n for k, n in books["anomalies"].items() if k != "missing"} == odd
    for party in parties:
        ledger = books["ledger"][party]
        assert ledger["gap_ms"] == 0 and ledger["missing_ms"] == 0
        assert ledger["received_ms"] == pytest.approx(RECORDING.duration_ms, abs=0.2)


async def test_a_text_that_never_comes_leaves_nothing_out(server: door.Door) -> None:
    """No query, no text: one second of one channel, assumed at 8 kHz, before the socket is closed."""
    before = {each["call"] for each in server.get("/calls")["calls"]}
    await Client("/ingest/freeswitch", list(platforms.cut(MONO[:16_000], 320))).play(server.ws)
    (call,) = await until(
        lambda: {each["call"] for each in server.get("/calls")["calls"] if "freeswitch" in each["call"]} - before
    )
    entries = await until(lambda: ended(server, call))
    assert entries[-1]["event"]["ledger"]["customer"]["received_ms"] == 1_000
    assert entries[-1]["event"]["anomalies"] == {"made_up_call": 1, "assumed_rate": 1, "assumed_channels": 1}


async def test_one_that_comes_late_is_used_and_the_sound_is_where_it_was(server: door.Door, plain: list[Any]) -> None:
    """1.5 s of audio at the pace of speech, then the text, then the rest: the first word keeps its time."""
    call = new_id()
    sound = list(platforms.cut(RECORDING.agent.astype("<i2").tobytes()[: 16_000 * 4], 320))
    text = json.dumps({"call": call, "rate": "8k", "channels": "mono", "party": "agent"})
    await Client("/ingest/freeswitch", [*sound[:75], text, *sound[75:]]).play(server.ws, pace=1, bytes_per_s=16_000)
    entries = await until(lambda: ended(server, call))
    assert abs(speech_ms(entries) - speech_ms(plain)) <= 20
    assert entries[-1]["event"]["ledger"]["agent"]["received_ms"] == 4_000


async def test_the_same_call_may_be_streamed_again(server: door.Door) -> None:
    call = new_id()
    for again in (call, f"{call}.2"):
        await platforms.jambonz(call, STEREO[:64_000]).play(server.ws)
        await until(lambda again=again: ended(server, again))


@pytest.mark.parametrize(
    ("path", "messages", "code", "close_code"),
    [
        ("/ingest/lca", [json.dumps({"callEvent": "END"})], "bad_message", 4400),
        ("/ingest/lca", [bytes(40_000)], "bad_message", 4400),
        (
            "/ingest/vonage",
            [json.dumps({"event": "websocket:connected", "content-type": "audio/opus"})],
            "bad_encoding",
            4415,
        ),
        ("/ingest/jambonz", [json.dumps({"callSid": "a", "sampleRate": 48_001})], "bad_encoding", 4415),
        ("/ingest/freeswitch", ['{"rate": 11026}'], "bad_encoding", 4415),
        ("/ingest/sinch", [json.dumps({"command": "connect", "codec": "OPUS"})], "bad_encoding", 4415),
    ],
)
async def test_what_is_wrong_is_named(
    server: door.Door, path: str, messages: list[str | bytes], code: str, close_code: int
) -> None:
    async with connect(server.ws + path) as socket:
        for message in messages:
            await socket.send(message)
        replies, closed = await rest(socket)
    assert [each["code"] for each in replies] == [code] and closed == close_code


async def test_a_wrong_query_gets_no_socket(server: door.Door) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{server.ws}/ingest/freeswitch?rate=44099")
    assert refused.value.response.status_code == 415


async def test_a_shared_value_is_asked_for(tmp_path: Path, scripted: dict[str, str]) -> None:
    secrets = json.dumps(dict.fromkeys(("freeswitch", "jambonz", "lca", "vonage"), "s3cret"))
    with door.running(tmp_path, {**scripted, "ASSIST_INGEST_SECRETS": secrets}) as server:
        for path, headers in (
            ("/ingest/jambonz", {"Authorization": "Bearer s3cret"}),
            ("/ingest/lca?authorization=Bearer%20s3cret", {}),
        ):
            async with connect(server.ws + path, additional_headers=headers):
                pass
        for path in ("/ingest/freeswitch", "/ingest/vonage?authorization=Bearer%20other"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(server.ws + path)
            assert refused.value.response.status_code == 401
        assert server.get("/readyz")["ready"]


@pytest.mark.parametrize("port", [True, False])
async def test_an_origin_that_is_our_own_host_is_let_in(server: door.Door, port: bool) -> None:
    """FreeSWITCH's libraries send one, with our port or without; pages elsewhere are kept out as ever."""
    ours = f"http://127.0.0.1{f':{server.port}' if port else ''}"
    async with connect(f"{server.ws}/ingest/freeswitch", origin=Origin(ours)):
        pass
    if not port:
        with pytest.raises(InvalidStatus):
            await connect(f"{server.ws}/calls/x/events", origin=Origin(ours))


async def test_the_handshake_of_mod_audio_stream_is_answered(server: door.Door) -> None:
    """No space after the colons, small letters, compression offered: as its library writes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [
        "GET /ingest/freeswitch?call=x HTTP/1.1", f"Host:127.0.0.1:{server.port}", "Upgrade:websocket",
        "Connection:upgrade", "Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version:13",
        "Sec-WebSocket-Extensions:permessage-deflate; client_no_context_takeover; server_no_context_takeover; "
        "client_max_window_bits=9",
        f"Origin:http://127.0.0.1:{server.port}",
    ]  # fmt: skip
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    writer.close()
    assert head.startswith("HTTP/1.1 101") and "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert "permessage-deflate" not in head
