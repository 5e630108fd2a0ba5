"""Asterisk over real sockets, both ways in, with a client that knows only Asterisk's documents."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from assist import replay
from assist.audio import Party, decode, encode_mulaw
from assist.clients import Setup, make
from assist.config import Settings, load
from assist.errors import ConfigError
from assist.tcp import bind
from benchmarks import door
from benchmarks.calls import SHIPPED, Script
from tests import pbx
from tests.scene import BOTH
from tests.test_refusals import counter
from tests.wire import answer, hello, new_id, say, until

FRAME_BYTES = 160
GRACE_S = 2.0
PIECES = 1_020


@pytest.fixture(scope="module")
def asterisk(tmp_path_factory: pytest.TempPathFactory, scripted: dict[str, str]) -> Iterator[tuple[door.Door, int]]:
    """A server that takes AudioSocket too, and its port."""
    port = door.free_port()
    ours = {"ASSIST_INGEST_AUDIOSOCKET_PORT": str(port), "ASSIST_INGEST_LEG_GRACE_S": str(GRACE_S)}
    with door.running(tmp_path_factory.mktemp("asterisk"), {**scripted, **ours}) as running:
        yield running, port


@pytest.fixture(scope="module")
def spoken() -> dict[Party, list[bytes]]:
    """Both parties of the shipped call in 20 ms of mu-law."""
    recording = replay.read(SHIPPED)
    coded = {party: encode_mulaw(getattr(recording, party)) for party in BOTH}
    return {p: [data[n : n + FRAME_BYTES] for n in range(0, len(data), FRAME_BYTES)] for p, data in coded.items()}


@pytest.fixture(scope="module")
def wanted(asterisk: tuple[door.Door, int]) -> dict[str, list[tuple[str, int]]]:
    """What the plain dialect makes of it: by party, texts and where they begin."""
    server, _ = asterisk
    played = asyncio.run(replay.play(replay.read(SHIPPED), server.ws, call=new_id(), speed=15))
    return heard(log(server, played.call))


def log(server: door.Door, call: str) -> list[Any]:
    """The events of a call; none, where it is not there yet."""
    try:
        return [each["event"] for each in server.get(f"/calls/{call}/log")["entries"]]
    except urllib.error.HTTPError as error:
        assert error.code == 404
        error.close()
        return []


def heard(events: list[Any]) -> dict[str, list[tuple[str, int]]]:
    finals = [e["transcript"] for e in events if e["type"] == "Transcribed" and e["transcript"]["stage"] == "final"]
    return {party: [(t["text"], t["start_ms"]) for t in finals if t["party"] == party] for party in BOTH}


async def ended(server: door.Door, call: str) -> list[Any]:
    """The events of a call, once it has ended."""

    def whole() -> list[Any] | None:
        events = log(server, call)
        return events if events and events[-1]["type"] == "CallEnded" else None

    return await until(whole, 30)  # type: ignore[no-any-return]


def announce(server: door.Door, stream: str, ref: str, party: str) -> tuple[int, str]:
    body = json.dumps({"uuid": stream, "ref": ref, "party": party}).encode()
    return answer(urllib.request.Request(f"{server.url}/legs", body, {"content-type": "application/json"}))


def same(found: dict[str, list[tuple[str, int]]], wanted: dict[str, list[tuple[str, int]]]) -> None:
    """Word for word, and what begins alike begins at the same time. (Where a turn is cut depends on the pace.)"""
    for party in BOTH:
        assert words(found[party]) == words(wanted[party])
        times = dict(wanted[party])
        alike = [(start, times[text]) for text, start in found[party] if text in times]
        assert len(alike) > len(times) / 2
        assert max(abs(here - there) for here, there in alike) <= 200


def words(said: list[tuple[str, int]]) -> str:
    return " ".join(text for text, _ in said)


async def test_two_websockets_are_one_call(
    asterisk: tuple[door.Door, int], spoken: dict[Party, list[bytes]], wanted: dict[str, list[tuple[str, int]]]
) -> None:
    server, _ = asterisk
    call = new_id()

    async def speak(party: Party) -> None:
        async with pbx.dial(server.ws, f"leg={party}&ref={call}&queue=sales") as peer:
            assert peer.subprotocol == "media"
            await pbx.media_start(peer, "ulaw", plain=party == "agent")
            async for piece in pbx.paced(spoken[party], 15):
                await peer.send(piece)
            await peer.send('{"event": "DTMF_END", "digit": "1"}' if party == "customer" else "DTMF_END digit:1")

    await asyncio.gather(*map(speak, BOTH))
    events = await ended(server, call)
    same(heard(events), wanted)
    started, last = events[0], events[-1]
    assert (started["platform"], started["parties"]) == ("asterisk", list(BOTH))
    assert started["metadata"]["queue"] == "sales"
    assert last["reason"] == "closed"
    for party in BOTH:
        books = last["ledger"][party]
        assert books["gap_ms"] == 0 and books["received_ms"] == sum(map(len, spoken[party])) / 8
    assert {e["party"] for e in events if e["type"] == "Dtmf"} == set(BOTH)
    assert {e["party"] for e in events if e["type"] == "LegJoined"} == set(BOTH)
    assert [e["reason"] for e in events if e["type"] == "LegLeft"] == ["closed"] * 2
    assert [c["call"] for c in server.get("/calls")["calls"]].count(call) == 1


async def test_two_audiosocket_streams_are_one_call(
    asterisk: tuple[door.Door, int], spoken: dict[Party, list[bytes]], wanted: dict[str, list[tuple[str, int]]]
) -> None:
    server, port = asterisk
    call = new_id()

    async def speak(party: Party) -> None:
        name = str(uuid.uuid4())
        assert announce(server, name.upper(), call, party) == (201, "")
        stream = pbx.Stream(port)
        await stream.open(name)
        async for piece in pbx.paced(spoken[party], 15):
            await stream.send(0x10, decode(piece, "mulaw").tobytes())
        await stream.send(0x03, b"1")
        if party == "agent":
            await stream.send(0x00)
            assert await stream.rest() == b""
        else:
            await stream.close()

    await asyncio.gather(*map(speak, BOTH))
    events = await ended(server, call)
    same(heard(events), wanted)
    assert {(e["party"], e["reason"]) for e in events if e["type"] == "LegLeft"} == {
        ("agent", "bye"),
        ("customer", "closed"),
    }
    for party in BOTH:
        books = events[-1]["ledger"][party]
        assert books["gap_ms"] == 0 and books["received_ms"] == pytest.approx(
            sum(map(len, spoken[party])) / 8, abs=0.07
        )


async def test_replay_announces_its_streams_and_plays_both(
    asterisk: tuple[door.Door, int], wanted: dict[str, list[tuple[str, int]]]
) -> None:
    server, port = asterisk
    recording, call = replay.read(SHIPPED), new_id()
    client = make("audiosocket", Setup(call, recording.rate_hz))
    played = await replay.send(client, recording, f"tcp://127.0.0.1:{port}", speed=15, http=server.url)
    assert (played.outcome, played.reason) == ("ended", "")
    events = await ended(server, call)
    same(heard(events), wanted)
    assert all(events[-1]["ledger"][party]["gap_ms"] == 0 for party in BOTH)


async def test_a_leg_that_is_silent_at_source_is_placed_by_when_it_comes(
    asterisk: tuple[door.Door, int], spoken: dict[Party, list[bytes]], script: Script
) -> None:
    """At the pace of speech, 20 s of the call; the agent's silences of more than 200 ms are not sent."""
    server, _ = asterisk
    call = new_id()
    quiet = [abs(decode(piece, "mulaw").astype(int)).max() < 300 for piece in spoken["agent"][:PIECES]]
    gated = [b"" if all(quiet[max(0, n - 10) : n + 1]) else piece for n, piece in enumerate(spoken["agent"][:PIECES])]
    assert 0.2 < sum(1 for piece in gated if not piece) / len(gated) < 0.9

    async def speak(party: Party, pieces: list[bytes]) -> None:
        async with pbx.dial(server.ws, f"leg={party}&ref={call}") as peer:
            await pbx.media_start(peer, "ulaw")
            async for piece in pbx.paced(pieces, 1):
                await peer.send(piece)

    await asyncio.gather(speak("agent", gated), speak("customer", spoken["customer"][:PIECES]))
    events = await ended(server, call)
    turns = [turn for turn in script.turn if turn.end_ms < PIECES * 20]
    assert len(turns) == 3
    for turn in turns:
        near = [s for s in heard(events)[turn.party] if turn.start_ms - 700 < s[1] < turn.end_ms]
        # A pause within a turn is a hole too, up to 0.6 s of which may be jitter: a word at a cut may fall between.
        assert len(set(turn.text.split()) - set(words(near).split())) <= 2
        assert abs(near[0][1] + 240 - turn.start_ms) < 600
    books = events[-1]["ledger"]["agent"]
    assert books["gap_ms"] == 0 and books["received_ms"] == sum(map(len, gated)) / 8
    assert books["missing_ms"] == pytest.approx(PIECES * 20 - books["received_ms"], abs=1_500)


