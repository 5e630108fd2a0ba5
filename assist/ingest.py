"""The ingest socket: a dialect's messages into a call, whatever happens to the socket.

A goodbye, a clean close and a reset all end the call once, with its last final delivered. Every error has a name
on the wire before the close, is counted, and loses nothing that was accepted before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any
from typing import Protocol as Interface

import msgspec
from fastapi import Response, WebSocketDisconnect
from msgspec.structs import replace
from starlette.types import Message

from assist.audio import Party
from assist.call import Call, last_finals
from assist.conversation import exchanged
from assist.errors import AssistError, Busy, Idle, Oversize, TooFast, Unauthorized, WireError
from assist.events import Entry, Noticed, RolesSwapped, SpeechStarted, Transcribed
from assist.house import House
from assist.legs import Joint
from assist.protocols import (
    Bye,
    Cut,
    Dropped,
    Due,
    Handshake,
    Key,
    Lost,
    Odd,
    Opened,
    Pause,
    Protocol,
    Resume,
    Said,
    Sound,
    Wrote,
)
from assist.websocket import SHORTCUT, TURN, Shortcut

log = logging.getLogger("assist.ingest")

ACK_S = 1.0
SEND_S = 10.0
MOST_OPENING_S = 600.0
"""So long a socket may go on speaking without opening a call."""
FILE_TIMES = 16
"""A message of a speech client holds up to 1 MiB by default: 16 s of sound at 24 kHz in base64."""
UNAUTHORISED_S = 0.5
"""A key that is not let in hears so no sooner than this after it came, whatever was wrong with it."""
TOGETHER = 10
"""Messages of one read whose audio is heard in one go, a party after the other: 200 ms, and turns keep their order."""
SLACK = 0.1
"""Patience with a silent peer is renewed ten times in its length, not at each message, and lasts so much longer."""


class Socket(Interface):
    """What is asked of a socket: a part of what Starlette's WebSocket is, and all that tcp.py has to be."""

    @property
    def scope(self) -> MutableMapping[str, Any]: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def accept(self, subprotocol: str | None = None) -> None: ...

    async def receive(self) -> Message:
        """A `websocket.receive` or a `websocket.disconnect`, as ASGI has them."""

    async def send_text(self, data: str) -> None: ...

    async def send_denial_response(self, response: Response) -> None: ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Ingest:
    """One socket of one platform. `serve` is its life.

    `files`: what comes may be a file. Messages may be `FILE_TIMES` as large, and audio that comes faster than the house
    takes it is read more slowly instead of refused. Who waits for somebody to speak is not hurried.
    """

    def __init__(self, socket: Socket, protocol: Protocol, house: House, *, files: bool = False) -> None:
        self.socket = socket
        self.protocol = protocol
        self.house = house
        self.files = files
        self.most_bytes = house.settings.ingest.max_message_bytes * (FILE_TIMES if files else 1)
        self.call: Call | None = None
        self._opening = False
        """Its call has been asked for, and is let in or refused by what was so then."""
        self.error: AssistError | None = None
        """What kept it out, or ended it."""
        self._life: asyncio.Task[None] | None = None
        self._legs: list[tuple[Joint, Party]] = []
        """Where this socket is one party of a call, or more: the call may outlive it, and ends by itself."""
        self._listening: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._voice = asyncio.Lock()
        self._parted = asyncio.Event()
        """The peer has said goodbye, or is gone."""
        self._swapped = False
        """Roles were put right; the platform's channels are what they were."""
        self._bye = False
        self._over = False
        self._shortcut: Shortcut = socket.scope.get("extensions", {}).get(SHORTCUT) or Shortcut()
        self._patience = asyncio.timeout(None)
        self._renew_at = 0.0
        self._messages = 0
        self._told = 0
        """Entries of its call's log that the dialect has been told."""
        self._began = 0.0
        self._close_code = 1000
        self._reason = "closed"

    async def serve(self) -> None:
        """Accept, listen until something ends it, see the call out, close."""
        self._clock = asyncio.get_running_loop().time
        self._came = self._clock()
        try:
            self.protocol.greet(handshake(self.socket))
        except WireError as refused:
            return await self._turn_away(refused)
        await self.socket.accept(self.protocol_name())
        error: AssistError | None = None
        listening = self._listening = asyncio.create_task(self._listen())
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
        self.error = error
        try:
            await self._see_out(error)
        finally:  # whatever happens to its socket, a call that has ended gives its place back
            if self.call and not self._legs:
                self.house.leave(self.call)
            await self._stop_telling()

    async def _stop_telling(self) -> None:
        if self._telling:
            self._telling.cancel()
            outcome = (await asyncio.gather(self._telling, return_exceptions=True))[0]
            if isinstance(outcome, Exception):
                log.error("what was heard could not be told", exc_info=outcome)

    async def _turn_away(self, error: WireError) -> None:
        """Answer the request for a socket with an error instead of a socket."""
        self.error = error
        self._count_error(error)
        await self._no_sooner(error)
        body = msgspec.json.encode({"code": error.code, "message": str(error)})
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(SEND_S):
                await self.socket.send_denial_response(Response(body, error.http_status, media_type="application/json"))

    def _count_error(self, error: AssistError) -> None:
        self.house.metrics.errors.labels(error.code).inc()
        log.info("ingest: %s: %s", error.code, error)

    async def _no_sooner(self, error: AssistError) -> None:
        if isinstance(error, Unauthorized):
            await asyncio.sleep(self._came + UNAUTHORISED_S - self._clock())

    def protocol_name(self) -> str | None:
        """The first subprotocol asked for is echoed: some platforms fail the handshake otherwise."""
        asked = self.socket.scope.get("subprotocols") or []
        return asked[0] if asked else None

    async def _listen(self) -> None:
        limits = self.house.settings.ingest
        await self._say(self.protocol.replies)
        if not self.protocol.joins:
            self.house.admit(written=self.protocol.written)
        try:
            async with asyncio.timeout(limits.hello_timeout_s) as self._patience:
                while True:
                    for said in await self._next():
                        if isinstance(said, Sound):
                            assert self.call, "a dialect gives audio only after Opened"
                            if self.files and (early_s := self.call.early_s(said.party, said.payload)):
                                await asyncio.sleep(early_s)
                            self.call.hear(said.party, said.payload)
                        elif isinstance(said, Bye):
                            self._reason, self._bye = "bye", True
                            self._parted.set()
                            return
                        else:
                            await self._do(said)
                            self._renew_at = 0.0
                    self._renew()
                    if self._messages % TURN == 0:
                        await asyncio.sleep(0)  # a socket that is always full must not keep the loop to itself
        except TimeoutError:
            if self.call:
                raise Idle(f"nothing for {limits.idle_timeout_s:g} s") from None
            missing = "audio" if self.files and self._messages else "hello"
            raise Idle(f"no {missing} within {self._opening_s:g} s") from None

    async def _next(self) -> list[Said]:
        """What is to be done next. While it is waited for, audio is heard where it is read."""
        if not self.files:  # a file that comes too fast is waited with
            self._shortcut.hear = self._straight
        try:
            message = await self.socket.receive()
        finally:
            self._shortcut.hear = None
        if "error" in message:
            raise message["error"]
        if "said" in message:
            found: list[Said] = message["said"]
            return found
        return self._read(_content(message))

    def _straight(self, messages: Sequence[str | bytes]) -> list[Message]:
        """What one read brought, on the short cut: audio is heard, each party's of `TOGETHER` messages in one go.

        Whatever is not audio, and what goes wrong, is left to who waits in `_next`, with all that came after it.
        """
        sounds: dict[Party, list[bytes]] = {}
        for n, message in enumerate(messages, 1):
            left = self._gather(message, sounds)
            if left or n == len(messages) or n % TOGETHER == 0:
                left = self._hear(sounds) or left
                sounds = {}
            if left:
                return [left, *map(_received, messages[n:])]
        self._renew()
        return []

    def _hear(self, sounds: dict[Party, list[bytes]]) -> Message | None:
        """Each party's messages to the call; the first error as an event."""
        failed: Message | None = None
        for party, payloads in sounds.items():
            try:
                assert self.call, "a dialect gives audio only after Opened"
                self.call.hear(party, *payloads)
            except Exception as error:  # the other party's came before it, in part: that is heard all the same
                failed = failed or _failed(error)
        return failed

    def _gather(self, message: str | bytes, sounds: dict[Party, list[bytes]]) -> Message | None:
        """Add a message's audio to `sounds`; an event where it holds anything else."""
        try:
            said = self._read(message)
        except Exception as error:
            return _failed(error)
        for n, each in enumerate(said):
            if not isinstance(each, Sound):
                return {"type": "websocket.receive", "said": said[n:]}
            sounds.setdefault(each.party, []).append(each.payload)
        return None

    def _read(self, message: str | bytes) -> list[Said]:
        """What a message says. Raises Oversize, TooFast, WireError."""
        self._limit(message)
        self._count(self._clock())
        return self.protocol.receive(message)

    def _limit(self, message: str | bytes) -> None:
        if len(message) > self.most_bytes:
            raise Oversize(f"a message of {len(message)} bytes; at most {self.most_bytes}")

    def _renew(self) -> None:
        """Patience with the peer begins anew; in a call only now and then."""
        now, limits = self._clock(), self.house.settings.ingest
        if not self.call:  # some clients keep a socket alive before they have anything to say
            self._patience.reschedule(min(now + self._opening_s, self._came + MOST_OPENING_S))
        elif now >= self._renew_at:
            self._renew_at = now + SLACK * limits.idle_timeout_s
            # A paused call may be silent for as long as it likes: that its peer lives, pings tell.
            self._patience.reschedule(None if self.call.paused else now + (1 + SLACK) * limits.idle_timeout_s)

    @property
    def _opening_s(self) -> float:
        """Patience with a peer that has not opened a call."""
        limits = self.house.settings.ingest
        return limits.idle_timeout_s if self.files and self._messages else limits.hello_timeout_s

    def _count(self, now: float) -> None:
        limits = self.house.settings.ingest
        self._messages += 1
        since_s = now - (self._began or now)
        self._began = self._began or now
        if self._messages > limits.messages_per_s * (limits.burst_s + limits.speed * since_s):
            raise TooFast(f"{self._messages} messages in {since_s:.1f} s; {limits.messages_per_s} a second are taken")

    async def _do(self, said: Said) -> None:
        if isinstance(said, Opened):
            self._opening = True
            call = self.call = await self._open(said)
            if not self._legs:
                self._life = asyncio.create_task(call.run(), name=f"call-{call.opened.call}")
            await self._say(self.protocol.welcome)
            if self.protocol.follows:
                self._telling = asyncio.create_task(self._retell(call), name=f"retell-{call.opened.call}")
        elif isinstance(said, Due):
            await self._say(self.protocol.replies)
        elif isinstance(said, Cut):
            await self._say(self._cut)
        elif self.call:
            _tell(self.call, said)

    async def _open(self, opened: Opened) -> Call:
        try:
            async with asyncio.timeout(self.protocol.opens_s):
                again = self.protocol.repeats
                if opened.leg:
                    joint = await self.house.open_leg(opened, again=again, give_way=self._give_way)
                    self._legs.append((joint, opened.leg))
                    return joint.call
                return await self.house.open_call(opened, again=again)
        except TimeoutError:
            raise Busy(f"the call could not be opened within {self.protocol.opens_s:g} s") from None

    @property
    def _give_way(self) -> Callable[[], None] | None:
        return self._renewed if self.protocol.renews else None

    def _renewed(self) -> None:
        """Its platform has opened a newer socket for one of its legs: nothing more is heard here."""
        if self._listening and not self._listening.done():
            self._reason = "renewed"
            self._listening.cancel()

    async def _retell(self, call: Call) -> None:
        """The call's own log, to dialects that want to know, until it has ended and all is told."""
        async for line in self.house.hub.follow(call.opened.call, 0):
            if line:
                await self._say(partial(self._tell_entry, line.entry))

    def _tell_entry(self, entry: Entry) -> list[str]:
        self._told = entry.seq
        self._swapped = self._swapped or isinstance(entry.event, RolesSwapped)
        return self.protocol.tell(by_channel(entry) if self._swapped else entry)

    def _cut(self) -> list[str]:
        if not self.call:
            return []
        to_come = self.call.cut()
        for line in self.call.log.lines[self._told :]:  # published, and not told yet
            event = line.entry.event
            if isinstance(event, Transcribed) and event.transcript.stage == "final":
                to_come[event.transcript.utterance] = event.transcript.party
        return self.protocol.cut(to_come)

    async def _ack(self) -> None:
        """What is on disk, once a second, to dialects that want to know."""
        told: object = None
        while True:
            await asyncio.sleep(ACK_S)
            if self.call:
                state = (self.call.log.kept, dict(self.call.sound.kept_ms))
                if state != told:
                    told = state
                    await self._say(partial(self.protocol.ack, *state))

    async def _drained(self) -> None:
        """Returns when the server will wait for this call no longer: at once where there is none, nor can be one."""
        await self.house.draining.wait()
        if self.call or self._opening or self.protocol.joins:  # a further leg is let in: its call is in already
            try:
                await asyncio.wait_for(self.house.hurry.wait(), self.house.settings.server.drain_s)
            except TimeoutError:
                self.house.hurry.set()  # a leg that came later is waited for no longer than those that were here

    async def _see_out(self, error: AssistError | None) -> None:
        if error:
            self._count_error(error)
        await self._flush()
        call = self.call
        if call:
            # Where the socket may come anew, its goodbye is not the call's.
            left = "closed" if self.protocol.renews and self._reason == "bye" else self._reason
            for joint, party in self._legs:
                joint.leave(party, left, self._give_way)
            if not self._legs:
                call.end(self._reason)
        parting = asyncio.create_task(self._part()) if self.protocol.parting_s and not self._over else None
        try:
            await self._say_goodbye(error, call)
            if parting and self._bye:
                await asyncio.wait({parting}, timeout=self.protocol.parting_s)  # to hang up is the peer's part
        finally:
            if parting:
                parting.cancel()
                await asyncio.gather(parting, return_exceptions=True)
        if not self._over:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await self.socket.close(self._close_code, (error.code if error else self._reason)[:120])

    async def _flush(self) -> None:
        """What the dialect still holds, which may be all of a short call."""
        if self._reason != "error:internal":
            try:
                for said in self.protocol.flush():
                    await self._do(said)
            except AssistError as error:  # too fast, or no room: the call must end all the same
                self._count_error(error)

    async def _say_goodbye(self, error: AssistError | None, call: Call | None) -> None:
        if error:
            await self._no_sooner(error)
            await self._say(partial(self.protocol.refusal, error))
        elif self._reason == "drained":
            await self._say(self.protocol.leave)
        if call and self._life:
            # The call outlives its socket until its last final is out; nobody else waits for it.
            await last_finals(call, self._life)
            await self.house.keeper.flush()
            if self._telling:
                await asyncio.wait({self._telling}, timeout=SEND_S)
            await self._say(partial(self.protocol.ack, call.log.kept, dict(call.sound.kept_ms)))
        if self.protocol.parting_s and not self._over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._parted.wait(), self.protocol.parting_s)
        if call or self._bye:
            await self._say(partial(self.protocol.farewell, self._reason, call.ledger if call else {}))

    async def _part(self) -> None:
        """What the peer says when its call is over: it is answered still, and its own goodbye is heard."""
        try:
            while True:
                with contextlib.suppress(WireError):
                    message = _content(await self.socket.receive())
                    self._limit(message)
                    for said in self.protocol.receive(message):
                        if isinstance(said, Due):
                            await self._say(self.protocol.replies)
                        elif isinstance(said, Bye):
                            self._bye = True
                            self._parted.set()
                await asyncio.sleep(0)
        except (RuntimeError, WebSocketDisconnect):
            self._over = True
            self._parted.set()

    async def _say(self, texts: Callable[[], list[str]]) -> None:
        """Texts are made when it is their turn: a dialect may number them, and several tasks speak."""
        async with self._voice:
            if not self._over:
                for text in texts():
                    await self._send(text)

    async def _send(self, text: str) -> None:
        """A peer that has gone, or does not read, is told no more; it must not hold its call."""
        if not self._over:
            try:
                async with asyncio.timeout(SEND_S):
                    await self.socket.send_text(text)
            except (RuntimeError, WebSocketDisconnect, TimeoutError):
                self._over = True


