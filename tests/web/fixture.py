"""A small server that gives the pages recorded calls: live ones at any pace, with connections that break on command.

It knows nothing of audio, recognisers or the real server; it only answers the same routes.
`python -m tests.web.fixture` serves it for people: a past call, a live one, and addresses to look at.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse

from assist.events import (
    AnyEvent,
    CallEnded,
    Entry,
    Marked,
    Reviewed,
    encode,
    plain,
)
from assist.hub import CallSummary
from assist.stores.summary import summarise
from tests.web import recorded

WEB: Final = Path(__file__).resolve().parents[2] / "assist" / "web"
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; require-trusted-types-for 'script'"
)
TOPICS: Final = {"camera_fault": "Camera not working", "complaint": "Complaint"}
RISK: Final = {"high": 0, "medium": 1, "low": 2}
ARTICLE: Final = """Allow the camera for the app, then restart the phone; most black screens end there.

## Steps

1. Open Settings, then Apps, and choose the app.
2. Under Permissions, allow Camera.
3. Restart the phone.

Still black?

- Try the camera app itself: if that is black too, the camera is at fault.
- Within 30 days the phone is replaced.
"""


@dataclass
class Tape:
    """One call. Of `entries` the pages may see the first `shown`; marks and reviews are put after them."""

    call: str
    entries: list[Entry]
    shown: int = 0
    wav: Path | None = None
    peaks: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shown = self.shown or len(self.entries)

    @property
    def seen(self) -> list[Entry]:
        return self.entries[: self.shown]

    def add(self, event: AnyEvent) -> None:
        """Put an event where the log stands now; what is still to come moves on by one."""
        at_ms = self.entries[self.shown - 1].at_ms
        self.entries.insert(self.shown, Entry(self.call, 0, at_ms, event))
        self.entries[:] = [Entry(e.call, seq, e.at_ms, e.event, e.latency_ms) for seq, e in enumerate(self.entries, 1)]
        self.shown += 1

    def summary(self) -> CallSummary:
        found = reduce(summarise, self.seen, None)
        assert found
        return found


class Stage:
    """What the server plays, and the strings the tests pull: `drop`, `refuse`, `reveal`."""

    def __init__(self, folder: Path, heartbeat_s: float = 5.0) -> None:
        self.folder = folder
        self.heartbeat_s = heartbeat_s
        self.tapes: dict[str, Tape] = {}
        self.articles: dict[str, dict[str, Any]] = {}
        self.marks: list[Marked] = []
        self.reviews: list[Reviewed] = []
        self.cursors: list[int] = []
        """The `after` of every websocket so far."""
        self.refusing = False
        self.stale: set[str] = set()
        """Calls that the list of live ones still holds, though they have ended: the store follows behind."""
        self.slow_s: dict[str, float] = {}
        """How long an article, a call's sound or the names of topics ("topics") take to come, and a verdict ("reviews")
        to be filed."""
        self.later_s = 0.0
        """How long ago the newest entry of a live call was."""
        self.readiness: dict[str, Any] = {}
        self.review_refused = ""
        """The code with which verdicts are refused. `store_failed`: they are taken all the same."""
        self.generation = 0

    def put(self, entries: Sequence[Entry], shown: int = 0, sound: bool = False) -> Tape:
        """Add a call of which the first `shown` entries are told (all by default)."""
        tape = Tape(entries[0].call, list(entries), shown)
        if sound:
            wav, tape.peaks = recorded.tones(entries)
            tape.wav = self.folder / f"{tape.call}.wav"
            tape.wav.write_bytes(wav)
        self.tapes[tape.call] = tape
        return tape

    def tape(self, call: str) -> Tape:
        if call not in self.tapes:
            raise _Refused(404, "unknown_call", f"no call {call!r}")
        return self.tapes[call]

    @property
    def at(self) -> datetime:
        """What the server's clock says: all calls have begun at once, and the newest entry is `later_s` old."""
        now_ms = max((tape.seen[-1].at_ms for tape in self.tapes.values()), default=0)
        return datetime.fromisoformat(recorded.STARTED) + timedelta(milliseconds=now_ms, seconds=self.later_s)

    def drop(self) -> None:
        """Break every open websocket."""
        self.generation += 1

    def pace(self, tape: Tape, speed: float = 1.0) -> None:
        """Tell the rest of a call at its own pace, in a thread."""

        def run() -> None:
            began, first_ms = time.monotonic(), tape.entries[tape.shown - 1].at_ms
            while tape.shown < len(tape.entries):
                now_ms = first_ms + (time.monotonic() - began) * 1000 * speed
                while tape.shown < len(tape.entries) and tape.entries[tape.shown].at_ms <= now_ms:
                    tape.shown += 1
                time.sleep(0.02)

        threading.Thread(target=run, daemon=True).start()


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def make_app(stage: Stage) -> FastAPI:
    """The routes of the pages over `stage`."""
    app = FastAPI()

    @app.exception_handler(_Refused)
    async def refused(_: Request, error: _Refused) -> JSONResponse:
        return JSONResponse({"code": error.code, "message": str(error)}, error.status)

    @app.middleware("http")
    async def policy(request: Request, go: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go(request)
        response.headers["content-security-policy"] = CSP
        response.headers["cache-control"] = "no-store"
        return response

    for path, page in (("/", "index"), ("/overlay", "overlay"), ("/review", "review")):
        app.add_api_route(path, _page(WEB / f"{page}.html"), methods=["GET"])

    @app.get("/web/{name}")
    async def web(name: str) -> FileResponse:
        return FileResponse(WEB / Path(name).name)

    _reading(app, stage)
    _knowing(app, stage)
    _writing(app, stage)
    _following(app, stage)
    return app


def _reading(app: FastAPI, stage: Stage) -> None:
    @app.get("/calls")
    async def calls(limit: int = 200, live: bool = False) -> Any:
        known = [t.summary() for t in reversed(stage.tapes.values())]
        known = [msgspec.structs.replace(each, ended=each.ended and each.call not in stage.stale) for each in known]
        listed = [each for each in known if not (live and each.ended)]
        return {"calls": [plain(each) for each in listed[:limit]], "at": stage.at.isoformat()}

    @app.get("/calls/{call}")
    async def one(call: str) -> Any:
        if stage.refusing:
            raise _Refused(503, "draining", "away")
        return plain(stage.tape(call).summary())

    @app.get("/calls/{call}/log")
    async def log(call: str, after: int = 0, limit: int = 10_000) -> Response:
        raw = b",".join(encode(entry) for entry in stage.tape(call).seen[after : after + limit])
        return Response(b'{"entries":[' + raw + b"]}", media_type="application/json")

    @app.get("/calls/{call}/audio")
    async def audio(call: str) -> FileResponse:
        await asyncio.sleep(stage.slow_s.get(call, 0))
        wav = stage.tape(call).wav
        if wav is None:
            raise _Refused(404, "unknown_call", "no sound of this call")
        return FileResponse(wav, media_type="audio/wav")

    @app.get("/calls/{call}/peaks")
    async def peaks(call: str) -> Any:
        tape = stage.tape(call)
        if tape.wav is None:
            raise _Refused(404, "unknown_call", "no sound of this call")
        if not tape.peaks:
            raise _Refused(500, "store_failed", "a damaged record")
        return {"ms_per_peak": recorded.PEAK_MS, "parties": ["agent", "customer"], "peaks": tape.peaks}


def _knowing(app: FastAPI, stage: Stage) -> None:
    @app.get("/articles/{name}")
    async def article(name: str) -> Any:
        await asyncio.sleep(stage.slow_s.get(name, 0))
        title = "Camera shows black screen in video calls"
        known = {"id": name, "title": title, "topics": ["camera_fault"], "updated": "2026-03-01", "body": ARTICLE}
        return known | stage.articles.get(name, {})

    @app.get("/topics")
    async def topics() -> Any:
        await asyncio.sleep(stage.slow_s.get("topics", 0))
        return {"topics": TOPICS}

    @app.get("/readyz")
    async def readyz() -> Any:
        return {"ready": True, "recogniser": "whisper-base int8", "rough": False, "notices": []} | stage.readiness


def _writing(app: FastAPI, stage: Stage) -> None:
    @app.post("/calls/{call}/marks", status_code=201)
    async def mark(call: str, request: Request) -> Any:
        if stage.refusing:
            raise _Refused(503, "draining", "away")
        event = msgspec.convert(await request.json(), Marked)
        stage.marks.append(event)
        stage.tape(call).add(event)
        return {}

    @app.post("/calls/{call}/reviews", status_code=201)
    async def review(call: str, request: Request) -> Any:
        event = msgspec.convert(await request.json(), Reviewed)
        await asyncio.sleep(stage.slow_s.get("reviews", 0))
        if stage.review_refused == "store_failed":
            stage.tape(call).add(event)
        if stage.review_refused:
            raise _Refused(503, stage.review_refused, "it refuses")
        stage.reviews.append(event)
        stage.tape(call).add(event)
        return {}

    @app.get("/review/queue")
    async def queue() -> Any:
        if stage.refusing:
            raise _Refused(503, "draining", "away")
        flagged = [summary for t in stage.tapes.values() if (summary := t.summary()).flags]
        flagged.sort(key=lambda s: (bool(s.reviews), min(RISK[flag.severity] for flag in s.flags)))
        return {"calls": [plain(summary) for summary in flagged]}


def _following(app: FastAPI, stage: Stage) -> None:
    @app.websocket("/calls/{call}/events")
    async def events(socket: WebSocket, call: str, after: int = 0) -> None:
        await socket.accept()
        stage.cursors.append(after)
        known = stage.tapes.get(call)
        if stage.refusing:
            await socket.close(1012)
        elif known is None or after > len(known.entries):
            code = "unknown_call" if known is None else "future_cursor"
            await socket.send_json({"type": "error", "code": code, "message": f"no such thing: {code}"})
            await socket.close(4404 if known is None else 4416)
        else:
            with suppress(WebSocketDisconnect, RuntimeError):
                await _follow(socket, stage, known, after)


def _page(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def page() -> FileResponse:
        return FileResponse(file)

    return page


async def _follow(socket: WebSocket, stage: Stage, tape: Tape, after: int) -> None:
    generation, live, beat = stage.generation, False, time.monotonic()
    ended = any(isinstance(entry.event, CallEnded) for entry in tape.entries[:after])
    while stage.generation == generation:
        for entry in tape.entries[after : tape.shown]:
            await socket.send_text(encode(entry).decode())
            after = entry.seq
            ended = ended or isinstance(entry.event, CallEnded)
        if not live:
            live = True
            await socket.send_json({"type": "live", "seq": after})
        if ended:
            return await socket.close(1000)
        if time.monotonic() - beat > stage.heartbeat_s:
            beat = time.monotonic()
            await socket.send_json({"type": "heartbeat", "seq": after, "now_ms": tape.entries[tape.shown - 1].at_ms})
        await asyncio.sleep(0.02)
    await socket.close(1012)


class Serving:
    """The server in a thread: `with Serving(stage) as address`."""

    def __init__(self, stage: Stage, port: int = 0) -> None:
        config = uvicorn.Config(make_app(stage), port=port, log_level="warning", ws="websockets-sansio")
        config.timeout_graceful_shutdown = 1
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.stage = stage

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self.stage.drop()
        self.server.should_exit = True
        self.thread.join(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--speed", type=float, default=1.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.put(recorded.record("past-1"), sound=True)
        live = stage.put(recorded.record("live-1", rough=True), shown=1)
        with Serving(stage, asked.port) as address:
            stage.pace(live, asked.speed)
            for path in ("/", "/overlay?call=live", "/overlay?call=past-1", "/review"):
                print(address + path, flush=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


if __name__ == "__main__":
    main()
