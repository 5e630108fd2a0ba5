"""The sockets and routes: one FastAPI application over a `House`. Errors of the house become answers here, by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from assist import config, contact
from assist.config import LOOPBACK
from assist.errors import AssistError, BadMessage, Forbidden, Oversize, UnknownCall
from assist.events import Entry, Marked, Reviewed
from assist.exports import routes
from assist.house import House
from assist.hub import CallSummary
from assist.ingest import Dialects, Ingest
from assist.material import Article
from assist.protocols import SPEECH_CLIENTS, Protocol, address
from assist.protocols.plain import CALL_ID
from assist.tapes import PEAK_MS

WEB = Path(__file__).with_name("web")
SEND_S = 10.0
"""A subscriber that does not take a message for so long is cut off; it resumes by cursor."""
HEARTBEAT_S = 5.0
CLOSE_S = 2.0
MOST_BODY_BYTES = 65_536


_ID: Final = CALL_ID.replace(r"\Z", "$")
"""pydantic's engine has no other word for the end, and takes it for that of the text alone."""


class MarkIn(BaseModel):
    """What the agent did with a suggestion."""

    suggestion: str = Field(max_length=64)
    ref: str = Field(max_length=128)
    mark: Literal["used", "opened", "not_useful", "dismissed"]


class LegIn(BaseModel):
    """What an AudioSocket stream will carry, told before it comes: it brings its UUID alone."""

    uuid: UUID
    ref: str = Field(pattern=_ID)
    party: Literal["agent", "customer"]


class ReviewIn(BaseModel):
    """A reviewer's verdict on the call, or on one of its flags."""

    verdict: Literal["confirmed", "rejected", "coach", "praise"]
    comment: str = Field("", max_length=4_000)
    reviewer: str = Field(max_length=128)
    rule: str = Field("", max_length=128)
    score: int | None = Field(None, ge=1, le=5)


def build(
    house: House, dialects: Dialects, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
) -> FastAPI:
    """The application. `dialects`: name in `/ingest/<name>` to a new Protocol."""
    app = FastAPI(title="assist", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Hardened, house=house)
    _errors(app, house)
    _sockets(app, house, dialects)
    _comes(app, house)
    _calls(app, house)
    routes.add(app, house, tuple(dialects))
    _pages(app, house)
    _ops(app, house)
    _describe(app)
    return app


_SHOWN: Final = (CallSummary, Entry, Article, contact.Contact)


def _answers(name: str, listed_as: str = "", dated: bool = False) -> dict[int | str, dict[str, Any]]:
    """What a route answers, for OpenAPI: one of `_SHOWN`, or an object with a list of them, and when (`at`)."""
    shape: dict[str, Any] = {"$ref": f"#/components/schemas/{name}"}
    if listed_as:
        at = {"at": {"type": "string", "format": "date-time"}} if dated else {}
        shape = {"type": "object", "properties": {listed_as: {"type": "array", "items": shape}, **at}}
    return {200: {"description": name, "content": {"application/json": {"schema": shape}}}}


def _takes(name: str) -> dict[str, Any]:
    shape = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shape}}}}


