"""uvicorn's websocket with a short cut: a message that somebody waits for is heard where it is read.

By itself uvicorn puts each message into a queue, stops reading, wakes the task that waits and reads on when that has
taken it, which costs more than to hear 20 ms. It knows no dialect and no call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

SHORTCUT: Final = "assist.shortcut"
"""Its name in the scope's extensions, where there is one."""
TURN: Final = 128
"""Messages of one read that are heard at once; the others queue, so that a full socket does not keep the loop."""

READ_BYTES: Final = 65_536
"""Read at once at most."""

Event = Any
"""What ASGI calls a receive event; uvicorn and starlette have each their own type of it."""


def read_less(transport: Any) -> None:
    """At most `READ_BYTES` at once. asyncio takes room for 256 KiB each time it reads, however little has come.

    The C library asks the system for so much and gives it back at once, which is half of what the loop takes for a
    message of 20 ms (benchmarks/sockets.py). Another loop's transport is left as it is.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = READ_BYTES


class Shortcut:
    """`hear` takes a message whole and gives None, or the event that `receive` should give for what is left of it.

    It is set only while somebody waits in `receive`, and asked only while nothing queues there, so order is kept.
    """

    hear: Callable[[str | bytes], Event | None] | None = None


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
        super().data_received(data)

    def send_receive_event_to_app(self) -> None:
        hear = self._shortcut.hear if self._shortcut else None
        if hear is None or self._heard >= TURN or self.close_sent or not self.queue.empty():
            return super().send_receive_event_to_app()
        message: str | bytes = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        if self.curr_msg_data_type == "text":
            try:
                message = message.decode() if isinstance(message, bytes) else message
            except UnicodeDecodeError:
                return super().send_receive_event_to_app()  # which hangs up
        self.frames = []
        self._heard += 1
        left = hear(message)
        if left is not None:
            self.queue.put_nowait(left)
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
