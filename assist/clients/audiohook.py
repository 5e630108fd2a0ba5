"""A client of Genesys AudioHook v2: open, stereo mu-law of 200 ms, pings, close; signed where there is a secret.

Sources: github.com/purecloudlabs/audiohook-reference-implementation (`app/audiohook/src/client`, `protocol/`) and the
HTTP message signatures it makes. `external`, the left channel, is the customer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from assist.audio import Samples, encode_mulaw
from assist.clients import Answer, Client, Line, Message, Setup, at, in_turn

SIGNED: Final = (
    "@request-target", "@authority", "audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id",
    "x-api-key",
)  # fmt: skip
MEDIA: Final = [
    {"type": "audio", "format": format, "channels": ["external", "internal"], "rate": 8_000}
    for format in ("PCMU", "L16")
]


class AudioHook(Client):
    """One session. A call whose id is no UUID becomes the conversation of a UUID made from it."""

    frame_ms = 200
    rates = (8_000,)
    beats_s: Iterator[float]

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self.call = _uuid(setup.call)
        self.ready = False
        self.beats_s = itertools.chain([1.0], itertools.repeat(5.0))
        self._organisation, self._session, self._correlation = (str(uuid.uuid4()) for _ in range(3))
        self._sent = 0
        self._heard = 0
        self._position_ms = 0.0
        self._format = "PCMU"
        self._waiting = False
        self._paused_at_ms: float | None = None
        self._discarded_ms = 0.0
        self._finals = 0

    def lines(self, url: str) -> list[Line]:
        whole = at(url, "/ingest/audiohook")
        headers = {
            "Audiohook-Organization-Id": self._organisation,
            "Audiohook-Session-Id": self._session,
            "Audiohook-Correlation-Id": self._correlation,
            "X-API-KEY": self.setup.key or "replay",
        }
        if self.setup.secret:
            headers |= signed(whole, headers, self.setup.secret)
        return [Line(whole, headers)]

    def opening(self, line: int) -> list[Message]:
        given = {
            "organizationId": self._organisation,
            "conversationId": self.call,
            "participant": {"id": str(uuid.uuid4()), "ani": "+15550100", "aniName": "Replay", "dnis": "+15550199"},
            "media": MEDIA,
            "customConfig": dict(self.setup.metadata),
        }
        return [self._message("open", given)]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        length_ms = len(agent) * 1000 / self.rate_hz
        if self._paused_at_ms is not None:
            self._discarded_ms += length_ms
            return []
        self._position_ms += length_ms
        both = in_turn(customer, agent)
        return [(0, encode_mulaw(both) if self._format == "PCMU" else both.astype("<i2").tobytes())]

    def beat(self) -> list[Message]:
        if not self.ready:
            return []
        if self._waiting:
            self.refused = self.refused or "no pong before the next ping"
            return [self._message("error", {"code": 408, "message": "no pong"})]
        self._waiting = True
        return [self._message("ping", {})]

    def closing(self, line: int) -> list[Message]:
        return [] if self.stopped else [self._message("close", {"reason": "end"})]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        self._heard = int(answer.get("seq", self._heard))
        given = answer.get("parameters") or {}
        self.acknowledged = {"clientseq": answer.get("clientseq"), "finals": self._finals}
        match answer.get("type"):
            case "opened":
                media = given.get("media") or []
                self._format = media[0]["format"] if media else "PCMU"
                self.ready = True
            case "pong":
                self._waiting = False
            case "event":
                entities = [each for each in given["entities"] if each["type"] == "transcript"]
                self._finals += sum(each["data"]["isFinal"] for each in entities)
            case "pause" if self._paused_at_ms is None:
                self._paused_at_ms, self._discarded_ms = self._position_ms, 0.0
                return [self._message("paused", {})]
            case "resume" if self._paused_at_ms is not None:
                lost = {"start": _seconds(self._paused_at_ms), "discarded": _seconds(self._discarded_ms)}
                self._position_ms += self._discarded_ms
                self._paused_at_ms = None
                return [self._message("resumed", lost)]
            case "disconnect":
                if given.get("reason") != "completed":
                    self.refused = f"{given.get('reason')}: {given.get('info', '')}"
                return self._hang_up("disconnect")
            case "reconnect":
                self.refused = f"reconnect: {given.get('info', '')}"
                return self._hang_up("reconnect")
            case "closed":
                self.over = True
        return []

    def _hang_up(self, reason: str) -> list[Message]:
        if self.stopped:
            return []
        self.stopped = True
        return [self._message("close", {"reason": reason})]

    def _message(self, kind: str, given: dict[str, Any]) -> str:
        self._sent += 1
        told = {"version": "2", "type": kind, "id": self._session, "seq": self._sent, "serverseq": self._heard,
                "position": _seconds(self._position_ms), "parameters": given}  # fmt: skip
        return json.dumps(told)


def signed(url: str, headers: dict[str, str], secret: str) -> dict[str, str]:
    """`Signature-Input` and `Signature` over these headers. `secret`: base64."""
    parts = urlsplit(url)
    values = {name.lower(): value for name, value in headers.items()}
    values["@request-target"] = parts.path + (f"?{parts.query}" if parts.query else "")
    usual = {"ws": 80, "wss": 443}.get(parts.scheme)
    values["@authority"] = parts.hostname or "" if parts.port in (None, usual) else parts.netloc.lower()
    now = int(time.time())
    nonce = base64.b64encode(uuid.uuid4().bytes).decode()
    names = " ".join(f'"{name}"' for name in SIGNED)
    made = (
        f'({names});keyid="{headers["X-API-KEY"]}";nonce="{nonce}";alg="hmac-sha256";created={now};expires={now + 10}'
    )
    text = "\n".join([*(f'"{name}": {values[name]}' for name in SIGNED), f'"@signature-params": {made}'])
    mac = hmac.new(base64.b64decode(secret), text.encode(), hashlib.sha256).digest()
    return {"Signature-Input": f"sig1={made}", "Signature": f"sig1=:{base64.b64encode(mac).decode()}:"}


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


def _seconds(ms: float) -> str:
    return f"PT{ms / 1000:.3f}S"


def make(name: str, setup: Setup) -> AudioHook:
    """One session."""
    return AudioHook(name, setup)
