"""Plivo audio streams: Twilio's messages with other ids, mu-law or linear audio, `extra_headers` for custom parameters.

`extra_headers` is text, `key=value` with commas or semicolons between; its keys may hold no underscore, so that
`inboundParty` says what `inbound_party` says elsewhere.
Source: plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference.
"""

from __future__ import annotations

import re
from typing import Any

from assist.protocols.twilio import Names, Twilio


class Plivo(Twilio):
    """One media stream."""

    platform = "plivo"
    names = Names(call=("callId", "streamId"), custom="extra_headers", kept=("accountId", "streamId"))
    encoding = "audio/x-l16"

    def _custom(self, text: dict[str, Any], start: dict[str, Any]) -> dict[str, str]:
        given = text.get(self.names.custom) or start.get(self.names.custom) or ""
        if isinstance(given, dict):
            pairs = [(str(k), str(v)) for k, v in given.items()]
        else:
            found = (re.split("[=:]", part, maxsplit=1) for part in re.split("[;,]", str(given)[:4_096].strip("{} ")))
            pairs = [(pair[0], pair[1]) for pair in found if len(pair) == 2]
        told = {k.strip(" \"'")[:128]: v.strip(" \"'")[:1024] for k, v in pairs[:64]}
        if (party := told.get("inboundParty")) is not None:
            told["inbound_party"] = party
        return told
