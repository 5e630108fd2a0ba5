"""Clients that send linear PCM in binary messages after one text: FreeSWITCH, jambonz, Vonage, Sinch, Amazon's LCA.

Sources: github.com/amigniter/mod_audio_stream, docs.jambonz.org/verbs/verbs/listen, developer.vonage.com/voice
(websockets), developers.sinch.com/docs/voice-2.0 (stream), aws-samples' live call analytics.
"""

from __future__ import annotations

import json

from assist.audio import Samples
from assist.clients import Answer, Client, Line, Message, Setup, asked, at, in_turn, l16


class Stereo(Client):
    """Both parties on one socket: the caller, who is the customer, left. The end is a close."""

    hangs_up_s: float | None = 0.0

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(0, l16(in_turn(customer, agent)))]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        if answer.get("type") == "error":
            self.refused = f"{answer.get('code')}: {answer.get('message')}"
        return []


class FreeSwitch(Stereo):
    """The module's text is free; rate and channels stand in our URL."""

    def lines(self, url: str) -> list[Line]:
        return [Line(asked(url, "/ingest/freeswitch", call=self.call, rate=self.rate_hz, channels="stereo"))]

    def opening(self, line: int) -> list[Message]:
        return [json.dumps(dict(self.setup.metadata))] if self.setup.metadata else []


class Jambonz(Stereo):
    def lines(self, url: str) -> list[Line]:
        return [Line(at(url, "/ingest/jambonz"), subprotocols=("audio.jambonz.org",))]

    def opening(self, line: int) -> list[Message]:
        told = {"callSid": self.call, "from": "+15550100", "to": "+15550199", "direction": "inbound",
                "sampleRate": self.rate_hz, "mixType": "stereo", "metadata": dict(self.setup.metadata)}  # fmt: skip
        return [json.dumps(told)]


class Lca(Stereo):
    hangs_up_s = 5.0

    def opening(self, line: int) -> list[Message]:
        return [self._event("START")]

    def closing(self, line: int) -> list[Message]:
        return [self._event("END")]

    def _event(self, kind: str) -> str:
        told = {"callEvent": kind, "callId": self.call, "fromNumber": "+15550100", "toNumber": "+15550199",
                "agentId": "replay", "samplingRate": self.rate_hz}  # fmt: skip
        return json.dumps(told)


class Mono(Stereo):
    """A socket, and to us a call, for each party."""

    parties = ("agent", "customer")

    def lines(self, url: str) -> list[Line]:
        return [Line(at(url, f"/ingest/{self.name}")) for _ in self.parties]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(0, l16(agent)), (1, l16(customer))]


class Vonage(Mono):
    rates = (16_000, 8_000)

    def opening(self, line: int) -> list[Message]:
        party = self.parties[line]
        told = {"event": "websocket:connected", "content-type": f"audio/l16;rate={self.rate_hz}",
                "call": f"{self.call}-{party}", "party": party, **self.setup.metadata}  # fmt: skip
        return [json.dumps(told)]


class Sinch(Mono):
    """No audio before the request to connect was answered."""

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self.ready = False
        self._answered: set[int] = set()

    def opening(self, line: int) -> list[Message]:
        party = self.parties[line]
        told = {"command": "connect", "version": 1, "callId": f"{self.call}-{party}", "applicationKey": "replay",
                "codec": "PCM", "sampleRate": self.rate_hz, "callHeaders": {"party": party}}  # fmt: skip
        return [json.dumps(told)]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        command = answer.get("command")
        if command == "answer":
            self._answered.add(line)
            self.ready = len(self._answered) == len(self.parties)
        elif command in ("busy", "reject"):
            self.refused, self.stopped = str(command), True
        return []


CLIENTS = {"freeswitch": FreeSwitch, "jambonz": Jambonz, "lca": Lca, "vonage": Vonage, "sinch": Sinch}


def make(name: str, setup: Setup) -> Stereo:
    """One call."""
    made: Stereo = CLIENTS[name](name, setup)
    return made
