"""How soon AudioHook is answered where all slots of the recogniser are taken: python -m benchmarks.audiohook

A real server, Whisper listening in its own process, and `--calls` sessions that send speech at the pace of speech: more
than the recogniser can carry, so that its workers are never idle and finals wait. They ping once a second. Meanwhile
sessions are opened `--rate` times a second, at random moments; each waits for its answer, stays `STAY_S`, and closes.

Twice: with a door that lets all of them in, for `opened`, and with one that is full, for the refusal that takes its
place. Times run from the client's message to its answer, in the client's process, which shares the machine:
`client_late_ms` is how much later than due the client itself woke up. `handshake` is what comes before: TCP, and the
request for the socket.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import re
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from assist import replay
from assist.clients import Client, Setup, make
from benchmarks import door
from benchmarks.calls import SHIPPED, for_scripted, script_of
from benchmarks.make_weights import TOKENS_PER_S
from benchmarks.make_weights import found as made
from benchmarks.report import RESULTS, Machine, figures, finish, spread, table

STAY_S: Final = 0.5
ANSWER_S: Final = 30.0
OPENED_P99_MS, PONG_P99_MS = 200.0, 100.0
"""What is asked."""


@dataclass
class Seen:
    """Times in ms."""

    handshake: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)
    pong: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    """Finals that waited at the server, each time it was asked."""
    answers: Counter[str] = field(default_factory=Counter)


class Session:
    """One AudioHook session on one socket: what it waits for, and when it came."""

    def __init__(self, client: Client, socket: ClientConnection) -> None:
        self.client = client
        self.socket = socket
        self.listening = asyncio.create_task(self._listen())
        self._came: dict[str, asyncio.Future[float]] = {}

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                now = time.monotonic()
                answer = json.loads(text)
                if (waiting := self._came.pop(answer["type"], None)) and not waiting.done():
                    waiting.set_result(now)
                for message in self.client.hear(0, answer):
                    await self.socket.send(message)

    async def ask(self, message: Any, *kinds: str) -> tuple[str, float]:
        """Send, and wait for the first of these answers: which it was, and how long it took, ms."""
        waiting = {kind: asyncio.get_running_loop().create_future() for kind in kinds}
        self._came.update(waiting)
        began = time.monotonic()
        await self.socket.send(message)
        done, _ = await asyncio.wait(waiting.values(), timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        for kind, each in waiting.items():
            if each in done:
                return kind, (each.result() - began) * 1000
        return "nothing", ANSWER_S * 1000


@contextlib.asynccontextmanager
async def session(ws: str, seen: Seen | None = None) -> Any:
    """A socket, `open` not yet sent."""
    client = make("audiohook", Setup(str(uuid.uuid4())))
    (line,) = client.lines(ws)
    began = time.monotonic()
    async with connect(
        line.url, additional_headers=dict(line.headers), compression=None, ping_interval=None, open_timeout=ANSWER_S
    ) as socket:
        if seen:
            seen.handshake.append((time.monotonic() - began) * 1000)
        made = Session(client, socket)
        yield made
        await socket.close()
        await made.listening


async def talk(ws: str, frames: list[bytes], first: int, seen: Seen, stop: asyncio.Event) -> None:
    """A call that never falls silent, a ping a second."""
    async with session(ws) as made:
        kind, _ = await made.ask(made.client.opening(0)[0], "opened", "disconnect")
        if kind != "opened":
            raise RuntimeError(f"a call of the load was answered by {kind}: {made.client.refused}")
        pinging = asyncio.create_task(_ping(made, seen, stop))
        began = time.monotonic()
        for n in itertools.count():
            await asyncio.sleep(max(0.0, began + (n + 1) * made.client.frame_ms / 1000 - time.monotonic()))
            if stop.is_set():
                break
            await made.socket.send(frames[(first + n) % len(frames)])
        await pinging
        await made.ask(made.client.closing(0)[0], "closed")


async def _ping(made: Session, seen: Seen, stop: asyncio.Event) -> None:
    due = time.monotonic() + random.random()
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        (ping,) = made.client.beat()
        late_ms = (time.monotonic() - due) * 1000  # a pong that takes long makes the next ping late: that counts
        seen.pong.append(late_ms + (await made.ask(ping, "pong"))[1])
        due += 1.0


async def visit(ws: str, due: float, seen: Seen) -> None:
    """One session from its request to its end."""
    seen.late.append((time.monotonic() - due) * 1000)
    try:
        async with session(ws, seen) as made:
            kind, took_ms = await made.ask(made.client.opening(0)[0], "opened", "disconnect")
            seen.answers[kind if kind != "disconnect" else made.client.refused.split(":")[1].strip()] += 1
            seen.answer.append(took_ms)
            if kind == "opened":
                await asyncio.sleep(STAY_S)
                await made.ask(made.client.closing(0)[0], "closed")
    except (OSError, WebSocketException, TimeoutError) as error:
        seen.answers[type(error).__name__] += 1
        seen.answer.append(ANSWER_S * 1000)


def moments(rate: float, seconds: float, dice: random.Random) -> Iterator[float]:
    """When sessions arrive, s: a Poisson process."""
    at_s = dice.expovariate(rate)
    while at_s < seconds:
        yield at_s
        at_s += dice.expovariate(rate)


async def measure(server: door.Door, asked: argparse.Namespace, frames: list[bytes]) -> Seen:
    """The load, then the visits beside it."""
    seen, stop = Seen(), asyncio.Event()
    dice = random.Random(asked.seed)
    load = [
        asyncio.create_task(talk(server.ws, frames, dice.randrange(len(frames)), seen, stop))
        for _ in range(asked.calls)
    ]
    watching = asyncio.create_task(_watch(server, seen, stop))
    await asyncio.sleep(asked.settle_s)
    for each in load:
        if each.done():
            each.result()
    seen.pong.clear()
    seen.queue.clear()
    began = time.monotonic()
    visits = []
    for at_s in moments(asked.rate, asked.seconds, dice):
        await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
        visits.append(asyncio.create_task(visit(server.ws, began + at_s, seen)))
    await asyncio.gather(*visits)
    stop.set()
    await watching
    for each in load:  # the finals of an overloaded recogniser are waited for by nobody
        each.cancel()
    await asyncio.gather(*load, return_exceptions=True)
    return seen


async def _watch(server: door.Door, seen: Seen, stop: asyncio.Event) -> None:
    while not stop.is_set():
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{server.url}/metrics", timeout=30).read())
        if found := re.search(rb"^assist_queue (\S+)", text, re.MULTILINE):
            seen.queue.append(float(found[1]))
        await asyncio.sleep(1.0)


def run(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both doors."""
    script, recording = script_of(SHIPPED), replay.read(SHIPPED)
    assert script
    client = make("audiohook", Setup("c"))
    frames = [message for _, _, message in replay.audio(recording, client) if isinstance(message, bytes)]
    effort = {"weights": made(asked.weights), "tokens_per_s": TOKENS_PER_S}
    words = for_scripted(script, folder / "words.json", probability=0.9, effort=effort)
    common = {
        "ASSIST_RECOGNISER_KIND": "scripted",
        "ASSIST_RECOGNISER_SCRIPT": str(words),
        "ASSIST_INGEST_PROMISED_LOAD": "0",
        "ASSIST_SERVER_DRAIN_S": "0",
    }
    document: dict[str, Any] = {}
    for name, most in (("opened", 100_000), ("refused", asked.calls)):
        told = {**common, "ASSIST_INGEST_MAX_CALLS": str(most)}
        server = door.start(folder / name, told)
        try:
            seen = asyncio.run(measure(server, asked, frames))
        finally:
            server.process.kill()
            server.process.wait()
        document[name] = {
            **figures(name, seen.answer),
            **figures("handshake", seen.handshake),
            **figures("pong", seen.pong),
            "client_late_ms": spread(seen.late),
            "answers": dict(seen.answers),
            "least_queue": min(seen.queue, default=0.0),
        }
    return document


