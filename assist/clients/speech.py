"""Clients of speech services: Vosk server, Deepgram live, OpenAI realtime transcription.

Sources: github.com/alphacep/vosk-server, developers.deepgram.com, platform.openai.com/docs/api-reference/realtime. What
they hear of a text that is final is counted as `finals`. Vosk and OpenAI take one voice: a socket for each party, whose
`call` and `parties` in the query are what our server knows beyond theirs.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator

from assist.audio import Samples, encode_mulaw
from assist.clients import Answer, Client, Line, Message, Setup, asked, in_turn, l16

PARTIES = ("agent", "customer")


class Vosk(Client):
    """100 ms in a message."""

    frame_ms = 100

    def lines(self, url: str) -> list[Line]:
        return [Line(asked(url, "/ingest/vosk", call=f"{self.call}-{party}", parties=party)) for party in PARTIES]

    def opening(self, line: int) -> list[Message]:
        return [json.dumps({"config": {"sample_rate": self.rate_hz, "words": True}})]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(0, l16(agent)), (1, l16(customer))]

    def closing(self, line: int) -> list[Message]:
        return ['{"eof" : 1}']

    def hear(self, line: int, answer: Answer) -> list[Message]:
        self.acknowledged["replies"] = self.acknowledged.get("replies", 0) + 1
        if answer.get("text"):
            self.acknowledged["finals"] = self.acknowledged.get("finals", 0) + 1
        if answer.get("error"):
            self.refused = str(answer["error"])
        return []


class Deepgram(Client):
    """Both parties on one socket, the customer first."""

    def __init__(self, name: str, setup: Setup) -> None:
        super().__init__(name, setup)
        self.beats_s: Iterator[float] = itertools.repeat(5.0)

    def lines(self, url: str) -> list[Line]:
        wanted = asked(url, "/v1/listen", encoding="mulaw", sample_rate=self.rate_hz, channels=2, multichannel="true",
                       call=self.call)  # fmt: skip
        return [Line(wanted, {"Authorization": f"Token {self.setup.key or 'replay'}"})]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(0, encode_mulaw(in_turn(customer, agent)))]

    def beat(self) -> list[Message]:
        return ['{"type": "KeepAlive"}']

    def closing(self, line: int) -> list[Message]:
        return ['{"type": "CloseStream"}']

    def hear(self, line: int, answer: Answer) -> list[Message]:
        match answer.get("type"):
            case "Results" if answer.get("is_final") and answer["channel"]["alternatives"][0]["transcript"]:
                self.acknowledged["finals"] = self.acknowledged.get("finals", 0) + 1
            case "Metadata":
                self.acknowledged["duration"] = answer.get("duration")
            case "Error" | "error":
                self.refused = str(answer.get("description") or answer.get("message"))
        return []


class OpenAI(Client):
    """Mu-law, with the server's turn detection. Nothing says goodbye: the socket is closed."""

    frame_ms = 100
    rates = (8_000,)
    hangs_up_s = 1.0

    def lines(self, url: str) -> list[Line]:
        key = {"Authorization": f"Bearer {self.setup.key or 'replay'}"}
        ask = {"intent": "transcription"}
        return [
            Line(asked(url, "/v1/realtime", **ask, call=f"{self.call}-{party}", parties=party), key)
            for party in PARTIES
        ]

    def opening(self, line: int) -> list[Message]:
        heard = {"format": {"type": "audio/pcmu"}, "transcription": {"model": "whisper-1", "language": "en"},
                 "turn_detection": {"type": "server_vad"}}  # fmt: skip
        session = {"type": "transcription", "audio": {"input": heard}}
        return [json.dumps({"type": "session.update", "session": session})]

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        return [(n, self._append(samples)) for n, samples in enumerate((agent, customer))]

    def hear(self, line: int, answer: Answer) -> list[Message]:
        kind = answer.get("type")
        if kind == "conversation.item.input_audio_transcription.completed":
            self.acknowledged["finals"] = self.acknowledged.get("finals", 0) + 1
        elif kind == "error":
            self.refused = str((answer.get("error") or {}).get("message"))
        return []

    def _append(self, samples: Samples) -> str:
        audio = base64.b64encode(encode_mulaw(samples)).decode()
        return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


CLIENTS: dict[str, type[Client]] = {"vosk": Vosk, "deepgram": Deepgram, "openai": OpenAI}


def make(name: str, setup: Setup) -> Client:
    """One call."""
    return CLIENTS[name](name, setup)
