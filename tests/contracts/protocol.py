"""What every telephony dialect promises: subclass `ProtocolContract` and say how a call opens and what it may say.

It knows no dialect.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.audio import Encoding
from assist.errors import AssistError, Busy, StoreFailed, WireError
from assist.events import Ledger
from assist.protocols import Bye, Cut, Dropped, Due, Key, Lost, Odd, Opened, Pause, Protocol, Resume, Said, Sound, Wrote
from tests.golden.exchange import HERE, answer, protocol_of, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
LEDGER = {"agent": Ledger(20.0, 0.0, 20.0, {}, 0.0, 0.0)}


def bent(message: dict[str, Any], path: list[int], value: object, drop: bool) -> str:
    """The message with one of its fields, wherever `path` leads, replaced or left out."""
    whole = json.loads(json.dumps(message))
    place = whole
    while True:
        keys = sorted(place)
        key = keys[path[0] % len(keys)] if path else keys[0]
        path = path[1:]
        if isinstance(place[key], dict) and place[key] and path:
            place = place[key]
            continue
        if drop:
            del place[key]
        else:
            place[key] = value
        return json.dumps(whole)


def wire(message: dict[str, Any] | bytes) -> str | bytes:
    """As it is sent."""
    return message if isinstance(message, bytes) else json.dumps(message)


class ProtocolContract:
    name: str
    """The name its golden files begin with."""
    most_lost_ms = 10_000
    parties: tuple[str, ...] = ("agent", "customer")
    form: tuple[Encoding, int] = ("mulaw", 8_000)
    """What its opening says of the audio."""

    def protocol(self) -> Protocol:
        raise NotImplementedError

    def opening(self) -> dict[str, Any] | bytes:
        """The message that opens a call of `parties`, its audio in `form`."""
        raise NotImplementedError

    def messages(self) -> Sequence[dict[str, Any] | bytes]:
        """One of each kind of message that may follow."""
        raise NotImplementedError

    def opens(self) -> list[str | bytes]:
        """What opens a call, as it is sent: the opening, or audio where that is what opens it."""
        return [wire(self.opening())]

    def opened(self) -> Protocol:
        protocol = self.protocol()
        for message in self.opens():
            protocol.receive(message)
        return protocol

    def test_the_opening_describes_the_call(self) -> None:
        protocol = self.protocol()
        said, *more = [said for message in self.opens() for said in protocol.receive(message)]
        assert isinstance(said, Opened) and not any(isinstance(each, Opened) for each in more)
        assert sorted(said.parties) == sorted(self.parties)
        assert set(said.mixed) <= set(said.parties)
        assert (said.encoding, said.rate_hz, said.platform) == (*self.form, self.name)
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in said.metadata.items())

    def test_nothing_else_comes_first(self) -> None:
        for message in self.messages():
            with pytest.raises(WireError):
                self.protocol().receive(wire(message))

    def test_a_second_opening_is_refused(self) -> None:
        with pytest.raises(WireError):
            self.opened().receive(wire(self.opening()))

    def test_what_it_sends_is_json_text(self) -> None:
        protocol = self.opened()
        texts = [*protocol.welcome(), *protocol.ack(3, {"agent": 20}), *protocol.farewell("bye", LEDGER)]
        texts += [*protocol.replies(), *protocol.leave()]
        assert all(isinstance(json.loads(text), dict) for text in texts)

    @pytest.mark.parametrize("error", [WireError("too bad"), Busy("full", 17), StoreFailed("/var/lib: no space")])
    def test_a_refusal_says_what_is_theirs_to_know(self, error: AssistError) -> None:
        for protocol in (self.protocol(), self.opened()):
            (text,) = protocol.refusal(error)
            assert error.code in text
            assert (str(error) in text) == isinstance(error, WireError)
            assert ("17" in text) == isinstance(error, Busy)

    # Two dialects share this test: what fails in one is tried in the other too, which does no harm.
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data(), open_first=st.booleans())
    def test_anything_gives_things_said_or_a_named_refusal(self, data: st.DataObject, open_first: bool) -> None:
        protocol = self.opened() if open_first else self.protocol()
        known = [self.opening(), *self.messages()]
        objects = [each for each in known if isinstance(each, dict)] or [{"type": "hello"}]
        message = st.one_of(
            st.binary(max_size=60),
            st.text(max_size=60),
            JSON.map(json.dumps),
            st.dictionaries(st.sampled_from(["type", "event", "kind", "start", "media"]), JSON).map(json.dumps),
            st.sampled_from(known).map(wire),
            st.builds(bent, st.sampled_from(objects), st.lists(st.integers(0, 9), max_size=3), JSON, st.booleans()),
        )
        for each in data.draw(st.lists(message, max_size=12)):
            try:
                said = protocol.receive(each)
            except WireError as error:
                assert str(error)
                assert len(str(error)) < 400, "an error must not repeat a whole message"
                continue
            check_said(said, self.most_lost_ms)
        check_said(protocol.flush())

    @pytest.mark.parametrize("depth", [500, 100_000])
    def test_deep_json_is_refused_or_counted_or_answered(self, depth: int) -> None:
        for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            with contextlib.suppress(WireError):
                assert all(isinstance(each, Odd | Due) for each in self.opened().receive(text))

    def test_recorded_exchanges_still_come_out_the_same(self) -> None:
        recordings = sorted(HERE.glob(f"{self.name}*.jsonl"))
        assert recordings
        for path in recordings:
            protocol = protocol_of(path)
            for number, line in enumerate(read(path), 1):
                assert answer(protocol, line) == line, f"{path.name}, line {number}"


def check_said(said: list[Said], most_lost_ms: int = 10_000) -> None:
    """Well formed, whatever it says."""
    for each in said:
        assert isinstance(each, Opened | Wrote | Sound | Lost | Dropped | Odd | Pause | Resume | Cut | Key | Bye | Due)
        if isinstance(each, Sound | Dropped | Lost | Key):
            assert each.party in ("agent", "customer", "system")
        if isinstance(each, Sound):
            assert isinstance(each.payload, bytes)
        if isinstance(each, Lost):
            assert 0 <= each.length_ms <= most_lost_ms
        if isinstance(each, Dropped):
            assert each.reason in ("duplicate", "late", "extra")
