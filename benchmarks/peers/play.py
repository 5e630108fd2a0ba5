"""Plays calls into any of the compared servers at absolute deadlines and writes down when each final came.

Every server gets the same calls: call n begins at the same place of the recording and at the same moment of the play,
whoever listens. It judges nothing (judge.py) and knows no server's protocol (kinds.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from assist import replay
from assist.audio import FRAME_MS, RATE_HZ, decode, double, encode_mulaw
from assist.conversation import Transcript
from benchmarks.calls import Script, script_of
from benchmarks.follow import Received, Span, follow, looped
from benchmarks.pace import Sent, Tape, due_s, send, tape
from benchmarks.peers.judge import WAIT_MS, Heard, Text, answer, heard
from benchmarks.peers.kinds import Dialect, Kind, Voice
from benchmarks.report import percentile

SEED: Final = 1
STAGGER_S: Final = 2.0
SETTLE_S: Final = 4.0
"""From the last call's start until all is warm; speech that ends before does not count."""
READY_S: Final = 60.0


@dataclass(frozen=True)
class Call:
    """What is played: `both` for one connection per call, `alone` (party → frames of 16 kHz PCM) for two."""

    both: Tape
    alone: dict[str, list[bytes]]
    script: Script

    @property
    def frames(self) -> int:
        return len(self.both.frames)


def call_of(recording: Path) -> Call:
    """The recording with its script. Everyone hears the telephone's mu-law. Raises ValueError without a script."""
    script = script_of(recording)
    if script is None:
        raise ValueError(f"{recording} has no script: nobody knows where its turns end")
    read = replay.read(recording)
    both = tape(read)
    alone = {}
    for party, samples in (("agent", read.agent), ("customer", read.customer)):
        line = decode(encode_mulaw(samples), "mulaw")
        wide = (line if read.rate_hz == RATE_HZ else double(line)).tobytes()
        frames = [wide[at : at + 640] for at in range(0, len(wide) - 639, 640)]
        alone[party] = frames + [bytes(640)] * (len(both.frames) - len(frames))
    return Call(both, alone, script)


@dataclass
class Curtain:
    """When everyone is connected, all calls begin, each with its own delay after `from_s`; and when they end."""

    up: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    from_s: float = 0.0


@dataclass
class Line:
    """One call of a play as its client sees it. `began`: time.monotonic() from which its deadlines count."""

    first: int
    delay_s: float
    ready: bool = False
    began: float = 0.0
    texts: list[Text] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)
    refused: str = ""

    def finals(self) -> list[Text]:
        """All finals so far."""
        said = [(r, t) for r in self.received if isinstance(t := r.said("final"), Transcript)]
        return [*self.texts, *(Text(t.party, t.start_ms, t.end_ms, r.at_s) for r, t in said)]


async def ours(url: str, call: Call, line: Line, name: str, curtain: Curtain) -> None:
    """One call to this server, until it is stopped."""
    following: list[asyncio.Task[None]] = []

    def opened(sent: Sent) -> None:
        line.began, line.lateness_ms = sent.began, sent.lateness_ms
        following.append(asyncio.create_task(follow(url, name, line.received)))

    line.ready = True
    await curtain.up.wait()
    await asyncio.sleep(curtain.from_s + line.delay_s - time.monotonic())
    sent = await send(url, call.both.turned(line.first), name, opened=opened, stop=curtain.stop)
    if not curtain.stop.is_set():
        line.refused = json.dumps(sent.farewell) or "it hung up"
    for task in following:
        task.cancel()


