"""Exotel AgentStream: Twilio's messages in snake case, linear audio, one channel that names no track.

The channel is the caller's from a Voicebot applet and may be everybody's from a Stream applet, so it counts as mixed:
it is followed, but nobody's voice is judged, unless the custom parameter `inbound_party` (customer, agent) says whose
it is.
Source: developer.exotel.com/docs/agentstream/websocket-protocol; `encoding` is also seen as base64, which says nothing
of the audio and is the same linear one.
"""

from __future__ import annotations

from assist.protocols.twilio import Names, Twilio


class Exotel(Twilio):
    """One media stream."""

    platform = "exotel"
    names = Names(
        number="sequence_number",
        call=("call_sid", "stream_sid"),
        media_format="media_format",
        rate="sample_rate",
        custom="custom_parameters",
        kept=("account_sid", "stream_sid", "from", "to"),
    )
    encodings = {"raw": "l16", "raw/slin": "l16", "base64": "l16"}
    encoding = "raw"
    tracked = False
