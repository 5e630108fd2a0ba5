"""Telephony dialects, one per file: messages in, said things out. No socket, no clock, no await.

A dialect is a `Protocol`: feed it messages with `receive`, send what `replies` gives. Bad messages raise a
`WireError`; everything said before stays said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol as Interface

import msgspec

from assist.audio import Encoding, Party
from assist.errors import BadMessage
from assist.events import Ledger


@dataclass(frozen=True, slots=True)
class Opened:
    """The call as the platform describes it. `started_at` is the platform's word, kept as hearsay.

    `mixed`: parties whose channel may carry other voices too, or may be somebody else's. What they say is transcribed;
    how they sound is not judged.
    """

    call: str
    platform: str
    parties: tuple[Party, ...]
    encoding: Encoding
    rate_hz: int
    metadata: dict[str, str] = field(default_factory=dict)
    started_at: str = ""
    mixed: tuple[Party, ...] = ()


@dataclass(frozen=True, slots=True)
class Sound:
    """Bytes of one party in the call's encoding, any length."""

    party: Party
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The platform's own numbering says that so much of this party never came."""

    party: Party
    length_ms: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Audio that came and is not used: `reason` is duplicate or late."""

    party: Party
    payload_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Odd:
    """Something out of the ordinary that was handled by rule: counted, never fatal."""

    kind: str


@dataclass(frozen=True, slots=True)
class Pause:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A key was pressed."""

    party: Party


@dataclass(frozen=True, slots=True)
class Bye:
    """The platform says the call is over."""


Said = Opened | Sound | Lost | Dropped | Odd | Pause | Resume | Key | Bye


class Protocol(Interface):
    """One socket's dialect."""

    def receive(self, message: str | bytes) -> list[Said]:
        """One websocket message to what it says, in order. Raises WireError."""

    def flush(self) -> list[Said]:
        """What was held back for order, when nothing more will come."""

    def welcome(self) -> list[str]:
        """Texts to send once the call is accepted."""

    def ack(self, seq: int, audio_ms: dict[str, int]) -> list[str]:
        """Texts to send when log and audio up to here are on disk."""

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        """Texts to send when the last final is out, before the socket is closed."""


def read_object(message: str | bytes) -> dict[str, object]:
    """A JSON object. Raises BadMessage."""
    try:
        value = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadMessage(f"a JSON object is expected, not {type(value).__name__}")
    return value
