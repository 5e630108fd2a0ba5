"""Many calls from one cheap process: bare sockets, messages encoded once. It knows no recogniser and reads no events.

A client library spends more on a message than the server that is measured, and on the same cores. Here a message is one
`send` of bytes made before: the mask is zero, which costs whoever unmasks it as much as any other. Deadlines are
absolute, as in benchmarks/pace.py, in slices of a millisecond; calls are spread evenly over the 20 ms.

    python -m benchmarks.flood RECORDING HOST PORT CALLS SECONDS SEED

plays so many calls for so long and says on stdout, one line each: that all were let in, and what came of them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from assist import replay
from assist.audio import FRAME_MS
from benchmarks.pace import tape
from benchmarks.report import percentile

ANSWER_S: Final = 60.0
SLICES: Final = 20


@dataclass
class Line:
    """One call, from frame `first` of the recording on. `said`: all that the server sent after its handshake."""

    socket: socket.socket
    first: int
    said: bytes
    sent: int = 0

    def listen(self) -> bool:
        """Take what is there; False where the server has hung up."""
        more = self.socket.recv(65_536)
        self.said += more
        return bool(more)

    def rest(self) -> bytes:
        """The end of what the server said to this call."""
        with contextlib.suppress(OSError):
            while self.listen():
                pass
        return self.said[-300:]


def frame(payload: bytes, text: bool = False) -> bytes:
    """A client's websocket message, mask zero (RFC 6455, 5.2)."""
    size = len(payload)
    length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
    return (b"\x81" if text else b"\x82") + length + bytes(4) + payload


def messages(said: bytes) -> Iterator[bytes]:
    """The payloads of a server's whole messages."""
    at = 0
    while len(said) >= at + 2:
        size, head = said[at + 1] & 0x7F, 2
        if size == 126:
            size, head = int.from_bytes(said[at + 2 : at + 4]), 4
        if len(said) < at + head + size:
            return
        yield said[at + head : at + head + size]
        at += head + size


def connect(host: str, port: int, call: str, first: int, rate_hz: int) -> Line:
    """Shake hands and be let in. Raises RuntimeError with what was said instead."""
    made = socket.create_connection((host, port), timeout=ANSWER_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET /ingest/plain HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    hello = {"type": "hello", "call": call, "channels": ["agent", "customer"], "encoding": "mulaw", "rate_hz": rate_hz}
    line = Line(made, first, b"")
    while b"\r\n\r\n" not in line.said and line.listen():
        pass
    made.sendall(frame(json.dumps(hello).encode(), text=True))
    line.said = line.said.partition(b"\r\n\r\n")[2]
    while not any(b'"welcome"' in each for each in messages(line.said)):
        if not line.listen():
            raise RuntimeError(f"{call} was not let in: {line.said[-200:]!r}")
    return line


def play(lines: list[Line], frames: list[bytes], seconds: float) -> list[float]:
    """All lines at the pace of speech. Lateness of each slice in ms."""
    late_ms = []
    slices = [lines[n::SLICES] for n in range(SLICES)]
    began = time.monotonic()
    for tick in range(int(seconds * 1000 / FRAME_MS)):
        for n, due_lines in enumerate(slices):
            due = began + (tick + (n + 1) / SLICES) * FRAME_MS / 1000
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
                now = time.monotonic()
            late_ms.append((now - due) * 1000)
            for line in due_lines:
                try:
                    line.socket.sendall(frames[(line.first + line.sent) % len(frames)])
                except OSError as error:
                    raise RuntimeError(f"cut off after {line.sent} messages ({error}): {line.rest()!r}") from error
                line.sent += 1
        for line in lines[tick % 50 :: 50]:  # acknowledgements, so that no buffer fills
            if select.select([line.socket], [], [], 0)[0]:
                line.listen()
    return late_ms


def farewell(line: Line) -> dict[str, Any]:
    """Say goodbye and wait for the books; {} where none came."""
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        line.socket.sendall(frame(b'{"type": "bye"}', text=True))
        while not found and line.listen():
            texts = (json.loads(each) for each in messages(line.said) if each.startswith(b"{"))
            found = next((each for each in texts if each["type"] == "ended"), {})
    line.socket.close()
    return found


def main() -> None:
    recording, host, port, count, seconds, seed = sys.argv[1:]
    with contextlib.suppress(PermissionError):  # as in pace.py: the server must not starve its sender
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    played, dice = tape(replay.read(recording)), random.Random(int(seed))
    frames = [frame(each) for each in played.frames]
    lines = [
        connect(host, int(port), f"flood-{os.getpid()}-{n}", dice.randrange(len(frames)), played.rate_hz)
        for n in range(int(count))
    ]
    print(json.dumps({"let_in": len(lines)}), flush=True)
    late_ms = play(lines, frames, float(seconds))
    used = resource.getrusage(resource.RUSAGE_SELF)
    said = {"sent": sum(line.sent for line in lines), "late_p99_ms": percentile(late_ms, 0.99),
            "late_max_ms": max(late_ms), "cpu_s": used.ru_utime + used.ru_stime}  # fmt: skip
    print(json.dumps(said), flush=True)
    books = [(line.sent * FRAME_MS, farewell(line)) for line in lines]
    print(json.dumps({"books": [{"sent_ms": sent, "ended": ended} for sent, ended in books]}), flush=True)


if __name__ == "__main__":
    main()
