"""uvicorn's websocket with a short cut: messages that somebody waits for are heard where they are read, together.

By itself uvicorn puts each message into a queue, stops reading, wakes the task that waits and reads on when that has
taken it, which costs more than to hear 20 ms. And the library's own parser, which must be ready for anything, takes
several times as long for a frame as the one form that audio comes in needs: final, masked, whole in what was read
(RFC 6455, 5.2). That form is read here; from the first frame of any other on, the library goes on. It knows no dialect
and no call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import OPEN

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without a compiler
    from websockets.utils import apply_mask

SHORTCUT: Final = "assist.shortcut"
"""Its name in the scope's extensions, where there is one."""
TURN: Final = 128
"""Messages of one read that are heard at once; the others queue, so that a full socket does not keep the loop."""

READ_BYTES: Final = 65_536
"""Read at once at most."""

FINAL_TEXT, FINAL_BINARY, MASKED = 0x81, 0x82, 0x80
TWO_BYTES, EIGHT_BYTES = 126, 127
SHORTEST_BYTES = 6
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

    _shortcut: Shortcut | None = None
    _heard = 0

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self._shortcut = Shortcut()
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[SHORTCUT] = self._shortcut

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        read_less(transport)

    def data_received(self, data: bytes) -> None:
        self._heard = 0
        left = self._hear_plain(data)
        if left:
            super().data_received(left)

    def _hear_plain(self, data: bytes) -> bytes:
        """Hear the frames of that one form at the beginning of `data`; what follows them is for the library."""
        conn = self.conn
        # Only between two messages, with none begun and nothing agreed that changes what a frame means.
        if conn.state is not OPEN or conn.reader.buffer or conn.current_size is not None or conn.extensions:
            return data
        hear = self._may_hear()
        if hear is None:
            return data
        messages: list[str | bytes] = []
        at, end, most = 0, len(data), self.config.ws_max_size
        while end - at >= SHORTEST_BYTES and len(messages) < TURN:
            kind, length, body = data[at], data[at + 1] - MASKED, at + SHORTEST_BYTES
            if length == TWO_BYTES:
                length, body = data[at + 2] << 8 | data[at + 3], body + 2
            elif length == EIGHT_BYTES:
                break
            if kind not in (FINAL_TEXT, FINAL_BINARY) or not 0 <= length <= most or body + length > end:
                break
            message = apply_mask(data[body : body + length], data[body - 4 : body])
            try:
                messages.append(message.decode() if kind == FINAL_TEXT else message)
            except UnicodeDecodeError:
                break  # the library hangs up
            at = body + length
        if messages:
            self._hear(hear, messages)
        return data[at:] if at else data

    def _may_hear(self) -> Hear | None:
        """Who hears the next message, where it need not queue."""
        if self._heard >= TURN or self.close_sent or not self.queue.empty():
            return None
        return self._shortcut.hear if self._shortcut else None

    def _hear(self, hear: Hear, messages: Sequence[str | bytes]) -> None:
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
