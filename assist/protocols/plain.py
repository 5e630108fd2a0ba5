"""The plain dialect: a JSON hello, then binary audio, and JSON pause, resume and bye. For whoever writes a client.

> {"type": "hello", "call": "c-1", "channels": ["agent", "customer"], "encoding": "mulaw", "rate_hz": 8000,
   "layout": "interleaved", "started_at": "2026-11-21T10:00:00Z", "metadata": {"agent": "ann", "queue": "sales"}}
< {"type": "welcome", "call": "c-1", "events": "/calls/c-1/events", "overlay": "/overlay?call=c-1"}
> binary: `interleaved`: the channels' samples in turn; `tagged`: one byte with the channel's index, then audio
< {"type": "ack", "seq": 17, "audio_ms": {"agent": 2000, "customer": 2000}}      what is on disk
> {"type": "pause", "reason": "card"}    {"type": "resume"}    {"type": "bye"}
< {"type": "ended", "reason": "bye", "ledger": {...}}                            then close 1000

A hello may name channels that carry other voices too, or may: "mixed": ["customer"]. An only channel counts as mixed,
as most recordings of one channel are, unless the hello says "mixed": []. Nobody's mood is read from a mixed channel's
sound; its words are followed as ever.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from assist.audio import Encoding, Party
from assist.errors import BadEncoding, BadMessage, UnknownMessage
from assist.events import Ledger
from assist.protocols import Bye, Odd, Opened, Pause, Resume, Said, Simple, Sound, as_text, read_object

CALL_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,119}\Z"


class Hello(msgspec.Struct, frozen=True):
    """The first message. Unknown fields are ignored: clients grow."""

    call: str
    channels: list[Literal["agent", "customer", "system"]]
    encoding: str = "mulaw"
    rate_hz: int = 8000
    layout: Literal["interleaved", "tagged"] = "interleaved"
    started_at: str = ""
    mixed: list[Literal["agent", "customer", "system"]] | None = None
    metadata: dict[str, str] = {}


class _Note(msgspec.Struct, frozen=True):
    reason: str = ""


_ALIASES: dict[str, Encoding] = {
    "mulaw": "mulaw", "mu-law": "mulaw", "ulaw": "mulaw", "pcmu": "mulaw", "g711u": "mulaw",
    "alaw": "alaw", "a-law": "alaw", "pcma": "alaw", "g711a": "alaw",
    "l16": "l16", "linear16": "l16", "pcm": "l16", "pcm16": "l16", "slin": "l16",
}  # fmt: skip


def encoding_named(name: str) -> Encoding:
    """The encoding by any of its usual names. Raises BadEncoding."""
    try:
        return _ALIASES[name.lower()]
    except KeyError:
        raise BadEncoding(f"unknown encoding {name[:40]!r}: use mulaw, alaw or l16") from None


class Plain(Simple):
    """One plain socket."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._tagged = False
        self._lanes: Interleaved | None = None

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            return self._audio(message)
        text = read_object(message)
        kind = text.get("type")
        if not isinstance(kind, str):
            raise BadMessage("`type` is missing or no string")
        if self._opened is None:
            if kind != "hello":
                raise BadMessage(f"the first message must be a hello, not {kind[:40]!r}")
            return [self._hello(message)]
        if kind == "hello":
            raise BadMessage("a second hello: one socket carries one call")
        if kind == "pause":
            return [Pause(_note(message))]
        if kind == "resume":
            return [Resume(_note(message))]
        if kind == "bye":
            return [Bye()]
        raise UnknownMessage(f"unknown message type {kind[:40]!r}: hello, pause, resume or bye")

    def flush(self) -> list[Said]:
        return self._lanes.flush() if self._lanes else []

    def welcome(self) -> list[str]:
        assert self._opened
        call = self._opened.call
        paths = {"events": f"/calls/{call}/events", "overlay": f"/overlay?call={call}"}
        return [as_text({"type": "welcome", "call": call, **paths})]

    def ack(self, seq: int, audio_ms: dict[str, int]) -> list[str]:
        return [as_text({"type": "ack", "seq": seq, "audio_ms": audio_ms})]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        return [as_text({"type": "ended", "reason": reason, "ledger": ledger})]

    def _hello(self, message: str) -> Opened:
        try:
            hello = msgspec.json.decode(message, type=Hello)
        except msgspec.ValidationError as error:
            raise BadMessage(f"hello: {error}") from error
        call = call_id(hello.call)
        parties: tuple[Party, ...] = tuple(hello.channels)
        if not 1 <= len(parties) <= len(get_args(Party)) or len(set(parties)) != len(parties):
            raise BadEncoding("channels: one to three different ones of agent, customer, system")
        mixed: tuple[Party, ...] = parties if hello.mixed is None and len(parties) == 1 else tuple(hello.mixed or ())
        if not set(mixed) <= set(parties):
            raise BadMessage("hello: mixed names a channel that is not there")
        if hello.rate_hz not in (8_000, 16_000):
            raise BadEncoding(f"{hello.rate_hz} Hz is not taken: 8000 or 16000")
        if len(hello.metadata) > 64 or any(len(k) + len(v) > 1_024 for k, v in hello.metadata.items()):
            raise BadMessage("metadata: at most 64 entries of at most 1024 characters")
        self._tagged = hello.layout == "tagged"
        self._opened = Opened(
            call,
            "plain",
            parties,
            encoding_named(hello.encoding),
            hello.rate_hz,
            hello.metadata,
            hello.started_at[:64],
            mixed,
        )
        return self._opened

    def _audio(self, message: bytes) -> list[Said]:
        if self._opened is None:
            raise BadMessage("audio before the hello")
        parties = self._opened.parties
        if not message:
            return [Odd("empty")]
        if self._tagged:
            if message[0] >= len(parties):
                raise BadMessage(f"channel index {message[0]}: the hello named {len(parties)} channels")
            return [Sound(parties[message[0]], message[1:])]
        if len(parties) == 1:
            return [Sound(parties[0], message)]
        if self._lanes is None:
            self._lanes = Interleaved(parties, 2 if self._opened.encoding == "l16" else 1)
        return self._lanes.push(message)


