"""Entries as CloudEvents 1.0 (structured JSON), signed as Standard Webhooks 1.0. Pure; it sends nothing.

webhook-id: msg_...  webhook-timestamp: unix seconds  webhook-signature: v1,base64(HMAC-SHA256(id.timestamp.body))
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import quote

import msgspec

from assist.errors import ConfigError
from assist.events import (
    AnyEvent,
    CallEnded,
    CallStarted,
    ChannelFaulted,
    ChannelMended,
    Entry,
    Flagged,
    Marked,
    Noticed,
    Reviewed,
    RolesSwapped,
    Suggested,
    Transcribed,
    Withdrawn,
)

MEDIA_TYPE: Final = "application/cloudevents+json"
KINDS: Final[dict[str, type[AnyEvent]]] = {
    "call.started": CallStarted,
    "call.ended": CallEnded,
    "call.flagged": Flagged,
    "call.reviewed": Reviewed,
    "channel.faulted": ChannelFaulted,
    "channel.mended": ChannelMended,
    "roles.swapped": RolesSwapped,
    "transcript.final": Transcribed,
    "utterance.judged": Noticed,
    "suggestions.shown": Suggested,
    "suggestions.withdrawn": Withdrawn,
    "suggestion.marked": Marked,
}
"""What may be asked for. Partial and speculative text is for screens and is never sent."""

_NAMES: Final = {event: name for name, event in KINDS.items()}


def kind_of(event: AnyEvent) -> str:
    """The name under which it is sent; "" where it never is."""
    if isinstance(event, Transcribed) and event.transcript.stage != "final":
        return ""
    return _NAMES.get(type(event), "")


def event_id(started_at: str, entry: Entry) -> str:
    """The same at every try, so that a receiver can tell what it had before."""
    return "msg_" + sha256(f"{started_at}\n{entry.call}\n{entry.seq}".encode()).hexdigest()[:32]


def body(started_at: str, entry: Entry) -> bytes:
    """The CloudEvent; `data` is the entry. What people say of a call later has no time: a log has no clock for it."""
    later = isinstance(entry.event, Marked | Reviewed)
    moment = datetime.fromisoformat(started_at) + timedelta(milliseconds=entry.at_ms)
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": event_id(started_at, entry),
            "source": f"/calls/{quote(entry.call, safe='')}",
            "type": kind_of(entry.event),
            "subject": entry.call,
            **({} if later else {"time": moment.isoformat(timespec="milliseconds")}),
            "datacontenttype": "application/json",
            "data": entry,
        }
    )


def keys(secret: str) -> tuple[bytes, ...]:
    """The keys in one or more `whsec_` secrets with spaces between. Raises ConfigError."""
    found = []
    for text in secret.split():
        try:
            found.append(base64.b64decode(text.removeprefix("whsec_"), validate=True))
        except ValueError as error:  # binascii's is one, and so is that of a letter beyond ASCII
            raise ConfigError(f"webhooks.secret: not base64: {error}") from None
        if not text.startswith("whsec_") or not 24 <= len(found[-1]) <= 64:
            raise ConfigError("webhooks.secret: whsec_ and base64 of 24 to 64 bytes are expected")
    if not found:
        raise ConfigError("webhooks.secret: what is sent must be signed: whsec_ and base64 of 24 to 64 bytes")
    return tuple(found)


def signed(signing_keys: Sequence[bytes], message_id: str, timestamp_s: int, content: bytes) -> dict[str, str]:
    """The headers of one try: a signature for each key."""
    text = f"{message_id}.{timestamp_s}.".encode() + content
    marks = [b"v1," + base64.b64encode(hmac.digest(key, text, "sha256")) for key in signing_keys]
    return {
        "content-type": MEDIA_TYPE,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": b" ".join(marks).decode(),
    }
