"""The routes by which other systems take a call away. What the shapes are is said beside it; this is files and HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from assist.errors import BadMessage
from assist.events import Entry
from assist.exports import agent_assist, asyncapi, contact_lens, salesforce, vcon
from assist.house import House

_BLOCK: Final = 3 * 2**16
"""Bytes encoded at once: a multiple of three, so that only the last one could need padding."""


def add(app: FastAPI, house: House, dialects: Iterable[str]) -> None:
    """Put them on the application. `dialects`: names of the ingest sockets."""

    async def page(shape: Callable[[Sequence[Entry], int, bool], Any], call: str, after: int) -> Response:
        """What came after entry `after`, in one of the shapes that are read a page at a time."""
        log = await house.hub.log(call)
        made = await asyncio.to_thread(shape, [line.entry for line in log.lines], after, log.ended)
        return Response(msgspec.json.encode(made), media_type="application/json")

    @app.get("/asyncapi.json", include_in_schema=False)
    async def described(request: Request) -> Response:
        """The sockets, as /openapi.json describes the routes."""
        made = asyncapi.document(dialects, request.url.netloc, request.url.scheme == "https")
        return Response(msgspec.json.encode(made), media_type="application/json")

    @app.get("/calls/{call}/contact-lens", tags=["calls"])
    async def as_contact_lens(call: str) -> Response:
        """The call so far as Contact Lens' file for an analysed call, version 1.1.0."""
        log = await house.hub.log(call)
        summary = await asyncio.to_thread(house.store.call, call)
        made = await asyncio.to_thread(contact_lens.output, summary, [line.entry for line in log.lines])
        return Response(msgspec.json.encode(made), media_type="application/json")

    @app.get("/calls/{call}/contact-lens/segments", tags=["calls"])
    async def as_segments(call: str, after: int = 0) -> Response:
        """What was said and flagged after entry `after`, as ListRealtimeContactAnalysisSegments gives it."""
        return await page(contact_lens.segments, call, after)

    @app.get("/calls/{call}/agent-assist", tags=["calls"])
    async def as_agent_assist(call: str, after: int = 0) -> Response:
        """What was said and shown after entry `after`, as Google's Agent Assist answers AnalyzeContent."""
        return await page(agent_assist.responses, call, after)

    @app.get("/calls/{call}/salesforce", tags=["calls"])
    async def as_salesforce(call: str, after: int = 0) -> Response:
        """What was said and noticed after entry `after`, as bodies for Salesforce's Telephony Integration API."""
        return await page(salesforce.bodies, call, after)

    @app.get("/calls/{call}/vcon", tags=["calls"])
    async def as_vcon(request: Request, call: str, audio: Literal["none", "url", "attached"] = "none") -> Response:
        """The call so far as a vCon 0.4.0. `audio`: left out, linked (an ended call, over https), or within."""
        log = await house.hub.log(call)
        summary = await asyncio.to_thread(house.store.call, call)
        entries = [line.entry for line in log.lines]
        marker = secrets.token_urlsafe(24)
        content: dict[str, str] = {}
        file: BufferedReader | None = None
        if audio != "none":
            settled = await house.settled(call)
            if audio == "url" and not (settled and request.url.scheme == "https"):
                raise BadMessage("audio=url needs an ended call, whose recording grows no more, and https")
            path = await house.tapes.wav(house.journal_of(call), settled)
            try:
                file = path.open("rb")  # from here on it is ours, whatever becomes of its name
            finally:
                house.tapes.release(path)
            content = {"filename": "recording.wav", "content_hash": await asyncio.to_thread(_hash, file)}
            if audio == "url":
                file.close()
                content["url"] = f"https://{request.url.netloc}/calls/{quote(call, safe='')}/audio"
            else:
                content |= {"encoding": "base64url", "body": marker}
        made = await asyncio.to_thread(vcon.build, summary, entries, content)
        raw = msgspec.json.encode(made)
        if audio != "attached" or file is None:
            return Response(raw, media_type="application/vcon")
        head, tail = raw.split(marker.encode())
        return StreamingResponse(_attached(head, file, tail), media_type="application/vcon")


def _hash(file: BufferedReader) -> str:
    digest = hashlib.file_digest(file, "sha512").digest()
    file.seek(0)
    return "sha512-" + urlsafe_b64encode(digest).rstrip(b"=").decode()


def _attached(head: bytes, file: BufferedReader, tail: bytes) -> Iterator[bytes]:
    """An hour of audio is 150 MB of text: it is made as it is sent, and never is in memory whole."""
    with file:
        yield head
        while block := file.read(_BLOCK):
            yield urlsafe_b64encode(block).rstrip(b"=")
        yield tail
