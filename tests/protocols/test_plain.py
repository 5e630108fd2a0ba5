"""The plain dialect: hello, interleaved and tagged audio in messages of any size, pause, resume, bye."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadEncoding, BadMessage, UnknownMessage, WireError
from assist.protocols import Bye, Odd, Opened, Pause, Resume, Sound
from assist.protocols.plain import Plain
from tests.contracts.protocol import LEDGER, ProtocolContract


def hello(**changes: Any) -> dict[str, Any]:
    return {"type": "hello", "call": "c-1", "channels": ["agent", "customer"], **changes}


def opened(**changes: Any) -> Plain:
    protocol = Plain()
    protocol.receive(json.dumps(hello(**changes)))
    return protocol


def joined(protocol: Plain, messages: list[bytes]) -> dict[str, bytes]:
    """Each party's audio, put together."""
    out: dict[str, bytes] = {}
    for message in messages:
        for said in protocol.receive(message):
            if isinstance(said, Sound):
                out[said.party] = out.get(said.party, b"") + said.payload
    return out


class TestPlain(ProtocolContract):
    name = "plain"

    def protocol(self) -> Plain:
        return Plain()

    def opening(self) -> dict[str, Any]:
        return hello(encoding="mulaw", rate_hz=8_000, metadata={"agent": "ann"})

    def messages(self) -> list[dict[str, Any]]:
        return [{"type": "pause", "reason": "card"}, {"type": "resume"}, {"type": "bye"}]


def test_hello_in_full() -> None:
    given_hello = hello(encoding="PCMA", rate_hz=16_000, started_at="2026-11-21T10:00:00Z", metadata={"queue": "sales"})
    (said,) = Plain().receive(json.dumps(given_hello))
    assert said == Opened(
        "c-1", "plain", ("agent", "customer"), "alaw", 16_000, {"queue": "sales"}, "2026-11-21T10:00:00Z"
    )


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"encoding": "opus"}, BadEncoding),
        ({"rate_hz": 44_100}, BadEncoding),
        ({"rate_hz": "8000"}, BadMessage),
        ({"channels": []}, BadEncoding),
        ({"channels": ["agent", "agent"]}, BadEncoding),
        ({"channels": ["agent", "boss"]}, BadMessage),
        ({"layout": "planar"}, BadMessage),
        ({"call": ""}, BadMessage),
        ({"call": "../etc/passwd"}, BadMessage),
        ({"call": "c-1\n"}, BadMessage),
        ({"call": "c" * 129}, BadMessage),
        ({"metadata": {"n": 1}}, BadMessage),
        ({"metadata": {str(n): "" for n in range(65)}}, BadMessage),
        ({"metadata": {"k": "v" * 1_025}}, BadMessage),
        ({"type": "goodbye"}, BadMessage),
        ({"type": 7}, BadMessage),
    ],
)
def test_a_wrong_hello_is_refused_by_name(changes: dict[str, Any], refusal: type[WireError]) -> None:
    with pytest.raises(refusal):
        Plain().receive(json.dumps(hello(**changes)))


@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from(["mulaw", "l16"]),
    count=st.integers(1, 3),
    data=st.binary(max_size=600),
    cuts=st.lists(st.integers(0, 600), max_size=15),
)
def test_interleaved_samples_go_to_their_party_however_they_are_cut(
    encoding: str, count: int, data: bytes, cuts: list[int]
) -> None:
    parties = ["agent", "customer", "system"][:count]
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    protocol = opened(encoding=encoding, channels=parties)
    got = joined(protocol, [data[a:b] for a, b in itertools.pairwise(edges)])
    width = 2 if encoding == "l16" else 1
    whole = (
        len(data) if count == 1 else len(data) // (width * count) * width * count
    )  # a lone party's leg keeps the rest
    for n, party in enumerate(parties):
        wanted = b"".join(data[at : at + width] for at in range(n * width, whole, width * count))
        assert got.get(party, b"") == wanted
    assert protocol.flush() == ([Odd("odd_bytes")] if whole < len(data) else [])


@given(st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=50)), max_size=20))
def test_tagged_messages_of_any_size_go_to_the_party_they_name(messages: list[tuple[int, bytes]]) -> None:
    protocol = opened(layout="tagged", encoding="l16")
    got = joined(protocol, [bytes([tag]) + payload for tag, payload in messages])
    for tag, party in enumerate(("agent", "customer")):
        assert got.get(party, b"") == b"".join(payload for n, payload in messages if n == tag)
    assert protocol.flush() == []


def test_a_tag_without_a_channel_is_refused() -> None:
    with pytest.raises(BadMessage, match="channel index 2"):
        opened(layout="tagged").receive(b"\x02abc")


def test_control_messages() -> None:
    protocol = opened()
    assert protocol.receive('{"type": "pause", "reason": "card"}') == [Pause("card")]
    assert protocol.receive('{"type": "resume"}') == [Resume("")]
    assert protocol.receive(b"") == [Odd("empty")]
    assert protocol.receive('{"type": "bye", "later": 1}') == [Bye()]
    with pytest.raises(UnknownMessage, match="hang_up"):
        protocol.receive('{"type": "hang_up"}')
    with pytest.raises(BadMessage):
        protocol.receive('{"type": "pause", "reason": 7}')


def test_audio_before_the_hello_is_refused() -> None:
    with pytest.raises(BadMessage, match="before the hello"):
        Plain().receive(b"\xff")


def test_what_it_answers() -> None:
    protocol = opened()
    (welcome,) = map(json.loads, protocol.welcome())
    assert (welcome["type"], welcome["events"]) == ("welcome", "/calls/c-1/events")
    assert json.loads(protocol.ack(17, {"agent": 2_000})[0]) == {"type": "ack", "seq": 17, "audio_ms": {"agent": 2_000}}
    (ended,) = map(json.loads, protocol.farewell("bye", LEDGER))
    assert (ended["reason"], ended["ledger"]["agent"]["gap_ms"]) == ("bye", 0.0)
