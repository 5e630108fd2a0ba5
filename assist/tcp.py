"""A TCP connection as the ingest knows sockets, for platforms that stream without a websocket.

What comes is binary messages, cut anywhere; what is sent is Latin-1, a byte for each character. It knows no dialect.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import Response
from starlette.types import Message

from assist.errors import ConfigError
from assist.house import House
from assist.ingest import Ingest
from assist.protocols import Protocol
from assist.websocket import read_less

READ_BYTES = 16_384
QUIET_S = 20
"""A peer that says nothing for so long is asked by TCP itself whether it lives, as websockets are by pings."""


class TcpSocket:
    """One connection. A bare close counts as said (`closed`), a reset as `lost`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.scope: MutableMapping[str, Any] = {"type": "tcp", "raw_path": b"", "query_string": b""}
        self.headers: dict[str, str] = {}

    async def accept(self, subprotocol: str | None = None) -> None:
        """A connection is one already."""

    async def receive(self) -> Message:
        """Bytes as they came, or that the peer has gone."""
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError:
            return {"type": "websocket.disconnect", "code": 1006}
        if not data:
            return {"type": "websocket.disconnect", "code": 1000, "reason": ""}
        return {"type": "websocket.receive", "bytes": data}

    async def send_text(self, data: str) -> None:
        try:
            self._writer.write(data.encode("latin-1"))
            await self._writer.drain()
        except OSError as error:
            raise RuntimeError(f"the peer has gone: {error}") from error

    async def send_denial_response(self, response: Response) -> None:
        """There is no request that could be answered: it is closed."""
        await self.close()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def bind(host: str, port: int) -> socket.socket:
    """A port of our own, before anything slow begins. Raises ConfigError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"ingest.audiosocket_port: {host}:{port}: {error}") from error


async def listen(house: House, protocol: Callable[[], Protocol], port: socket.socket) -> asyncio.Server:
    """Take calls there, each connection a new protocol."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _watch(writer.get_extra_info("socket"))
            read_less(writer.transport)
            await Ingest(TcpSocket(reader, writer), protocol(), house).serve()
        finally:
            writer.close()

    return await asyncio.start_server(serve, sock=port)


def _watch(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", QUIET_S), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):  # not every system has them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
