"""Telephony dialects, one per file: messages in, said things out. No socket, no clock, no await.

A dialect is a `Protocol`: show it the handshake, feed it messages with `receive`, send the texts it gives, each as soon
as it is made (it may number them). Bad messages raise a `WireError`; everything said before stays said.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from typing import Protocol as Interface

import msgspec

from assist.audio import Encoding, Party
from assist.conversation import Transcript, Word
from assist.errors import AssistError, BadMessage, Busy, WireError
from assist.events import Entry, Ledger


@dataclass(frozen=True, slots=True)
class Handshake:
    """What came with the request for the socket. `headers`: names in lower case, one that came twice joined by ", ".

    `target` is path and query as they were sent; `at_s` is when it came, seconds of Unix time.
    """

    target: str
    headers: Mapping[str, str]
    at_s: float
    subprotocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """The call as the platform describes it. `started_at` is the platform's word, kept as hearsay.

    `mixed`: parties whose channel may carry other voices too, or may be somebody else's. What they say is transcribed;
    how they sound is not judged. `leg`: this socket carries that party alone; the others may come on sockets of their
    own, under the same `call`, from the same platform, in the same encoding.
    """

    call: str
    platform: str
    parties: tuple[Party, ...]
    encoding: Encoding
    rate_hz: int
    metadata: dict[str, str] = field(default_factory=dict)
    started_at: str = ""
    mixed: tuple[Party, ...] = ()
    leg: Party | None = None
    written: bool = False
    """A contact in writing: it has no audio, so encoding and rate say nothing."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """A message in writing, not empty."""

    party: Party
    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """Bytes of one party in the call's encoding, any length."""

    party: Party
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The platform's own numbering says that so much of this party never came."""

    party: Party
    length_ms: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Audio that came and is not used: `reason` is duplicate, late, or extra: somebody the call has no party for."""

    party: Party
    payload_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Odd:
    """Something out of the ordinary that was handled by rule: counted, never fatal."""

    kind: str


@dataclass(frozen=True, slots=True)
class Pause:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is being said ends here, by the client's word: `Protocol.cut` is told what is still to come of it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key was pressed."""

    party: Party


@dataclass(frozen=True, slots=True)
class Bye:
    """The platform says the call is over."""


@dataclass(frozen=True, slots=True)
class Due:
    """The platform waits for an answer: `replies` has it."""


SPEECH_CLIENTS: Final = {"vosk": "/vosk", "deepgram": "/v1/listen", "openai": "/v1/realtime"}
"""Dialects of speech services, and the path that programs written for these ask for, beside `/ingest/<name>`. They may
send files, and seconds of sound in one message: these may be sixteen times as large, and what comes too early waits
where a platform is refused. Once one has spoken it may be silent as long as a call may."""


def address(dialect: str) -> str:
    """The path where this dialect is spoken."""
    return SPEECH_CLIENTS.get(dialect, f"/ingest/{dialect}")


def spread(said: Transcript) -> list[Word]:
    """Words of a transcript that came without times, spread evenly over it by their letters."""
    words = said.text.split()
    length_ms = said.end_ms - said.start_ms
    letters = sum(map(len, words))
    ends = [said.start_ms + length_ms * done // letters for done in itertools.accumulate(map(len, words))]
    times = itertools.pairwise([said.start_ms, *ends])
    return [Word(word, start, end) for word, (start, end) in zip(words, times, strict=True)]


Said = Opened | Wrote | Sound | Lost | Dropped | Odd | Pause | Resume | Cut | Key | Bye | Due


class Protocol(Interface):
    """One socket's dialect."""

    written: bool
    """Its calls are in writing, and cost the recogniser nothing."""
    follows: bool
    """It wants to be told each entry of its call's log."""
    repeats: bool
    """An id may come again, of the same conversation: the further calls are `ID.2`, `ID.3`."""
    joins: bool
    """It may be a further leg of a call that is live: no reason to turn it away before it has said so."""
    renews: bool
    """Its platform opens the socket of a leg anew where it has lost it: the newest has the leg, and a goodbye is the
    socket's, not the call's. One socket may carry several legs: each has an `Opened` of its own."""
    opens_s: float | None
    """Within so many seconds the platform must have its welcome, or a refusal."""
    parting_s: float
    """For so many seconds the platform's own goodbye is waited for where the end is ours, then that it hangs up."""

    def greet(self, handshake: Handshake) -> None:
        """What was asked for, before it is granted. Raises WireError: then it is not."""

    def receive(self, message: str | bytes) -> list[Said]:
        """One websocket message to what it says, in order. Raises WireError."""

    def flush(self) -> list[Said]:
        """What was held back for order, when nothing more will come."""

    def replies(self) -> list[str]:
        """Texts to send at once, because of what was received, or that the socket is open."""

    def welcome(self) -> list[str]:
        """Texts to send once the call is accepted."""

    def ack(self, seq: int, audio_ms: dict[str, int]) -> list[str]:
        """Texts to send when log and audio up to here are on disk."""

    def tell(self, entry: Entry) -> list[str]:
        """Texts to send because of this entry of the call's log. Only asked where it follows."""

    def cut(self, waiting: Mapping[str, Party]) -> list[str]:
        """Texts to send once its `Cut` is made. `waiting`: utterances whose final, or failure, is still to be told."""

    def refusal(self, error: AssistError) -> list[str]:
        """Texts to send when this ends the call, or keeps it out."""

    def leave(self) -> list[str]:
        """Texts to send when the server shuts down and takes leave of a call that goes on."""

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        """Texts to send when the last final is out, before the socket is closed."""


def read_object(message: str | bytes) -> dict[str, object]:
    """A JSON object. Raises BadMessage."""
    try:
        value = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadMessage(f"a JSON object is expected, not {type(value).__name__}")
    return value


def read_payload(payload: str) -> bytes:
    """The bytes of a payload. Raises BadMessage."""
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMessage(f"payload is not base64: {error}") from error


def as_text(value: object) -> str:
    """A message of JSON."""
    return msgspec.json.encode(value).decode()


def reason_of(error: AssistError) -> str:
    """What the other side may know of it: what is wrong inside, with its paths, is for our log."""
    return str(error) if isinstance(error, WireError) else "the server could not go on; its log says why"


class Simple:
    """What a dialect does that asks for nothing beyond its messages, and has no word of its own for an error."""

    written = False
    follows = False
    repeats = False
    joins = False
    renews = False
    opens_s: float | None = None
    parting_s = 0.0

    def greet(self, handshake: Handshake) -> None:
        pass

    def flush(self) -> list[Said]:
        return []

    def replies(self) -> list[str]:
        return []

    def welcome(self) -> list[str]:
        return []

    def ack(self, seq: int, audio_ms: dict[str, int]) -> list[str]:
        return []

    def tell(self, entry: Entry) -> list[str]:
        return []

    def cut(self, waiting: Mapping[str, Party]) -> list[str]:
        return []

    def refusal(self, error: AssistError) -> list[str]:
        told: dict[str, str | int] = {"type": "error", "code": error.code, "message": reason_of(error)}
        if isinstance(error, Busy):
            told["retry_after_s"] = error.again_s
        return [as_text(told)]

    def leave(self) -> list[str]:
        return []

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        return []
