"""What phone platforms say of a call, one dialect or family per file, for `assist.replay`: the other end of protocols/.

Written from the platforms' documents alone, so that a misreading in `assist.protocols` is not shared here: they have no
code in common. A client has no socket and no await, and a clock only where it signs; it is shown frames of both parties
and gives messages.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np

from assist.audio import Samples
from assist.errors import BadMessage

Message = str | bytes
Answer = Mapping[str, Any]
"""A text of the server, read: a JSON object; `{"text": ...}` where it is none, of bytes their hex. With gRPC also how a
stream ended, if not well: `{"status": "INVALID_ARGUMENT", "message": ...}`."""
RATES: Final = (8_000, 16_000)

MODULES: Final = {
    "plain": "plain",
    "audiohook": "audiohook",
    **dict.fromkeys(("twilio", "telnyx", "signalwire", "plivo", "exotel", "talkdesk", "fonoster"), "twilio"),
    "azure": "azure",
    **dict.fromkeys(("freeswitch", "jambonz", "vonage", "sinch", "lca"), "raw"),
    **dict.fromkeys(("asterisk", "audiosocket"), "asterisk"),
    **dict.fromkeys(("vosk", "deepgram", "openai"), "speech"),
    "webex": "webex",
}
"""Dialect to the module here whose `make(name, setup)` gives its client."""


@dataclass(frozen=True)
class Setup:
    """The call to be told of. `rate_hz`: of the recording, 8000 or 16000. `frame_ms` 0: as the platform does it.

    `key`, `secret`: what the platform would identify itself and sign with, where the dialect has such a thing.
    """

    call: str
    rate_hz: int = 8_000
    frame_ms: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    secret: str = ""


@dataclass(frozen=True)
class Line:
    """One connection of a call: `url` is ws://...; where the dialect has no websocket, tcp://host:port, or
    grpc://host:port/service/method (grpcs with TLS)."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()


class Client:
    """One call. What is asked for a line is given for the line with that index; most dialects have one, 0."""

    frame_ms = 20
    rates: tuple[int, ...] = RATES
    """What may be sent; the first stands for a recording of another rate."""
    hangs_up_s: float | None = None
    """So long after its last word it closes the socket itself; None: it waits for the server to do so."""
    beats_s: Iterator[float] = iter(())
    """Seconds until each `beat`, one after another."""

    def __init__(self, name: str, setup: Setup) -> None:
        self.name = name
        self.setup = setup
        self.call = setup.call
        self.frame_ms = setup.frame_ms or self.frame_ms
        self.rate_hz = setup.rate_hz if setup.rate_hz in self.rates else self.rates[0]
        self.ready = True
        """Audio may be sent now."""
        self.stopped = False
        """The server wants no more audio."""
        self.over = False
        """The server has said its last word: the client closes the socket."""
        self.refused = ""
        """Why the server would not have the call, or not to its end, in its own words."""
        self.acknowledged: dict[str, Any] = {}
        """What the server has confirmed, by the dialect's own name for it."""

    def lines(self, url: str) -> list[Line]:
        """The connections to `url`: a server, or where it has a path, one of its sockets."""
        return [Line(at(url, f"/ingest/{self.name}"))]

    def announcements(self) -> list[tuple[str, dict[str, str]]]:
        """Paths of the server's and the JSON to post to them before anything is connected."""
        return []

    def opening(self, line: int) -> list[Message]:
        """What stands before the audio."""
        return []

    def audio(self, agent: Samples, customer: Samples) -> list[tuple[int, Message]]:
        """The next frame of both parties, of equal length, at `rate_hz`: what is sent on which line."""
        raise NotImplementedError

    def beat(self) -> list[Message]:
        """What is sent now and then while the call is on, on the first line."""
        return []

    def closing(self, line: int) -> list[Message]:
        """What stands behind the audio."""
        return []

    def hear(self, line: int, answer: Answer) -> list[Message]:
        """A text of the server; what is said to it at once."""
        return []


def make(name: str, setup: Setup) -> Client:
    """A client of a dialect. Raises BadMessage where there is none."""
    if name not in MODULES:
        raise BadMessage(f"no client speaks {name!r}: {', '.join(sorted(MODULES))}")
    made: Client = importlib.import_module(f"assist.clients.{MODULES[name]}").make(name, setup)
    return made


def at(url: str, path: str) -> str:
    """`url` with this path, unless it has one."""
    scheme, _, rest = url.partition("://")
    host, _, given = rest.partition("/")
    return url if given else f"{scheme}://{host}{path}"


def asked(url: str, path: str, **query: object) -> str:
    """`at`, with more in its query."""
    whole = at(url, path)
    return f"{whole}{'&' if '?' in whole else '?'}{urlencode(query)}"


def in_turn(*channels: Samples) -> Samples:
    """The samples of several channels of equal length, one of each in turn: int16, shape (n * channels,)."""
    return np.stack(channels, 1).reshape(-1).astype(np.int16)


def l16(samples: Samples) -> bytes:
    """Little-endian."""
    return samples.astype("<i2").tobytes()
