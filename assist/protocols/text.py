"""The text dialect: a chat, messages or another recogniser's transcript as they come, through the same mind as a call.

> {"type": "hello", "call": "c-1", "channel": "chat", "customer": "crm-17", "metadata": {"agent": "ann"}}
< {"type": "welcome", "call": "c-1", "events": "/calls/c-1/events", "overlay": "/overlay?call=c-1"}
> {"type": "message", "party": "customer", "text": "My camera is black.", "at": "2026-11-26T10:00:00Z"}
< {"type": "ack", "seq": 4}                                                     what is on disk
> {"type": "typing", "party": "agent"}    {"type": "edit", ...}                  counted, and nothing else
> {"type": "bye"}
< {"type": "ended", "reason": "bye"}                                             then close 1000

A message counts when it comes; `at` is hearsay and not used. What was said is not unsaid by an edit: findings and cards
came of it. Control characters become spaces, a message without a letter is counted and dropped, one that is too long is
`oversize`. A finished contact is one POST /contacts instead.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from assist.audio import Party
from assist.errors import BadMessage, Oversize, UnknownMessage
from assist.events import Ledger
from assist.protocols import Bye, Odd, Opened, Said, Simple, Wrote, as_text, read_object
from assist.protocols.plain import call_id

Channel = Literal["chat", "email", "sms", "transcript"]
MOST_LETTERS: Final = 60_000
"""Of one message: ten thousand words."""
IGNORED: Final = ("typing", "edit", "delete", "read")
T = TypeVar("T", bound=msgspec.Struct)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class TextHello(msgspec.Struct, frozen=True):
    """The first message. `customer`: who it is in your books; it stands in the call's metadata as `customer_id`.

    `parties`: who may write; "system" is a bot.
    """

    call: str
    channel: Channel
    parties: tuple[Party, ...] = ("agent", "customer")
    customer: Annotated[str, msgspec.Meta(max_length=256)] = ""
    started_at: Annotated[str, msgspec.Meta(max_length=64)] = ""
    metadata: dict[str, Annotated[str, msgspec.Meta(max_length=1_024)]] = {}


class TextMessage(msgspec.Struct, frozen=True):
    """What somebody wrote. Unknown fields are ignored."""

    party: Party
    text: str
    at: str = ""


def opened(hello: TextHello) -> Opened:
    """The call of this hello. Raises BadMessage."""
    metadata = {**dict(list(hello.metadata.items())[:64]), "channel": hello.channel}
    if hello.customer:
        metadata["customer_id"] = hello.customer
    parties = hello.parties
    if not parties or len(set(parties)) != len(parties):
        raise BadMessage("parties: one at least, each once")
    return Opened(
        call_id(hello.call), "text", parties, "mulaw", 8_000, metadata, hello.started_at, parties, written=True
    )


def wrote(party: Party, text: str) -> list[Said]:
    """What this message says. Raises Oversize."""
    if len(text) > MOST_LETTERS:
        raise Oversize(f"a message of {len(text)} characters; at most {MOST_LETTERS}")
    clean = _CONTROL.sub(" ", text)
    said: list[Said] = [Odd("control_characters")] if clean != text else []
    if not any(letter.isalnum() for letter in clean):
        return [*said, Odd("empty_text")]
    return [*said, Wrote(party, clean.strip())]


class Text(Simple):
    """One text socket."""

    written = True

    def __init__(self) -> None:
        self._opened: Opened | None = None

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            raise BadMessage("binary message: this dialect is JSON text")
        kind = read_object(message).get("type")
        if not isinstance(kind, str):
            raise BadMessage("`type` is missing or no string")
        if self._opened is None:
            if kind != "hello":
                raise BadMessage(f"the first message must be a hello, not {kind[:40]!r}")
            self._opened = opened(_read(message, TextHello))
            return [self._opened]
        if kind == "message":
            found = _read(message, TextMessage)
            if found.party not in self._opened.parties:
                raise BadMessage(f"{found.party} writes, whom the hello did not name")
            return wrote(found.party, found.text)
        if kind in IGNORED:
            return [Odd(kind)]
        if kind == "bye":
            return [Bye()]
        if kind == "hello":
            raise BadMessage("a second hello: one socket carries one contact")
        raise UnknownMessage(f"unknown message type {kind[:40]!r}: hello, message, {', '.join(IGNORED)} or bye")

    def welcome(self) -> list[str]:
        assert self._opened
        call = self._opened.call
        told = {"type": "welcome", "call": call, "events": f"/calls/{call}/events", "overlay": f"/overlay?call={call}"}
        return [as_text(told)]

    def ack(self, seq: int, audio_ms: dict[str, int]) -> list[str]:
        return [as_text({"type": "ack", "seq": seq})]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        return [as_text({"type": "ended", "reason": reason})]


def _read(message: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(message, type=kind)
    except msgspec.ValidationError as error:
        raise BadMessage(str(error)[:200]) from error
