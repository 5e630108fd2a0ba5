"""The sender keeps absolute deadlines, owns up to its lateness, and tells the truth about what it sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from assist import replay
from benchmarks.pace import Ending, Sent, Tape, due_s, send, tape


@dataclass
class Listener:
    """A small server of the plain dialect that keeps when each frame came."""

    refuse: bool = False
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    texts: list[dict[str, object]] = field(default_factory=list)

    async def hear(self, socket: ServerConnection) -> None:
        async for message in socket:
            if isinstance(message, bytes):
                self.frames.append((time.monotonic(), message))
                continue
            said = json.loads(message)
            self.texts.append(said)
            if self.refuse:
                await socket.send('{"type": "error", "code": "busy", "message": "no room"}')
                return await socket.close(1013, "busy")
            if said["type"] == "hello":
                await socket.send('{"type": "welcome"}')
            else:
                await socket.send('{"type": "ended", "reason": "bye", "ledger": {}}')
                await socket.close(1000)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        async with serve(self.hear, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            yield f"ws://127.0.0.1:{port}"


FRAMES = Tape([bytes([n]) * 320 for n in range(10)], 8_000)


async def test_frames_go_out_in_order_at_their_deadlines() -> None:
    listener = Listener()
    begun: list[Sent] = []
    async with listener.open() as url:
        sent = await send(url, FRAMES.turned(8), "c", count=15, opened=begun.append)
    assert [frame[0] for _, frame in listener.frames] == [8, 9, *range(10), *range(3)], "it loops"
    assert begun == [sent]
    for number, (came, _) in enumerate(listener.frames):
        assert came >= sent.began + (number + 1) * 0.02 - 0.001
    assert listener.frames[-1][0] - sent.began < 0.3 + 2.0, "one late frame does not delay the next"
    assert len(sent.lateness_ms) == 15
    assert min(sent.lateness_ms) >= -1.0
    assert (sent.audio_ms, sent.close_code) == (300, 1000)
    assert sent.farewell["type"] == "ended"
    assert [text["type"] for text in listener.texts] == ["hello", "bye"]


async def test_a_call_that_is_refused_sends_nothing() -> None:
    listener = Listener(refuse=True)
    async with listener.open() as url:
        sent = await send(url, FRAMES, "c", count=15)
    assert (sent.frames, sent.began, sent.close_code) == (0, 0.0, 1013)
    assert sent.farewell["code"] == "busy"


async def test_a_call_without_a_count_goes_on_until_it_is_stopped() -> None:
    listener, stop = Listener(), asyncio.Event()

    def opened(_: Sent) -> None:
        asyncio.get_running_loop().call_later(0.1, stop.set)

    async with listener.open() as url:
        sent = await send(url, FRAMES, "c", stop=stop, opened=opened)
    assert 1 <= sent.frames == len(listener.frames)


@pytest.mark.parametrize(("ending", "close_code"), [("close", 1000), ("reset", 1006)])
async def test_a_call_may_hang_up_without_a_goodbye(ending: Ending, close_code: int) -> None:
    listener = Listener()
    async with listener.open() as url:
        sent = await send(url, FRAMES, "c", count=3, ending=ending)
    assert (sent.frames, sent.close_code) == (3, close_code)
    assert [text["type"] for text in listener.texts] == ["hello"]


def test_a_tape_holds_the_whole_recording(short_call: Path) -> None:
    made = tape(replay.read(short_call))
    whole = soundfile.info(short_call / "call.wav")
    assert (made.duration_ms, made.rate_hz) == (whole.frames * 1000 // whole.samplerate, 8_000)
    assert {len(frame) for frame in made.frames} == {320}, "20 ms of two channels at 8 kHz"


@given(st.integers(1, 10_000_000))
def test_a_sample_is_due_with_its_frame(sample_ms: int) -> None:
    due_ms = round(due_s(0.0, sample_ms) * 1000)
    assert due_ms % 20 == 0
    assert sample_ms <= due_ms < sample_ms + 20
