"""A client of Azure Communication Services audio streaming, unmixed: JSON with base64 PCM of one participant each.

Source: learn.microsoft.com/azure/communication-services (audio streaming). Who is who, our own URL says.
"""

from __future__ import annotations

import base64
import json
import uuid

from assist.audio import Samples
from assist.clients import Answer, Client, Line, Message, Setup, asked, l16

CUSTOMER, AGENT = "4:+15550100", "8:acs:replay"


class Azure(Client):
    """Nothing says goodbye: the socket is closed."""

    rates = (16_000,)
    hangs_up_s = 0.0

    def lines(self, url: str) -> list[Line]:
        return [Line(asked(url, "/ingest/azure", call=self.call, customer=CUSTOMER, agent=AGENT))]

    def opening(self, line: int) -> list[Message]:
        told = {"subscriptionId": str(uuid.uuid4()), "encoding": "PCM", "sampleRate": 16_000, "channels": 1,
                "length": 640}  # fmt: skip
        return [json.dumps({"kind": "AudioMetadata", "audioMetadata": told})]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        sent: list[tuple[int, Message]] = []
        for who, samples in ((AGENT, agent), (CUSTOMER, customer)):
            data = {"timestamp": "2026-01-01T00:00:00Z", "participantRawID": who, "silent": not samples.any(),
                    "data": base64.b64encode(l16(samples)).decode()}  # fmt: skip
            sent.append((0, json.dumps({"kind": "AudioData", "audioData": data})))
        return sent

    def hear(self, line: int, answer: Answer) -> list[Message]:
        if answer.get("type") == "error":
            self.refused = f"{answer.get('code')}: {answer.get('message')}"
        return []


def make(name: str, setup: Setup) -> Azure:
    """One call."""
    return Azure(name, setup)
