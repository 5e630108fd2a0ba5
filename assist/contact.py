"""A finished contact in writing (an e-mail, a chat, another recogniser's transcript): its way through a call.

It knows no HTTP. Each message is a turn or, where it is long, several, so that what is found can be pointed to.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final

import msgspec

from assist.audio import Party
from assist.errors import BadMessage
from assist.events import Entry, Flagged, Noticed, Suggested, Transcribed, plain
from assist.house import House
from assist.protocols import Odd, Wrote
from assist.protocols.text import Channel, TextHello, TextMessage, opened, wrote

MOST_MESSAGES: Final = 2_000


class Contact(msgspec.Struct, frozen=True):
    """What POST /contacts takes: a hello and its messages, in order. `at`: RFC 3339, or "" for at once."""

    call: str
    channel: Channel
    messages: list[TextMessage]
    customer: str = ""
    started_at: str = ""
    metadata: dict[str, str] = {}


def read(raw: bytes) -> Contact:
    """A contact from JSON. Raises BadMessage."""
    try:
        found = msgspec.json.decode(raw, type=Contact)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadMessage(f"not a contact: {error}"[:300]) from error
    if not 1 <= len(found.messages) <= MOST_MESSAGES:
        raise BadMessage(f"messages: 1 to {MOST_MESSAGES}")
    return found


def times_ms(contact: Contact) -> list[int]:
    """When each message was sent, ms after the first that says so; never before the one in front. Raises BadMessage."""
    first: datetime | None = None
    found: list[int] = []
    for message in contact.messages:
        at_ms = 0
        if message.at:
            try:
                at = datetime.fromisoformat(message.at)
                first = first or at
                at_ms = int((at - first).total_seconds() * 1000)
            except (ValueError, TypeError) as error:
                raise BadMessage(f"at: {message.at[:40]!r}: {error}") from error
        found.append(max(at_ms, found[-1] if found else 0))
    return found


async def take(house: House, contact: Contact) -> dict[str, Any]:
    """The contact as a call that has ended: its id, and what was found. Raises WireError, StoreFailed."""
    parties: tuple[Party, ...] = ("agent", "customer")
    if any(message.party == "system" for message in contact.messages):
        parties = (*parties, "system")
    hello = TextHello(contact.call, contact.channel, parties, contact.customer, contact.started_at, contact.metadata)
    described, moments = opened(hello), times_ms(contact)
    said = [wrote(message.party, message.text) for message in contact.messages]  # all is read before any is kept
    call = await house.open_call(described)
    life = asyncio.create_task(call.run(), name=f"call-{call.opened.call}")
    # However it ends and whoever still waits for it: a call that has ended gives its place back.
    life.add_done_callback(lambda _: house.leave(call))
    try:
        for at_ms, things in zip(moments, said, strict=True):
            for each in things:
                if isinstance(each, Wrote):
                    call.wrote(each.party, each.text, at_ms)
                elif isinstance(each, Odd):
                    call.note(each.kind)
    finally:
        call.end("bye")
        await asyncio.shield(life)
    await house.keeper.flush(synced=False)
    return {"call": call.opened.call, **findings([line.entry for line in call.log.lines])}


def findings(entries: list[Entry]) -> dict[str, Any]:
    """Turns with what was found in them, then cards and flags."""
    turns: dict[str, dict[str, Any]] = {}
    suggestions: list[Any] = []
    flags: list[Any] = []
    for entry in entries:
        match entry.event:
            case Transcribed(transcript=said):
                turns[said.utterance] = {"utterance": said.utterance, "party": said.party, "text": said.text}
            case Noticed() as noticed:
                turns[noticed.utterance]["findings"] = plain(noticed.findings)
            case Suggested() as suggested:
                suggestions += plain(suggested.suggestions)
            case Flagged(flag=flag):
                flags.append(plain(flag))
    return {"turns": list(turns.values()), "suggestions": suggestions, "flags": flags}
