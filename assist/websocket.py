"""uvicorn's websocket with a short cut: messages that somebody waits for are heard where they are read, together.

By itself uvicorn puts each message into a queue, stops reading, wakes the task that waits and reads on when that has
taken it, which costs more than to hear 20 ms. And the library's own parser gives one frame at a time, for several
times what it takes to read those that audio comes in: final and masked (RFC 6455, 5.2). So what comes is cut into
frames here, those are read here, and the library gets all others, whole. Where there are many sockets, each that was
heard rests a while, so that one read brings more. It knows no dialect and no call. The server must offer no extensions
(`ws_per_message_deflate=False`): they would change what a frame means.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final
from weakref import WeakSet

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import OPEN

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without a compiler
    from websockets.utils import apply_mask

log = logging.getLogger("assist.websocket")


def _without_query(record: logging.LogRecord) -> bool:
    """uvicorn writes down the address of every socket, let in or refused, and a query may hold a secret or a token."""
    if isinstance(record.args, tuple):
        record.args = tuple(each.partition("?")[0] if isinstance(each, str) else each for each in record.args)
    return True


logging.getLogger("uvicorn.error").addFilter(_without_query)  # which the library writes to as well

SHORTCUT: Final = "assist.shortcut"
"""Its name in the scope's extensions, where there is one."""
TURN: Final = 128
"""Messages of one read that are heard at once; the others queue, so that a full socket does not keep the loop."""

READ_BYTES: Final = 65_536
"""Read at once at most."""

MANY: Final = 50
EACH_S: Final = 0.0006
ROUND_S: Final = 0.12
"""Where so many sockets are heard, each is read again after `EACH_S` for every one of them, `ROUND_S` at most: what it
brings meanwhile costs one read. A loop that looked at every message of 20 ms would soon be full, and all would
wait longer than this."""

FINAL_TEXT, FINAL_BINARY, MASKED, RESERVED, OPCODE = 0x81, 0x82, 0x80, 0x70, 0x0F
OPCODES = frozenset({0, 1, 2, 8, 9, 10})
TWO_BYTES, EIGHT_BYTES = 126, 127
SHORTEST_BYTES, MASK_BYTES = 6, 4
"""RFC 6455, 5.2: what a frame begins with, and the lengths that stand for a longer one that follows."""

Event = Any
"""What ASGI calls a receive event; uvicorn and starlette have each their own type of it."""
Hear = Callable[[Sequence[str | bytes]], Sequence[Event]]


