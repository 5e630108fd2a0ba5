"""Twilio's family and Azure over real sockets, with clients that know only the platforms' documents."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from assist import replay
from assist.audio import double, encode_mulaw
from benchmarks import door
from benchmarks.calls import SHIPPED, Script
from tests import streams
from tests.test_refusals import counter
from tests.wire import hello, new_id, open_ingest, rest, until

PHONE, SOFTPHONE = "4:+15550100", "8:acs:a1_b2"
Finals = dict[str, list[str]]


@pytest.fixture(scope="module")
def legs() -> dict[str, bytes]:
    """The shipped call's two sides, 16 bit at 8 kHz, cut to whole 100 ms."""
    recording = replay.read(SHIPPED)
    assert recording.rate_hz == 8_000
    length = len(recording.agent) // 800 * 800
    return {name: getattr(recording, name)[:length].tobytes() for name in ("customer", "agent")}


def mulaw(audio: bytes) -> bytes:
    return encode_mulaw(np.frombuffer(audio, dtype="<i2"))


def doubled(audio: bytes) -> bytes:
    """At 16 kHz."""
    return double(np.frombuffer(audio, dtype=np.int16)).tobytes()


async def send(ws: str, path: str, texts: streams.Texts) -> tuple[list[Any], int | None]:
    """The whole call, as fast as it goes, and a clean close where the server has not closed."""
    async with connect(f"{ws}/ingest/{path}", compression=None) as socket:
        for text in texts:
            await socket.send(text)
        if "azure" in path:
            await socket.close()
        return await rest(socket)


async def heard(server: door.Door, call: str) -> tuple[Finals, Any]:
    """The finals of each party, and the books."""

    def ended() -> Any:
        try:
            log = server.get(f"/calls/{call}/log")["entries"]
        except HTTPError as error:
            if error.code != 404:
                raise
            return None  # the server answers a close before it has taken what came before it
        return log if log[-1]["event"]["type"] == "CallEnded" else None

    log = await until(ended, 30)
    finals: Finals = {"customer": [], "agent": []}
    for entry in log:
        if entry["event"]["type"] == "Transcribed" and (said := entry["event"]["transcript"])["stage"] == "final":
            finals[said["party"]] += [said["text"]] if said["text"] else []
    return finals, log[-1]["event"]


def balanced(books: Any, parties: set[str], length_ms: float) -> None:
    assert set(books["ledger"]) == parties
    for ledger in books["ledger"].values():
        assert ledger["gap_ms"] == 0 and ledger["received_ms"] == length_ms and ledger["missing_ms"] == 0
        assert ledger["skipped_ms"].keys() <= {"too_short", "fragment"}


@pytest.fixture(scope="module")
def plain(server: door.Door, legs: dict[str, bytes]) -> Finals:
    """What the plain dialect makes of the call."""
    return asyncio.run(_plain(server, legs))


async def _plain(server: door.Door, legs: dict[str, bytes]) -> Finals:
    call = new_id()
    coded = mulaw(np.stack([np.frombuffer(legs[each], "<i2") for each in ("agent", "customer")], 1).tobytes())
    async with open_ingest(server.ws) as socket:
        await socket.send(json.dumps(hello(call)))
        for at in range(0, len(coded), 320):
            await socket.send(coded[at : at + 320])
        await socket.send(json.dumps({"type": "bye"}))
        await rest(socket)
    finals, books = await heard(server, call)
    balanced(books, {"agent", "customer"}, len(legs["agent"]) / 16)
    return finals