def by_channel(entry: Entry) -> Entry:
    """What was said after roles were put right, as the platform names its channels: whose words are on which."""
    event = entry.event
    match event:
        case Transcribed(transcript=said):
            event = Transcribed(replace(said, party=exchanged(said.party)))
        case SpeechStarted() | Noticed():
            event = replace(event, party=exchanged(event.party))
    return replace(entry, event=event)


def handshake(socket: Socket) -> Handshake:
    """The request for this socket, as it came."""
    scope = socket.scope
    headers: dict[str, str] = {}
    for name, value in socket.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return Handshake(target.decode("latin-1"), headers, time.time(), tuple(scope.get("subprotocols") or ()))


def _received(message: str | bytes) -> Message:
    return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}


def _failed(error: Exception) -> Message:
    return {"type": "websocket.receive", "error": error}


def _content(message: Message) -> str | bytes:
    """What the peer sent. Raises WebSocketDisconnect, Oversize."""
    if message["type"] == "websocket.disconnect":
        if message.get("code") == 1009:
            raise Oversize("a message far beyond what is taken")
        # uvicorn says 1005 of a lost connection as well; only a close that the peer said carries a reason.
        raise WebSocketDisconnect(message.get("code", 1005) if "reason" in message else 1006)
    data: str | bytes | None = message.get("bytes")
    return message.get("text") or "" if data is None else data


def _tell(call: Call, said: Said) -> None:
    match said:
        case Sound():
            call.hear(said.party, said.payload)
        case Wrote():
            call.wrote(said.party, said.text)
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
