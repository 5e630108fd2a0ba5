"""FreeSWITCH, mod_audio_stream and mod_audio_fork: linear PCM, and a text of any kind before it, after it or never.

    uuid_audio_stream UUID start ws://host/ingest/freeswitch?call=UUID&rate=16000&channels=stereo stereo 16k {...}

The module says neither rate nor channels: they stand in the URL or in the text (assist/protocols/raw.py), else one
channel at 8000 Hz is assumed, and counted. A text that is a UUID is the call's id, other free text becomes metadata.
On stereo the caller is left, whom `party` names: the customer, unless it says agent. The end is a close, or none.
Sources: github.com/amigniter/mod_audio_stream, github.com/drachtio/drachtio-freeswitch-modules (mod_audio_fork).
"""

from __future__ import annotations

import re

from assist.errors import BadMessage
from assist.protocols import Odd, Said, read_object
from assist.protocols.raw import Raw, flat

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")


class FreeSwitch(Raw):
    """One stream of one channel."""

    platform = "freeswitch"
    opens_itself = True

    def _text(self, message: str) -> list[Said]:
        if not message.strip():
            return [Odd("empty")]
        try:
            fields = read_object(message)
        except BadMessage:  # no JSON need come: the dialplan says what
            text = message.strip()
            fields = {"call" if _UUID.match(text) else "text": text}
        return self._late(fields) if self._opened else self._open(flat(fields))
