"""The other end of Webex media forking, for tests: messages and streams made from its documents alone.

Protobuf is written by the hand of `assist.clients`; of the server it knows nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from assist.clients.webex import PATH, chunk, whole

CALLER, AGENT = 1, 2
LINEAR16, MULAW, ALAW = 1, 2, 3
LONGEST_S = 30.0


def audio(
    data: bytes, role: int = CALLER, role_id: str = "", *, at_ms: int | None = None, encoding: int = MULAW,
    rate_hz: int = 8_000,
) -> bytes:  # fmt: skip
    """An AudioStream."""
    stamp = b"" if at_ms is None else chunk(4, whole(1, 1_700_000_000 + at_ms // 1000) + whole(2, at_ms % 1000 * 10**6))
    leg = chunk(6, role_id.encode()) if role_id else b""
    return chunk(1, data) + whole(2, encoding) + whole(3, rate_hz) + stamp + whole(5, role) + leg


def request(call: str, stream: bytes | None = None, org: str = "", **info: str) -> bytes:
    """A ConversationAudioForkingRequest."""
    parts = [chunk(1, call.encode())] if call else []
    parts += [chunk(2, org.encode())] if org else []
    parts += [chunk(3, stream)] if stream is not None else []
    parts += [chunk(4, chunk(1, key.encode()) + chunk(2, value.encode())) for key, value in info.items()]
    return b"".join(parts)


@dataclass
class Ended:
    """How a stream ended: its status, and the responses as they came."""

    code: str
    details: str
    responses: list[bytes] = field(default_factory=list)
    trailing: dict[str, str] = field(default_factory=dict)


SUCCESS = b"\x0a\x07SUCCESS"


@contextlib.asynccontextmanager
async def streams(target: str, roots: bytes | None = None) -> AsyncIterator[Any]:
    """A connection of its own, on which streams are opened: `await opened(metadata)`."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if roots:
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options)
    else:
        channel = grpc.aio.insecure_channel(target, options)
    async with channel:
        yield channel


def opened(channel: Any, headers: Sequence[tuple[str, str]] = ()) -> Any:
    """A stream on a connection."""
    return channel.stream_stream(PATH)(metadata=tuple(headers))


async def send(stream: Any, *messages: bytes) -> None:
    """Messages, as long as the server takes them."""
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        for message in messages:
            await stream.write(message)


async def end(stream: Any, *, half_close: bool = True) -> Ended:
    """Say goodbye and hear the rest; without, wait for the server to end it."""
    if half_close and not stream.done():
        await stream.done_writing()
    responses = []
    with contextlib.suppress(grpc.RpcError):
        responses = [response async for response in stream]
    trailing = {key: str(value) for key, value in await stream.trailing_metadata() or ()}
    return Ended((await stream.code()).name, await stream.details() or "", responses, trailing)


def said(target: str, messages: Sequence[bytes], headers: Sequence[tuple[str, str]] = (), *, half_close: bool) -> Ended:
    """One stream from its beginning to its end, by gRPC's blocking client.

    Its other one, where the server ends a stream that it is still writing to, may report INTERNAL in place of the
    status that came (github.com/grpc/grpc/issues/36066).
    """
    over = threading.Event()

    def sending() -> Iterator[bytes]:
        yield from messages
        if not half_close:
            over.wait(LONGEST_S)

    with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stream = channel.stream_stream(PATH)(sending(), timeout=LONGEST_S, metadata=tuple(headers))
        stream.add_callback(over.set)
        responses: list[bytes] = []
        with contextlib.suppress(grpc.RpcError):
            responses.extend(stream)  # what came before the end stays
        trailing = {key: str(value) for key, value in stream.trailing_metadata() or ()}
        return Ended(stream.code().name, stream.details() or "", responses, trailing)
