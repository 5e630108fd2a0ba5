"""Webex over real gRPC: calls of one stream and of two, streams that come anew, what is refused and by which status."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import signal
import subprocess
import sys
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from assist import errors, replay, rpc
from assist.clients import Setup, make
from assist.clients.webex import chunk
from assist.config import Ingest, Server, Settings
from assist.errors import ConfigError, WireError
from assist.events import AnyEvent, CallEnded, CallStarted, LegJoined, LegLeft
from assist.house import House
from assist.jws import URL_CLAIM
from assist.protocols import Opened
from assist.protocols.webex import METHOD, Heard, Webex
from assist.stores.memory import Memory
from benchmarks import door
from benchmarks.calls import SHIPPED, Script
from server import webex
from tests.scene import BOTH, balanced, open_house
from tests.test_dialects import Said, check, heard
from tests.test_jws import KEY, URL, jwks
from tests.test_jws import token as signed
from tests.webex import (
    AGENT,
    ALAW,
    CALLER,
    LINEAR16,
    SUCCESS,
    Ended,
    audio,
    end,
    opened,
    request,
    said,
    send,
    streams,
)
from tests.wire import new_id, replayed, until

FRAME = b"\xff" * 160
GRACE_S = 0.4


@dataclass
class Here:
    """A house in this process and where its streams are taken."""

    house: House
    target: str

    async def say(self, *messages: bytes, headers: Any = (), half_close: bool = True) -> Ended:
        """One stream with these messages."""
        return await asyncio.to_thread(said, self.target, messages, headers, half_close=half_close)

    async def told(self, call: str) -> list[AnyEvent]:
        return [line.entry.event for line in (await self.house.hub.log(call)).lines]

    async def ended(self, call: str) -> CallEnded:
        await asyncio.wait_for(self.house.empty(), 10)
        last = (await self.told(call))[-1]
        assert isinstance(last, CallEnded) and self.house.joints == {}
        for party in BOTH:
            balanced(last.ledger[party])
        return last


@contextlib.asynccontextmanager
async def listening(
    tmp_path: Path,
    *,
    make: Callable[[], Webex] | None = None,
    tls: tuple[bytes, bytes] | None = None,
    speed: float = 1000,
    **limits: Any,
) -> AsyncIterator[Here]:
    ingest = Ingest(**{"leg_grace_s": GRACE_S, **limits})
    settings = Settings(server=Server(data_dir=str(tmp_path)), ingest=ingest)
    async with open_house(settings, Memory(), speed=speed) as house:
        port = door.free_port()
        server = rpc.bind("127.0.0.1", port, 4 * ingest.max_message_bytes, tls)
        await rpc.listen(house, {METHOD: make or partial(Webex, heard=Heard())}, server)
        try:
            yield Here(house, f"127.0.0.1:{port}")
        finally:
            house.draining.set()
            house.hurry.set()
            await server.stop(1)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with listening(tmp_path) as made:
        yield made


def frames(call: str, role: int, first: int, last: int, role_id: str = "") -> list[bytes]:
    """20 ms each, of which no two are alike."""
    return [
        request(call, audio(bytes([n % 256]) * 160, role, role_id or f"r-{role}", at_ms=20 * n), "org")
        for n in range(first, last)
    ]


# ---- calls


async def test_two_streams_are_one_call(here: Here) -> None:
    caller, agent = await asyncio.gather(
        here.say(*frames("c", CALLER, 0, 50)), here.say(*frames("c", AGENT, 0, 40))
    )  # fmt: skip
    for each in (caller, agent):
        assert (each.code, each.responses) == ("OK", [SUCCESS])
    last = await here.ended("c")
    assert {party: last.ledger[party].received_ms for party in BOTH} == {"customer": 1000, "agent": 800}
    events = await here.told("c")
    started = events[0]
    assert isinstance(started, CallStarted)
    assert (started.platform, started.parties, started.rate_hz) == ("webex", ("agent", "customer"), 8_000)
    assert started.metadata["customer_org_id"] == "org"
    assert {e.party for e in events if isinstance(e, LegJoined)} == set(BOTH)


async def test_one_stream_may_carry_both(here: Here) -> None:
    both = [each for pair in zip(frames("c", AGENT, 0, 50), frames("c", CALLER, 0, 50), strict=True) for each in pair]
    told = await here.say(*both)
    assert (told.code, told.responses) == ("OK", [SUCCESS])
    last = await here.ended("c")
    assert {party: last.ledger[party].received_ms for party in BOTH} == {"customer": 1000, "agent": 1000}
    assert (last.reason, last.anomalies) == ("closed", {})


@pytest.mark.parametrize(("encoding", "rate_hz"), [(LINEAR16, 16_000), (ALAW, 8_000)])
async def test_other_encodings(here: Here, encoding: int, rate_hz: int) -> None:
    data = bytes(640 if encoding == LINEAR16 else 160)
    await here.say(*[request("c", audio(data, encoding=encoding, rate_hz=rate_hz))] * 10)
    assert (await here.ended("c")).ledger["customer"].received_ms == 200


async def test_the_streams_of_a_call_are_encoded_alike(here: Here) -> None:
    async with streams(here.target) as channel:
        stream = opened(channel)
        await send(stream, *frames("c", CALLER, 0, 5))
        await joined(here, 1)
        told = await here.say(request("c", audio(bytes(320), AGENT, encoding=LINEAR16)))
        assert (told.code, told.details.split(":")[0]) == ("INVALID_ARGUMENT", "bad_encoding")
        assert (await end(stream)).code == "OK"


async def joined(here: Here, count: int, call: str = "c") -> None:
    """Returns when so many legs have come."""
    async with asyncio.timeout(5):
        while call not in here.house.calls or await legs(here, call) < count:
            await asyncio.sleep(0.01)


async def legs(here: Here, call: str) -> int:
    return sum(isinstance(event, LegJoined) for event in await here.told(call))


async def test_a_stream_that_broke_off_comes_anew_and_nothing_counts_twice(here: Here) -> None:
    async with streams(here.target) as channel:
        agent, caller = opened(channel), opened(channel)
        await send(agent, *frames("c", AGENT, 0, 100))
        await send(caller, *frames("c", CALLER, 0, 50))
        await joined(here, 2)
        await heard_ms(here, "customer", 1000)
        caller.cancel()
        await left(here, LegLeft("customer", "lost"))
        told = await here.say(*frames("c", CALLER, 30, 100))
        assert (told.code, told.responses) == ("OK", [SUCCESS])
        assert (await end(agent)).responses == [SUCCESS]
    last = await here.ended("c")
    assert last.ledger["agent"].skipped_ms.get("duplicate", 0) == 0
    books = last.ledger["customer"]
    assert books.skipped_ms["duplicate"] == 400, "20 messages came twice"
    assert books.received_ms - books.skipped_ms["duplicate"] == 2000
    assert [e.reason for e in await here.told("c") if isinstance(e, LegLeft)] == ["lost", "closed", "closed"]


async def heard_ms(here: Here, party: Any, ms: int, call: str = "c") -> None:
    """Returns when so much of a party was heard."""
    async with asyncio.timeout(5):
        while here.house.calls[call]._sides[party].taken_ms < ms:
            await asyncio.sleep(0.01)


async def left(here: Here, event: LegLeft, call: str = "c") -> None:
    async with asyncio.timeout(5):
        while event not in await here.told(call):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("other", ["r-1", "r-9"])
async def test_a_newer_stream_takes_the_place_of_one_that_is_still_there(here: Here, other: str) -> None:
    async with streams(here.target) as channel:
        older = opened(channel)
        await send(older, *frames("c", CALLER, 0, 50))
        await joined(here, 1)
        await heard_ms(here, "customer", 1000)
        newer = opened(channel)
        await send(newer, *frames("c", CALLER, 50, 60, other))
        assert (await asyncio.wait_for(end(older, half_close=False), 5)).responses == [SUCCESS]
        await send(older, *frames("c", CALLER, 200, 210))
        await send(newer, *frames("c", CALLER, 60, 100, other))
        assert (await end(newer)).code == "OK"
    last = await here.ended("c")
    assert last.ledger["customer"].received_ms == 2000
    events = [e for e in await here.told("c") if isinstance(e, LegJoined | LegLeft)]
    assert [(type(e).__name__, getattr(e, "reason", "")) for e in events] == [
        ("LegJoined", ""), ("LegLeft", "renewed"), ("LegJoined", ""), ("LegLeft", "closed"),
    ]  # fmt: skip


async def test_a_stream_of_both_comes_anew_while_the_old_one_is_there(here: Here) -> None:
    async with streams(here.target) as channel:
        older = opened(channel)
        await send(older, *frames("c", CALLER, 0, 10), *frames("c", AGENT, 0, 10))
        await joined(here, 2)
        await heard_ms(here, "agent", 200)
        newer = opened(channel)
        await send(newer, *frames("c", CALLER, 10, 20), *frames("c", AGENT, 10, 20))
        assert (await asyncio.wait_for(end(older, half_close=False), 5)).code == "OK"
        await joined(here, 4)
        assert not here.house.calls["c"].ending
        assert (await end(newer)).responses == [SUCCESS]
    last = await here.ended("c")
    assert {party: last.ledger[party].received_ms for party in BOTH} == {"customer": 400, "agent": 400}


async def test_a_conversation_that_comes_back_after_its_end_is_another_call(here: Here) -> None:
    for call in ("c", "c.2", "c.3"):
        async with streams(here.target) as one, streams(here.target) as two:
            caller, agent = opened(one), opened(two)
            await send(caller, *frames("c", CALLER, 0, 5, call))
            await joined(here, 1, call)
            await send(agent, *frames("c", AGENT, 0, 5, call))
            await joined(here, 2, call)
            assert [(await end(each)).code for each in (caller, agent)] == ["OK", "OK"]
        assert (await here.ended(call)).ledger["agent"].received_ms == 100


# ---- refusals

BAD: dict[str, tuple[list[bytes], str, str]] = {
    "no protobuf": ([b"\xff\xff"], "INVALID_ARGUMENT", "bad_message"),
    "no conversation": ([request("", audio(FRAME))], "INVALID_ARGUMENT", "bad_message"),
    "no role": ([request("c", audio(FRAME, 0))], "INVALID_ARGUMENT", "bad_message"),
    "no encoding": ([request("c", audio(FRAME, encoding=0))], "INVALID_ARGUMENT", "bad_encoding"),
    "a rate that is not taken": ([request("c", audio(FRAME, rate_hz=44_100))], "INVALID_ARGUMENT", "bad_encoding"),
    "another conversation": (
        [*frames("c", CALLER, 0, 3), *frames("d", CALLER, 0, 1)], "INVALID_ARGUMENT", "bad_message",
    ),
    "too large": ([request("c", audio(bytes(70_000)))], "RESOURCE_EXHAUSTED", "oversize"),
    "much too large": ([request("c", audio(bytes(300_000)))], "RESOURCE_EXHAUSTED", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_what_is_refused_has_a_status_and_a_name(here: Here, name: str) -> None:
    messages, code, named = BAD[name]
    told = await here.say(*messages, half_close=False)
    assert told.code == code
    if named:  # else gRPC itself has refused it
        assert told.details.startswith(f"{named}: ")
        for response in told.responses:  # which a client may not see any more once the status is there
            assert told.details.encode() in response
            assert response[-2:] == (b"\x10\x01" if named == "bad_encoding" else b"\x10\x02")
        assert here.house.metrics.errors.labels(named)._value.get() == 1
    await asyncio.wait_for(here.house.empty(), 10)
    assert (await here.say(*frames("next", CALLER, 0, 3))).code == "OK", "and to nobody else's harm"


async def test_sound_faster_than_speech_is_refused_however_much_follows(tmp_path: Path) -> None:
    async with listening(tmp_path, speed=1) as here:
        much = [request("c", audio(bytes(65_000)))] * 2 + [request("c", audio(FRAME))] * 3_000
        told = await here.say(*much, half_close=False)
        assert (told.code, told.details.split(":")[0]) == ("RESOURCE_EXHAUSTED", "too_fast")
        assert here.house.metrics.errors.labels("too_fast")._value.get() == 1
        await asyncio.wait_for(here.house.empty(), 10)
        assert (await here.say(*frames("next", CALLER, 0, 3))).code == "OK", "and to nobody else's harm"


async def test_a_stream_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async with listening(tmp_path, hello_timeout_s=0.2) as here:
        told = await here.say(half_close=False)
        assert (told.code, told.details) == ("DEADLINE_EXCEEDED", "idle: no hello within 0.2 s")
        assert (await here.say(request("c"), half_close=False)).code == "DEADLINE_EXCEEDED"


async def test_a_stream_that_falls_silent_is_not_waited_for(tmp_path: Path) -> None:
    async with listening(tmp_path, idle_timeout_s=0.2) as here:
        told = await here.say(*frames("c", CALLER, 0, 3), half_close=False)
        assert (told.code, told.details[:6]) == ("DEADLINE_EXCEEDED", "idle: ")
        assert (await here.ended("c")).reason == "error:idle"


async def test_a_stream_without_a_word_may_go_as_it_came(here: Here) -> None:
    told = await here.say()
    assert (told.code, told.responses) == ("OK", [SUCCESS])


async def test_no_room(tmp_path: Path) -> None:
    async with listening(tmp_path, max_calls=1) as here, streams(here.target) as channel:
        stream = opened(channel)
        await send(stream, *frames("c", CALLER, 0, 3))
        await joined(here, 1)
        told = await here.say(*frames("d", CALLER, 0, 3), half_close=False)
        assert (told.code, told.details.split(":")[0]) == ("RESOURCE_EXHAUSTED", "busy")
        later_s = int(told.trailing["grpc-retry-pushback-ms"]) // 1000
        assert later_s > 0 and told.details.endswith(f"again in {later_s} s")
        assert (await here.say(*frames("c", AGENT, 0, 3))).code == "OK", "the other leg of a live call has room"
        await end(stream)


async def test_a_call_that_is_live_elsewhere(here: Here) -> None:
    call = await here.house.open_call(Opened("c", "plain", BOTH, "mulaw", 8_000))
    told = await here.say(*frames("c", CALLER, 0, 3), half_close=False)
    assert (told.code, told.details.split(":")[0]) == ("ALREADY_EXISTS", "duplicate_call")
    call.end("bye")
    await call.run()
    here.house.leave(call)


async def test_no_calls_while_it_shuts_down(here: Here) -> None:
    async with streams(here.target) as channel:
        stream = opened(channel)
        await send(stream, *frames("c", CALLER, 0, 3))
        await joined(here, 1)
        here.house.draining.set()
        told = await here.say(*frames("d", CALLER, 0, 3), half_close=False)
        assert (told.code, told.details.split(":")[0]) == ("UNAVAILABLE", "draining")
        here.house.hurry.set()
        told = await asyncio.wait_for(end(stream, half_close=False), 5)
        assert (told.code, told.details.split(":")[0], told.responses) == ("UNAVAILABLE", "draining", [])


def test_every_refusal_has_a_status() -> None:
    waiting, codes = [WireError], set()
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        codes.add(each.code)
    not_here = {errors.UnknownCall.code, errors.FutureCursor.code}
    assert codes - not_here == set(rpc._STATUS)


# ---- who may come, and by which way


async def test_a_token_lets_in_and_none_does_not(tmp_path: Path) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_text(jwks(k1=KEY))
    settings = Settings(ingest=Ingest(webex_port=door.free_port(), webex_jwks=str(keys), webex_url=URL))
    begin = webex(settings)
    assert begin
    async with open_house(Settings(server=Server(data_dir=str(tmp_path))), Memory()) as house:
        server = await begin(house)
        here = Here(house, f"127.0.0.1:{settings.ingest.webex_port}")
        far = 4_000_000_000
        good, late = signed(exp=far), signed(exp=1_000)
        else_ = signed(exp=far, claims={URL_CLAIM: "x"})
        told = await here.say(*frames("c", CALLER, 0, 3), headers=[("authorization", f"Bearer {good}")])
        assert told.code == "OK"
        for bad in (f"Bearer {late}", f"Bearer {else_}", "Bearer x", ""):
            headers = [("authorization", bad)] if bad else []
            told = await here.say(*frames("d", CALLER, 0, 3), headers=headers, half_close=False)
            assert (told.code, told.responses) == ("UNAUTHENTICATED", [])
        assert house.metrics.errors.labels("unauthorized")._value.get() == 4
        with pytest.raises(errors.UnknownCall):
            await house.hub.log("d")
        house.hurry.set()
        await server.stop(1)


async def test_without_keys_only_loopback_is_open(caplog: pytest.LogCaptureFixture) -> None:
    for host, state in (("127.0.0.1", "open to all here"), ("0.0.0.0", "refused")):
        assert webex(Settings(ingest=Ingest(webex_port=door.free_port(), webex_host=host)))
        assert f"ingest.webex_jwks is empty: Webex's streams are {state}" in caplog.text


def certificate() -> tuple[bytes, bytes]:
    """Key and certificate of 127.0.0.1, PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(KEY, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return KEY.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), made.public_bytes(pem)


