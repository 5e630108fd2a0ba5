"""A client of the plain dialect: one JSON hello, interleaved mu-law, one JSON bye."""

from __future__ import annotations

import json

from assist.audio import Samples, encode_mulaw
from assist.clients import Answer, Client, Message, Setup, in_turn


class Plain(Client):
    """Agent first."""

    def opening(self, line: int) -> list[Message]:
        hello = {"type": "hello", "call": self.call, "channels": ["agent", "customer"], "encoding": "mulaw",
                 "rate_hz": self.rate_hz, "metadata": dict(self.setup.metadata)}  # fmt: skip
        return [json.dumps(hello)]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(0, encode_mulaw(in_turn(agent, customer)))]

    def closing(self, line: int) -> list[Message]:
        return ['{"type": "bye"}']

    def hear(self, line: int, answer: Answer) -> list[Message]:
        match answer.get("type"):
            case "ack":
                self.acknowledged = {"seq": answer["seq"], "audio_ms": answer["audio_ms"]}
            case "error":
                self.refused = f"{answer.get('code')}: {answer.get('message')}"
            case "ended":
                self.acknowledged["ended"] = answer.get("reason")
        return []


def make(name: str, setup: Setup) -> Plain:
    """One call."""
    return Plain(name, setup)
