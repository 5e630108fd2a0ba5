"""Asterisk as its documents describe it: one leg's audio over a media websocket or AudioSocket. It knows no server."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import uuid
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect


def dial(ws: str, query: str) -> connect:
    """The websocket that `Dial(WebSocket/conn/v(query))` opens."""
    return connect(f"{ws}/ingest/asterisk?{query}", subprotocols=["media"], compression=None)  # type: ignore[list-item]


async def media_start(peer: ClientConnection, form: str, *, plain: bool = False) -> None:
    """Its first message, as JSON, or plain as before 22.8."""
    channel = f"{uuid.uuid4().int % 10**10}.7"
    told: dict[str, str | int | dict[str, str]] = {
        "event": "MEDIA_START", "connection_id": "media1", "channel": "WebSocket/media1/0x7f", "channel_id": channel,
        "format": form, "optimal_frame_size": 160, "ptime": 20, "channel_variables": {"UNIQUEID": "1764.1"},
    }  # fmt: skip
    fields = " ".join(f"{k}:{v}" for k, v in told.items() if k not in ("event", "channel_variables"))
    await peer.send(f"MEDIA_START {fields}" if plain else json.dumps(told))


class Stream:
    """One AudioSocket connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self, stream: str) -> None:
        """Connect and say the UUID."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        await self.send(0x01, uuid.UUID(stream).bytes)

    async def send(self, kind: int, payload: bytes = b"") -> None:
        self.writer.write(struct.pack(">BH", kind, len(payload)) + payload)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """What the server says until it closes; then the connection is closed here too."""
        async with asyncio.timeout(30):
            said = await self.reader.read()
        await self.close()
        return said

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    def reset(self) -> None:
        """Go without a word, not even TCP's."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


async def paced(pieces: list[bytes], pace: float) -> AsyncIterator[bytes]:
    """20 ms pieces at absolute deadlines, `pace` times as fast as speech; empty ones are not sent."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, piece in enumerate(pieces, 1):
        await asyncio.sleep(max(0.0, began + number * 0.02 / pace - loop.time()))
        if piece:
            yield piece
