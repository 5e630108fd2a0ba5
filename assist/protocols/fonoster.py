"""Fonoster's stream with `protocol twilio`: Twilio's messages; only the signature on the handshake is its own.

Sources: docs.fonoster.com/reference/twilio-compatibility and /streams/verify-signatures.
"""

from __future__ import annotations

from assist.protocols.twilio import Twilio


class Fonoster(Twilio):
    """One media stream."""

    platform = "fonoster"
