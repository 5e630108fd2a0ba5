"""Entries survive JSON, and what is no entry is refused by name."""

from __future__ import annotations

import contextlib
import json
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadMessage
from assist.events import AnyEvent, CallEnded, CallStarted, Dtmf, Entry, Event, decode, encode, line, plain
from tests.contracts.protocol import JSON

KINDS: tuple[type[Event], ...] = get_args(AnyEvent)
PLAIN: dict[object, st.SearchStrategy[Any]] = {
    str: st.text(max_size=12),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


@cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of any annotation that events use; a struct's fields are all given."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(inside)
    if origin is tuple:
        return st.lists(values(inside[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(values(inside[0]), values(inside[1]), max_size=2)
    if origin in (Union, UnionType):
        return st.one_of(*map(values, inside))
    return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})


ENTRY = values(Entry)


def test_every_event_may_stand_in_an_entry() -> None:
    assert set(KINDS) == set(Event.__subclasses__())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_event_survives(kind: type[Event]) -> None:
    @settings(max_examples=20, deadline=None)
    @given(values(kind))
    def survives(event: AnyEvent) -> None:
        entry = Entry("c", 1, 20, event, {"total": 1.5})
        raw = encode(entry)
        assert decode(raw) == decode(raw.decode()) == entry
        told = json.loads(raw)
        assert told["event"]["type"] == kind.__name__
        assert told == json.loads(json.dumps(plain(entry)))
        assert b"\n" not in raw, "one line of a log is one line"

    survives()


@given(ENTRY)
def test_a_line_is_the_entry_and_its_json(entry: Entry) -> None:
    made = line(entry)
    assert (made.entry, decode(made.raw)) == (entry, entry)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_entry_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(raw)


@given(ENTRY, st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_entry_is_an_entry_or_refused(entry: Entry, at: int, byte: int) -> None:
    raw = bytearray(encode(entry))
    raw[at % len(raw)] = byte
    with contextlib.suppress(BadMessage):
        assert isinstance(decode(bytes(raw)), Entry)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "Nothing"},
        {"type": "Dtmf"},
        {"type": "Dtmf", "party": "boss"},
        {"type": "Transcribed", "transcript": {"utterance": "u"}},
        {"type": "CallEnded", "reason": "bye", "duration_ms": "long", "ledger": {}, "anomalies": {}},
        {},
    ],
)
def test_a_wrong_event_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(BadMessage):
        decode(json.dumps({"call": "c", "seq": 1, "at_ms": 0, "event": event}))


def test_deep_json_is_refused() -> None:
    with pytest.raises(BadMessage):
        decode('{"later":' + "[" * 100_000 + "]" * 100_000 + "}")


def test_fields_of_a_later_version_are_ignored() -> None:
    raw = json.dumps({"call": "c", "seq": 1, "at_ms": 0, "event": {"type": "Dtmf", "party": "agent", "x": 1}, "y": 2})
    assert decode(raw) == Entry("c", 1, 0, Dtmf("agent"))


def test_defaults_are_not_shared() -> None:
    first, second = (CallStarted("t", "plain", ("agent",), "mulaw", 8_000, "r") for _ in range(2))
    assert first.metadata is not second.metadata
    assert CallEnded("bye", 0, {}, {}).ledger == {}
