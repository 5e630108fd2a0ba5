"""A websocket's bytes to our reading of frames and to the library's, side by side."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState

from assist.websocket import SHORTCUT, WebSocket

Took = list[tuple[str, str | bytes]]
"""Which way each message came, "cut" or "queue" or "" where it does not matter, and the message."""
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Transport(asyncio.Transport):
    """Keeps what is written; it is never full, and reads on whatever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass


async def outcome(kind: type[WebSocketsSansIOProtocol], pieces: list[bytes], most: int = 2_000) -> tuple[Took, bool]:
    """What a connection of this kind makes of the bytes after its handshake: messages, and whether it ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if SHORTCUT in scope["extensions"]:
            scope["extensions"][SHORTCUT].hear = hear
        await receive()
        await send({"type": "websocket.accept"})
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    took: Took = []

    def hear(messages: Sequence[str | bytes]) -> list[Any]:
        took.extend(("", message) for message in messages)
        return []

    config = uvicorn.Config(app, lifespan="off", log_config=None, ws_max_size=most, ws_per_message_deflate=False)
    config.load()
    state = ServerState()
    made, transport = kind(config, state, {}), Transport()
    made.connection_made(transport)
    made.data_received(HANDSHAKE)
    while b"\r\n\r\n" not in transport.written:
        await asyncio.sleep(0)
    for piece in pieces:
        if transport.closed:
            break
        try:
            made.data_received(piece)
        except InvalidState:  # uvicorn says goodbye twice to text that is none with a close behind it in the same read
            if kind is WebSocket:
                raise
            transport.close()
    while not made.queue.empty():
        event = made.queue.get_nowait()
        if event["type"] == "websocket.receive":
            took.append(("", event["text"] if "text" in event else event["bytes"]))  # type: ignore[arg-type]
    ended = transport.closed
    made.stop_keepalive()
    for task in state.tasks:
        task.cancel()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    return took, ended


def compare(data: bytes, dice: random.Random) -> None:
    """Raises AssertionError where bytes, cut by the dice, do not mean to us what they mean to the library.

    Of a read that ends in an error uvicorn gives nothing, not even what was whole before it; ours gives some of it.
    """
    cuts = sorted(dice.choices(range(len(data) + 1), k=dice.choice((0, 0, 1, 5))))
    pieces = [data[begin:end] for begin, end in itertools.pairwise((0, *cuts, len(data))) if begin < end]
    (ours, ended), (least, _), (most, ends) = (
        asyncio.run(outcome(kind, given))
        for kind, given in (
            (WebSocket, pieces),
            (WebSocketsSansIOProtocol, pieces),
            (WebSocketsSansIOProtocol, [data[at : at + 1] for at in range(len(data))]),
        )
    )
    assert ours == most[: len(ours)], (ours, most)
    assert len(ours) >= len(least if ends else most), (ours, most)
    assert ended == ends, (ended, ends)