class Pair:
    """One call to a peer: a connection for each party, both of which begin when both are ready."""

    def __init__(self, url: str, dialect: Dialect, call: Call, line: Line, curtain: Curtain) -> None:
        self._url, self._dialect, self._call, self._line = url, dialect, call, line
        self._curtain, self._stop = curtain, curtain.stop
        self._ready = {party: asyncio.Event() for party in call.alone}
        self._start = asyncio.Event()

    async def run(self, name: str) -> None:
        """Play until `stop`. Whatever keeps it from being heard stands in the line's `refused`."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._begin())
                for party in self._call.alone:
                    group.create_task(self._one(Voice(party), f"{name}-{party}"))
        except* (OSError, TimeoutError, ConnectionClosed, WebSocketException) as errors:
            self._line.refused = "; ".join(f"{type(error).__name__}: {error}" for error in errors.exceptions)

    async def _begin(self) -> None:
        async with asyncio.timeout(READY_S):
            for each in self._ready.values():
                await each.wait()
        self._line.ready = True
        await self._curtain.up.wait()
        self._line.began = self._curtain.from_s + self._line.delay_s
        self._start.set()

    async def _one(self, voice: Voice, name: str) -> None:
        async with connect(f"{self._url}{self._dialect.path}", compression=None, max_size=2**24, ping_interval=None,
                           open_timeout=READY_S, close_timeout=1) as socket:  # fmt: skip
            if hello := self._dialect.hello(name):
                await socket.send(hello)
            tasks = [self._listen(socket, voice), self._speak(socket, voice), self._stop.wait()]
            done, rest = await asyncio.wait(map(asyncio.ensure_future, tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for task in done:
                if (error := task.exception()) and not (self._stop.is_set() and isinstance(error, ConnectionClosed)):
                    raise error
            if not self._stop.is_set():
                raise ConnectionRefusedError("it hung up")

    async def _listen(self, socket: ClientConnection, voice: Voice) -> None:
        async for raw in socket:
            now, message = time.monotonic(), json.loads(raw)
            if self._dialect.is_refusal(message):
                raise ConnectionRefusedError(str(raw)[:200])
            if self._dialect.is_ready(message):
                self._ready[voice.party].set()
            said = self._dialect.read(message, voice)
            self._line.texts += [Text(voice.party, start, end, now) for start, end in said]

    async def _speak(self, socket: ClientConnection, voice: Voice) -> None:
        await self._start.wait()
        voice.began_wall = time.time() - (time.monotonic() - self._line.began)
        frames, sent = self._call.alone[voice.party], 0
        while not self._stop.is_set():
            due = self._line.began + (sent + self._dialect.frames) * FRAME_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._line.lateness_ms.append((time.monotonic() - due) * 1000)
            numbers = range(self._line.first + sent, self._line.first + sent + self._dialect.frames)
            await socket.send(self._dialect.pack(b"".join(frames[n % self._call.frames] for n in numbers)))
            sent += self._dialect.frames


def places(calls: int, frames: int) -> list[tuple[int, float]]:
    """Where in the recording each call begins and how late it calls: the same for everyone, and for more calls."""
    dice = random.Random(SEED)
    return [(dice.randrange(frames), dice.uniform(0, STAGGER_S)) for _ in range(calls)]


async def _play(kind: Kind, url: str, call: Call, calls: int, seconds: float) -> Heard:
    curtain = Curtain()
    lines = [Line(first, delay_s) for first, delay_s in places(calls, call.frames)]

    async def one(number: int, line: Line) -> None:
        if kind.dialect is None:
            await ours(url, call, line, f"peers-{number}", curtain)
        else:
            await Pair(url, kind.dialect, call, line, curtain).run(f"peers-{number}")

    tasks = [asyncio.create_task(one(number, line)) for number, line in enumerate(lines)]
    await _until(lambda: all(line.ready or line.refused for line in lines), READY_S + 1)
    curtain.from_s = time.monotonic() + 0.1
    curtain.up.set()
    warm_s = curtain.from_s + STAGGER_S + SETTLE_S
    span = Span(warm_s, warm_s + seconds)
    await asyncio.sleep(span.to_s - time.monotonic())
    late = percentile((ms for line in lines for ms in line.lateness_ms), 0.99) or 0.0
    await _until(lambda: not any(_owed(call, line, span) for line in lines), WAIT_MS / 1000)
    refusals = [line.refused or "never ready" for line in lines if line.refused or not line.began]
    found = Heard(late_p99_ms=late, refusals=refusals)
    for line in lines:
        if line.began:
            found.add(heard(_turns(call, line, span), line.finals(), line.began, span))
    curtain.stop.set()
    done, rest = await asyncio.wait(tasks, timeout=10)
    for task in rest:
        task.cancel()
    for task in done:
        task.result()
    return found


async def _until(holds: Callable[[], bool], most_s: float) -> None:
    """Until it holds, and no longer than that. (What it asks about changes in ten places: looking is simpler.)"""
    until = time.monotonic() + most_s
    while time.monotonic() < until and not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def _turns(call: Call, line: Line, span: Span) -> list[Any]:
    until_ms = int((span.to_s - line.began) * 1000)
    turns = looped(call.script.turn, call.both.duration_ms, line.first, until_ms)
    return [turn for turn in turns if due_s(line.began, turn.end_ms) in span]


def _owed(call: Call, line: Line, span: Span) -> bool:
    """Does the server still owe a final for a turn that counts?"""
    finals = line.finals()
    return bool(line.began) and any(answer(turn, finals) is None for turn in _turns(call, line, span))


@contextlib.contextmanager
def first_in_line() -> Iterator[None]:
    """A phone platform would be another machine: where it is allowed, no server may starve its sender."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def play(kind: Kind, url: str, call: Call, calls: int, seconds: float) -> Heard:
    """The waits for all turns that end within `seconds`, `calls` of them at once."""
    with first_in_line():
        return asyncio.run(_play(kind, url, call, calls, seconds))
