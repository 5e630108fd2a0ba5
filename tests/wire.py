"""Small clients of the wire for tests: they collect, and decide nothing."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from assist.events import Entry, decode
from benchmarks import door

SILENCE = b"\xff" * 320
"""20 ms of two interleaved mu-law channels."""


def open_ingest(ws: str, dialect: str = "plain") -> connect:
    return connect(f"{ws}/ingest/{dialect}", compression=None, max_size=2**20)


async def say(ws: str, messages: Sequence[Any], dialect: str = "plain") -> tuple[list[Any], int | None]:
    """Send all, then read until the server closes: its replies and the close code."""
    async with open_ingest(ws, dialect) as socket:
        try:
            for message in messages:
                await socket.send(json.dumps(message) if isinstance(message, dict) else message)
        except ConnectionClosed:
            pass
        return await rest(socket)


async def rest(socket: ClientConnection) -> tuple[list[Any], int | None]:
    """Replies until the close, and its code."""
    replies = []
    try:
        async with asyncio.timeout(30):
            while True:
                replies.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        pass
    return replies, socket.close_code


async def follow(
    ws: str, call: str, after: int | str = 0, most: int | None = None
) -> tuple[list[Entry], list[Any], int | None]:
    """Entries and other notes of `/calls/{call}/events`, until the server closes or `most` entries came."""
    entries: list[Entry] = []
    notes: list[Any] = []
    async with connect(f"{ws}/calls/{call}/events?after={after}", compression=None, max_size=2**22) as socket:
        try:
            async for message in socket:
                value = json.loads(message)
                if "type" in value:
                    notes.append(value)
                else:
                    entries.append(decode(message))
                if most is not None and len(entries) >= most:
                    break
        except ConnectionClosed:
            pass
        code = socket.close_code
    return entries, notes, code


async def until(ready: Any, timeout_s: float = 60.0) -> Any:
    """Poll a callable until it gives something true; what it gave."""
    async with asyncio.timeout(timeout_s):
        while not (found := await asyncio.to_thread(ready)):
            await asyncio.sleep(0.05)
    return found


def hello(call: str, **more: Any) -> dict[str, Any]:
    """A plain hello: two channels of 8 kHz mu-law, and whatever else."""
    channels = ["agent", "customer"]
    return {"type": "hello", "call": call, "channels": channels, "encoding": "mulaw", "rate_hz": 8000, **more}


def new_id() -> str:
    """A call id nobody has used."""
    return f"t-{uuid.uuid4().hex[:10]}"


def answer(asked: urllib.request.Request) -> tuple[int, str]:
    """Status, and the code of an error."""
    try:
        return int(urllib.request.urlopen(asked, timeout=10).status), ""
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, str(json.loads(body)["code"]) if body.startswith(b"{") else ""


def status(url: str) -> int:
    """Of a GET."""
    try:
        return int(urllib.request.urlopen(url, timeout=5).status)
    except urllib.error.HTTPError as error:
        return error.code


async def replayed(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """`python -m assist.replay`: exit status, the document of its last line, and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assist.replay", *arguments),
        cwd=door.ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, wrong = await asyncio.wait_for(process.communicate(), 60)
    lines = out.decode().splitlines()
    return process.returncode or 0, json.loads(lines[-1]) if lines else {}, wrong.decode()