def _describe(app: FastAPI) -> None:
    """Add the wire's own types to the OpenAPI document: FastAPI sees only its bodies."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if not app.openapi_schema:
            document = plain()
            _, components = msgspec.json.schema_components(_SHOWN, ref_template="#/components/schemas/{name}")
            document.setdefault("components", {}).setdefault("schemas", {}).update(components)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


class Hardened:
    """What every request passes: a host name that is ours, our own pages for whatever changes something, small bodies.

    And security headers on every answer; a strict content policy, because pages show what strangers say.
    """

    def __init__(self, app: ASGIApp, house: House) -> None:
        self.app = app
        self.house = house
        server = house.settings.server
        self.hosts = {*LOOPBACK, server.host, *server.hosts} if server.host in LOOPBACK or server.hosts else None
        self.proved = _proved(house.settings.ingest)
        self.headers = [
            (b"content-security-policy", _policy(house).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        error = self._refusal(Headers(scope=scope), scope)
        if not error and scope["type"] == "http" and scope["method"] == "POST":
            receive, error = await _counted(receive)
        if error:
            self.house.metrics.errors.labels(error.code).inc()
        if scope["type"] == "websocket":
            # Refused before the handshake: what asks is a web page or a wrong name, not a client to explain things to.
            return await (WebSocketClose(1008, error.code) if error else self.app)(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        answer = _json({"code": error.code, "message": str(error)}, error.http_status) if error else self.app
        await answer(scope, receive, with_headers)

    def _refusal(self, headers: Headers, scope: Scope) -> AssistError | None:
        if self.hosts is not None and _host_of(headers.get("host", "")) not in self.hosts:
            return Forbidden(f"host {headers.get('host', '')[:80]!r} is not ours: name it in server.hosts")
        if (scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")) and self._foreign(
            headers, scope["path"]
        ):
            return Forbidden(f"origin {headers.get('origin', '')[:80]!r} is not ours")
        if scope["type"] == "http" and scope["method"] == "POST":
            length = headers.get("content-length", "0")  # who asks before it sends gets its answer at once
            if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
                return _too_large()
        return None

    def _foreign(self, headers: Headers, path: str) -> bool:
        """A browser says that another site's page asks. Phone platforms send no origin, or our own.

        On ingest sockets the port does not count: FreeSWITCH's libraries and proxies add it here and leave it out
        there. Nor does it count by which of its loopback names a page of this machine was opened.
        """
        origin, host = headers.get("origin", ""), headers.get("host", "")
        if not origin or path in self.proved:
            return False
        ingest = path.startswith("/ingest/") or path in SPEECH_CLIENTS.values()
        allowed = self.house.settings.ingest.origins if ingest else ()
        if origin in allowed or "*" in allowed:
            return False
        with contextlib.suppress(ValueError):
            page, ours = urlsplit(origin), _host_of(host)
            if ingest:
                return page.hostname not in (LOOPBACK if ours in LOOPBACK else {ours})
            return page.netloc != host
        return True


def _too_large() -> Oversize:
    return Oversize(f"a body may have {MOST_BODY_BYTES} bytes")


async def _counted(receive: Receive) -> tuple[Receive, Oversize | None]:
    """The body, counted as it comes, for what the headers say of it need not be so; then a `receive` that gives it."""
    body, message = bytearray(), await receive()
    while message["type"] == "http.request":
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            return receive, _too_large()
        if not message.get("more_body", False):
            message["body"] = bytes(body)
            break
        message = await receive()
    read = [message]

    async def again() -> Message:
        return read.pop() if read else await receive()

    return again, None


def _proved(ingest: config.Ingest) -> frozenset[str]:
    """Paths of sockets that take a proof. No page has it by itself: where one comes from does not matter there."""
    names = {name for name, secret in ingest.secrets.items() if secret.strip()} | ingest.tokens.keys()
    names |= {"audiohook"} if ingest.audiohook_keys else set()
    names |= {"deepgram", "openai"} if ingest.speech_keys else set()
    return frozenset(path for name in names for path in (f"/ingest/{name}", address(name)))


def _policy(house: House) -> str:
    ancestors = " ".join(("'self'", *house.settings.server.frame_ancestors))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        f"media-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}; "
        "require-trusted-types-for 'script'"
    )


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _errors(app: FastAPI, house: House) -> None:
    @app.exception_handler(AssistError)
    async def named(_: Request, error: AssistError) -> Response:
        house.metrics.errors.labels(error.code).inc()
        return _json({"code": error.code, "message": str(error)}, error.http_status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        house.metrics.errors.labels("bad_message").inc()
        where = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return _json({"code": "bad_message", "message": where[:500]}, 400)


def _host_of(host: str) -> str:
    """`Host` without its port, brackets off."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


