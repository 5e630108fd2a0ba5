"""The websocket of Amazon's Live Call Analytics: JSON texts that start and end a call, between them linear PCM.

> {"callEvent": "START", "callId": "c-1", "fromNumber": "+1...", "toNumber": "+1...", "agentId": "ann",
   "samplingRate": 8000}
> binary audio, two channels whose samples stand in turn: left the caller, who is the customer, right the agent
> {"callEvent": "END", "callId": "c-1"}

The sample client sends a WAV file's header as audio: it is taken off. Other events (UPDATE_AGENT, ADD_...) are counted
and change nothing. Clients bring a user's JWT (`Authorization: Bearer ...` or `?authorization=Bearer ...`), which is
verified where `ingest.tokens` says with which keys and for which app client; else one shared value is asked for
(`ingest.secrets`). None of it is kept.
Source: github.com/aws-samples/amazon-transcribe-live-call-analytics (its code: the README shows other messages).
"""

from __future__ import annotations

from assist.errors import BadMessage
from assist.protocols import Bye, Odd, Said, read_object
from assist.protocols.raw import Raw, flat


class Lca(Raw):
    """One call."""

    platform = "lca"
    kind = "stereo"

    def _text(self, message: str) -> list[Said]:
        text = read_object(message)
        event = text.get("callEvent")
        if not isinstance(event, str):
            raise BadMessage("`callEvent` is missing or no string")
        if self._over:
            return [Odd("after_end")]
        if self._opened is None:
            if event != "START":
                raise BadMessage(f"the first text must be START, not {event[:40]!r}")
            del text["callEvent"]
            return self._open(flat(text))
        if event == "START":
            raise BadMessage("a second START: one socket carries one call")
        if event == "END":
            self._over = True
            return [Bye()]
        return [Odd("update_agent" if event == "UPDATE_AGENT" else "unknown_message")]
