"""gRPC streams as the ingest knows sockets, for platforms that call us so; and gRPC's own word on whether we are ready.

What comes is one binary message each, what is sent is Latin-1, a byte for each character. How a stream ends, its status
says: by the error's name. It knows no dialect. Server and streams run on the loop that everything else runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from fastapi import Response
from starlette.types import Message

from assist.errors import AssistError, Busy, ConfigError
from assist.house import House
from assist.ingest import Ingest
from assist.protobuf import DecodeError, messages
from assist.protocols import Bye, Protocol, reason_of

QUIET_MS: Final = 20_000
"""A peer that says nothing for so long is asked whether it lives."""
WATCH_S: Final = 1.0
SETTLE_S: Final = 0.05
"""Where a peer has gone, its stream ends as if it had said goodbye, and within so long its task is cancelled."""
LEAVING: Final = 1012
"""The close code of a socket that the server takes leave of."""
Streams = Mapping[tuple[str, str], Callable[[], Protocol]]
"""(Service, method) to a new protocol for each stream of it."""

_STATUS: Final[Mapping[str, Any]] = {
    "bad_message": grpc.StatusCode.INVALID_ARGUMENT,
    "unknown_message": grpc.StatusCode.INVALID_ARGUMENT,
    "bad_encoding": grpc.StatusCode.INVALID_ARGUMENT,
    "oversize": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "too_fast": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "busy": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "too_long": grpc.StatusCode.OUT_OF_RANGE,
    "duplicate_call": grpc.StatusCode.ALREADY_EXISTS,
    "unauthorized": grpc.StatusCode.UNAUTHENTICATED,
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "idle": grpc.StatusCode.DEADLINE_EXCEEDED,
    "draining": grpc.StatusCode.UNAVAILABLE,
}
"""By the error's wire code; any other is INTERNAL."""

HEALTH: Final = ("grpc.health.v1.Health", "com.cisco.wcc.ccai.v1.Health")
"""The same service under two names: gRPC's own, and the one that Webex asks."""
_HEALTH: Final = messages(
    "grpc.health.v1", {"Request": {"service": (1, "string")}, "Response": {"status": (1, "int32")}}
)
SERVING, NOT_SERVING, UNKNOWN_SERVICE = 1, 2, 3


class RpcSocket:
    """One stream. That the peer has said all, counts as its goodbye; that it cancelled or was lost, as `lost`."""

    def __init__(self, context: Any, target: str) -> None:
        self._context = context
        self.scope: dict[str, Any] = {"type": "grpc", "raw_path": target.encode("latin-1"), "query_string": b""}
        self.headers = {key.lower(): value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.close_code = 1000
        self.lost = asyncio.Event()
        """The peer has cancelled it, or its connection is gone: gRPC does not say so in what is read."""

    async def accept(self, subprotocol: str | None = None) -> None:
        """A stream is one already."""

    async def receive(self) -> Message:
        """A message, the goodbye, or that the peer has gone."""
        try:
            data = await self._context.read()
        except grpc.aio.UsageError:
            return {"type": "websocket.disconnect", "code": 1006}
        if data is not grpc.aio.EOF:
            return {"type": "websocket.receive", "bytes": data}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self.lost.wait()
            return {"type": "websocket.disconnect", "code": 1006}
        return {"type": "websocket.receive", "said": [Bye()]}

    async def send_text(self, data: str) -> None:
        if self.lost.is_set():
            raise RuntimeError("the peer has gone")
        try:
            await self._context.write(data.encode("latin-1"))
        except (grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise RuntimeError(f"the peer has gone: {error}") from error

    async def send_denial_response(self, response: Response) -> None:
        """The status says it."""

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """The status is told once all is done."""
        self.close_code = code


def bind(host: str, port: int, most_bytes: int, tls: tuple[bytes, bytes] | None = None) -> Any:
    """A server with a port of its own, before anything slow begins. `tls`: key and certificates, PEM.

    Raises ConfigError where the port is taken, or the key is none.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),  # or another server on this port would take half of the calls
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.keepalive_time_ms", QUIET_MS),
            ("grpc.keepalive_timeout_ms", QUIET_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", QUIET_MS // 4),
        ]
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls:
            server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        what = "ingest.webex_certificate, ingest.webex_key or ingest.webex_port" if tls else "ingest.webex_port"
        raise ConfigError(f"{what}: {address}: {error}") from error
    return server


async def listen(house: House, streams: Streams, server: Any) -> None:
    """Take calls there, each stream a new protocol."""
    services: dict[str, dict[str, Any]] = {}
    for (service, method), protocol in streams.items():
        take = _taking(house, protocol, f"/{service}/{method}")
        services.setdefault(service, {})[method] = grpc.stream_stream_rpc_method_handler(take)
    known = frozenset({"", *services})
    for service in HEALTH:
        health = _Health(house, known if service == HEALTH[0] else None)
        services[service] = {
            "Check": grpc.unary_unary_rpc_method_handler(health.check),
            "Watch": grpc.unary_stream_rpc_method_handler(health.watch),
        }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
    )
    await server.start()


def _taking(house: House, protocol: Callable[[], Protocol], target: str) -> Callable[[Any, Any], Any]:
    async def take(_: Any, context: Any) -> None:
        socket = RpcSocket(context, target)
        ingest = Ingest(socket, protocol(), house)
        life = asyncio.create_task(ingest.serve())
        try:
            await asyncio.shield(life)
        except asyncio.CancelledError:  # the peer has gone, which ends this task and must not end that one
            socket.lost.set()
            await asyncio.wait({life})
            raise
        if ingest.error:
            await _refuse(context, ingest.error)
        elif socket.close_code == LEAVING:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "draining: the server is shutting down")

    return take


async def _refuse(context: Any, error: AssistError) -> None:
    told = f"{error.code}: {reason_of(error)}"
    later: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Busy):
        told += f"; again in {error.again_s} s"
        later = (("grpc-retry-pushback-ms", str(error.again_s * 1000)),)
    await context.abort(_STATUS.get(error.code, grpc.StatusCode.INTERNAL), told, later)


class _Health:
    """Are we ready for calls? `known`: the names that may be asked about; None: any."""

    def __init__(self, house: House, known: frozenset[str] | None) -> None:
        self._house = house
        self._known = known

    async def check(self, request: bytes, context: Any) -> bytes:
        if not await self._knows(request, context):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _health(self._status)

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The status at once, and then each other one."""
        knows, told = await self._knows(request, context), 0
        while True:
            status = self._status if knows else UNKNOWN_SERVICE
            if status != told:
                told = status
                yield _health(status)
            await asyncio.sleep(WATCH_S)

    @property
    def _status(self) -> int:
        return SERVING if self._house.ready else NOT_SERVING

    async def _knows(self, request: bytes, context: Any) -> bool:
        with contextlib.suppress(DecodeError):
            return self._known is None or _HEALTH["Request"].FromString(request).service in self._known
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        return False


def _health(status: int) -> bytes:
    whole: bytes = _HEALTH["Response"](status=status).SerializeToString()
    return whole
