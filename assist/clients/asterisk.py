"""Clients of Asterisk: its websocket channel, a leg on each socket, and AudioSocket over TCP.

Sources: github.com/asterisk/asterisk, channels/chan_websocket.c and res/res_audiosocket.c. Neither says goodbye, or not
for sure: AudioSocket's hangup is sent, and the connection closed.
"""

from __future__ import annotations

import json
import struct
import uuid

from assist.audio import Samples
from assist.clients import Answer, Client, Line, Message, Setup, asked, l16

PARTIES = ("agent", "customer")


class Asterisk(Client):
    """Two sockets whose URLs name the leg and the call they belong to."""

    hangs_up_s = 0.0

    def lines(self, url: str) -> list[Line]:
        return [
            Line(asked(url, "/ingest/asterisk", leg=party, ref=self.call), subprotocols=("media",)) for party in PARTIES
        ]

    def opening(self, line: int) -> list[Message]:
        format = "slin16" if self.rate_hz == 16_000 else "slin"
        bytes_ = self.rate_hz * self.frame_ms // 500
        told = {"event": "MEDIA_START", "connection_id": "replay", "channel": f"WebSocket/replay/{line}",
                "channel_id": f"{self.call}.{line}", "format": format, "optimal_frame_size": bytes_,
                "ptime": self.frame_ms, "channel_variables": dict(self.setup.metadata)}  # fmt: skip
        return [json.dumps(told)]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(0, l16(agent)), (1, l16(customer))]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        if answer.get("type") == "error":
            self.refused = f"{answer.get('code')}: {answer.get('message')}"
        return []


class AudioSocket(Client):
    """Two connections, whose streams' ids are announced beforehand, as one CURL() in a dialplan does it."""

    hangs_up_s = 0.0

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self._streams = [uuid.uuid5(uuid.NAMESPACE_URL, f"{setup.call}/{party}") for party in PARTIES]

    def lines(self, url: str) -> list[Line]:
        return [Line(f"tcp://{url.partition('://')[2]}") for _ in PARTIES]

    def announcements(self) -> list[tuple[str, dict[str, str]]]:
        return [
            ("/legs", {"uuid": str(stream), "ref": self.call, "party": party})
            for stream, party in zip(self._streams, PARTIES, strict=True)
        ]

    def opening(self, line: int) -> list[Message]:
        return [_frame(0x01, self._streams[line].bytes)]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        kind = 0x10 if self.rate_hz == 8_000 else 0x12
        return [(0, _frame(kind, l16(agent))), (1, _frame(kind, l16(customer)))]

    def closing(self, line: int) -> list[Message]:
        return [_frame(0x00, b"")]


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


def make(name: str, setup: Setup) -> Client:
    """One call."""
    return Asterisk(name, setup) if name == "asterisk" else AudioSocket(name, setup)
