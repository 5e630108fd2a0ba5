"""What an event loop takes for a message before anybody hears it: python -m benchmarks.sockets

A bare protocol on a loop of its own process gets `--rate` messages of 20 ms of two channels a second, spread evenly
over sockets that send 50 each, and counts them: asyncio as it comes, asyncio with reads of
`assist.websocket.READ_BYTES`, and uvloop where it is installed (it is not among our dependencies). One after the other,
`--repeat` times; the median counts. It is the floor of benchmarks/frames.py, whose server uses the second.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import resource
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from assist.websocket import READ_BYTES
from benchmarks.report import RESULTS, ROOT, Machine, finish, table

MESSAGE: Final = bytes(328)
"""20 ms of two channels in mu-law behind a websocket's masked header."""
SOCKET_HZ: Final = 50
SETTLE_S: Final = 1.0
KINDS: Final = ("asyncio, 256 KiB a read", f"asyncio, {READ_BYTES // 1024} KiB a read", "uvloop")


class Counter(asyncio.Protocol):
    """One socket's bytes, counted for all of them."""

    received = 0

    def __init__(self, read_bytes: int | None, first: asyncio.Event) -> None:
        self._read_bytes = read_bytes
        self._first = first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._read_bytes:
            transport.max_size = self._read_bytes  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        Counter.received += len(data)
        self._first.set()


async def count(kind: str, rate: int, hold_s: float) -> dict[str, float]:
    """Processor time in us a message, of this process, while messages come."""
    loop = asyncio.get_running_loop()
    read_bytes = READ_BYTES if kind == KINDS[1] else None
    first = asyncio.Event()
    server = await loop.create_server(lambda: Counter(read_bytes, first), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seconds = hold_s + 2 * SETTLE_S
    command = [sys.executable, "-m", "benchmarks.sockets", "--send", str(port), "--rate", str(rate)]
    sender = await asyncio.create_subprocess_exec(*command, "--hold_s", str(seconds), cwd=ROOT)
    await first.wait()
    await asyncio.sleep(SETTLE_S)
    before, began = resource.getrusage(resource.RUSAGE_SELF), Counter.received
    await asyncio.sleep(hold_s)
    after, messages = resource.getrusage(resource.RUSAGE_SELF), (Counter.received - began) / len(MESSAGE)
    await sender.wait()
    server.close()
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {"us": 1e6 * (user + system) / messages, "system_us": 1e6 * system / messages, "rate": messages / hold_s}


def send(port: int, rate: int, hold_s: float) -> None:
    """The other side: messages at absolute deadlines."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(max(1, rate // SOCKET_HZ))]
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began = time.monotonic()
    for n in range(int(rate * hold_s)):
        if (wait_s := began + n / rate - time.monotonic()) > 0:
            time.sleep(wait_s)
        sockets[n % len(sockets)].sendall(MESSAGE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second, of all sockets")
    parser.add_argument("--hold_s", type=float, default=4.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    parser.add_argument("--send", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.send:
        send(asked.send, asked.rate, asked.hold_s)
        return 0
    if asked.kind:
        run = importlib.import_module("uvloop").run if asked.kind == "uvloop" else asyncio.run
        print(json.dumps(run(count(asked.kind, asked.rate, asked.hold_s))))
        return 0
    machine = Machine()
    kinds = KINDS if importlib.util.find_spec("uvloop") else KINDS[:2]
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    given = ["--rate", str(asked.rate), "--hold_s", str(asked.hold_s)]
    for _ in range(asked.repeat):
        for kind in kinds:
            command = [sys.executable, "-m", "benchmarks.sockets", "--kind", kind, *given]
            found[kind].append(json.loads(subprocess.check_output(command, cwd=ROOT, text=True)))
    loops: dict[str, Any] = {
        kind: {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}
        for kind, runs in found.items()
    }
    rows = [(kind, each["us"], each["system_us"], each["rate"]) for kind, each in loops.items()]
    print(table(("loop", "us a message", "of it system", "messages/s"), rows))
    finish("sockets", {"rate": asked.rate, "repeat": asked.repeat, "loops": loops}, machine, asked.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
