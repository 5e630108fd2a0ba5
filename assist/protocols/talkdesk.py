"""Talkdesk's voice stream: Twilio's messages with UUIDs for ids.

Its client sends 40 ms in a frame whose `timestamp` moves on by 20, which harms nothing: samples are counted. Without a
documented proof of its own, its sockets carry the secret as a token (assist/proof.py).
Source: github.com/aws-samples/amazon-transcribe-live-call-analytics, lca-talkdesk-voicestream-stack.
"""

from __future__ import annotations

from assist.protocols.twilio import Twilio


class Talkdesk(Twilio):
    """One media stream."""

    platform = "talkdesk"