@pytest.mark.parametrize("dialect", sorted(streams.FAMILY))
async def test_every_dialect_gives_the_same_finals(
    server: door.Door, script: Script, legs: dict[str, bytes], plain: Finals, dialect: str
) -> None:
    call = str(uuid.uuid4())
    linear = dialect == "exotel"
    sides = [legs[name] if linear else mulaw(legs[name]) for name in ("customer", "agent")]
    replies, code = await send(server.ws, dialect, streams.FAMILY[dialect](call, *sides))
    assert (replies, code) == ([], 1000)
    finals, books = await heard(server, call)
    assert books["reason"] == "bye"
    parties = {"customer"} if linear else {"customer", "agent"}
    balanced(books, parties, len(legs["agent"]) / 16)
    assert {party: finals[party] for party in parties} == {party: plain[party] for party in parties}
    assert "missing" not in books["anomalies"] and "late" not in books["anomalies"]
    started = server.get(f"/calls/{call}/log")["entries"][0]["event"]
    assert started["platform"] == dialect


@pytest.mark.parametrize("named", [True, False])
async def test_azure_gives_the_same_finals(
    server: door.Door, legs: dict[str, bytes], plain: Finals, named: bool
) -> None:
    call = new_id()
    who = f"&customer={PHONE}&agent={SOFTPHONE}" if named else ""
    texts = streams.as_azure(PHONE, SOFTPHONE, doubled(legs["customer"]), doubled(legs["agent"]))
    await send(server.ws, f"azure?call={call}{who}", texts)
    finals, books = await heard(server, call)
    assert books["reason"] == "closed"
    assert finals == plain
    for party, ledger in books["ledger"].items():
        assert ledger["gap_ms"] == 0
        if named or party == "customer":
            assert ledger["received_ms"] == len(legs["agent"]) / 16


async def test_azure_may_stop_and_start_again(server: door.Door) -> None:
    connection = str(uuid.uuid4())
    for call in (connection, f"{connection}.2"):
        headers = {"x-ms-call-connection-id": connection}
        async with connect(f"{server.ws}/ingest/azure", additional_headers=headers, compression=None) as socket:
            for text in streams.as_azure(PHONE, SOFTPHONE, bytes(6_400), bytes(6_400)):
                await socket.send(text)
        _, books = await heard(server, call)
        assert books["ledger"]["customer"]["received_ms"] == 200


def first(dialect: str, call: str) -> list[str]:
    """Up to the second message after the start."""
    if dialect == "azure":
        return list(streams.as_azure(PHONE, SOFTPHONE, bytes(640), bytes(640)))
    texts = list(streams.FAMILY[dialect](call, bytes(3_200), bytes(3_200)))
    begin = next(n for n, text in enumerate(texts) if json.loads(text)["event"] == "start")
    return texts[begin : begin + 3]


def without_payload(text: str) -> str:
    message = json.loads(text)
    del (message.get("media") or message["audioData"])["payload" if "media" in message else "data"]
    return json.dumps(message)


def spoiled(text: str) -> str:
    message = json.loads(text)
    (message.get("media") or message["audioData"])["payload" if "media" in message else "data"] = "&&&"
    return json.dumps(message)


@pytest.mark.parametrize("dialect", [*sorted(streams.FAMILY), "azure"])
async def test_bad_input_has_a_name_and_what_was_good_is_kept(server: door.Door, dialect: str) -> None:
    begin, media, more = first(dialect, "{id}")
    bad: dict[str, tuple[list[str | bytes], str, int]] = {
        "not json": ([begin, media, "{"], "bad_message", 4400),
        "a list": ([begin, media, "[]"], "bad_message", 4400),
        "binary": ([begin, media, b"\x00"], "bad_message", 4400),
        "audio first": ([media], "bad_message", 4400),
        "another dialect": (['{"type": "hello"}'], "unknown_message", 4400),
        "second start": ([begin, media, begin], "bad_message", 4400),
        "no payload": ([begin, media, without_payload(more)], "bad_message", 4400),
        "no base64": ([begin, media, spoiled(more)], "bad_message", 4400),
    }
    for name, (messages, code, close_code) in bad.items():
        call = new_id()
        path = f"azure?call={call}" if dialect == "azure" else dialect
        filled = [each.replace("{id}", call) if isinstance(each, str) else each for each in messages]
        async with connect(f"{server.ws}/ingest/{path}", compression=None) as socket:
            for each in filled:
                await socket.send(each)
            replies, closed = await rest(socket)
        assert [reply["code"] for reply in replies] == [code] and closed == close_code, (name, replies)
        if messages[0] == begin:
            _, books = await heard(server, call)
            assert books["reason"] == f"error:{code}"
            assert sum(ledger["received_ms"] for ledger in books["ledger"].values()) > 0, name