async def test_a_stream_nobody_announced_is_a_customer_alone(asterisk: tuple[door.Door, int]) -> None:
    server, port = asterisk
    name = str(uuid.uuid4())
    stream = pbx.Stream(port)
    await stream.open(name)
    for kind, rate_hz in ((0x10, 8_000), (0x12, 16_000), (0x16, 48_000), (0x15, 44_100)):
        await stream.send(kind, bytes(rate_hz // 5 * 2))
    await until(lambda: name in [c["call"] for c in server.get("/calls")["calls"]])
    stream.reset()
    events = await ended(server, name)
    assert events[0]["parties"] == ["customer"] and events[-1]["reason"] == "lost"
    books = events[-1]["ledger"]["customer"]
    assert books["gap_ms"] == 0 and books["received_ms"] == pytest.approx(800, abs=0.2)
    assert events[-1]["anomalies"] == {"rate_changed": 3}


async def test_one_leg_may_be_lost_and_come_back(asterisk: tuple[door.Door, int]) -> None:
    server, port = asterisk
    call, name = new_id(), str(uuid.uuid4())
    announce(server, name, call, "agent")
    for number in range(2):
        stream = pbx.Stream(port)
        await stream.open(name)
        await stream.send(0x10, bytes(320))
        await until(lambda n=number: [e["type"] for e in log(server, call)].count("LegJoined") == n + 1)
        stream.reset()
        await until(lambda n=number: [e["type"] for e in log(server, call)].count("LegLeft") == n + 1)
    events = await ended(server, call)
    assert [e["reason"] for e in events if e["type"] == "LegLeft"] == ["lost", "lost"]
    assert events[-1]["ledger"]["agent"]["received_ms"] == 40


async def test_what_is_wrong_ends_one_socket_and_no_call(asterisk: tuple[door.Door, int]) -> None:
    server, port = asterisk
    call, name = new_id(), str(uuid.uuid4())
    announce(server, name, call, "customer")
    async with pbx.dial(server.ws, f"leg=agent&ref={call}") as peer:
        await pbx.media_start(peer, "slin16")
        await peer.send(bytes(640))
        await until(lambda: call in [c["call"] for c in server.get("/calls")["calls"]])
        for query, form, code, reason in (
            (f"leg=agent&ref={call}", "slin16", 4409, "duplicate_call"),
            (f"leg=customer&ref={call}", "ulaw", 4415, "bad_encoding"),
            (f"leg=customer&ref={call}", "g722", 4415, "bad_encoding"),
        ):
            async with pbx.dial(server.ws, query) as second:
                await pbx.media_start(second, form)
                await second.wait_closed()
                assert (second.close_code, second.close_reason) == (code, reason)
        with pytest.raises(InvalidStatus, match="400"):
            async with pbx.dial(server.ws, f"ref={call}"):
                raise AssertionError("it was let in")
        replies, closed = await say(server.ws, [hello(call)])
        assert (replies[0]["code"], closed) == ("duplicate_call", 4409)
        before = counter(server, 'assist_errors_total{code="duplicate_call"}')
        stream = pbx.Stream(port)
        await stream.open(name)  # the same call by another way
        assert await stream.rest() == b"\x00\x00\x00"
        assert counter(server, 'assist_errors_total{code="duplicate_call"}') == before + 1
        assert log(server, call)[-1]["type"] != "CallEnded"
        await peer.send(bytes(640))
    events = await ended(server, call)
    assert events[-1]["ledger"]["agent"]["received_ms"] == 40
    assert [e["type"] for e in events].count("LegJoined") == 1


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x10\x00\x02ab", b"\x01\x00\x02ab"])
async def test_what_is_no_audiosocket_is_told_to_go(asterisk: tuple[door.Door, int], data: bytes) -> None:
    server, port = asterisk
    before = counter(server, 'assist_errors_total{code="bad_message"}')
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    assert await asyncio.wait_for(reader.read(), 10) == b"\x00\x00\x00"
    writer.close()
    assert counter(server, 'assist_errors_total{code="bad_message"}') == before + 1


async def test_announcing_is_checked(asterisk: tuple[door.Door, int]) -> None:
    server, _ = asterisk
    good = str(uuid.uuid4())
    for stream, ref, party in (
        ("x", "c", "agent"),
        (good, "a b", "agent"),
        (good, "c", "boss"),
        (good, "c\n", "agent"),
    ):
        assert announce(server, stream, ref, party) == (400, "bad_message")


async def test_a_leaving_server_says_goodbye_and_both_legs_are_in_the_books(
    tmp_path: Path, scripted: dict[str, str]
) -> None:
    port = door.free_port()
    ours = {"ASSIST_INGEST_AUDIOSOCKET_PORT": str(port), "ASSIST_SERVER_DRAIN_S": "1"}
    server = door.start(tmp_path, {**scripted, **ours})
    call, names = new_id(), {party: str(uuid.uuid4()) for party in BOTH}
    streams = []
    for party, name in names.items():
        announce(server, name, call, party)
        streams.append(pbx.Stream(port))
        await streams[-1].open(name)
        await streams[-1].send(0x10, bytes(3_200))
    await until(lambda: [e["type"] for e in log(server, call)].count("LegJoined") == 2)
    server.process.send_signal(signal.SIGTERM)
    assert [await stream.rest() for stream in streams] == [b"\x00\x00\x00"] * 2
    assert await asyncio.to_thread(server.process.wait, 20) == 0
    with door.running(tmp_path, scripted) as server:
        last = log(server, call)[-1]
        assert last["reason"] == "drained"
        assert [last["ledger"][party]["received_ms"] for party in BOTH] == [200, 200]


def test_a_port_that_is_taken_is_named_at_the_start(asterisk: tuple[door.Door, int]) -> None:
    _, port = asterisk
    with pytest.raises(ConfigError, match=r"ingest\.audiosocket_port: 127\.0\.0\.1"):
        bind("127.0.0.1", port)


def test_by_default_there_is_no_such_port() -> None:
    assert load(None, {}).ingest.audiosocket_port == Settings().ingest.audiosocket_port == 0
