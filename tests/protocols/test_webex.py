"""Webex: who is who on a stream, what came before on another, and nothing but named refusals for any bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.clients.webex import chunk, whole
from assist.errors import BadEncoding, BadMessage, Unauthorized, WireError
from assist.protocols import Dropped, Handshake, Odd, Opened, Said, Sound
from assist.protocols.webex import GONE, MOST_LEGS, MOST_SAID, Heard, Webex
from tests.contracts.protocol import LEDGER, ProtocolContract, check_said
from tests.webex import AGENT, ALAW, CALLER, LINEAR16, MULAW, SUCCESS, audio, request


def play(protocol: Webex, *messages: bytes) -> list[Said]:
    return [said for message in messages for said in protocol.receive(message)]


def legs(said: list[Said]) -> list[Any]:
    return [each.leg for each in said if isinstance(each, Opened)]


def heard(said: list[Said], party: str) -> bytes:
    return b"".join(each.payload for each in said if isinstance(each, Sound) and each.party == party)


class TestWebex(ProtocolContract):
    name = "webex"

    def protocol(self) -> Webex:
        return Webex()

    def opening(self) -> bytes:
        return request("c-1", audio(b"\xff" * 160, CALLER, "r-1", at_ms=0))

    def messages(self) -> list[bytes]:
        return [
            request("c-1", audio(b"\xfe" * 160, CALLER, "r-1", at_ms=20)),
            request("c-1", audio(b"\xfd" * 160, AGENT, "r-2", at_ms=20)),
            request("c-1", audio(b"\xfd" * 160, AGENT, "r-3", at_ms=20)),
            request("c-1"),
        ]

    def test_nothing_else_comes_first(self) -> None:
        """Any message with audio opens a call, and one without opens none."""
        *with_audio, without = self.messages()
        for message in with_audio:
            assert isinstance(self.protocol().receive(message)[0], Opened)
        assert self.protocol().receive(without) == [Odd("no_audio")]

    def test_a_second_opening_is_refused(self) -> None:
        """Every message says what an opening says: of another conversation it is refused."""
        with pytest.raises(BadMessage, match="another conversation_id"):
            self.opened().receive(request("c-2", audio(b"\xff", CALLER)))

    def test_what_it_sends_is_json_text(self) -> None:
        """It sends one message, which is binary: that all went well."""
        protocol = self.opened()
        assert [text.encode("latin-1") for text in protocol.farewell("bye", LEDGER)] == [SUCCESS]
        assert [*protocol.welcome(), *protocol.ack(3, {}), *protocol.replies(), *protocol.leave()] == []
        assert [*protocol.farewell("drained", LEDGER), *protocol.farewell("error:busy", LEDGER)] == []


def test_what_it_says_of_a_call() -> None:
    first = request("c-1", audio(b"\x01\x02", AGENT, "leg-a", encoding=ALAW), "org-7", queue="sales")
    said = Webex().receive(first)
    metadata = {"queue": "sales", "customer_org_id": "org-7", "role_id": "leg-a"}
    assert said == [
        Opened("c-1", "webex", ("agent", "customer"), "alaw", 8_000, metadata, leg="agent"),
        Sound("agent", b"\x01\x02"),
    ]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize(("number", "encoding"), [(LINEAR16, "l16"), (MULAW, "mulaw"), (ALAW, "alaw")])
def test_encodings_and_rates(number: int, encoding: str, rate_hz: int) -> None:
    opened = Webex().receive(request("c-1", audio(b"\x01\x02", encoding=number, rate_hz=rate_hz)))[0]
    assert isinstance(opened, Opened) and (opened.encoding, opened.rate_hz) == (encoding, rate_hz)


def test_both_roles_may_share_a_stream() -> None:
    messages = [request("c-1", audio(bytes([n]), AGENT if n % 3 else CALLER, f"r-{n % 3 > 0}")) for n in range(30)]
    said = play(Webex(), *messages)
    assert legs(said) == ["customer", "agent"]
    assert heard(said, "customer") == bytes(range(0, 30, 3))
    assert heard(said, "agent") == bytes(n for n in range(30) if n % 3)


def test_a_role_is_one_person_at_a_time() -> None:
    protocol = Webex()
    said = play(protocol, *(request("c-1", audio(bytes([n]), AGENT, "ab"[n % 2])) for n in range(10)))
    assert heard(said, "agent") == bytes(range(0, 10, 2))
    assert said.count(Dropped("agent", 1, "extra")) == 5
    said = play(protocol, *(request("c-1", audio(bytes([n]), AGENT, "b")) for n in range(GONE + 5)))
    taken = heard(said, "agent")
    assert taken == bytes(range(GONE - 1, GONE + 5)), "the first has left"
    assert play(protocol, request("c-1", audio(b"\x07", AGENT, "a"))) == [Dropped("agent", 1, "extra")]


BAD: dict[str, tuple[bytes, type[WireError], str]] = {
    "no protobuf": (b"\xff\xff\xff", BadMessage, "not a Conv"),
    "no conversation": (request("", audio(b"x")), BadMessage, "conversation_id is missing"),
    "a path for an id": (request("../etc", audio(b"x")), BadMessage, "letter or digit"),
    "no role": (request("c-1", audio(b"x", 0)), BadMessage, "role 0"),
    "no encoding": (request("c-1", audio(b"x", encoding=0)), BadEncoding, "encoding 0"),
    "an encoding of tomorrow": (request("c-1", audio(b"x", encoding=9)), BadEncoding, "encoding 9"),
    "no rate": (request("c-1", audio(b"x", rate_hz=0)), BadEncoding, "sample_rate_hertz 0"),
    "a rate that is not taken": (request("c-1", audio(b"x", rate_hz=48_000)), BadEncoding, "sample_rate_hertz 48000"),
    "audio that is no message": (request("c-1", b"\xff"), BadMessage, "not a Conv"),
    "an id that is no text": (chunk(1, b"\xff\xfe") + chunk(3, audio(b"x")), BadMessage, "not a Conv"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_messages_have_names_wherever_they_come(name: str) -> None:
    message, error, told = BAD[name]
    with pytest.raises(error, match=told):
        Webex().receive(message)
    protocol = Webex()
    protocol.receive(request("c-1", audio(b"x")))
    if name == "no role":  # in the middle of a call that is somebody we have no party for
        assert protocol.receive(message) == [Odd("unknown_role")]
    else:
        with pytest.raises(error):
            protocol.receive(message)


def test_a_stream_has_one_form() -> None:
    protocol = Webex()
    protocol.receive(request("c-1", audio(b"x")))
    with pytest.raises(BadEncoding, match="began otherwise"):
        protocol.receive(request("c-1", audio(b"xx", encoding=LINEAR16)))


def test_fields_of_tomorrow_change_nothing() -> None:
    more = whole(77, 5) + chunk(78, b"new")
    plain, grown = Webex(), Webex()
    for data in (b"a", b"b"):
        today = plain.receive(request("c-1", audio(data)))
        assert grown.receive(request("c-1", audio(data) + more) + more) == today


def test_text_and_silence() -> None:
    protocol = Webex()
    with pytest.raises(BadMessage, match="protobuf"):
        protocol.receive("{}")
    assert protocol.receive(request("c-1", audio(b"")))[1:] == [Odd("empty")]


def test_who_may_come_is_asked_first() -> None:
    def refuse(_: Handshake) -> None:
        raise Unauthorized("no")

    with pytest.raises(Unauthorized):
        Webex(refuse).greet(Handshake("/", {}, 0.0))


# ---- what came before


def frames(first: int, last: int, role: int = CALLER, role_id: str = "r-1", call: str = "c-1") -> list[bytes]:
    """Messages with these numbers, each of two bytes that tell it."""
    return [request(call, audio(n.to_bytes(2, "big"), role, role_id, at_ms=20 * n)) for n in range(first, last)]


def numbers(said: list[Said], party: str = "customer") -> list[int]:
    data = heard(said, party)
    return [int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data), 2)]


def test_what_an_earlier_stream_brought_is_not_taken_again() -> None:
    known = Heard()
    assert numbers(play(Webex(heard=known), *frames(0, 50))) == list(range(50))
    said = play(Webex(heard=known), *frames(30, 80))
    assert numbers(said) == list(range(50, 80))
    assert said.count(Dropped("customer", 2, "duplicate")) == 20
    assert numbers(play(Webex(heard=known), *frames(70, 90))) == list(range(80, 90))


def test_others_have_a_memory_of_their_own() -> None:
    known = Heard()
    play(Webex(heard=known), *frames(0, 20))
    for other in (frames(0, 20, call="c-2"), frames(0, 20, role_id="r-2")):
        assert len(numbers(play(Webex(heard=known), *other))) == 20
    assert len(numbers(play(Webex(heard=known), *frames(0, 20, AGENT, "a-1")), "agent")) == 20


def test_a_clock_that_stands_still_or_begins_anew_costs_no_speech() -> None:
    known = Heard()
    for shift in (0, 100):  # the second time other audio at the same times
        messages = [request("c-1", audio(bytes([n + shift]), CALLER, "r", at_ms=20 * n)) for n in range(50)]
        assert len(heard(play(Webex(heard=known), *messages), "customer")) == 50
    still = [request("c-1", audio(bytes([n]), CALLER, "s", at_ms=0)) for n in range(50)]
    assert len(heard(play(Webex(heard=known), *still), "customer")) == 50
    timeless = [request("c-1", audio(b"\xff", CALLER, "t")) for _ in range(50)]
    for _ in range(2):
        assert len(heard(play(Webex(heard=known), *timeless), "customer")) == 50


def test_memory_is_bounded_and_keeps_what_is_newest() -> None:
    known = Heard()
    play(Webex(heard=known), *frames(0, 5 * MOST_SAID))
    assert MOST_SAID <= len(known.of("c-1", "r-1")) < 2 * MOST_SAID
    again = numbers(play(Webex(heard=known), *frames(4 * MOST_SAID, 5 * MOST_SAID + 1)))
    assert again == [5 * MOST_SAID]
    for n in range(2 * MOST_LEGS):
        known.of(f"c-{n}", "r")
    assert len(known._legs) == MOST_LEGS


# ---- any bytes

PART = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([*frames(0, 3), *frames(0, 3, AGENT), *(message for message, _, _ in BAD.values())]),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.tuples(PART, st.integers(0, 60), st.binary(max_size=3)), max_size=12))
def test_any_bytes_give_things_said_or_a_named_refusal(parts: list[tuple[bytes, int, bytes]]) -> None:
    protocol = Webex()
    opened: list[Said] = []
    for message, place, spoilt in parts:
        bent = message[:place] + spoilt + message[place + len(spoilt) :]
        try:
            said = protocol.receive(bent)
        except WireError as error:
            assert 0 < len(str(error)) < 400
            continue
        check_said(said)
        opened += [each for each in said if isinstance(each, Opened)]
        assert not any(isinstance(each, Sound) for each in said) or opened
    assert len(legs(opened)) == len(set(legs(opened)))
    assert len({each.call for each in opened if isinstance(each, Opened)}) <= 1
