"""Clients of Twilio Media Streams and of those who took over its messages: JSON with base64 audio.

Sources: twilio.com/docs/voice/media-streams/websocket-messages, developers.telnyx.com/api-reference/websockets,
plivo.com/docs (audio streaming), developer.exotel.com/docs/agentstream, signalwire.com/docs/compatibility-api,
docs.fonoster.com/reference/twilio-compatibility, aws-samples' client of Talkdesk. All numbers go as strings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from assist.audio import Samples, encode_mulaw
from assist.clients import Answer, Client, Line, Message, Setup, at, l16


@dataclass(frozen=True)
class Names:
    """How a platform calls what Twilio calls otherwise; "": it does not say it."""

    stream: str = "streamSid"
    sequence: str = "sequenceNumber"
    call: str = "callSid"
    account: str = "accountSid"
    format: str = "mediaFormat"
    rate: str = "sampleRate"
    custom: str = "customParameters"
    encoding: str = "audio/x-mulaw"
    linear: bool = False
    one_track: bool = False
    """A socket carries one party, who goes by no track."""


NAMES: Final = {
    "twilio": Names(),
    "signalwire": Names(),
    "talkdesk": Names(),
    "fonoster": Names(),
    "telnyx": Names("stream_id", "sequence_number", "call_control_id", "user_id", "media_format", "sample_rate",
                    "", "PCMU"),
    "plivo": Names("streamId", "sequenceNumber", "callId", "accountId", custom=""),
    "exotel": Names("stream_sid", "sequence_number", "call_sid", "account_sid", "media_format", "sample_rate",
                    "custom_parameters", "raw/slin", linear=True, one_track=True),
}  # fmt: skip


class Twilio(Client):
    """With a `secret` each request is signed, or brings it, as the platform does that."""

    hangs_up_s = 5.0

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self._names = NAMES[name]
        self._parties = ("agent", "customer") if self._names.one_track else ("",)
        self._streams = [str(uuid.uuid4()) if name == "talkdesk" else f"MZ{uuid.uuid4().hex}" for _ in self._parties]
        self._sequence = [0 for _ in self._parties]
        self._chunk = 0

    def lines(self, url: str) -> list[Line]:
        whole = at(url, f"/ingest/{self.name}")
        headers = signed(self.name, self.setup.secret, whole) if self.setup.secret else {}
        return [Line(whole, headers) for _ in self._parties]

    def opening(self, line: int) -> list[Message]:
        names, party = self._names, self._parties[line]
        custom = {**self.setup.metadata, **({"inbound_party": party} if party else {})}
        start = {
            names.account: "AC0",
            names.stream: self._streams[line],
            names.call: f"{self.call}-{party}" if party else self.call,
            names.format: {"encoding": names.encoding, names.rate: self._number(self.rate_hz), "channels": 1},
        }
        if not names.one_track:
            start["tracks"] = ["inbound", "outbound"]
        if names.custom:
            start[names.custom] = custom
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [json.dumps(connected), self._numbered(line, "start", start)]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        self._chunk += 1
        at_ms = (self._chunk - 1) * self.frame_ms
        sent: list[tuple[int, Message]] = []
        for n, (track, samples) in enumerate((("outbound", agent), ("inbound", customer))):
            line = n if self._names.one_track else 0
            payload = base64.b64encode(l16(samples) if self._names.linear else encode_mulaw(samples)).decode()
            media = {"chunk": str(self._chunk), "timestamp": str(at_ms), "payload": payload}
            if not self._names.one_track:
                media["track"] = track
            sent.append((line, self._numbered(line, "media", media)))
        return sent

    def closing(self, line: int) -> list[Message]:
        return [self._numbered(line, "stop", {self._names.account: "AC0", self._names.call: self.call})]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        if answer.get("type") == "error":
            self.refused = f"{answer.get('code')}: {answer.get('message')}"
        return []

    def _number(self, value: int) -> int | str:
        return str(value) if self._names.one_track else value

    def _numbered(self, line: int, event: str, body: dict[str, Any]) -> str:
        self._sequence[line] += 1
        names = self._names
        number, stream = str(self._sequence[line]), self._streams[line]
        return json.dumps({"event": event, names.sequence: number, names.stream: stream, event: body})


def make(name: str, setup: Setup) -> Twilio:
    """One call."""
    return Twilio(name, setup)


def signed(name: str, secret: str, url: str) -> dict[str, str]:
    """What the platform puts into its request for a socket."""
    key = secret.encode()
    match name:
        case "twilio":
            return {"X-Twilio-Signature": _printed(hmac.digest(key, url.encode(), hashlib.sha1))}
        case "plivo":
            nonce = uuid.uuid4().hex
            mark = _printed(hmac.digest(key, f"{url}.{nonce}".encode(), hashlib.sha256))
            return {"X-Plivo-Signature-V3": mark, "X-Plivo-Signature-V3-Nonce": nonce}
        case "fonoster":
            moment = str(int(time.time()))
            mark = hmac.digest(key, f"{moment}.{url}".encode(), hashlib.sha256).hex()
            return {"x-fonoster-signature": mark, "x-fonoster-timestamp": moment}
        case "telnyx":
            return {"x-telnyx-streaming-auth-token": secret}
        case "exotel":
            return {"Authorization": f"Basic {_printed(key)}"}
        case _:
            return {"Authorization": f"Bearer {secret}"}


def _printed(data: bytes) -> str:
    return base64.b64encode(data).decode()
