"""The sockets and routes: one FastAPI application over a `House`. Errors of the house become answers here, by name."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assist.errors import AssistError, BadMessage, UnknownCall
from assist.events import Entry, Marked, Reviewed
from assist.house import House
from assist.hub import CallSummary
from assist.ingest import Dialects, Ingest
from assist.material import Article
from assist.protocols import Protocol
from assist.wav import peaks, render_wav

WEB = Path(__file__).with_name("web")
SEND_S = 10.0
"""A subscriber that does not take a message for so long is cut off; it resumes by cursor."""
HEARTBEAT_S = 5.0
PEAK_MS = 50


class MarkIn(BaseModel):
    """What the agent did with a suggestion."""

    suggestion: str = Field(max_length=64)
    ref: str = Field(max_length=128)
    mark: Literal["used", "opened", "not_useful", "dismissed"]


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
    app.add_middleware(Hardened, policy=_policy(house))
    _errors(app, house)
    _sockets(app, house, dialects)
    _calls(app, house)
    _pages(app, house)
    _ops(app, house)
    _describe(app)
    return app


_SHOWN: Final = (CallSummary, Entry, Article)


def _answers(name: str, listed_as: str = "") -> dict[int | str, dict[str, Any]]:
    """What a route answers, for OpenAPI: one of `_SHOWN`, or an object with a list of them."""
    shape: dict[str, Any] = {"$ref": f"#/components/schemas/{name}"}
    if listed_as:
        shape = {"type": "object", "properties": {listed_as: {"type": "array", "items": shape}}}
    return {200: {"description": name, "content": {"application/json": {"schema": shape}}}}


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
    """Security headers on every answer; a strict content policy, because pages show what strangers say."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app = app
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        await self.app(scope, receive, with_headers)


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


def _foreign(headers: Headers) -> bool:
    """A browser says that another site's page asks."""
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc != headers.get("host", "")


def _sockets(app: FastAPI, house: House, dialects: Dialects) -> None:
    for name, protocol in dialects.items():

        app.add_api_websocket_route(f"/ingest/{name}", _ingest(house, protocol))

    @app.websocket("/calls/{call}/events")
    async def events(socket: WebSocket, call: str, after: str = "0") -> None:
        if _foreign(socket.headers):
            await socket.close(1008, "foreign origin")
            return
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
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await _close(socket, house, outcomes[0])


def _ingest(house: House, protocol: Callable[[], Protocol]) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(socket: WebSocket) -> None:
        await Ingest(socket, protocol(), house).serve()

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


def _calls(app: FastAPI, house: House) -> None:
    store = house.store

    def same_site(request: Request) -> None:
        if _foreign(request.headers):
            raise BadMessage("this must be asked by our own page")

    @app.get("/calls", tags=["calls"], responses=_answers("CallSummary", "calls"))
    def calls(limit: int = 200, offset: int = 0) -> Response:
        """Calls, newest first, as CallSummary."""
        if not (1 <= limit <= 1_000 and offset >= 0):
            raise BadMessage("limit: 1 to 1000; offset: not negative")
        return _json({"calls": store.calls(limit, offset)})

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
        path, passing = await asyncio.to_thread(_wav, house, call)
        gone = BackgroundTask(path.unlink, missing_ok=True) if passing else None
        return FileResponse(path, media_type="audio/wav", filename=f"{call}.wav", background=gone)

    @app.get("/calls/{call}/peaks", tags=["calls"])
    def peak(call: str) -> Response:
        """The waveform: per party, the loudest sample of every 50 ms, 0..255."""
        parties, values = peaks(house.journal_of(call), PEAK_MS)
        return _json({"ms_per_peak": PEAK_MS, "parties": parties, "peaks": values})

    @app.post("/calls/{call}/marks", status_code=201, tags=["calls"])
    async def mark(call: str, body: MarkIn, request: Request) -> Response:
        """The agent's word on a suggestion, kept as a Marked event."""
        same_site(request)
        seq = await house.tell(call, Marked(body.suggestion, body.ref, body.mark))
        return _json({"seq": seq}, 201)

    @app.post("/calls/{call}/reviews", status_code=201, tags=["review"])
    async def review(call: str, body: ReviewIn, request: Request) -> Response:
        """A reviewer's verdict, kept as a Reviewed event."""
        same_site(request)
        seq = await house.tell(call, Reviewed(body.verdict, body.comment, body.reviewer, body.rule, body.score))
        await house.keeper.flush()  # the queue is read from the store right after
        return _json({"seq": seq}, 201)

    @app.get("/review/queue", tags=["review"], responses=_answers("CallSummary", "calls"))
    def queue() -> Response:
        """Flagged calls, riskiest first."""
        return _json({"calls": store.flagged()})


def _wav(house: House, call: str) -> tuple[Path, bool]:
    """The call's WAV, and whether it is to be thrown away after (the call still goes on)."""
    journal = house.journal_of(call)
    if call in house.calls:
        with tempfile.NamedTemporaryFile(suffix=".wav", dir=journal.parent, delete=False) as passing:
            path = Path(passing.name)
        render_wav(journal, path)
        return path, True
    path = journal.with_suffix(".wav")
    if not path.exists():
        part = path.with_suffix(".part")
        render_wav(journal, part)
        part.replace(path)
    return path, False


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
        ready = not house.draining.is_set() and not house.keeper.failing
        notices = [*house.notices, *([f"the disk refuses: {house.keeper.failing}"] if house.keeper.failing else [])]
        body = {
            "ready": ready,
            "draining": house.draining.is_set(),
            "recogniser": recogniser.name,
            "rough": recogniser.rough,
            "level": house.gate.load.level,
            "calls": len(house.calls),
            "notices": notices,
        }
        return _json(body, 200 if ready else 503)

    @app.get("/metrics", tags=["ops"])
    async def metrics() -> Response:
        """Prometheus exposition."""
        return Response(house.metrics.text(), media_type="text/plain; version=0.0.4")
