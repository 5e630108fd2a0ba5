"""Vonage Voice websockets, and Infobip's of the same shape: a JSON text with the format, then linear PCM, one channel.

> {"event": "websocket:connected", "content-type": "audio/l16;rate=16000", "call": "c-1", "party": "customer"}
> binary audio, 20 ms each
> {"event": "websocket:dtmf", "digit": "5", "duration": 260}

The socket is a member of a conversation and hears the mix of all others: it counts as mixed, unless the headers of the
NCCO's endpoint, which stand in the first text, or the query of our URL say whose leg it is (`party`). They say the
call's id as well; without one it is made up. The end is a close.
Source: developer.vonage.com/voice/voice-api/concepts/websockets.
"""

from __future__ import annotations

import re

from assist.errors import BadEncoding, BadMessage
from assist.protocols import Odd, Said, read_object
from assist.protocols.raw import Raw, flat


class Vonage(Raw):
    """One websocket endpoint."""

    platform = "vonage"
    kind = "single"

    def _text(self, message: str) -> list[Said]:
        text = read_object(message)
        event = text.get("event")
        if not isinstance(event, str):
            raise BadMessage("`event` is missing or no string")
        if self._opened is None:
            if event != "websocket:connected":
                raise BadMessage(f"the first text must be websocket:connected, not {event[:40]!r}")
            fields = flat({name: value for name, value in text.items() if name not in ("event", "content-type")})
            return self._open({"rate": _rate(str(text.get("content-type", ""))), **fields})
        if event == "websocket:connected":
            raise BadMessage("a second websocket:connected: one socket carries one stream")
        return self._late(text) if event == "websocket:dtmf" else [Odd("unknown_message")]


def _rate(content_type: str) -> str:
    """Hz, as the content type says it. Raises BadEncoding."""
    kind, *parameters = re.split(r"\s*;\s*", content_type.strip().lower())
    rates = [each.removeprefix("rate=") for each in parameters if each.startswith("rate=")]
    if kind != "audio/l16" or len(rates) > 1:
        raise BadEncoding(f"content-type: {content_type[:60]!r} is not audio/l16 with one rate")
    return rates[0] if rates else ""
