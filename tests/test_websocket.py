"""The short cut of a websocket keeps order, hears no more than its turn, and leaves the rest to whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode

from assist.websocket import SHORTCUT, TURN, Shortcut, WebSocket
from benchmarks.door import free_port

Took = list[tuple[str, str | bytes]]
"""Which way each message came, "cut" or "queue", and the message."""


@asynccontextmanager
async def listening(is_left: Callable[[str | bytes], bool]) -> AsyncIterator[tuple[ClientConnection, Took]]:
    """A server that hears on the short cut, leaves what `is_left` says to `receive`, and a client of it."""
    took: Took = []

    def hear(message: str | bytes) -> dict[str, Any] | None:
        if is_left(message):
            return {"type": "websocket.receive", "left": message}
        took.append(("cut", message))
        return None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shortcut: Shortcut = scope["extensions"][SHORTCUT]
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            shortcut.hear = hear
            event = await receive()
            shortcut.hear = None
            if event["type"] == "websocket.disconnect":
                return
            message = event.get("left") or event.get("bytes") or event.get("text")
            took.append(("queue", message))
            if message == "end":
                await send({"type": "websocket.close"})
                return
            await asyncio.sleep(0.002)  # what is left takes time, and what comes meanwhile must wait for it

    port = free_port()
    config = uvicorn.Config(app, port=port, ws=WebSocket, lifespan="off", log_config=None)
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


async def test_a_message_in_pieces_is_one_message() -> None:
    async with listening(lambda message: message == "end") as (client, took):
        await client.send([b"one ", b"and ", b"the same"])
        await client.send(["wör", "ter"])
        await client.send("end")
        await asyncio.wait_for(client.wait_closed(), 20)
    assert took == [("cut", b"one and the same"), ("cut", "wörter"), ("queue", "end")]


async def test_text_that_is_none_ends_the_connection() -> None:
    async with listening(lambda _: False) as (client, took):
        client.transport.write(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
        with pytest.raises(ConnectionClosedError) as closed:
            await asyncio.wait_for(client.recv(), 20)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1007
    assert took == []
