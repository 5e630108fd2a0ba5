"""AudioHook over real sockets, with a client that knows only Genesys' documents."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from assist import replay
from assist.audio import encode_mulaw
from assist.config import Server, Settings
from assist.errors import Unauthorized
from assist.protocols import Handshake
from benchmarks import door
from benchmarks.calls import SHIPPED, Script, for_scripted
from server import dialects
from tests import genesys
from tests.conftest import QUICK
from tests.genesys import parameters, session, signed
from tests.test_refusals import counter
from tests.wire import until

SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"


@pytest.fixture(scope="module")
def stereo() -> bytes:
    """The shipped call as Genesys sends it: customer first, mu-law, the samples in turn."""
    recording = replay.read(SHIPPED)
    return encode_mulaw(np.stack([recording.customer, recording.agent], 1).reshape(-1).astype(np.int16))


def ended(server: door.Door, call: str) -> Any:
    """The CallEnded of a call, once it has ended."""
    last = server.get(f"/calls/{call}/log")["entries"][-1]["event"]
    return last if last["type"] == "CallEnded" else None


async def test_a_call_is_heard_and_told_back_before_it_is_closed(
    server: door.Door, script: Script, stereo: bytes
) -> None:
    conversation = str(uuid.uuid4())
    async with session(server.ws) as client:
        began = time.monotonic()
        await client.send("open", **parameters(client.organisation, conversation, customConfig={"agentassist": True}))
        opened = await client.wait("opened")
        assert time.monotonic() - began < 5 and opened["parameters"]["media"] == [genesys.STEREO]
        hearing = asyncio.create_task(client.hear(stereo, pace=15))
        waits = []
        for count in range(1, 1_000):
            asked = time.monotonic()
            await client.send("ping")
            await client.wait("pong", 5, count)
            waits.append(time.monotonic() - asked)
            if hearing.done():
                break
            await asyncio.sleep(0.2)
        await hearing
        await client.send("close", reason="end")
        await client.wait("closed", 30)
        assert client.came[-1]["type"] == "closed", "nothing may come after it"
        assert len(waits) > 5 and max(waits) < 5
    log = server.get(f"/calls/{conversation}/log")["entries"]
    finals = [e["event"]["transcript"] for e in log if e["event"]["type"] == "Transcribed"]
    finals = [each for each in finals if each["stage"] == "final" and each["text"]]
    told = client.entities("transcript")
    assert len(told) == len(finals) == len({each["id"] for each in told}) > 10
    for entity, final in zip(told, finals, strict=True):
        assert entity["isFinal"] and entity["channelId"] == ["customer", "agent"].index(final["party"])
        (alternative,) = entity["alternatives"]
        (shown,) = alternative["interpretations"]
        assert shown["transcript"] == final["text"] and 0 <= alternative["confidence"] <= 1
        offsets = [genesys.seconds(token["offset"]) for token in shown["tokens"]]
        assert len(set(offsets)) == len(offsets) == len(final["text"].split())
    said = {token["value"] for e in told for token in e["alternatives"][0]["interpretations"][0]["tokens"]}
    wanted = {word for turn in script.turn for word in turn.text.split()}
    assert len(wanted - said) <= 0.05 * len(wanted), "words are missing"
    shown_cards = [card for each in client.entities("agentassist") for card in each["suggestions"]]
    assert f"/articles/{script.expected['article']}" in {card.get("documentUri") for card in shown_cards}
    books = ended(server, conversation)
    assert books["reason"] == "bye" and set(books["ledger"]) == {"agent", "customer"}
    for ledger in books["ledger"].values():
        assert ledger["gap_ms"] == 0 and ledger["received_ms"] == len(stereo) / 16
        assert ledger["skipped_ms"].keys() <= {"too_short", "fragment"}


async def test_a_pong_does_not_wait_for_a_recogniser_that_is_slow(
    tmp_path: Path, script: Script, stereo: bytes
) -> None:
    says = for_scripted(script, tmp_path / "say.json", delay_ms=3_000)
    slow = {**QUICK, "ASSIST_RECOGNISER_SCRIPT": str(says), "ASSIST_INGEST_PROMISED_LOAD": "0"}
    with door.running(tmp_path, slow) as server:
        async with session(server.ws) as client:
            await client.send("open", **parameters(client.organisation, str(uuid.uuid4())))
            await client.wait("opened")
            await client.hear(stereo[: 16_000 * 10])
            await client.send("close", reason="end")
            waits: list[float] = []
            while not client.all("event"):
                asked = time.monotonic()
                await client.send("ping")
                await client.wait("pong", 5, len(waits) + 1)
                waits.append(time.monotonic() - asked)
                await asyncio.sleep(0.1)
            await client.wait("closed", 10)
            assert len(waits) > 10 and max(waits) < 1
            assert len(client.entities("transcript")) == 2 and client.came[-1]["type"] == "closed"


@pytest.mark.parametrize("discarded_s", [1, 0])
async def test_pauses_and_losses_stand_in_the_books_and_times_stay_true(
    server: door.Door, script: Script, stereo: bytes, discarded_s: int
) -> None:
    """At the pace of speech: 3 s, a pause of 1 s in which the client's position goes on or stands still, up to 6 s, a
    loss of 1 s, 5 s."""
    conversation = str(uuid.uuid4())

    def cut(begin_s: float, end_s: float) -> bytes:
        return stereo[int(begin_s * 16_000) : int(end_s * 16_000)]

    async with session(server.ws) as client:
        await client.send("open", **parameters(client.organisation, conversation, customConfig={"partials": True}))
        await client.wait("opened")
        await client.hear(cut(0, 3), pace=1)
        await client.send("paused")
        await asyncio.sleep(1)
        client.position_ms += 1_000 * discarded_s
        await client.send("resumed", start="PT3S", discarded=f"PT{discarded_s}S")
        await client.hear(cut(3 + discarded_s, 6), pace=1)
        await asyncio.sleep(1)
        client.position_ms += 1_000
        await client.send("discarded", start="PT6S", discarded="PT1S")
        await client.hear(cut(7, 12), pace=1)
        await client.send("close", reason="end")
        await client.wait("closed", 30)
    books = ended(server, conversation)
    for ledger in books["ledger"].values():
        assert ledger["received_ms"] == 11_000 - 1_000 * discarded_s
        assert ledger["gap_ms"] == 0 and ledger["missing_ms"] == 1_000
    kinds = [e["event"]["type"] for e in server.get(f"/calls/{conversation}/log")["entries"]]
    assert kinds.count("Paused") == kinds.count("Resumed") == 1 and kinds.count("Missing") == 2
    told = client.entities("transcript")
    finals = [each for each in told if each["isFinal"]]
    assert finals and len(told) > len(finals), "partials were asked for"
    turn = next(turn for turn in script.turn if turn.start_ms > 7_000)
    first, *_ = turn.text.split()
    offsets = [
        genesys.seconds(token["offset"])
        for each in finals
        for token in each["alternatives"][0]["interpretations"][0]["tokens"]
        if token["value"] == first
    ]
    begins = [genesys.seconds(each["offset"]) for each in finals if each["channelId"] == 0]
    assert any(abs(begin - turn.start_ms / 1000) < 0.5 for begin in begins), (turn, begins)
    # Scripted words go by the clock of the call, which a pause moves on: they fit where the position moved on too.
    assert not discarded_s or any(abs(offset - turn.start_ms / 1000) < 0.5 for offset in offsets), (turn, offsets)


async def test_a_probe_makes_no_call(server: door.Door) -> None:
    before = counter(server, "assist_calls_started_total")
    async with session(server.ws) as client:
        await client.send("open", **genesys.probe(client.organisation))
        await client.wait("opened")
        await client.send("ping")
        await client.wait("pong")
        await client.send("close", reason="end")
        await client.wait("closed", 2)
    assert counter(server, "assist_calls_started_total") == before
    assert genesys.NOBODY not in {each["call"] for each in server.get("/calls")["calls"]}


async def test_a_conversation_may_come_again(server: door.Door) -> None:
    conversation = str(uuid.uuid4())
    before: list[dict[str, Any]] = []
    for call in (conversation, f"{conversation}.2", f"{conversation}.3"):
        async with session(server.ws) as client:
            given = parameters(client.organisation, conversation, continuedSessions=before)
            await client.send("open", **given)
            await client.wait("opened")
            await client.send("close", reason="reconnect")
            await client.wait("closed", 10)
        before = [*before, {"id": client.session, "serverseq": client.serverseq, "clientseq": client.seq}]
        metadata = server.get(f"/calls/{call}")["metadata"]
        assert metadata["sessionId"] == client.session
    assert metadata["continuedSessions"] == ",".join(each["id"] for each in before[:2])


@pytest.mark.parametrize("polite", [True, False])
async def test_what_is_wrong_is_said_with_disconnect(server: door.Door, polite: bool) -> None:
    conversation = str(uuid.uuid4())
    async with session(server.ws) as client:
        await client.send("open", **parameters(client.organisation, conversation))
        await client.wait("opened")
        await client.hear(b"\xff" * 16_000)
        await client.send("paused")
        await client.hear(b"\xff" * 3_200)
        disconnect = await client.wait("disconnect")
        assert disconnect["parameters"]["reason"] == "error"
        assert disconnect["parameters"]["info"] == "400 bad_message: audio while paused"
        if polite:
            await client.send("close", reason="disconnect")
            await client.wait("closed", 10)
        else:
            await asyncio.wait_for(client.listening, 20)
            assert client.socket.close_code == 4400 and not client.all("closed")
    books = await until(lambda: ended(server, conversation))
    assert books["reason"] == "error:bad_message"
    assert {ledger["received_ms"] for ledger in books["ledger"].values()} == {1_000}


async def test_another_organisation_than_asked_is_not_let_in(server: door.Door) -> None:
    async with session(server.ws) as client:
        began = time.monotonic()
        await client.send("open", **parameters(str(uuid.uuid4()), str(uuid.uuid4())))
        disconnect = await client.wait("disconnect")
        assert disconnect["parameters"]["reason"] == "unauthorized" and time.monotonic() - began > 0.3


async def test_a_full_house_says_so_at_once(tmp_path: Path, scripted: dict[str, str]) -> None:
    with door.running(tmp_path, {**scripted, "ASSIST_INGEST_MAX_CALLS": "1"}) as server:
        async with session(server.ws) as first:
            await first.send("open", **parameters(first.organisation, str(uuid.uuid4())))
            await first.wait("opened")
            async with session(server.ws) as second:
                began = time.monotonic()
                await second.send("open", **parameters(second.organisation, str(uuid.uuid4())))
                disconnect = await second.wait("disconnect")
                assert time.monotonic() - began < 5
                assert disconnect["parameters"]["info"].startswith("503 busy: 1 calls are live")
                assert "retry after" in disconnect["parameters"]["info"]
                await second.send("close", reason="disconnect")
                await second.wait("closed", 10)
            await first.send("close", reason="end")
            await first.wait("closed", 10)
            assert not first.all("disconnect")


async def test_who_shuts_down_takes_leave(tmp_path: Path, scripted: dict[str, str]) -> None:
    server = door.start(tmp_path, {**scripted, "ASSIST_SERVER_DRAIN_S": "0.2"})
    try:
        async with session(server.ws) as client:
            await client.send("open", **parameters(client.organisation, str(uuid.uuid4())))
            await client.wait("opened")
            await client.hear(b"\xff" * 16_000)
            server.process.send_signal(signal.SIGTERM)
            await client.wait("reconnect", 10)
            await client.send("close", reason="reconnect")
            await client.wait("closed", 10)
        assert await asyncio.to_thread(server.process.wait, 20) == 0
    finally:
        server.stop(signal.SIGKILL)


async def test_a_signature_opens_one_socket(tmp_path: Path, scripted: dict[str, str]) -> None:
    keys = f'{{"{KEY}": "{SECRET}", "open": ""}}'
    with door.running(tmp_path, {**scripted, "ASSIST_INGEST_AUDIOHOOK_KEYS": keys}) as server:
        authority = f"127.0.0.1:{server.port}"

        def request(secret: str = SECRET, **changes: Any) -> dict[str, str]:
            headers = genesys.asking(KEY)
            return {**headers, **signed(headers, "/ingest/audiohook", authority, secret, **changes)}

        async def opens(headers: dict[str, str]) -> None:
            async with session(server.ws, headers) as client:
                await client.send("open", **genesys.probe(client.organisation))
                await client.wait("opened")

        good = request()
        await opens(good)
        await opens(genesys.asking("open"))
        refused = {
            "replayed": good,
            "wrong secret": request("c29tZXRoaW5nIGVsc2U="),
            "old": request(created=int(time.time()) - 60),
            "unsigned": genesys.asking(KEY),
            "unknown key": genesys.asking("unknown"),
            "no key": {k: v for k, v in request().items() if k != "X-API-KEY"},
        }
        for name, headers in refused.items():
            began = time.monotonic()
            with pytest.raises(InvalidStatus) as answer:
                await opens(headers)
            assert answer.value.response.status_code == 401, name
            assert time.monotonic() - began >= 0.5, name
        assert counter(server, 'assist_errors_total{code="unauthorized"}') == len(refused)


async def test_without_ids_there_is_no_session(server: door.Door) -> None:
    headers = {**genesys.asking(), "Audiohook-Session-Id": "one"}
    with pytest.raises(InvalidStatus) as answer:
        async with session(server.ws, headers):
            pass
    assert answer.value.response.status_code == 400


@pytest.mark.parametrize(
    ("door", "lets_in"),
    [
        (Server(), True),
        (Server(hosts=("localhost",)), True),
        (Server(host="0.0.0.0"), False),
        (Server(hosts=("calls.example.com",)), False),  # a proxy brings others in
    ],
    ids=["loopback", "itself named", "everywhere", "behind a proxy"],
)
def test_without_keys_it_is_open_to_this_machine_only_and_says_so(
    door: Server, lets_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    protocol = dialects(Settings(server=door))["audiohook"]()
    assert "ingest.audiohook_keys is empty" in caplog.text
    asked = Handshake("/ingest/audiohook", {name.lower(): value for name, value in genesys.asking().items()}, 0.0)
    with contextlib.nullcontext() if lets_in else pytest.raises(Unauthorized):
        protocol.greet(asked)