def call_id(text: str) -> str:
    """The id if it can stand in a URL and a log line. Raises BadMessage."""
    if not re.match(CALL_ID, text):
        raise BadMessage("call: 1 to 120 letters, digits, '.', '_', ':', '@', '+' or '-', a letter or digit first")
    return text


def platform_id(text: str) -> tuple[str, dict[str, str]]:
    """A platform's own id of a call as one that can stand in a URL and a log line, and what of it becomes metadata.

    Platforms make ids of any letters; what ours may not have becomes a dash, and the id as it came is kept beside it.
    Raises BadMessage where nothing is left of it.
    """
    if re.match(CALL_ID, text):
        return text, {}
    found = re.sub(r"[^A-Za-z0-9._:@+-]", "-", text[:120]).lstrip("._:@+-")
    return call_id(found), {"platform_call": text[:1_024]}


class Interleaved:
    """The parties' samples in turn, `width` bytes each, cut anywhere: what is not whole waits for the next bytes."""

    def __init__(self, parties: tuple[Party, ...], width: int) -> None:
        self._parties = parties
        self._width = width
        self._block = width * len(parties)
        self._rest = b""

    def push(self, data: bytes) -> list[Said]:
        """Bytes as they came to each party's own, of the same length for all."""
        if self._rest:
            data = self._rest + data
        over = len(data) % self._block
        self._rest, data = data[len(data) - over :], data[: len(data) - over]
        count = len(self._parties)
        if not data:
            return []
        return [Sound(party, one_channel(data, n, count, self._width)) for n, party in enumerate(self._parties)]

    def flush(self) -> list[Said]:
        """What never became whole."""
        return [Odd("odd_bytes")] if self._rest else []


def one_channel(data: bytes, index: int, count: int, width: int) -> bytes:
    """The samples of one channel of `count` whose samples stand in turn, `width` bytes each."""
    if count == 1:
        return data
    if width == 1:
        return data[index::count]
    return memoryview(data).cast("H")[index::count].tobytes()


def _note(message: str) -> str:
    try:
        return msgspec.json.decode(message, type=_Note).reason[:200]
    except msgspec.ValidationError as error:
        raise BadMessage(str(error)) from error
