"""Sinch `connectStream`: a JSON request to connect, which must be answered before linear PCM of one channel comes.

> {"command": "connect", "version": 1, "callId": "...", "applicationKey": "...", "codec": "PCM", "sampleRate": 16000,
   "callHeaders": {"party": "customer"}}
< {"command": "answer"}; a call that is not let in: {"command": "busy"} or {"command": "reject"}
> binary audio

Whose voice it is, its `callHeaders` or the query of our URL say (assist/protocols/raw.py); else it counts as mixed. The
end is a close.
Source: developers.sinch.com/docs/voice-2.0/api-reference/stream.
"""

from __future__ import annotations

import msgspec

from assist.errors import AssistError, BadEncoding, BadMessage, Busy, Draining
from assist.protocols import Odd, Said, as_text, read_object
from assist.protocols.raw import Raw, flat


class Sinch(Raw):
    """One stream leg."""

    platform = "sinch"
    kind = "single"

    def welcome(self) -> list[str]:
        return ['{"command":"answer"}']

    def refusal(self, error: AssistError) -> list[str]:
        """Their word for it, and beside it ours."""
        told = [msgspec.json.decode(text) for text in super().refusal(error)]
        word = "busy" if isinstance(error, Busy | Draining) else "reject"
        return [as_text({"command": word, **each}) for each in told]

    def _text(self, message: str) -> list[Said]:
        text = read_object(message)
        command = text.get("command")
        if self._opened:
            if command == "connect":
                raise BadMessage("a second connect: one socket carries one stream")
            return [Odd("unknown_message")]
        if command != "connect":
            raise BadMessage(f"the first text must be the command connect, not {str(command)[:40]!r}")
        if str(text.get("codec", "PCM")).upper() != "PCM":
            raise BadEncoding(f"codec: {str(text['codec'])[:40]!r} is not PCM")
        del text["command"]
        return self._open(flat(text))
