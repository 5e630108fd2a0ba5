"""A client of Webex Contact Center media forking: a gRPC stream for each role, its protobuf written by hand.

Sources: github.com/webex/dataSourceSchemas (Services/AudioForking), protobuf.dev (encoding). The goodbye is that a
stream is half-closed; the answer to it says SUCCESS.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from assist.audio import Samples
from assist.clients import Answer, Client, Line, Message, Setup, at, l16

PATH = "/com.cisco.wcc.ccai.media.v1.ConversationAudio/StreamConversationAudio"
ROLES = (("agent", 2), ("caller", 1))
LINEAR16 = 1
BEGAN_S = 1_767_225_600
"""The wall clock at the first sample: any will do."""


class Webex(Client):
    """`key`: the token that identifies the platform."""

    hangs_up_s = 0.0

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self._sent = 0

    def lines(self, url: str) -> list[Line]:
        headers = {"x-conversation-id": self.call}
        if self.setup.key:
            headers["authorization"] = f"Bearer {self.setup.key}"
        return [Line(at(url, PATH), headers) for _ in ROLES]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        at_ms = self._sent * self.frame_ms
        self._sent += 1
        return [
            (line, self._request(*ROLES[line], l16(samples), at_ms)) for line, samples in enumerate((agent, customer))
        ]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        if "status" in answer:
            self.refused = f"{answer['status']}: {answer.get('message')}"
        elif isinstance(answer.get("text"), str) and (said := _status_message(bytes.fromhex(answer["text"]))):
            self.acknowledged["status_message"] = said
        return []

    def _request(self, role: str, number: int, audio: bytes, at_ms: int) -> bytes:
        stamp = whole(1, BEGAN_S + at_ms // 1000) + whole(2, at_ms % 1000 * 1_000_000)
        leg = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.call}/{role}"))
        stream = (
            chunk(1, audio) + whole(2, LINEAR16) + whole(3, self.rate_hz) + chunk(4, stamp) + whole(5, number)
            + chunk(6, leg.encode())
        )  # fmt: skip
        return chunk(1, self.call.encode()) + chunk(2, b"replay") + chunk(3, stream) + _map(4, self.setup.metadata)


def varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def whole(field: int, value: int) -> bytes:
    """A field with a whole number, not negative."""
    return varint(field << 3) + varint(value)


def chunk(field: int, value: bytes) -> bytes:
    """A field with bytes, a text or a message."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def _map(field: int, values: Mapping[str, str]) -> bytes:
    return b"".join(chunk(field, chunk(1, k.encode()) + chunk(2, v.encode())) for k, v in values.items())


def _status_message(response: bytes) -> str:
    """The first field of a response that has no other."""
    return response[2:].decode() if response[:1] == b"\x0a" and response[1:2] == bytes([len(response) - 2]) else ""


def make(name: str, setup: Setup) -> Webex:
    """One call."""
    return Webex(name, setup)
