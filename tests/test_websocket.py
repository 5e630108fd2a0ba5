"""The short cut of a websocket keeps order, hears no more than its turn, and leaves the rest to whoever waits."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode

from assist import websocket
from assist.websocket import ROUND_S, SHORTCUT, TURN, Shortcut, WebSocket
from benchmarks.door import free_port
from tests.frames import Took, compare, outcome


class Counting(WebSocket):
    """Counts reads, and frames that the library parsed."""

    parsed = 0
    reads = 0

    def data_received(self, data: bytes) -> None:
        Counting.reads += 1
        super().data_received(data)

    def handle_bytes(self, event: Frame) -> None:
        Counting.parsed += 1
        super().handle_bytes(event)


@pytest.fixture(params=["few", "many"])
def sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As many as are read at once, or so many that each is read now and then."""
    if request.param == "many":
        monkeypatch.setattr(websocket, "MANY", 1)
        monkeypatch.setattr(websocket, "EACH_S", ROUND_S)
    return str(request.param)


@asynccontextmanager
async def listening(
    is_left: Callable[[str | bytes], bool], gone: asyncio.Event | None = None, *, talks: bool = False
) -> AsyncIterator[tuple[ClientConnection, Took]]:
    """A server that hears on the short cut, leaves what `is_left` says to `receive`, and a client of it.

    `gone` is set when the server has been told that the client is. `talks`: it sends something every few ms.
    """
    took: Took = []

    def hear(messages: Sequence[str | bytes]) -> list[dict[str, Any]]:
        heard = list(itertools.takewhile(lambda message: not is_left(message), messages))
        took.extend(("cut", message) for message in heard)
        return [{"type": "websocket.receive", "left": message} for message in messages[len(heard) :]]

    async def talk(send: Any) -> None:
        while True:
            await asyncio.sleep(0.005)
            await send({"type": "websocket.send", "text": "I am still here"})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shortcut: Shortcut = scope["extensions"][SHORTCUT]
        await receive()
        await send({"type": "websocket.accept"})
        talking = asyncio.create_task(talk(send)) if talks else None
        while True:
            shortcut.hear = hear
            event = await receive()
            shortcut.hear = None
            if event["type"] == "websocket.disconnect":
                if talking:
                    talking.cancel()
                if gone:
                    gone.set()
                return
            message = next(event[name] for name in ("left", "bytes", "text") if event.get(name) is not None)
            took.append(("queue", message))
            if message == "end":
                await send({"type": "websocket.close"})
                return
            await asyncio.sleep(0.002)  # what is left takes time, and what comes meanwhile must wait for it

    port = free_port()
    config = uvicorn.Config(
        app, port=port, ws=Counting, ws_max_size=200_000, ws_per_message_deflate=False, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        async with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
            yield client, took
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 20)


@pytest.mark.usefixtures("sockets")
async def test_order_is_kept_whichever_way_a_message_goes() -> None:
    sent: list[str | bytes] = [f"text {n}" if n % 7 == 0 else bytes([n % 251 + 1]) * (n % 40 + 1) for n in range(400)]
    async with listening(lambda message: isinstance(message, str)) as (client, took):
        for n, message in enumerate(sent):
            await client.send(message)
            if n % 50 == 0:
                await asyncio.sleep(0.01)
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 20)
    assert [message for _, message in took] == [*sent, "end"]
    assert {"cut", "queue"} == {way for way, _ in took}
    assert not any(way == "cut" for way, message in took if isinstance(message, str))


async def test_one_read_is_heard_no_longer_than_its_turn() -> None:
    sent = [f"{n}".encode() for n in range(1, 401)]
    async with listening(lambda message: message == "end") as (client, took):
        frames = b"".join(Frame(Opcode.BINARY, message).serialize(mask=True) for message in sent)
        client.transport.write(frames)
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 20)
    assert [message for _, message in took] == [*sent, "end"]
    ways = [way for way, _ in took]
    assert ways[:TURN] == ["cut"] * TURN
    assert ways[TURN] == "queue"


