"""The ingest socket: a dialect's messages into a call, whatever happens to the socket.

A goodbye, a clean close and a reset all end the call once, with its last final delivered. Every error has a name
on the wire before the close, is counted, and loses nothing that was accepted before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

import msgspec
from fastapi import WebSocket, WebSocketDisconnect
from starlette.types import Message

from assist.call import Call
from assist.errors import AssistError, Busy, Idle, Oversize, TooFast, WireError
from assist.house import House
from assist.protocols import Bye, Dropped, Key, Lost, Odd, Opened, Pause, Protocol, Resume, Said, Sound

log = logging.getLogger("assist.ingest")

ACK_S = 1.0
SEND_S = 10.0
LAST_FINALS_S = 60.0
TURN = 32
SLACK = 0.1
"""Patience with a silent peer is renewed ten times in its length, not at each message, and lasts so much longer."""


class Ingest:
    """One socket of one platform. `serve` is its life."""

    def __init__(self, socket: WebSocket, protocol: Protocol, house: House) -> None:
        self.socket = socket
        self.protocol = protocol
        self.house = house
        self.call: Call | None = None
        self._life: asyncio.Task[None] | None = None
        self._over = False
        self._messages = 0
        self._began = 0.0
        self._close_code = 1000
        self._reason = "closed"

    async def serve(self) -> None:
        """Accept, listen until something ends it, see the call out, close."""
        await self.socket.accept(self.protocol_name())
        error: AssistError | None = None
        listening = asyncio.create_task(self._listen())
        draining = asyncio.create_task(self._drained())
        acking = asyncio.create_task(self._ack())
        try:
            await asyncio.wait({listening, draining}, return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                listening.cancel()
                self._reason, self._close_code = "drained", 1012
            await listening
        except asyncio.CancelledError:
            if not listening.cancelled():
                raise
        except WebSocketDisconnect as gone:
            self._reason, self._over = "closed" if gone.code in (1000, 1001, 1005) else "lost", True
        except AssistError as named:
            error = named
            self._reason, self._close_code = f"error:{named.code}", named.close_code
        except Exception as unexpected:  # our own bug must end this call in order, and no other
            log.exception("ingest failed")
            error = AssistError(f"internal error: {type(unexpected).__name__}")
            self._reason, self._close_code = "error:internal", 1011
        finally:
            draining.cancel()
            acking.cancel()
            await asyncio.gather(draining, acking, return_exceptions=True)
        try:
            await self._see_out(error)
        finally:  # whatever happens to its socket, a call that has ended gives its place back
            if self.call:
                self.house.leave(self.call)

    def protocol_name(self) -> str | None:
        """The first subprotocol asked for is echoed: some platforms fail the handshake otherwise."""
        asked = self.socket.scope.get("subprotocols") or []
        return asked[0] if asked else None

    async def _listen(self) -> None:
        limits = self.house.settings.ingest
        self.house.admit()
        loop = asyncio.get_running_loop()
        waiting_for = f"no hello within {limits.hello_timeout_s:g} s"
        renewed, renew_at = False, 0.0
        try:
            async with asyncio.timeout(limits.hello_timeout_s) as patience:
                while True:
                    message = _content(await self.socket.receive(), limits.max_message_bytes)
                    now = loop.time()
                    self._count(now)
                    if self._messages % TURN == 0:
                        await asyncio.sleep(0)  # a socket that is always full must not keep the loop to itself
                    for said in self.protocol.receive(message):
                        if isinstance(said, Sound):
                            assert self.call, "a dialect gives audio only after Opened"
                            self.call.hear(said.party, said.payload)
                        elif isinstance(said, Bye):
                            self._reason = "bye"
                            return
                        else:
                            await self._do(said)
                            renewed = False
                    if self.call and (now >= renew_at or not renewed):
                        waiting_for = f"nothing for {limits.idle_timeout_s:g} s"
                        renewed, renew_at = True, now + SLACK * limits.idle_timeout_s
                        # A paused call may be silent for as long as it likes: that its peer lives, pings tell.
                        until = None if self.call.paused else loop.time() + (1 + SLACK) * limits.idle_timeout_s
                        patience.reschedule(until)
        except TimeoutError:
            raise Idle(waiting_for) from None

    def _count(self, now: float) -> None:
        limits = self.house.settings.ingest
        self._messages += 1
        since_s = now - (self._began or now)
        self._began = self._began or now
        if self._messages > limits.messages_per_s * (limits.burst_s + limits.speed * since_s):
            raise TooFast(f"{self._messages} messages in {since_s:.1f} s; {limits.messages_per_s} a second are taken")

    async def _do(self, said: Said) -> None:
        if isinstance(said, Opened):
            self.call = await self.house.open_call(said)
            self._life = asyncio.create_task(self.call.run(), name=f"call-{said.call}")
            for text in self.protocol.welcome():
                await self._send(text)
        elif self.call:
            _tell(self.call, said)

    async def _ack(self) -> None:
        """What is on disk, once a second, to dialects that want to know."""
        told: object = None
        while True:
            await asyncio.sleep(ACK_S)
            if self.call:
                state = (self.call.log.kept, dict(self.call.sound.kept_ms))
                if state != told:
                    told = state
                    for text in self.protocol.ack(*state):
                        await self._send(text)

    async def _drained(self) -> None:
        """Returns when the server will wait for this call no longer."""
        await self.house.draining.wait()
        if self.call:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.house.hurry.wait(), self.house.settings.server.drain_s)

    async def _see_out(self, error: AssistError | None) -> None:
        if error:
            self.house.metrics.errors.labels(error.code).inc()
            log.info("ingest: %s: %s", error.code, error)
        call = self.call
        if call:
            if self._reason != "error:internal":
                with contextlib.suppress(AssistError):  # too fast, or no room: the call must end all the same
                    for said in self.protocol.flush():
                        _tell(call, said)
            call.end(self._reason)
        if error:
            # What is wrong inside, with its paths, is for our log.
            message = str(error) if isinstance(error, WireError) else "the server could not go on; its log says why"
            told: dict[str, str | int] = {"type": "error", "code": error.code, "message": message}
            if isinstance(error, Busy):
                told["retry_after_s"] = error.again_s
            await self._send(msgspec.json.encode(told).decode())
        if call and self._life:
            # The call outlives its socket until its last final is out; nobody else waits for it.
            await self._last_finals(call, self._life)
            outcome = (await asyncio.gather(self._life, return_exceptions=True))[0]
            if isinstance(outcome, BaseException):
                log.error("call %s ended badly", call.opened.call, exc_info=outcome)
            await self.house.keeper.flush()
            for text in (
                *self.protocol.ack(call.log.kept, dict(call.sound.kept_ms)),
                *self.protocol.farewell(self._reason, call.ledger),
            ):
                await self._send(text)
        if not self._over:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await self.socket.close(self._close_code, (error.code if error else self._reason)[:120])

    async def _last_finals(self, call: Call, life: asyncio.Task[None]) -> None:
        """Wait as long as its log grows; with nothing new for so long it is given up, and the books say so."""
        told = -1
        while not life.done() and told != call.log.last_seq:
            told = call.log.last_seq
            await asyncio.wait({life}, timeout=LAST_FINALS_S)
        life.cancel()

    async def _send(self, text: str) -> None:
        """A peer that has gone, or does not read, is told no more; it must not hold its call."""
        if not self._over:
            try:
                async with asyncio.timeout(SEND_S):
                    await self.socket.send_text(text)
            except (RuntimeError, WebSocketDisconnect, TimeoutError):
                self._over = True


def _content(message: Message, most_bytes: int) -> str | bytes:
    """What the peer sent. Raises WebSocketDisconnect, Oversize."""
    if message["type"] == "websocket.disconnect":
        if message.get("code") == 1009:
            raise Oversize(f"a message far beyond {most_bytes} bytes")
        # uvicorn says 1005 of a lost connection as well; only a close that the peer said carries a reason.
        raise WebSocketDisconnect(message.get("code", 1005) if "reason" in message else 1006)
    data: str | bytes | None = message.get("bytes")
    if data is None:
        data = message.get("text") or ""
    if len(data) > most_bytes:
        raise Oversize(f"a message of {len(data)} bytes; at most {most_bytes}")
    return data


def _tell(call: Call, said: Said) -> None:
    match said:
        case Sound():
            call.hear(said.party, said.payload)
        case Lost():
            call.lost(said.party, said.length_ms)
        case Dropped():
            call.dropped(said.party, said.payload_bytes, said.reason)
        case Odd():
            call.note(said.kind)
        case Pause():
            call.pause(said.reason)
        case Resume():
            call.resume(said.reason)
        case Key():
            call.key(said.party)
        case _:
            pass


Dialects = Mapping[str, Callable[[], Protocol]]
