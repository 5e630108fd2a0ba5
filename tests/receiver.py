"""Somebody who is told: a real HTTP server that checks signatures by itself and answers as a test wants."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.door import free_port

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
TOLERANCE_S = 300
Answers = Callable[[dict[str, Any]], int]


def verified(key: bytes, headers: dict[str, str], body: bytes, now_s: float) -> bool:
    """Standard Webhooks, from its text: any of the signatures, compared in constant time, and a moment near now."""
    wanted = hmac.new(key, f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body, hashlib.sha256)
    text = "v1," + base64.b64encode(wanted.digest()).decode()
    near = abs(now_s - int(headers["webhook-timestamp"])) <= TOLERANCE_S
    return near and any(hmac.compare_digest(text, each) for each in headers["webhook-signature"].split(" "))


@dataclass
class Receiver:
    """`asked` is every event that came, `taken` those that were answered with 200, each in order of arrival."""

    answer: Answers = lambda event: 200
    port: int = field(default_factory=free_port)
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    forged: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def seqs(self, call: str) -> list[int]:
        """Of the events of one call that were taken, without what came again."""
        return list(dict.fromkeys(each["data"]["seq"] for each in self.taken if each["subject"] == call))

    @contextmanager
    def up(self) -> Iterator[None]:
        """While it lasts, somebody listens."""
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                event = json.loads(body)
                receiver.forged += not verified(KEY, headers, body, time.time())
                receiver.asked.append(event)
                status = receiver.answer(event)
                if status == 200:
                    receiver.taken.append(event)
                self.send_response(status)
                self.send_header("content-length", "0")
                if status == 302:
                    self.send_header("location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        with Listening(("127.0.0.1", self.port), Hook) as listening:
            thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield
            finally:
                listening.shutdown()
                thread.join()


class Listening(ThreadingHTTPServer):
    """Its connections end with the test, and a client that hangs up is nobody's error."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None: ...