@pytest.mark.usefixtures("sockets")
async def test_a_message_in_pieces_is_one_message() -> None:
    async with listening(lambda message: message == "end") as (client, took):
        await client.send([b"one ", b"and ", b"the same"])
        await client.send(["wör", "ter"])
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 20)
    assert took == [("cut", b"one and the same"), ("cut", "wörter"), ("queue", "end")]


@pytest.mark.usefixtures("sockets")
async def test_text_that_is_none_ends_the_connection() -> None:
    async with listening(lambda _: False) as (client, took):
        client.transport.write(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
        with pytest.raises(ConnectionClosedError) as closed:
            await asyncio.wait_for(client.recv(), 20)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1007
    assert took == []


async def test_whole_frames_of_audio_are_read_without_the_library() -> None:
    async with listening(lambda message: message == "end") as (client, took):
        Counting.parsed = 0
        for n in range(100):
            await client.send(bytes([n]) * 320)
            await asyncio.sleep(0.001)
        parsed = Counting.parsed
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 20)
    assert [message for _, message in took] == [*(bytes([n]) * 320 for n in range(100)), "end"]
    assert parsed == 0


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("seed", range(4))
async def test_frames_of_every_form_cut_anywhere_give_the_same_messages(seed: int) -> None:
    dice = random.Random(seed)
    sizes = (0, 1, 2, 40, 125, 126, 127, 160, 320, 255, 256, 640, 65_535, 65_536, 70_000)
    sent: list[str | bytes] = []
    wire = bytearray()
    for _ in range(300):
        data = dice.randbytes(dice.choice(sizes))
        message: str | bytes = data.hex()[: len(data)] if dice.random() < 0.3 else data
        opcode, plain = (Opcode.TEXT, message.encode()) if isinstance(message, str) else (Opcode.BINARY, message)
        cuts = sorted(dice.choices(range(len(plain) + 1), k=dice.choice((0, 0, 0, 1, 3))))
        for n, (begin, end) in enumerate(itertools.pairwise((0, *cuts, len(plain)))):
            wire += Frame(Opcode.CONT if n else opcode, plain[begin:end], n == len(cuts)).serialize(mask=True)
            if dice.random() < 0.1:
                wire += Frame(dice.choice((Opcode.PING, Opcode.PONG)), b"still there?").serialize(mask=True)
        sent.append(message)
    async with listening(lambda message: message == "end" or len(message) == 40) as (client, took):
        at = 0
        while at < len(wire):
            size = dice.choice((1, 7, 300, 1_000, 5_000, 60_000))
            client.transport.write(bytes(wire[at : at + size]))
            at += size
            if dice.random() < 0.2:
                await asyncio.sleep(0)
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 60)
    assert [message for _, message in took] == [*sent, "end"]


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Opcode.BINARY, b"x" * 300).serialize(mask=False), 1002),
        (b"\xc2" + Frame(Opcode.BINARY, b"x" * 300).serialize(mask=True)[1:], 1002),
        (b"\x83" + Frame(Opcode.BINARY, b"x" * 300).serialize(mask=True)[1:], 1002),
        (Frame(Opcode.BINARY, b"x" * 200_001).serialize(mask=True), 1009),
        (Frame(Opcode.CONT, b"x" * 300).serialize(mask=True), 1002),
    ],
    ids=["unmasked", "compressed", "no such opcode", "too long", "the end of nothing"],
)
async def test_a_frame_that_is_not_allowed_ends_the_connection(frame: bytes, code: int) -> None:
    async with listening(lambda _: False) as (client, took):
        client.transport.write(Frame(Opcode.BINARY, b"before").serialize(mask=True) + frame)
        with pytest.raises(ConnectionClosedError) as closed:
            await asyncio.wait_for(client.recv(), 20)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == code
    assert took == [("cut", b"before")]