async def test_tls_of_its_own(tmp_path: Path) -> None:
    tls = certificate()
    async with listening(tmp_path, tls=tls) as here, streams(here.target, roots=tls[1]) as channel:
        stream = opened(channel)
        await send(stream, *frames("c", CALLER, 0, 3))
        assert (await end(stream)).responses == [SUCCESS]


async def test_settings_that_cannot_be(tmp_path: Path) -> None:
    port = door.free_port()
    taken = webex(Settings(ingest=Ingest(webex_port=port)))
    assert taken and webex(Settings()) is None
    for host in ("", "no.such.host.invalid"):
        with pytest.raises(ConfigError, match=r"ingest\.webex_port: "):
            webex(Settings(ingest=Ingest(webex_port=port, webex_host=host)))
    nowhere, pem = str(tmp_path / "none"), tmp_path / "pem"
    pem.write_text("no key")
    for key, chain in ((nowhere, ""), ("", nowhere), (str(pem), nowhere), (str(pem), str(pem))):
        with pytest.raises(ConfigError, match=r"ingest\.webex_certificate, ingest\.webex_key"):
            webex(Settings(ingest=Ingest(webex_port=door.free_port(), webex_key=key, webex_certificate=chain)))


@pytest.mark.parametrize("missing", ["grpc", "jwt", "google.protobuf"])
def test_without_the_packages_it_starts_and_names_them_where_they_are_needed(missing: str) -> None:
    script = f"""
import sys
sys.modules[{missing!r}] = None
import server
from assist.config import Ingest, Settings
from assist.errors import ConfigError
server.dialects(Settings())
assert server.webex(Settings()) is None
assert "grpc" not in sys.modules or {missing!r} == "grpc", "nobody asked for it"
try:
    server.webex(Settings(ingest=Ingest(webex_port=1)))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=door.ROOT, capture_output=True, text=True)
    assert "ingest.webex_port needs gRPC: pip install -e '.[webex]'" in done.stdout, done.stderr


# ---- health


def asked(channel: Any, of: str, name: str) -> Any:
    """The status of a name, by one of the two that tell it."""
    return channel.unary_unary(f"/{of}/Check")(chunk(1, name.encode()) if name else b"")


@pytest.mark.parametrize(
    ("of", "names"),
    [("grpc.health.v1.Health", ("", METHOD[0])), ("com.cisco.wcc.ccai.v1.Health", ("", "ping", "status"))],
)
async def test_health_says_whether_calls_may_come(here: Here, of: str, names: tuple[str, ...]) -> None:
    async with streams(here.target) as channel:
        for name in names:
            assert await asked(channel, of, name) == b"\x08\x01"
        watching = channel.unary_stream(f"/{of}/Watch")(b"")
        assert await watching.read() == b"\x08\x01"
        here.house.draining.set()
        assert await asyncio.wait_for(watching.read(), 5) == b"\x08\x02"
        assert await asked(channel, of, "") == b"\x08\x02"
        watching.cancel()


async def test_health_knows_what_is_here(here: Here) -> None:
    async with streams(here.target) as channel:
        with pytest.raises(grpc.RpcError) as told:
            await asked(channel, "grpc.health.v1.Health", "another.Service")
        assert told.value.code() is grpc.StatusCode.NOT_FOUND
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(chunk(1, b"another.Service"))
        assert await watching.read() == b"\x08\x03"
        watching.cancel()
        with pytest.raises(grpc.RpcError) as told:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff")
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# ---- the whole server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, scripted: dict[str, str]) -> Iterator[tuple[door.Door, str]]:
    """A server that takes Webex's streams too, and where."""
    port = door.free_port()
    ours = {"ASSIST_INGEST_WEBEX_PORT": str(port), "ASSIST_INGEST_LEG_GRACE_S": "1"}
    with door.running(tmp_path_factory.mktemp("webex"), {**scripted, **ours}) as made:
        yield made, f"grpc://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def wanted(running: tuple[door.Door, str]) -> list[Said]:
    """What the plain dialect gives."""
    return asyncio.run(heard(running[0], "plain"))[0]


