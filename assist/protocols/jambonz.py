"""jambonz `listen`: the call's attributes as one JSON text, then linear PCM; keys as texts where `passDtmf` asks.

> {"callSid": UUID, "callId": "...", "from": "+1...", "to": "+1...", "direction": "inbound", "sampleRate": 8000,
   "mixType": "stereo", "agent": "ann"}
> binary audio
> {"event": "dtmf", "dtmf": "2", "duration": "1600"}

The `metadata` of the verb stands among the attributes, or in an object of its own; `call`, `party` and the like in it,
or in our URL, are as in assist/protocols/raw.py. The socket echoes the subprotocol (audio.jambonz.org,
audio.drachtio.org). The end is a close.
Sources: docs.jambonz.org/verbs/verbs/listen, docs.jambonz.org/docs/webhooks/listen.
"""

from __future__ import annotations

from assist.errors import BadMessage
from assist.protocols import Said, read_object
from assist.protocols.raw import Raw, flat


class Jambonz(Raw):
    """One `listen`."""

    platform = "jambonz"

    def _text(self, message: str) -> list[Said]:
        text = read_object(message)
        if self._opened:
            return self._late(text)
        if not text.keys() & {"callSid", "sampleRate", "mixType"}:
            raise BadMessage("the first text must be the call's attributes: callSid, sampleRate, mixType")
        return self._open(flat(text))
