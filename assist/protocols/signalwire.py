"""SignalWire `<Stream>`: Twilio's messages; `codec` may ask for L16 at 16 or 24 kHz.

Sources: signalwire.com/docs/compatibility-api/cxml/reference/voice/stream. `authBearerToken` is the secret.
"""

from __future__ import annotations

from assist.protocols.twilio import Twilio


class SignalWire(Twilio):
    """One media stream."""

    platform = "signalwire"