def show(document: dict[str, Any]) -> None:
    """A table for people."""
    rows = []
    for name in ("opened", "refused"):
        for what in (name, "handshake", "pong"):
            cells = [document[name][f"{what}_{p}_ms"] for p in ("p50", "p95", "p99")]
            rows.append((f"{what}, {'all let in' if name == 'opened' else 'house full'}", *cells,
                         document[name][f"{what}_n"]))  # fmt: skip
    print(table(("ms", "p50", "p95", "p99", "n"), rows))


def main() -> int:
    """0 where what is asked is kept, 1 where not, 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights/random-tiny")
    parser.add_argument("--calls", type=int, default=48, help="sessions that keep every slot busy")
    parser.add_argument("--rate", type=float, default=50.0, help="opens a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settle-s", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    machine = Machine()
    try:
        with tempfile.TemporaryDirectory() as folder:
            document = run(asked, Path(folder))
    except (RuntimeError, OSError) as error:
        print(f"audiohook: {error}", file=sys.stderr)
        return 2
    show(document)
    kept = {
        "opened": document["opened"]["opened_p99_ms"] <= OPENED_P99_MS,
        "pong": max(each["pong_p99_ms"] for each in document.values()) <= PONG_P99_MS,
        "all_answered": set(document["opened"]["answers"]) == {"opened"},
        "slots_busy": min(each["least_queue"] for each in document.values()) > 0,
    }
    given = {"weights": asked.weights, "calls": asked.calls, "rate": asked.rate, "seconds": asked.seconds}
    finish("audiohook", {**given, **document, "kept": kept}, machine, asked.out)
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