async def test_it_gives_the_finals_of_every_dialect_and_books_that_add_up(
    running: tuple[door.Door, str], script: Script, wanted: list[Said]
) -> None:
    server, url = running
    words, ends, played = await heard(server, "webex", url)
    check("webex", script, wanted, words, ends, played)
    assert played.acknowledged == {"status_message": "SUCCESS"}
    assert server.process.poll() is None


async def test_the_command_plays_it_and_says_why_it_is_refused(running: tuple[door.Door, str]) -> None:
    _, url = running
    dropped = await command(url, "--speed", "20", "--drop-at", "3")
    assert (dropped[0], dropped[1]["outcome"]) == (0, "dropped")
    for _ in range(3):
        refused = await command(url, "--speed", "20", "--call", "no/id")
        # grpc's own client may lose the status of a stream that is refused while it writes, where the cores are taken.
        if "Internal error from Core" not in refused[1]["reason"]:
            break
    assert refused[0] == 1 and refused[1]["reason"].startswith("INVALID_ARGUMENT: bad_message: ")
    nobody = await command(f"grpc://127.0.0.1:{door.free_port()}", "--speed", "20")
    assert nobody[0] == 2 and "nobody speaks gRPC there" in nobody[2]


async def command(url: str, *more: str) -> tuple[int, dict[str, Any], str]:
    """The shipped call as a client of Webex, by the command line."""
    return await replayed(str(SHIPPED), "--as", "webex", "--to", url, *more)


async def test_a_live_call_is_seen_out_when_the_server_is_told_to_leave(
    tmp_path: Path, scripted: dict[str, str]
) -> None:
    port, call = door.free_port(), new_id()
    ours = {"ASSIST_INGEST_WEBEX_PORT": str(port), "ASSIST_INGEST_LEG_GRACE_S": "0.2"}
    with door.running(tmp_path, {**scripted, **ours}) as server:
        recording = replay.read(SHIPPED)
        client = make("webex", Setup(call, recording.rate_hz))
        short = replay.Recording("short", recording.agent[:40_000], recording.customer[:40_000], 8_000)
        playing = asyncio.create_task(replay.send(client, short, f"grpc://127.0.0.1:{port}", speed=2))
        await until(lambda: call in [each["call"] for each in server.get("/calls")["calls"]])
        server.process.send_signal(signal.SIGTERM)
        played = await playing
        assert (played.outcome, played.reason) == ("ended", "")
        assert await asyncio.to_thread(server.stop) == 0
    with contextlib.suppress(urllib.error.URLError):
        raise AssertionError(server.get("/readyz"))
