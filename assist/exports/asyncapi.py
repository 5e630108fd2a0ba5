"""The sockets as an AsyncAPI 3.0 document, made from the types that are sent, so that it says what they say.

It knows no socket. What a platform's own dialect is made of is the platform's to document.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from assist.errors import AssistError, WireError
from assist.events import Entry, Ledger
from assist.protocols import address
from assist.protocols.plain import CALL_ID, Hello
from assist.protocols.text import TextHello, TextMessage


class Note(msgspec.Struct, tag_field="type", tag=str.lower):
    """Base of what is said beside entries and audio; `type` is its name in small letters."""


class Pause(Note):
    """Audio after this is neither kept nor transcribed."""

    reason: str = ""


class Resume(Note):
    """It is again."""

    reason: str = ""


class Bye(Note):
    """The call is over: the last finals, `ended` and a close follow."""


class Welcome(Note):
    """The call is let in and its first entry is on disk."""

    call: str
    events: str
    overlay: str


class Ack(Note):
    """The log up to `seq`, and so much of each party's audio, are on disk."""

    seq: int
    audio_ms: dict[str, int]


class Kept(Note, tag="ack"):
    """The log up to `seq` is on disk."""

    seq: int


class Over(Note, tag="ended"):
    """All is understood and kept; a close follows."""

    reason: str


class Ended(Note):
    """The call's books; a close follows."""

    reason: str
    ledger: dict[str, Ledger]


class Error(Note):
    """A named error; a close with its close code follows. `retry_after_s`: when a place may be free."""

    code: str
    message: str
    retry_after_s: int | msgspec.UnsetType = msgspec.UNSET


class Live(Note):
    """The log up to `seq` is told; what follows is news."""

    seq: int


class Heartbeat(Note):
    """Nothing happened for five seconds. `now_ms`: the call's clock."""

    seq: int
    now_ms: int


_QUERIES: Final[dict[str, dict[str, Any]]] = {
    "asterisk": {
        "leg": {"type": "string", "enum": ["agent", "customer"], "description": "Whose voice this socket carries."},
        "ref": {
            "type": "string",
            "pattern": CALL_ID.replace(r"\Z", "$"),
            "description": "Legs with one ref are one call.",
        },
    }
}
"""What a dialect's address may carry."""

Kinds = tuple[type[msgspec.Struct], ...]

HELLO: Final[type[msgspec.Struct]] = msgspec.defstruct(
    "Hello", [], bases=(Hello,), tag_field="type", tag="hello", namespace={"__doc__": Hello.__doc__}
)
_WRITTEN: Final[Kinds] = tuple(
    msgspec.defstruct(kind.__name__, [], bases=(kind,), tag_field="type", tag=tag, namespace={"__doc__": kind.__doc__})
    for kind, tag in ((TextHello, "hello"), (TextMessage, "message"))
)
_SAID: Final[Kinds] = (HELLO, Pause, Resume, Bye)
_PLAIN: Final[Kinds] = (Welcome, Ack, Ended, Error)
_EVENTS: Final[Kinds] = (Entry, Live, Heartbeat, Error)
_HEARS: Final[dict[str, Kinds]] = {"plain": _SAID, "text": (*_WRITTEN, Bye)}
_SAYS: Final[dict[str, Kinds]] = {"plain": _PLAIN, "text": (Welcome, Kept, Over, Error)}
_TYPES: Final[Kinds] = tuple(dict.fromkeys(itertools.chain(*_HEARS.values(), *_SAYS.values(), _EVENTS)))


def document(dialects: Iterable[str], host: str, secure: bool) -> dict[str, Any]:
    """The document for a server reached at `host`, with one channel for each dialect."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    messages = {
        kind.__name__: {
            "name": kind.__name__,
            "summary": _summary(kind),
            "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        }
        for kind in _TYPES
    }
    messages["Audio"] = {
        "name": "Audio",
        "summary": "A binary frame: the channels' samples in turn; `tagged`: the channel's index, then its samples.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    }
    messages["Platform"] = {"name": "Platform", "summary": "The platform's own messages.", "payload": {}}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for dialect in dialects:
        hears = [kind.__name__ for kind in _HEARS.get(dialect, ())] or ["Platform"]
        says = [kind.__name__ for kind in _SAYS.get(dialect, ())] or ["Platform"]
        if dialect == "plain":
            hears.append("Audio")
        about = "A contact in writing." if dialect == "text" else f"A call's audio, {dialect}."
        channels[dialect] = _channel(address(dialect), about, {*hears, *says})
        if query := _QUERIES.get(dialect):
            channels[dialect]["bindings"] = {"ws": {"query": {"type": "object", "properties": query}}}
        operations[f"hear_{dialect}"] = _operation("receive", dialect, hears)
        operations[f"answer_{dialect}"] = _operation("send", dialect, says)
    told = [kind.__name__ for kind in _EVENTS]
    channels["events"] = {
        **_channel("/calls/{call}/events", "A call's log from entry `after` and then live, without a gap.", set(told)),
        "parameters": {"call": {"description": f"The call's id: {CALL_ID}"}},
        "bindings": {"ws": {"query": {"type": "object", "properties": {"after": {"type": "integer", "default": 0}}}}},
    }
    operations["tell_events"] = _operation("send", "events", told)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "assist", "version": "0.1.0", "description": _closes()},
        "defaultContentType": "application/json",
        "servers": {"here": {"host": host, "protocol": "wss" if secure else "ws"}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": _as_asyncapi(schemas)},
    }


def _channel(address: str, description: str, names: set[str]) -> dict[str, Any]:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in sorted(names)}
    return {"address": address, "description": description, "messages": messages}


def _operation(action: str, channel: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _summary(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n")[0]


def _closes() -> str:
    named: list[type[AssistError]] = [AssistError, *WireError.__subclasses__()]
    codes = sorted({(kind.close_code, kind.code) for kind in named})
    return "Close codes: 1000 well; " + ", ".join(f"{number} {code}" for number, code in codes) + "."


def _as_asyncapi(value: Any) -> Any:
    """msgspec describes unions as OpenAPI does; here a discriminator is the name of the property and no more."""
    if isinstance(value, list):
        return [_as_asyncapi(each) for each in value]
    if not isinstance(value, dict):
        return inspect.cleandoc(value) if isinstance(value, str) else value
    found = {key: _as_asyncapi(each) for key, each in value.items()}
    if isinstance(found.get("discriminator"), dict):
        found["discriminator"] = found["discriminator"]["propertyName"]
    return found
