"""Plays calls into a server at absolute deadlines and takes down how late it was itself. It knows no recogniser.

Frame k of a call is due at `began + (k + 1) * 20 ms`, whatever happened to earlier ones; a late sender catches up
and its lateness is on record, so that a slow generator cannot pass for a slow server, nor hide one.

As a process of its own (`python -m benchmarks.pace RECORDING ws://...`) it takes lines of JSON on stdin,
`{"call": id, "first": frame, "delay_s": s}` starts a call that loops until the end (with `"count": frames` and
`"ending": "bye" | "close" | "reset"` it hangs up by itself, and says so), `{"lateness": true}` asks for the lateness
since it was last asked, `{"end": true}` ends all calls; and answers with one line each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import resource
import socket as sockets
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from assist import replay
from assist.audio import FRAME_MS
from benchmarks.report import percentile

LATE_MS: Final = 10.0
"""A sender whose p99 is later than this measured itself."""
Ending = Literal["bye", "close", "reset"]
"""How a call hangs up: with a goodbye that is answered, a clean close without one, a connection that is torn down."""


@dataclass(frozen=True)
class Tape:
    """A two-channel recording as plain messages of 20 ms, encoded once for all calls that play it."""

    frames: list[bytes]
    rate_hz: int

    @property
    def duration_ms(self) -> int:
        return len(self.frames) * FRAME_MS

    def turned(self, first: int) -> Tape:
        """The same loop, begun at frame `first`."""
        return Tape(self.frames[first:] + self.frames[:first], self.rate_hz)


def tape(recording: replay.Recording) -> Tape:
    """Both channels, interleaved mu-law."""
    messages = (m for _, texts in replay.frames(recording, "plain", "tape", {}, FRAME_MS) for m in texts)
    return Tape([m for m in messages if isinstance(m, bytes)], recording.rate_hz)


@dataclass
class Sent:
    """One call as its sender knows it. `began`: time.monotonic() from which deadlines count; 0 until it was let in."""

    call: str
    began: float = 0.0
    frames: int = 0
    lateness_ms: list[float] = field(default_factory=list)
    farewell: dict[str, Any] = field(default_factory=dict)
    close_code: int | None = None

    @property
    def audio_ms(self) -> int:
        """Audio of each party that went out."""
        return self.frames * FRAME_MS


def due_s(began: float, sample_ms: float) -> float:
    """When the frame whose last sample lies at `sample_ms` of the call, or in which it lies, was meant to go out."""
    return began + math.ceil(sample_ms / FRAME_MS) * FRAME_MS / 1000


async def send(
    url: str,
    tape: Tape,
    call: str,
    *,
    count: int | None = None,
    metadata: dict[str, str] | None = None,
    opened: Callable[[Sent], None] | None = None,
    stop: asyncio.Event | None = None,
    ending: Ending = "bye",
) -> Sent:
    """Play `count` frames (None: loop until `stop` is set), hang up, wait for the close.

    `opened` is called when the server has welcomed the call. A server that hangs up ends it early: `farewell` is the
    last thing it said.
    """
    sent = Sent(call)
    hello = {"type": "hello", "call": call, "channels": ["agent", "customer"], "encoding": "mulaw",
             "rate_hz": tape.rate_hz, "metadata": metadata or {}}  # fmt: skip
    async with connect(f"{url}/ingest/plain", compression=None, max_size=2**20, ping_interval=None) as socket:
        welcome: asyncio.Event = asyncio.Event()
        listening = asyncio.create_task(_listen(socket, sent, welcome))
        try:
            await socket.send(json.dumps(hello))
            await welcome.wait()
            if not socket.close_code:
                sent.began = time.monotonic()
                if opened:
                    opened(sent)
                while (count is None or sent.frames < count) and not (stop and stop.is_set()):
                    due = sent.began + (sent.frames + 1) * FRAME_MS / 1000
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    sent.lateness_ms.append((time.monotonic() - due) * 1000)
                    await socket.send(tape.frames[sent.frames % len(tape.frames)])
                    sent.frames += 1
                await _hang_up(socket, ending)
        except ConnectionClosed:
            pass  # why, stands in the farewell
        await listening
        sent.close_code = socket.close_code
    return sent


async def _hang_up(socket: ClientConnection, ending: Ending) -> None:
    if ending == "bye":
        await socket.send('{"type": "bye"}')
    elif ending == "close":
        await socket.close()
    else:
        line = socket.transport.get_extra_info("socket")
        line.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))  # RST instead of FIN
        socket.transport.abort()


async def _listen(socket: ClientConnection, sent: Sent, welcome: asyncio.Event) -> None:
    try:
        async for message in socket:
            said = json.loads(message)
            if said["type"] == "welcome":
                welcome.set()
            elif said["type"] != "ack":
                sent.farewell = said
    except ConnectionClosed:
        pass
    finally:
        welcome.set()


async def _generate(recording: str, url: str) -> None:
    """The process of its own: orders from stdin, answers to stdout."""
    # A phone platform would be another machine: where it is allowed, the server must not starve the sender.
    # (Not `nice`: where sessions are grouped it only counts within one's own.)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    played = tape(replay.read(recording))
    stop = asyncio.Event()
    calls: list[Sent] = []
    tasks: list[asyncio.Task[Sent]] = []
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    def opened(sent: Sent) -> None:
        calls.append(sent)
        _say({"opened": sent.call, "began": sent.began})

    async def one(call: str, first: int, delay_s: float, count: int | None = None, ending: Ending = "bye") -> Sent:
        await asyncio.sleep(delay_s)
        try:
            sent = await send(url, played.turned(first), call, count=count, opened=opened, stop=stop, ending=ending)
        except (OSError, TimeoutError, WebSocketException) as error:
            sent = Sent(call, farewell={"type": "error", "code": "no_connection", "message": str(error)})
        if not sent.frames or (sent.frames != count and not stop.is_set()):
            _say({"refused": call, "why": sent.farewell})
        elif count is not None:
            _say({"hung_up": call, "audio_ms": sent.audio_ms})
        return sent

    while line := await orders.readline():
        order = json.loads(line)
        if "call" in order:
            tasks.append(asyncio.create_task(one(**order)))
        elif "lateness" in order:
            late = [ms for sent in calls for ms in sent.lateness_ms]
            for sent in calls:
                sent.lateness_ms.clear()
            _say({"lateness_p99_ms": percentile(late, 0.99), "lateness_max_ms": max(late, default=None)})
        else:
            stop.set()
            ended = await asyncio.gather(*tasks)
            used = resource.getrusage(resource.RUSAGE_SELF)
            said = [{"call": s.call, "audio_ms": s.audio_ms, "farewell": s.farewell} for s in ended]
            first = os.sched_getscheduler(0) == os.SCHED_RR
            _say({"ended": said, "cpu_s": used.ru_utime + used.ru_stime, "first": first})
            return


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording")
    parser.add_argument("url", help="ws://host:port")
    given = parser.parse_args()
    asyncio.run(_generate(given.recording, given.url))


if __name__ == "__main__":
    main()
