"""Twilio Media Streams, both tracks: frames reordered by sequence; where it has a hole, chunk numbers say how much.

Sources: twilio.com/docs/voice/media-streams/websocket-messages. Numbers come as strings or as numbers; ids may
be missing on media; `timestamp` is never used. Whether the tracks have chunk numbers of their own or share one run (as
in the documents' example), nobody says, so a hole in them alone means nothing. `inbound` is the customer unless the
custom parameter `inbound_party` says agent; where it says something else, roles are guessed and nobody's voice is
judged. Linear audio is little-endian and may have any rate that has a simple ratio to 16 kHz. What comes after the
start and has a name we do not know is counted and passed over. A further stream of a call, after a hold or beside the
first one, is `ID.2`.

The same messages under other names are other platforms: each is a small class beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from assist.audio import Encoding, Party
from assist.errors import BadEncoding, BadMessage, UnknownMessage
from assist.protocols import (
    Bye,
    Dropped,
    Handshake,
    Key,
    Lost,
    Odd,
    Opened,
    Said,
    Simple,
    Sound,
    read_object,
    read_payload,
)
from assist.protocols.plain import encoding_named, platform_id
from assist.resample import Resamplers, taken

WINDOW = 50
"""Messages waited for before a hole in the sequence counts as lost: half a second of two tracks."""
MOST_LOST_MS = 10_000
"""A jump of chunk numbers beyond this is a renumbering, not a loss."""
KINDS = ("media", "dtmf", "mark", "stop")


@dataclass(frozen=True, slots=True)
class Names:
    """What a platform calls the fields. `call`: where `start` has the call's id; `kept`: what becomes metadata."""

    number: str = "sequenceNumber"
    call: tuple[str, ...] = ("callSid", "streamSid")
    media_format: str = "mediaFormat"
    rate: str = "sampleRate"
    custom: str = "customParameters"
    kept: tuple[str, ...] = ("accountSid", "streamSid")


class Media(NamedTuple):
    """One media message, read when it came, so that a bad one costs no good one that waits before it."""

    party: Party
    payload: bytes
    chunk: int | None


Message = Media | Key | Bye | Odd | None
"""What a numbered message says by itself; None where that is nothing."""


class Order:
    """Numbered messages, given to `say` once each in the order of their numbers; what has waited for long enough for
    a hole to be filled goes on without it.
    """

    def __init__(self, first: int, say: Callable[[Message], list[Said]]) -> None:
        self.next = first
        self.early: dict[int, Message] = {}
        self.skipped: set[int] = set()
        self.holes = 0
        """Numbers that were given up so far."""
        self._say = say

    def push(self, number: int, message: Message) -> list[Said]:
        """What can be said now."""
        if number < self.next or number in self.early:
            return self._stray(message, number)
        if number > self.next + 10 * WINDOW:
            # Renumbered: holding thousands of frames for it would be worse.
            waiting = self.flush()
            self.next = number
            return [Odd("renumbered"), *waiting, *self._advance(message)]
        if number > self.next:
            self.early[number] = message
            said: list[Said] = [Odd("reordered")]
            while len(self.early) > WINDOW or (self.early and max(self.early) - self.next > WINDOW):
                said += self._skip_hole()
            return said
        return self._advance(message)

    def flush(self) -> list[Said]:
        """What waits, when nothing more will come."""
        said: list[Said] = []
        while self.early:
            said += self._skip_hole()
        return said

    def _advance(self, message: Message) -> list[Said]:
        said = self._say(message)
        self.next += 1
        while self.next in self.early:
            said += self._say(self.early.pop(self.next))
            self.next += 1
        return said

    def _skip_hole(self) -> list[Said]:
        first = min(self.early)
        if len(self.skipped) > 20 * WINDOW:
            self.skipped.clear()
        self.skipped.update(range(self.next, first))
        self.holes += first - self.next
        self.next = first
        return [Odd("missing"), *self._advance(self.early.pop(first))]

    def _stray(self, message: Message, number: int) -> list[Said]:
        # Its number has passed: late if its hole was skipped, a duplicate if it was heard (or waits to be).
        reason = "late" if number in self.skipped else "duplicate"
        self.skipped.discard(number)
        if not isinstance(message, Media):
            return [Odd(reason)]
        return [Odd(reason), Dropped(message.party, len(message.payload), reason)]


