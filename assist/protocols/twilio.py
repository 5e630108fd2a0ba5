"""Twilio Media Streams, both tracks: frames reordered by sequence, audio placed by chunk number.

Sources: twilio.com/docs/voice/media-streams/websocket-messages. Numbers come as strings or as numbers; ids may
be missing on media; `timestamp` is never used. `inbound` is the customer unless the custom parameter
`inbound_party` says agent; where it says something else, roles are guessed and nobody's voice is judged.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

from assist.audio import Encoding, Party
from assist.errors import BadEncoding, BadMessage, UnknownMessage
from assist.events import Ledger
from assist.protocols import Bye, Dropped, Key, Lost, Odd, Opened, Said, Simple, Sound, read_object
from assist.protocols.plain import call_id, encoding_named

WINDOW = 50
"""Messages waited for before a hole in the sequence counts as lost: half a second of two tracks."""
MOST_LOST_MS = 10_000
"""A jump of chunk numbers beyond this is a renumbering, not a loss."""


class _Media(NamedTuple):
    """One media message, read when it came, so that a bad one costs no good one that waits before it."""

    party: Party
    payload: bytes
    chunk: int | None


class Twilio(Simple):
    """One media stream."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._roles: dict[str, Party] = {}
        self._next: int | None = None
        self._early: dict[int, _Media | Key | Bye | None] = {}
        self._skipped: set[int] = set()
        self._chunk: dict[Party, int] = {}
        self._bytes_per_ms = 8.0
        self._closed = False

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            raise BadMessage("binary message: this dialect is JSON with base64 audio")
        text = read_object(message)
        event = text.get("event")
        if event == "connected":
            return []
        if event not in ("start", "media", "dtmf", "mark", "stop"):
            raise UnknownMessage(f"unknown event {str(event)[:40]!r}")
        if self._closed:
            return [Odd("after_stop")]
        if event == "start":
            return self._start(text)
        if self._opened is None:
            raise BadMessage(f"{event} before start")
        return self._in_order(text)

    def flush(self) -> list[Said]:
        said: list[Said] = []
        while self._early:
            said += self._skip_hole()
        return said

    def welcome(self) -> list[str]:
        return []

    def ack(self, seq: int, audio_ms: dict[str, int]) -> list[str]:
        return []

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        return []

    def _start(self, text: dict[str, Any]) -> list[Said]:
        if self._opened is not None:
            raise BadMessage("a second start: one socket carries one stream")
        start = text.get("start")
        if not isinstance(start, dict):
            raise BadMessage("start: the object `start` is missing")
        given = start.get("mediaFormat")
        media: dict[str, Any] = given if isinstance(given, dict) else {}
        encoding: Encoding = encoding_named(str(media.get("encoding") or "audio/x-mulaw").rsplit("/x-", 1)[-1].lower())
        rate_hz = _number(media.get("sampleRate", 8_000), "sampleRate")
        if _number(media.get("channels", 1), "channels") != 1 or rate_hz not in (8_000, 16_000):
            raise BadEncoding(f"media format {media!r}: one channel at 8000 or 16000 Hz per track"[:200])
        given = start.get("customParameters")
        custom = {str(k)[:128]: str(v)[:1024] for k, v in list((given if isinstance(given, dict) else {}).items())[:64]}
        said = custom.get("inbound_party", "customer").strip().lower()
        inbound: Party = "agent" if said == "agent" else "customer"
        outbound: Party = "customer" if inbound == "agent" else "agent"
        self._roles = {"inbound": inbound, "outbound": outbound}
        tracks = start.get("tracks")
        known = [t for t in map(str, tracks) if t in self._roles] if isinstance(tracks, list) else []
        # Both are opened even when one is announced: a declared track may stay away, an undeclared one may come.
        parties: tuple[Party, ...] = ("agent", "customer")
        sid = start.get("callSid") or start.get("streamSid") or text.get("streamSid")
        if not isinstance(sid, str):
            raise BadMessage("start: `callSid` is missing")
        self._next = _sequence(text, 1) + 1
        self._bytes_per_ms = rate_hz * (2 if encoding == "l16" else 1) / 1000
        metadata = {**custom, "tracks": ",".join(known)}
        for key in ("accountSid", "streamSid"):
            if isinstance(start.get(key), str):
                metadata[key] = start[key][:128]
        mixed: tuple[Party, ...] = () if said in parties else parties
        self._opened = Opened(call_id(sid), "twilio", parties, encoding, rate_hz, metadata, mixed=mixed)
        return [self._opened]

    def _in_order(self, text: dict[str, Any]) -> list[Said]:
        message = self._read(text)
        if "sequenceNumber" not in text:
            return self._say(message)  # an alias dialect without numbers: order of arrival is all there is
        number = _sequence(text, 0)
        assert self._next is not None
        if number < self._next or number in self._early:
            return self._stray(message, number)
        if number > self._next + 10 * WINDOW:
            # Renumbered: holding thousands of frames for it would be worse.
            waiting = self.flush()
            self._next = number
            return [Odd("renumbered"), *waiting, *self._advance(message)]
        if number > self._next:
            self._early[number] = message
            said: list[Said] = [Odd("reordered")]
            while len(self._early) > WINDOW or (self._early and max(self._early) - self._next > WINDOW):
                said += self._skip_hole()
            return said
        return self._advance(message)

    def _advance(self, message: _Media | Key | Bye | None) -> list[Said]:
        assert self._next is not None
        said = self._say(message)
        self._next += 1
        while self._next in self._early:
            said += self._say(self._early.pop(self._next))
            self._next += 1
        return said

    def _skip_hole(self) -> list[Said]:
        assert self._next is not None
        first = min(self._early)
        if len(self._skipped) > 20 * WINDOW:
            self._skipped.clear()
        self._skipped.update(range(self._next, first))
        self._next = first
        return [Odd("missing"), *self._advance(self._early.pop(first))]

    def _stray(self, message: _Media | Key | Bye | None, number: int) -> list[Said]:
        # Its number has passed: late if its hole was skipped, a duplicate if it was heard (or waits to be).
        reason = "late" if number in self._skipped else "duplicate"
        self._skipped.discard(number)
        if not isinstance(message, _Media):
            return [Odd(reason)]
        return [Odd(reason), Dropped(message.party, len(message.payload), reason)]

    def _say(self, message: _Media | Key | Bye | None) -> list[Said]:
        if message is None:
            return []
        if self._closed:
            return [Odd("after_stop")]
        if not isinstance(message, _Media):
            self._closed = isinstance(message, Bye)
            return [message]
        party, payload, chunk = message
        said: list[Said] = []
        before = self._chunk.get(party)
        if chunk is not None:
            if before is not None and chunk > before + 1:
                length_ms = round((chunk - before - 1) * len(payload) / self._bytes_per_ms)
                said.append(Lost(party, length_ms) if length_ms <= MOST_LOST_MS else Odd("renumbered"))
            self._chunk[party] = chunk
        return [*said, Sound(party, payload)]

    def _read(self, text: dict[str, Any]) -> _Media | Key | Bye | None:
        """What a numbered message says by itself; None where that is nothing."""
        event = text["event"]
        if event == "media":
            return self._media(text)
        if event == "dtmf":
            given = text.get("dtmf")
            track = given.get("track") if isinstance(given, dict) else None
            return Key(self._roles.get(str(track).removesuffix("_track"), "customer"))
        return Bye() if event == "stop" else None

    def _media(self, text: dict[str, Any]) -> _Media:
        media = text.get("media")
        if not isinstance(media, dict):
            raise BadMessage("media: the object `media` is missing")
        track = str(media.get("track", "inbound")).removesuffix("_track")
        if track not in self._roles:
            raise BadMessage(f"media: unknown track {track[:40]!r}")
        payload = media.get("payload")
        if not isinstance(payload, str):
            raise BadMessage("media: `payload` is missing or no string")
        try:
            audio = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadMessage(f"media: payload is not base64: {error}") from error
        chunk = media.get("chunk")
        return _Media(self._roles[track], audio, None if chunk is None else _number(chunk, "chunk"))


def _sequence(text: dict[str, Any], default: int) -> int:
    return _number(text.get("sequenceNumber", default), "sequenceNumber")


def _number(value: object, name: str) -> int:
    """An integer that may come as a string. Raises BadMessage."""
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2**53:
        raise BadMessage(f"{name}: {str(value)[:40]!r} is no whole number")
    return number