def _sockets(app: FastAPI, house: House, dialects: Dialects) -> None:
    for name, protocol in dialects.items():
        for path in dict.fromkeys((f"/ingest/{name}", address(name))):
            app.add_api_websocket_route(path, _ingest(house, protocol, name in SPEECH_CLIENTS))

    @app.websocket("/calls/{call}/events")
    async def events(socket: WebSocket, call: str, after: str = "0") -> None:
        await socket.accept()
        house.metrics.subscribers.inc()
        telling = asyncio.create_task(_tell(socket, house, call, after))
        listening = asyncio.create_task(_until_gone(socket))
        try:
            await asyncio.wait({telling, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            house.metrics.subscribers.dec()
            for task in (telling, listening):
                task.cancel()
            outcomes = await asyncio.gather(telling, listening, return_exceptions=True)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(CLOSE_S):  # a subscriber that does not read does not read a goodbye either
                await _close(socket, house, outcomes[0])


def _ingest(house: House, protocol: Callable[[], Protocol], files: bool) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(socket: WebSocket) -> None:
        await Ingest(socket, protocol(), house, files=files).serve()

    return serve


async def _tell(socket: WebSocket, house: House, call: str, after: str) -> None:
    if not after.isdecimal() or len(after) > 15:
        raise BadMessage(f"after={after[:40]!r}: a whole number is expected")
    live = False
    seq = int(after)
    async for line in house.hub.follow(call, seq, HEARTBEAT_S):
        if line:
            text, seq = line.raw.decode(), line.entry.seq
        else:
            now_ms = house.calls[call].now_ms if call in house.calls else 0
            note = {"type": "heartbeat", "seq": seq, "now_ms": now_ms} if live else {"type": "live", "seq": seq}
            text, live = msgspec.json.encode(note).decode(), True
        async with asyncio.timeout(SEND_S):
            await socket.send_text(text)


async def _until_gone(socket: WebSocket) -> None:
    """What a subscriber says is not listened to; that it left is."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _close(socket: WebSocket, house: House, outcome: object) -> None:
    if isinstance(outcome, AssistError):
        house.metrics.errors.labels(outcome.code).inc()
        note = {"type": "error", "code": outcome.code, "message": str(outcome)}
        await socket.send_text(msgspec.json.encode(note).decode())
        await socket.close(outcome.close_code, outcome.code)
    elif isinstance(outcome, TimeoutError):
        house.metrics.slow_subscribers.inc()
        await socket.close(1008, "slow: resume with ?after=")
    else:
        await socket.close(1000 if outcome is None else 1011)


def _comes(app: FastAPI, house: House) -> None:
    """What comes in by a request of its own."""

    @app.post("/contacts", status_code=201, tags=["calls"], openapi_extra=_takes("Contact"))
    async def finished(request: Request) -> Response:
        """A finished contact in writing, through the same mind as a call: its id, turns with findings, cards, flags."""
        return _json(await contact.take(house, contact.read(await request.body())), 201)

    @app.post("/legs", status_code=201, tags=["calls"])
    async def leg(body: LegIn) -> Response:
        """Announce one party's AudioSocket stream: those with one `ref` are one call. Good for a day."""
        house.announced.add(str(body.uuid), body.ref, body.party)
        return _json({"uuid": str(body.uuid), "ref": body.ref, "party": body.party}, 201)


class Lent(FileResponse):
    """A recording, and what to tell once it is sent, or cannot be."""

    def __init__(self, path: Path, sent: Callable[[Path], None], filename: str) -> None:
        super().__init__(path, media_type="audio/wav", filename=filename)
        self.lent, self.sent = path, sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.sent(self.lent)


def _calls(app: FastAPI, house: House) -> None:
    store = house.store

    @app.get("/calls", tags=["calls"], responses=_answers("CallSummary", "calls", dated=True))
    def calls(limit: int = 200, offset: int = 0, live: bool = False) -> Response:
        """Calls, newest first, as CallSummary; `live`: only those that go on. `at`: this server's clock, RFC 3339."""
        if not (1 <= limit <= 1_000 and offset >= 0):
            raise BadMessage("limit: 1 to 1000; offset: not negative")
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return _json({"calls": store.calls(limit, offset, live), "at": at})

    @app.get("/calls/{call}", tags=["calls"], responses=_answers("CallSummary"))
    def one(call: str) -> Response:
        """One call's CallSummary."""
        return _json(store.call(call))

    @app.get("/calls/{call}/log", tags=["calls"], responses=_answers("Entry", "entries"))
    async def log(call: str, after: int = 0, limit: int = 10_000) -> Response:
        """Entries with seq > after, in order."""
        made = await house.hub.log(call)
        lines = made.lines[max(0, after) : max(0, after) + max(1, min(limit, 100_000))]
        return Response(b'{"entries":[' + b",".join(each.raw for each in lines) + b"]}", media_type="application/json")

    @app.get("/calls/{call}/audio", tags=["calls"])
    async def audio(call: str) -> FileResponse:
        """A WAV, one channel per party, agent left; range requests are answered."""
        path = await house.tapes.wav(house.journal_of(call), await house.settled(call))
        return Lent(path, house.tapes.release, f"{call}.wav")

    @app.get("/calls/{call}/peaks", tags=["calls"])
    async def peak(call: str) -> Response:
        """The waveform: per party, the loudest sample of every 50 ms, 0..255."""
        parties, values = await house.tapes.waveform(house.journal_of(call), await house.settled(call))
        return _json({"ms_per_peak": PEAK_MS, "parties": parties, "peaks": values})

    @app.post("/calls/{call}/marks", status_code=201, tags=["calls"])
    async def mark(call: str, body: MarkIn) -> Response:
        """The agent's word on a suggestion, kept as a Marked event."""
        seq = await house.tell(call, Marked(body.suggestion, body.ref, body.mark))
        return _json({"seq": seq}, 201)

    @app.post("/calls/{call}/reviews", status_code=201, tags=["review"])
    async def review(call: str, body: ReviewIn) -> Response:
        """A reviewer's verdict, kept as a Reviewed event."""
        seq = await house.tell(call, Reviewed(body.verdict, body.comment, body.reviewer, body.rule, body.score))
        await house.keep(call, seq)  # the queue is read from the store right after
        return _json({"seq": seq}, 201)

    @app.get("/review/queue", tags=["review"], responses=_answers("CallSummary", "calls"))
    def queue() -> Response:
        """Flagged calls, riskiest first."""
        return _json({"calls": store.flagged()})


def _pages(app: FastAPI, house: House) -> None:
    def page(name: str) -> Callable[[], FileResponse]:
        return lambda: FileResponse(WEB / name, media_type="text/html")

    for path, name in (("/", "index.html"), ("/overlay", "overlay.html"), ("/review", "review.html")):
        app.add_api_route(path, page(name), include_in_schema=False)

    files = {each.name: each for each in WEB.iterdir() if each.suffix in (".js", ".css", ".svg")}

    @app.get("/web/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        if name not in files:
            raise UnknownCall(f"no such file: {name[:80]!r}")
        return FileResponse(files[name])

    @app.get("/articles/{article}", tags=["knowledge"], responses=_answers("Article"))
    def article(article: str) -> Response:
        """One knowledge article."""
        found = house.knowledge.articles.get(article)
        if not found:
            raise UnknownCall(f"no such article: {article[:80]!r}")
        return _json(found)

    @app.get("/topics", tags=["knowledge"])
    def topics() -> Response:
        """Topic ids and their labels."""
        return _json({"topics": {topic.id: topic.label for topic in house.knowledge.topics.values()}})


def _ops(app: FastAPI, house: House) -> None:
    @app.get("/healthz", tags=["ops"])
    async def healthz() -> Response:
        """The process lives and its loop turns."""
        return _json({"status": "ok"})

    @app.get("/readyz", tags=["ops"])
    async def readyz() -> Response:
        """Ready for calls? 503 while draining. Says which recogniser listens and what is missing."""
        recogniser = house.gate.recogniser
        notices = [*house.notices, *([f"the disk refuses: {house.keeper.failing}"] if house.keeper.failing else [])]
        if house.webhooks and house.webhooks.notice:
            notices.append(house.webhooks.notice)
        body = {
            "ready": house.ready,
            "draining": house.draining.is_set(),
            "recogniser": recogniser.name,
            "rough": recogniser.rough,
            "level": house.gate.load.level,
            "calls": len(house.calls),
            "notices": notices,
        }
        return _json(body, 200 if house.ready else 503)

    @app.get("/metrics", tags=["ops"])
    async def metrics() -> Response:
        """Prometheus exposition."""
        house.metrics.tasks.set(len(asyncio.all_tasks()))
        return Response(house.metrics.text(), media_type="text/plain; version=0.0.4")