class Twilio(Simple):
    """One media stream. `check` raises WireError for a handshake that is not let in; by default all are."""

    platform = "twilio"
    repeats = True
    names = Names()
    encodings: Mapping[str, Encoding] = {}
    """Names of encodings that only this platform has."""
    encoding = "audio/x-mulaw"
    """What it sends where its start does not say."""
    tracked = True
    """Its media say whose they are. Else all of it is one channel: the caller's, or everybody's."""

    def __init__(self, check: Callable[[Handshake], None] = lambda _: None) -> None:
        self._check = check
        self._opened: Opened | None = None
        self._roles: dict[str, Party] = {}
        self._order = Order(0, self._say)
        self._chunk: dict[Party, tuple[int, int]] = {}
        """Each party's last chunk, and how many holes there were before it."""
        self._bytes_per_ms = 8.0
        self._rates = Resamplers((), 8_000)
        self._closed = False

    def greet(self, handshake: Handshake) -> None:
        self._check(handshake)

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            raise BadMessage("binary message: this dialect is JSON with base64 audio")
        text = read_object(message)
        event = text.get("event")
        if event == "connected":
            return []
        if self._closed:
            return [Odd("after_stop")]
        if event == "start":
            return self._start(text)
        if not isinstance(event, str) or (self._opened is None and event not in KINDS):
            raise UnknownMessage(f"unknown event {str(event)[:40]!r}")
        if self._opened is None:
            raise BadMessage(f"{event} before start")
        return [self._at_our_rate(each) if isinstance(each, Dropped) else each for each in self._in_order(text)]

    def flush(self) -> list[Said]:
        return self._order.flush()

    # ---- the start

    def _start(self, text: dict[str, Any]) -> list[Said]:
        if self._opened is not None:
            raise BadMessage("a second start: one socket carries one stream")
        start = text.get("start")
        if not isinstance(start, dict):
            raise BadMessage("start: the object `start` is missing")
        encoding, rate_hz = self._format(start)
        custom = self._custom(text, start)
        said = custom.get("inbound_party", "customer" if self.tracked else "unknown").strip().lower()
        inbound: Party = "agent" if said == "agent" else "customer"
        outbound: Party = "customer" if inbound == "agent" else "agent"
        self._roles = {"inbound": inbound, "outbound": outbound} if self.tracked else {"inbound": inbound}
        # Both are opened even when one is announced: a declared track may stay away, an undeclared one may come.
        parties: tuple[Party, ...] = ("agent", "customer") if self.tracked else (inbound,)
        sid = next(filter(None, (start.get(name) or text.get(name) for name in self.names.call)), None)
        if not isinstance(sid, str):
            raise BadMessage(f"start: `{self.names.call[0]}` is missing")
        self._order.next = self._sequence(text, 1) + 1
        self._bytes_per_ms = rate_hz * (2 if encoding == "l16" else 1) / 1000
        self._rates = Resamplers(parties, rate_hz)
        mixed: tuple[Party, ...] = () if said in ("agent", "customer") else parties
        call, own = platform_id(sid)
        metadata = {**custom, **own, **self._metadata(text, start)}
        opened = Opened(call, self.platform, parties, encoding, self._rates.rate_hz, metadata, mixed=mixed)
        self._opened = opened
        return [opened]

    def _format(self, start: dict[str, Any]) -> tuple[Encoding, int]:
        given = start.get(self.names.media_format)
        media: dict[str, Any] = given if isinstance(given, dict) else {}
        name = str(media.get("encoding") or self.encoding).lower()
        # audio/x-mulaw, audio/x-l16;rate=16000, PCMU@8000h
        name = re.split(r"[;@]", name)[0].strip().removeprefix("audio/").removeprefix("x-")
        encoding = self.encodings.get(name) or encoding_named(name)
        rate_hz = _number(media.get(self.names.rate, 8_000), self.names.rate)
        if _number(media.get("channels", 1), "channels") != 1:
            raise BadEncoding(f"media format {media!r}: one channel per track"[:200])
        if encoding != "l16" and rate_hz not in (8_000, 16_000):
            raise BadEncoding(f"media format {media!r}: 8000 or 16000 Hz, any other only in linear audio"[:200])
        taken(rate_hz)
        return encoding, rate_hz

    def _custom(self, text: dict[str, Any], start: dict[str, Any]) -> dict[str, str]:
        """What whoever started the stream gave it."""
        given = start.get(self.names.custom)
        return {str(k)[:128]: str(v)[:1024] for k, v in list((given if isinstance(given, dict) else {}).items())[:64]}

    def _metadata(self, text: dict[str, Any], start: dict[str, Any]) -> dict[str, str]:
        tracks = start.get("tracks")
        known = [t for t in map(str, tracks) if t in self._roles] if isinstance(tracks, list) else []
        told = {"tracks": ",".join(known)}
        for name in self.names.kept:
            value = start.get(name) or text.get(name)
            if isinstance(value, str):
                told[name] = value[:128]
        return told

    # ---- what follows

    def _in_order(self, text: dict[str, Any]) -> list[Said]:
        message = self._read(text)
        if self.names.number not in text:
            return self._say(message)  # an alias dialect without numbers: order of arrival is all there is
        return self._order.push(self._sequence(text, 0), message)

    def _say(self, message: Message) -> list[Said]:
        if message is None:
            return []
        if self._closed:
            return [Odd("after_stop")]
        if not isinstance(message, Media):
            self._closed = isinstance(message, Bye)
            return [message]
        party, payload, chunk = message
        said: list[Said] = []
        if chunk is not None:
            holes = self._holes(party)
            before, known = self._chunk.get(party, (chunk, holes))
            if (missing := min(chunk - before - 1, holes - known)) > 0:
                length_ms = round(missing * len(payload) / self._bytes_per_ms)
                said.append(Lost(party, length_ms) if length_ms <= MOST_LOST_MS else Odd("renumbered"))
            self._chunk[party] = chunk, holes
        payload = self._rates.push(party, payload)
        return [*said, Sound(party, payload)] if payload else said

    def _at_our_rate(self, dropped: Dropped) -> Dropped:
        return replace(dropped, payload_bytes=self._rates.length(dropped.payload_bytes))

    def _holes(self, party: Party) -> int:
        """Numbers given up so far that may have been this party's."""
        return self._order.holes

    def _read(self, text: dict[str, Any]) -> Message:
        match text["event"]:
            case "media":
                return self._media(text)
            case "dtmf":
                given = text.get("dtmf")
                track = given.get("track") if isinstance(given, dict) else None
                return Key(self._roles.get(str(track).removesuffix("_track"), self._roles["inbound"]))
            case "stop":
                return Bye()
            case "mark":
                return None
        return Odd("unknown_message")

    def _media(self, text: dict[str, Any]) -> Media:
        media = text.get("media")
        if not isinstance(media, dict):
            raise BadMessage("media: the object `media` is missing")
        track = str(media.get("track", "inbound")).removesuffix("_track") if self.tracked else "inbound"
        if track not in self._roles:
            raise BadMessage(f"media: unknown track {track[:40]!r}")
        payload = media.get("payload")
        if not isinstance(payload, str):
            raise BadMessage("media: `payload` is missing or no string")
        chunk = media.get("chunk")
        return Media(self._roles[track], read_payload(payload), None if chunk is None else _number(chunk, "chunk"))

    def _sequence(self, text: dict[str, Any], default: int) -> int:
        return _number(text.get(self.names.number, default), self.names.number)


def _number(value: object, name: str) -> int:
    """An integer that may come as a string. Raises BadMessage."""
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2**53:
        raise BadMessage(f"{name}: {str(value)[:40]!r} is no whole number")
    return number
