"""Twilio Media Streams: order restored within the window, duplicates and latecomers counted, holes told."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadEncoding, BadMessage, UnknownMessage
from assist.protocols import Bye, Dropped, Key, Lost, Odd, Opened, Said, Sound
from assist.protocols.twilio import WINDOW, Twilio
from tests.contracts.protocol import ProtocolContract


def start(**changes: Any) -> dict[str, Any]:
    described = {
        "accountSid": "AC0", "streamSid": "MZ0", "callSid": "CA0", "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": {"q": "x"},
    }  # fmt: skip
    return {"event": "start", "sequenceNumber": "1", "streamSid": "MZ0", "start": {**described, **changes}}


def media(sequence: int, *, chunk: int | None = None, payload: bytes = b"", track: str = "inbound") -> dict[str, Any]:
    """By default the payload says which message it is."""
    body = {"track": track, "payload": base64.b64encode(payload or sequence.to_bytes(8, "big")).decode()}
    if chunk is not None:
        body["chunk"] = str(chunk)
    return {"event": "media", "sequenceNumber": str(sequence), "media": body}


def opened(**changes: Any) -> Twilio:
    protocol = Twilio()
    protocol.receive(json.dumps(start(**changes)))
    return protocol


def play(protocol: Twilio, messages: list[dict[str, Any]]) -> list[Said]:
    return [said for message in messages for said in protocol.receive(json.dumps(message))]


def heard(said: list[Said]) -> list[int]:
    """Numbers of the media messages whose payloads were given on."""
    return [int.from_bytes(each.payload, "big") for each in said if isinstance(each, Sound)]


def odd(said: list[Said]) -> Counter[str]:
    return Counter(each.kind for each in said if isinstance(each, Odd))


class TestTwilio(ProtocolContract):
    name = "twilio"

    def protocol(self) -> Twilio:
        return Twilio()

    def opening(self) -> dict[str, Any]:
        return start()

    def messages(self) -> list[dict[str, Any]]:
        return [
            media(2, chunk=1),
            {"event": "dtmf", "sequenceNumber": "3", "dtmf": {"track": "inbound_track", "digit": "4"}},
            {"event": "mark", "sequenceNumber": "4", "mark": {"name": "m"}},
            {"event": "stop", "sequenceNumber": "5", "stop": {"callSid": "CA0"}},
        ]


def test_the_start_in_full() -> None:
    protocol = Twilio()
    assert protocol.receive('{"event": "connected", "protocol": "Call", "version": "1.0.0"}') == []
    (said,) = protocol.receive(json.dumps(start()))
    metadata = {"q": "x", "tracks": "inbound,outbound", "accountSid": "AC0", "streamSid": "MZ0"}
    assert said == Opened("CA0", "twilio", ("agent", "customer"), "mulaw", 8_000, metadata)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"mediaFormat": {"encoding": "audio/opus"}}, BadEncoding),
        ({"mediaFormat": {"sampleRate": 44_100}}, BadEncoding),
        ({"mediaFormat": {"encoding": "audio/l16", "sampleRate": 44_099}}, BadEncoding),
        ({"mediaFormat": {"sampleRate": "many"}}, BadMessage),
        ({"mediaFormat": {"channels": 2}}, BadEncoding),
        ({"callSid": "=/="}, BadMessage),
    ],
)
def test_a_wrong_start_is_refused_by_name(changes: dict[str, Any], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        opened(**changes)


def test_tracks_that_are_no_names_are_no_matter() -> None:
    assert opened(tracks=[{}, ["inbound"], None, "outbound"])._opened is not None


def test_who_is_inbound_may_be_said() -> None:
    protocol = opened(customParameters={"inbound_party": "agent"})
    said = play(protocol, [media(2), media(3, track="outbound")])
    assert [each.party for each in said if isinstance(each, Sound)] == ["agent", "customer"]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), count=st.integers(1, 120))
def test_any_order_within_the_window_sounds_the_same(data: st.DataObject, count: int) -> None:
    numbers = list(range(2, 2 + count))
    lateness = data.draw(st.lists(st.integers(0, WINDOW), min_size=count, max_size=count))
    arrival = sorted(numbers, key=lambda n: (n + lateness[n - 2], n))  # nobody is overtaken by more than the window
    protocol = opened()
    said = play(protocol, [media(n, chunk=n - 1) for n in arrival])
    assert protocol.flush() == []
    assert heard(said) == numbers
    assert not any(isinstance(each, Lost | Dropped) for each in said)
    assert odd(said)["missing"] == odd(said)["duplicate"] == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(2, 40), max_size=120))
def test_each_number_is_heard_once_and_every_copy_counted(numbers: list[int]) -> None:
    protocol = opened()
    said = play(protocol, [media(n) for n in numbers])
    said += protocol.flush()
    assert heard(said) == sorted(set(numbers))
    dropped = [each for each in said if isinstance(each, Dropped)]
    assert len(dropped) == len(numbers) - len(set(numbers)) == odd(said)["duplicate"]
    assert all((each.party, each.payload_bytes, each.reason) == ("customer", 8, "duplicate") for each in dropped)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5_000), max_size=200))
def test_what_waits_is_bounded_and_nothing_is_lost_from_sight(numbers: list[int]) -> None:
    protocol = opened()
    said: list[Said] = []
    for number in numbers:
        said += play(protocol, [media(number)])
        assert len(protocol._order.early) <= WINDOW
        assert len(protocol._order.skipped) <= 30 * WINDOW
    said += protocol.flush()
    assert len(heard(said)) + sum(isinstance(each, Dropped) for each in said) == len(numbers)


def test_a_hole_is_given_up_after_the_window_and_its_frame_is_late() -> None:
    protocol = opened()
    said = play(protocol, [media(2, chunk=1, payload=bytes(160))])
    said += play(protocol, [media(n, chunk=n - 1, payload=bytes(160)) for n in range(4, 4 + WINDOW + 1)])
    assert odd(said)["missing"] == 1
    assert [each for each in said if isinstance(each, Lost)] == [Lost("customer", 20)]
    late = play(protocol, [media(3, chunk=2, payload=bytes(160))])
    assert late == [Odd("late"), Dropped("customer", 160, "late")]
    assert play(protocol, [media(3, chunk=2, payload=bytes(160))])[0] == Odd("duplicate")


def test_a_renumbered_stream_goes_on() -> None:
    protocol = opened()
    said = play(protocol, [media(2), media(4)])
    said += play(protocol, [media(n) for n in range(90_000, 90_010)])
    assert heard(said) == [2, 4, *range(90_000, 90_010)]
    assert odd(said)["renumbered"] == 1


@pytest.mark.parametrize("shared", [True, False])
def test_tracks_may_share_a_run_of_chunk_numbers_and_nothing_is_lost_by_it(shared: bool) -> None:
    tracks = ("outbound", "inbound")
    messages = [
        media(n, chunk=n - 1 if shared else n // 2, track=tracks[n % 2], payload=bytes(160)) for n in range(2, 100)
    ]
    said = play(opened(), messages)
    assert len([each for each in said if isinstance(each, Sound)]) == 98
    assert not any(isinstance(each, Lost) for each in said)


def test_a_hole_counts_for_no_more_than_the_numbers_that_are_missing() -> None:
    protocol = opened()
    payload = bytes(160)
    said = play(protocol, [media(2, chunk=1, payload=payload), media(4, chunk=100_000, payload=payload)])
    assert [each for each in [*said, *protocol.flush()] if isinstance(each, Lost)] == [Lost("customer", 20)]


def test_linear_audio_of_another_rate_becomes_16_khz_and_so_is_what_is_dropped() -> None:
    protocol = Twilio()
    (call,) = protocol.receive(json.dumps(start(mediaFormat={"encoding": "audio/x-l16", "sampleRate": 24_000})))
    assert isinstance(call, Opened) and (call.encoding, call.rate_hz) == ("l16", 16_000)
    said = play(protocol, [media(2, payload=bytes(960))])
    assert [len(each.payload) for each in said if isinstance(each, Sound)] == [640]
    assert Dropped("customer", 640, "duplicate") in play(protocol, [media(2, payload=bytes(960))])


def test_a_bad_message_costs_no_good_one_that_waits() -> None:
    protocol = opened()
    bad = media(3)
    bad["media"]["payload"] = "?"
    assert heard(play(protocol, [media(2), media(5)])) == [2]
    with pytest.raises(BadMessage, match="base64"):
        protocol.receive(json.dumps(bad))
    assert heard(protocol.flush()) == [5]


def test_an_event_of_tomorrow_is_counted_and_its_number_is_no_hole() -> None:
    said = play(opened(), [media(2), {"event": "applause", "sequenceNumber": "3"}, media(4)])
    assert heard(said) == [2, 4]
    assert odd(said) == {"unknown_message": 1}


def test_without_numbers_the_order_of_arrival_holds() -> None:
    messages = [media(n) for n in (5, 3, 9)]
    for message in messages:
        del message["sequenceNumber"]
    assert heard(play(opened(), messages)) == [5, 3, 9]


def test_a_key_says_who_pressed_it_and_not_which() -> None:
    said = play(opened(), [{"event": "dtmf", "sequenceNumber": "2", "dtmf": {"track": "outbound_track", "digit": "7"}}])
    assert said == [Key("agent")]


def test_stop_waits_for_what_was_said_before_it() -> None:
    protocol = opened()
    stop = {"event": "stop", "sequenceNumber": "4", "stop": {}}
    said = play(protocol, [media(2), stop, media(3), media(5)])
    assert heard(said) == [2, 3]
    assert said[-2:] == [Bye(), Odd("after_stop")]


@pytest.mark.parametrize("sequence", ["-1", "x", "1e3", None, True, [], "9" * 5_000, 2**60])
def test_a_number_that_is_none_is_refused(sequence: object) -> None:
    with pytest.raises(BadMessage, match="sequenceNumber"):
        opened().receive(json.dumps({**media(2), "sequenceNumber": sequence}))


def test_other_events_and_binary_are_refused_by_name() -> None:
    with pytest.raises(UnknownMessage, match="video"):
        Twilio().receive('{"event": "video"}')
    with pytest.raises(UnknownMessage, match="None"):
        opened().receive("{}")
    with pytest.raises(BadMessage, match="binary"):
        opened().receive(b"\x00")
    with pytest.raises(BadMessage, match="track"):
        opened().receive(json.dumps(media(2, track="sideways")))