def read_less(transport: Any) -> None:
    """At most `READ_BYTES` at once. asyncio takes room for 256 KiB each time it reads, however little has come.

    The C library asks the system for so much and gives it back at once, which is half of what the loop takes for a
    message of 20 ms (benchmarks/sockets.py). Another loop's transport is left as it is.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = READ_BYTES


class Shortcut:
    """`hear` takes what one read brought, in order, and gives the events that `receive` should give for what is left.

    It is set only while somebody waits in `receive`, and asked only while nothing queues there, so order is kept.
    """

    hear: Hear | None = None


class WebSocket(WebSocketsSansIOProtocol):
    """One connection."""

    audible: ClassVar[WeakSet[WebSocket]] = WeakSet()
    """Those that were heard on the short cut and are still there: of whoever only watches there may be as many."""
    _shortcut: Shortcut | None = None
    _heard = 0
    _framed = True
    """The library stands between two frames, and gets whole ones."""
    _begun = b""
    """The beginning of a frame whose end has not come."""
    _descriptor = -1
    """Its socket's, where bytes come as they were sent."""
    _resting: Any = None
    """The loop's timer until which it is not read."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self._shortcut = Shortcut()
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[SHORTCUT] = self._shortcut

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        read_less(transport)
        socket = transport.get_extra_info("socket")
        if socket is not None and transport.get_extra_info("sslcontext") is None:
            self._descriptor = socket.fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            if self._resting:  # what it brought before it went
                self._resting.cancel()
                data = b"" if self.read_paused else self._brought()
                if data:
                    self.data_received(data)
        finally:
            self.audible.discard(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard = 0
        if self._framed and self.conn.state is OPEN:
            self._frames(self._begun + data)
            return self._rest()
        # What comes with the handshake, or before its end, may leave the library within a frame.
        self._framed = self._framed and not self.handshake_initiated and data.endswith(b"\r\n\r\n")
        self._begun, data = b"", self._begun + data
        super().data_received(data)

    def _rest(self) -> None:
        """Read no more for a while, where this one was heard and is one of many."""
        if not self._heard:
            return
        self.audible.add(self)
        many = len(self.audible)
        if many >= MANY and self._resting is None and self._descriptor >= 0:
            self.transport.pause_reading()
            self._resting = self.loop.call_later(min(ROUND_S, EACH_S * many), self._read)

    def _read(self) -> None:
        """What came meanwhile. The loop looks again at a socket that brought nothing, or whose end has come."""
        self._resting = None
        if self.read_paused or self.transport.is_closing():  # whoever takes what queues has it read on
            return
        if data := self._brought():
            try:
                self.data_received(data)
            except Exception:  # as the loop does where it reads itself
                log.exception("what a socket brought could not be taken")
                self.transport.abort()
                return
        if self._resting is None and not self.read_paused:
            self.transport.resume_reading()

    def _brought(self) -> bytes:
        """What lies in the socket; nothing where its end does, or an error, which the loop will find."""
        try:
            return os.read(self._descriptor, READ_BYTES)
        except OSError:
            return b""

    def _frames(self, data: bytes) -> None:
        """Frames in order: whole texts and binaries are heard together, others go one by one to the library.

        A frame that has only begun is kept until the rest of it comes, so that the library never stands within one.
        From one that is not allowed on, all is the library's, which ends the connection.
        """
        messages: list[str | bytes] = []
        hear = self._may_hear()
        at, end, most = 0, len(data), self.config.ws_max_size
        while end - at >= 2:
            kind, length, body = data[at], data[at + 1] - MASKED, at + SHORTEST_BYTES
            if length == TWO_BYTES:
                body += 2
            elif length == EIGHT_BYTES:
                body += 8
            if length in (TWO_BYTES, EIGHT_BYTES) and body - MASK_BYTES <= end:
                length = int.from_bytes(data[at + 2 : body - MASK_BYTES], "big")
            if kind & RESERVED or kind & OPCODE not in OPCODES or not 0 <= length <= most:
                self._framed = False
                break
            if body + length > end:
                break
            begin, at = at, body + length
            if hear and kind in (FINAL_TEXT, FINAL_BINARY) and self._heard + len(messages) < TURN:
                message = _unmasked(kind, data[body - MASK_BYTES : body], data[body:at])
                if message is not None:
                    messages.append(message)
                    continue
            self._hear(hear, messages)
            messages = []
            super().data_received(data[begin:at])
            if self.conn.state is not OPEN:
                self._framed = False
                break
            hear = self._may_hear()
        self._hear(hear, messages)
        self._begun = data[at:]
        if not self._framed and self._begun:
            left, self._begun = self._begun, b""
            super().data_received(left)

    def _may_hear(self) -> Hear | None:
        """Who hears the next message, where it need not queue."""
        if self._heard >= TURN or self.close_sent or self.conn.current_size is not None or not self.queue.empty():
            return None
        return self._shortcut.hear if self._shortcut else None

    def _hear(self, hear: Hear | None, messages: Sequence[str | bytes]) -> None:
        if not (hear and messages):
            return
        self._heard += len(messages)
        for left in hear(messages):
            self.queue.put_nowait(left)
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()

    def send_receive_event_to_app(self) -> None:
        hear = self._may_hear()
        if hear is None:
            return super().send_receive_event_to_app()
        message: str | bytes = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        if self.curr_msg_data_type == "text":
            try:
                message = message.decode() if isinstance(message, bytes) else message
            except UnicodeDecodeError:
                return super().send_receive_event_to_app()  # which hangs up
        self.frames = []
        self._hear(hear, [message])


def _unmasked(kind: int, mask: bytes, payload: bytes) -> str | bytes | None:
    """A frame's message; None of text that is none."""
    message = apply_mask(payload, mask)
    if kind == FINAL_BINARY:
        return message
    try:
        return message.decode()
    except UnicodeDecodeError:
        return None
