"""A client of Twilio Media Streams: both tracks as JSON with base64 mu-law, inbound the customer's.

Source: twilio.com/docs/voice/media-streams/websocket-messages. All numbers go as strings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from typing import Any

from assist.audio import Samples, encode_mulaw
from assist.clients import Answer, Client, Line, Message, Setup, at


class Twilio(Client):
    """With a `secret` (the account's token) the request is signed: HMAC-SHA1 of the URL."""

    hangs_up_s = 5.0

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self._stream = f"MZ{uuid.uuid4().hex}"
        self._sequence = 0
        self._chunk = 0

    def lines(self, url: str) -> list[Line]:
        whole = at(url, f"/ingest/{self.name}")
        if not self.setup.secret:
            return [Line(whole)]
        mac = hmac.new(self.setup.secret.encode(), whole.encode(), hashlib.sha1).digest()
        return [Line(whole, {"X-Twilio-Signature": base64.b64encode(mac).decode()})]

    def opening(self, line: int) -> list[Message]:
        start = {"accountSid": "AC0", "streamSid": self._stream, "callSid": self.call,
                 "tracks": ["inbound", "outbound"], "customParameters": dict(self.setup.metadata),
                 "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": self.rate_hz, "channels": 1}}  # fmt: skip
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [json.dumps(connected), self._numbered("start", start)]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        self._chunk += 1
        at_ms = (self._chunk - 1) * self.frame_ms
        sent: list[tuple[int, Message]] = []
        for track, samples in (("outbound", agent), ("inbound", customer)):
            payload = base64.b64encode(encode_mulaw(samples)).decode()
            media = {"track": track, "chunk": str(self._chunk), "timestamp": str(at_ms), "payload": payload}
            sent.append((0, self._numbered("media", media)))
        return sent

    def closing(self, line: int) -> list[Message]:
        return [self._numbered("stop", {"accountSid": "AC0", "callSid": self.call})]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        if answer.get("type") == "error":
            self.refused = f"{answer.get('code')}: {answer.get('message')}"
        return []

    def _numbered(self, event: str, body: dict[str, Any]) -> str:
        self._sequence += 1
        told = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self._stream, event: body}
        return json.dumps(told)


def make(name: str, setup: Setup) -> Twilio:
    """One stream."""
    return Twilio(name, setup)
