"""Calls whose parties come on sockets of their own: who is here, who is missed, and when such a call is over.

It knows no socket and no dialect. What AudioSocket cannot say of a leg, somebody announces beforehand (`Announced`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from assist.audio import Party
from assist.call import Call, last_finals
from assist.errors import BadEncoding, DuplicateCall
from assist.protocols import Opened

FINAL_REASONS: Final = ("bye", "drained")
"""Who leaves like this does not come back."""
MOST_ANNOUNCED = 10_000
KEPT_S = 86_400.0


class Joint:
    """One live call of several sockets. `run` is its life: it ends when the last leg has left for good."""

    def __init__(self, call: Call, grace_s: float, missing_s: float) -> None:
        self.call = call
        self.grace_s = grace_s
        self.missing_s = missing_s
        self.present: dict[Party, Callable[[], None] | None] = {}
        """Who is here, and how its socket is told to give way to a newer one, where that may be."""
        self._changed = asyncio.Event()
        self._reason = "closed"
        self._told = False

    def join(self, opened: Opened, give_way: Callable[[], None] | None = None) -> None:
        """Another leg. Raises DuplicateCall where it is here already, or comes from elsewhere, and BadEncoding.

        `give_way`: one that is here already makes room for it, and this is how it will be told to do so itself.
        """
        mine = self.call.opened
        assert opened.leg
        here = opened.leg in self.present
        older = self.present.get(opened.leg)
        if self.call.ending or opened.platform != mine.platform or (here and not (give_way and older)):
            raise DuplicateCall(f"call {opened.call!r} is already known, or its {opened.leg} is here on another socket")
        if (opened.encoding, opened.rate_hz) != (mine.encoding, mine.rate_hz):
            came = f"{opened.encoding} at {opened.rate_hz} Hz"
            raise BadEncoding(f"{came}: the call's other leg came as {mine.encoding} at {mine.rate_hz}")
        if older:
            older()
            self.call.left(opened.leg, "renewed")
        self.call.joined(opened.leg, opened.metadata)
        self.present[opened.leg] = give_way
        self._told = self._told and opened.leg != "customer"
        self._changed.set()

    def leave(self, party: Party, reason: str, give_way: Callable[[], None] | None = None) -> None:
        """A leg's socket has gone; the reason of the last one is the call's. `give_way`: as it has joined."""
        if self.present.get(party) != give_way:
            return  # a newer one is in its place
        self.present.pop(party, None)
        self._reason = reason
        self.call.left(party, reason)
        self._changed.set()

    async def run(self) -> None:
        """Host the call until its last leg has left for good and its last final is out."""
        life = asyncio.create_task(self.call.run(), name=f"call-{self.call.opened.call}")
        legs = asyncio.create_task(self._until_left())
        try:
            # The server may end the call by itself.
            await asyncio.wait({life, legs}, return_when=asyncio.FIRST_COMPLETED)
            self.call.end(self._reason)
            await last_finals(self.call, life)
        finally:
            life.cancel()
            legs.cancel()
            await asyncio.gather(life, legs, return_exceptions=True)

    async def _until_left(self) -> None:
        while self.present or self._reason not in FINAL_REASONS:
            unattended = self.present.keys() == {"agent"} and not self._told
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self.present and not unattended else self._patience_s()):
                    await self._changed.wait()
            except TimeoutError:
                if not self.present:
                    return
                self._told = True
                self.call.misses("customer", round(self.missing_s * 1000))

    def _patience_s(self) -> float:
        return self.missing_s if self.present else self.grace_s


class Announced:
    """Whose voice a stream will carry, by its UUID: for a day, and of many only the newest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._legs: dict[str, tuple[str, Party, float]] = {}

    def add(self, stream: str, call: str, party: Party) -> None:
        """The stream with this UUID, in small letters, is that party of that call."""
        self._legs.pop(stream, None)
        self._legs[stream] = (call, party, self._clock() + KEPT_S)
        while len(self._legs) > MOST_ANNOUNCED or next(iter(self._legs.values()))[2] < self._clock():
            del self._legs[next(iter(self._legs))]

    def of(self, stream: str) -> tuple[str, Party] | None:
        """Call and party; None where nobody said. It stays, as the stream may break off and come back."""
        call, party, until = self._legs.get(stream, ("", "customer", 0.0))
        return (call, party) if until >= self._clock() and call else None