async def test_where_there_are_many_each_is_read_now_and_then(sockets: str) -> None:
    async with listening(lambda message: message == "end") as (client, took):
        await client.send(b"first")
        await asyncio.sleep(2 * ROUND_S)
        Counting.reads, began = 0, asyncio.get_running_loop().time()
        for n in range(100):
            await client.send(bytes([n]) * 320)
            await asyncio.sleep(0.005)
        rounds = (asyncio.get_running_loop().time() - began) / ROUND_S
        reads = Counting.reads
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 20)
    assert [message for _, message in took] == [b"first", *(bytes([n]) * 320 for n in range(100)), "end"]
    if sockets == "many":
        assert 3 <= reads <= rounds + 2
    else:
        assert reads > 2 * rounds


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("talks", [False, True], ids=["to nobody", "to a server that talks"])
@pytest.mark.parametrize("how", ["goodbye", "end", "reset"])
async def test_what_a_client_says_before_it_goes_is_heard(how: str, talks: bool) -> None:
    gone = asyncio.Event()
    async with listening(lambda _: False, gone, talks=talks) as (client, took):
        for n in range(10):
            await client.send(bytes([n]))
            await asyncio.sleep(0.005)
        if how == "goodbye":
            await client.close()
        elif how == "end":
            client.transport.write_eof()
        else:
            client.transport.abort()
        await asyncio.wait_for(gone.wait(), 20)
    assert [message for _, message in took] == [bytes([n]) for n in range(10)]


@pytest.mark.usefixtures("sockets")
async def test_whoever_cannot_hear_ends_the_connection() -> None:
    def fails(message: str | bytes) -> bool:
        if message == b"what nobody can hear":
            raise RuntimeError("on purpose")
        return False

    gone = asyncio.Event()
    async with listening(fails, gone) as (client, took):
        await client.send(b"first")
        await asyncio.sleep(0.02)
        await client.send(b"what nobody can hear")
        await asyncio.wait_for(gone.wait(), 20)
    assert took == [("cut", b"first")]


whole_frames = st.builds(
    lambda opcode, data, fin, mask, first: (
        bytes([first]) + Frame(opcode, data, fin).serialize(mask=mask)[1:]
        if first is not None
        else Frame(opcode, data, fin).serialize(mask=mask)
    ),
    st.sampled_from([Opcode.BINARY, Opcode.BINARY, Opcode.TEXT, Opcode.CONT]),
    st.one_of(st.binary(max_size=20), st.binary(min_size=120, max_size=300), st.just(b"x" * 2_001)),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([True, True, True, True, False]),
    st.sampled_from([None, None, None, None, 0x83, 0x92, 0xC2, 0x88, 0x89, 0x8A]),
)


@pytest.mark.parametrize("length", [100, 160, 320, 66_000])
def test_a_read_may_end_after_any_byte_of_a_frame(length: int) -> None:
    """What comes next looks like a frame where masks are empty or chance has it so; it is the rest of one."""
    dice = random.Random(length)
    inner = Frame(Opcode.BINARY, bytes(10)).serialize(mask=True)
    sent, pieces = [], []
    for n in range(600 if length < 1_000 else 20):
        payload = (inner * length)[:length] if n % 2 else dice.randbytes(length)
        frame = bytearray(Frame(Opcode.BINARY, payload).serialize(mask=True))
        head = len(frame) - length
        if n % 2:
            frame[head - 4 :] = bytes(4) + payload
        cut = dice.choice((1, 2, 3, 4, 6, head, head, head + 12, len(frame) - 1))
        pieces += [bytes(frame[:cut]), bytes(frame[cut:])]
        sent.append(("", payload))
    joined = [b"".join(pieces[at : at + 3]) for at in range(0, len(pieces), 3)]
    assert asyncio.run(outcome(WebSocket, pieces, 70_000)) == (sent, False)
    assert asyncio.run(outcome(WebSocket, joined, 70_000)) == (sent, False)


@given(st.lists(st.one_of(whole_frames, st.binary(max_size=12)), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_any_bytes_mean_what_they_mean_to_the_library(frames: list[bytes], dice: random.Random) -> None:
    compare(b"".join(frames), dice)
