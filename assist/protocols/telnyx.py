"""Telnyx media streams: Twilio's messages in snake case, media in no sure order: each party's go by their `chunk`.

Whether both tracks share one run of chunk numbers or have one each is not documented. So when the second track begins,
messages are held, a quarter of a second at the most, until a number came on both or none did. Holes say what was lost
where it is known whose they are. `stop` is taken at its word: what waits for order is said before it.
PCMU and PCMA at 8 or 16 kHz and little-endian L16 are taken; G722, OPUS and AMR-WB are refused by name.
Source: developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assist.audio import Party
from assist.protocols import Bye, Handshake, Odd, Said
from assist.protocols.twilio import WINDOW, Media, Message, Names, Order, Twilio

HELD = 25
"""Messages after which two tracks that had no number in common share their run of numbers."""


class Telnyx(Twilio):
    """One media stream."""

    platform = "telnyx"
    names = Names(
        number="sequence_number",
        call=("call_control_id", "stream_id"),
        media_format="media_format",
        rate="sample_rate",
        custom="custom_parameters",
        kept=("user_id", "call_session_id", "stream_id", "from", "to", "client_state"),
    )
    encoding = "PCMU"

    def __init__(self, check: Callable[[Handshake], None] = lambda _: None) -> None:
        super().__init__(check)
        self._orders: dict[Party, Order] = {}
        self._held: list[Media] | None = None
        """What came since the second track began, while it is not known how tracks are numbered."""
        self._holes_are_known = True

    def flush(self) -> list[Said]:
        said = self._settle(end=True) if self._held else []
        return [*said, *(each for order in dict.fromkeys(self._orders.values()) for each in order.flush())]

    def _in_order(self, text: dict[str, Any]) -> list[Said]:
        message = self._read(text)
        self._sequence(text, 0)  # not needed, but what is no number is named
        if isinstance(message, Bye):
            return [*self.flush(), *self._say(message)]
        if not isinstance(message, Media) or message.chunk is None:
            return self._say(message)
        party, chunk = message.party, message.chunk
        if self._held is None:
            if not self._orders:
                self._orders[party] = self._begun(chunk)
            if party in self._orders:
                return self._orders[party].push(chunk, message)
            self._held = []
        self._held.append(message)
        return self._settle()

    def _holes(self, party: Party) -> int:
        return self._orders[party].holes

    def _read(self, text: dict[str, Any]) -> Message:
        return Odd("platform_error") if text["event"] == "error" else super()._read(text)

    def _begun(self, chunk: int) -> Order:
        # Numbers begin at 1; the very first message may be one that was overtaken.
        return Order(min(chunk, 1) if chunk <= WINDOW else chunk, self._say)

    def _settle(self, *, end: bool = False) -> list[Said]:
        """What was held, as soon as it is known how tracks are numbered."""
        held = self._held or []
        ((first, order),) = self._orders.items()
        chunks = [each.chunk or 0 for each in held if each.party == first]
        others = [each.chunk or 0 for each in held if each.party != first]
        twice = any(n in chunks or n < order.next or n in order.early for n in others)
        if not (twice or end or len(held) > HELD):
            return []
        self._held = None
        one_run = not twice and not end and max(others) < order.next + 2 * HELD
        self._holes_are_known = not one_run and not end
        second: Party = "agent" if first == "customer" else "customer"
        self._orders[second] = order if one_run else self._begun(min(others))
        return [said for each in held for said in self._orders[each.party].push(each.chunk or 0, each)]

    def _say(self, message: Message) -> list[Said]:
        if isinstance(message, Media) and not self._holes_are_known:
            message = message._replace(chunk=None)  # what is missing may be the other track's
        return super()._say(message)