@pytest.mark.parametrize("dialect", sorted(streams.FAMILY))
async def test_a_further_stream_of_a_call_is_one_of_its_own_and_not_of_another_platform(
    server: door.Door, dialect: str
) -> None:
    call = new_id()
    other = "plain" if dialect == "twilio" else "twilio"
    begin, media, _ = first(dialect, call)
    async with open_ingest(server.ws, dialect) as live:
        await live.send(begin)
        await live.send(media)
        await until(lambda: call in {each["call"] for each in server.get("/calls")["calls"]})
        async with open_ingest(server.ws, other) as stranger:
            await stranger.send(json.dumps(hello(call)) if other == "plain" else first(other, call)[0])
            replies, closed = await rest(stranger)
        assert [reply["code"] for reply in replies] == ["duplicate_call"] and closed == 4409
        async with open_ingest(server.ws, dialect) as beside:
            await beside.send(begin)
            await beside.send(media)
    for each in (call, f"{call}.2"):
        _, books = await heard(server, each)
        assert books["reason"] == "closed" and any(ledger["received_ms"] for ledger in books["ledger"].values())


async def test_only_who_can_prove_it_opens_a_socket(tmp_path: Path, scripted: dict[str, str]) -> None:
    settings = {
        **scripted,
        "ASSIST_INGEST_SECRETS": '{"twilio": "old 12345", "telnyx": "tok", "azure": "hidden"}',
        "ASSIST_INGEST_PUBLIC_URL": "wss://calls.example.com/assist",
    }
    with door.running(tmp_path, settings) as server:
        signature = RequestValidator("12345").compute_signature("wss://calls.example.com/assist/ingest/twilio", {})

        async def opens(dialect: str, headers: dict[str, str]) -> None:
            call = new_id()
            path = f"{server.ws}/ingest/{dialect}"
            async with connect(path, additional_headers=headers, compression=None) as socket:
                for text in first(dialect.partition("?")[0], call):
                    await socket.send(text)

        await opens("twilio", {"X-Twilio-Signature": signature})
        await opens("telnyx", {"x-telnyx-streaming-auth-token": "tok"})
        await opens("azure?token=hidden", {"Authorization": "Bearer eyJ"})
        await opens("azure?token=hidden", {"Origin": "https://softphone.example"})  # the token is proof enough
        await opens("plivo", {})
        wrong = base64.b64encode(b"x" * 20).decode()
        refused: list[tuple[str, dict[str, str]]] = [
            ("twilio", {}),
            ("twilio", {"X-Twilio-Signature": wrong}),
            ("twilio?x=1", {"X-Twilio-Signature": signature}),
            ("telnyx", {"x-telnyx-streaming-auth-token": "tok "[:2]}),
            ("azure", {"Authorization": "Bearer eyJ"}),
            ("azure?token=hiddem", {}),
        ]
        for dialect, headers in refused:
            began = time.monotonic()
            with pytest.raises(InvalidStatus) as answer:
                await opens(dialect, headers)
            assert answer.value.response.status_code == 401, (dialect, headers)
            assert time.monotonic() - began >= 0.5
        assert counter(server, 'assist_errors_total{code="unauthorized"}') == len(refused)
        with pytest.raises(InvalidStatus) as answer:
            await opens("plivo", {"Origin": "https://softphone.example"})
        assert answer.value.response.status_code == 403, "nothing else tells this page from its owner's"
        log = server.log.read_text()
        assert "/ingest/azure" in log and "Uvicorn running on" in log
        assert "hidde" not in log and "/ingest/azure?" not in log, "what is in a query may be a secret"
