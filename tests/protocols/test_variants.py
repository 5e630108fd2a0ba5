"""What the other platforms of Twilio's family do differently. What they share is tested with Twilio."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadEncoding, BadMessage
from assist.protocols import Bye, Dropped, Key, Lost, Odd, Opened, Protocol, Said, Sound
from assist.protocols.exotel import Exotel
from assist.protocols.fonoster import Fonoster
from assist.protocols.plivo import Plivo
from assist.protocols.signalwire import SignalWire
from assist.protocols.talkdesk import Talkdesk
from assist.protocols.telnyx import HELD, Telnyx
from assist.protocols.twilio import WINDOW, Twilio
from tests import streams
from tests.contracts.protocol import ProtocolContract

BOTH = ("inbound", "outbound")


def grown(message: dict[str, Any]) -> dict[str, Any]:
    """With a field that nobody knows on every level, but among custom parameters, whose fields are nobody's to know."""
    whole = {k: grown(v) if isinstance(v, dict) and "custom" not in k else v for k, v in message.items()}
    return {**whole, "since2027": {"x": [1]}}


class Variant(ProtocolContract):
    """The contract, for whatever the platform's own messages are."""

    kind: ClassVar[type[Twilio]]

    def texts(self) -> streams.Texts:
        return streams.FAMILY[self.name]("c-1", bytes(320), bytes(320))

    def protocol(self) -> Protocol:
        return self.kind()

    def _call(self) -> list[dict[str, Any]]:
        found = [json.loads(text) for text in self.texts()]
        return [each for each in found if each["event"] != "connected"]

    def opening(self) -> dict[str, Any]:
        return self._call()[0]

    def messages(self) -> list[dict[str, Any]]:
        return self._call()[1:]

    def test_fields_of_tomorrow_change_nothing(self) -> None:
        today, tomorrow = self.protocol(), self.protocol()
        for each in self._call():
            assert tomorrow.receive(json.dumps(grown(each))) == today.receive(json.dumps(each))


class TestSignalWire(Variant):
    name, kind = "signalwire", SignalWire


class TestFonoster(Variant):
    name, kind = "fonoster", Fonoster


class TestTalkdesk(Variant):
    name, kind = "talkdesk", Talkdesk


class TestTelnyx(Variant):
    name, kind = "telnyx", Telnyx


class TestPlivo(Variant):
    name, kind = "plivo", Plivo


class TestExotel(Variant):
    name, kind = "exotel", Exotel
    parties = ("customer",)
    form = ("l16", 8_000)


def start(protocol: Twilio, **changes: Any) -> Opened:
    """Opened with the platform's field for the format, and whatever else."""
    names = protocol.names
    given = {names.call[0]: "c-1", **changes}
    (said,) = protocol.receive(json.dumps({"event": "start", names.number: 1, "start": given}))
    assert isinstance(said, Opened)
    return said


@pytest.mark.parametrize(
    ("kind", "encoding", "rate_hz", "taken"),
    [
        (Telnyx, "PCMU", 8_000, "mulaw"),
        (Telnyx, "PCMA", 8_000, "alaw"),
        (Telnyx, "L16", 16_000, "l16"),
        (Plivo, "audio/x-l16", 16_000, "l16"),
        (Plivo, "audio/x-l16;rate=8000", 8_000, "l16"),
        (Plivo, "audio/x-mulaw", 8_000, "mulaw"),
        (SignalWire, "audio/x-L16", 16_000, "l16"),
        (SignalWire, "PCMA@8000h", "8000", "alaw"),
        (Exotel, "audio/x-raw", "8000", "l16"),
        (Exotel, "raw/slin", "16000", "l16"),
        (Exotel, "base64", "8000", "l16"),
        (Exotel, "audio/x-mulaw", 8_000, "mulaw"),
    ],
)
def test_encodings_go_by_the_platforms_names(kind: type[Twilio], encoding: str, rate_hz: Any, taken: str) -> None:
    protocol = kind()
    given = {"encoding": encoding, protocol.names.rate: rate_hz}
    said = start(protocol, **{protocol.names.media_format: given})
    assert (said.encoding, said.rate_hz) == (taken, int(rate_hz))


@pytest.mark.parametrize(
    ("kind", "encoding", "rate_hz", "named"),
    [
        (Telnyx, "G722", 16_000, "g722"),
        (Telnyx, "OPUS", 16_000, "opus"),
        (Telnyx, "AMR-WB", 16_000, "amr-wb"),
        (Telnyx, "L16", 24_001, "24001"),
        (SignalWire, "L16@24001h", 24_001, "24001"),
        (Exotel, "audio/x-raw", "24001", "24001"),
        (Plivo, "base64", 8_000, "base64"),
    ],
)
def test_what_is_not_taken_is_refused_by_its_name(kind: type[Twilio], encoding: str, rate_hz: Any, named: str) -> None:
    protocol = kind()
    given = {"encoding": encoding, protocol.names.rate: rate_hz}
    with pytest.raises(BadEncoding, match=named):
        start(protocol, **{protocol.names.media_format: given})


@pytest.mark.parametrize("kind", [Twilio, Telnyx, Plivo, Exotel])
def test_a_start_without_an_id_or_with_a_wrong_number_is_refused(kind: type[Twilio]) -> None:
    names = kind.names
    with pytest.raises(BadMessage, match=names.call[0]):
        kind().receive(json.dumps({"event": "start", names.number: 1, "start": {}}))
    with pytest.raises(BadMessage, match=names.number):
        kind().receive(json.dumps({"event": "start", names.number: "-4", "start": {names.call[0]: "c-1"}}))
    protocol = kind()
    start(protocol)
    with pytest.raises(BadMessage, match=names.number):
        protocol.receive(json.dumps({"event": "media", names.number: "x", "media": {"payload": ""}}))


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ("a=1;b=two", {"a": "1", "b": "two"}),
        ("a=1, b = x=y", {"a": "1", "b": "x=y"}),
        ('{"a": "1", "b": 2}', {"a": "1", "b": "2"}),
        ({"a": 1}, {"a": "1"}),
        ("nonsense", {}),
        ("", {}),
        (["a"], {}),
    ],
)
def test_plivos_extra_headers_become_metadata(headers: Any, told: dict[str, str]) -> None:
    first = {"event": "start", "sequenceNumber": 1, "start": {"callId": "c-1"}, "extra_headers": headers}
    (said,) = Plivo().receive(json.dumps(first))
    assert isinstance(said, Opened) and said.metadata == {**told, "tracks": ""}


def test_plivo_sends_linear_audio_where_it_does_not_say() -> None:
    assert start(Plivo()).encoding == "l16" and start(Twilio()).encoding == start(Telnyx()).encoding == "mulaw"


def test_plivo_may_say_who_is_inbound() -> None:
    first = {"event": "start", "start": {"callId": "c-1"}, "extra_headers": "inboundParty=agent"}
    protocol = Plivo()
    protocol.receive(json.dumps(first))
    media = {"event": "media", "media": {"track": "inbound", "payload": "AQ=="}}
    assert protocol.receive(json.dumps(media)) == [Sound("agent", b"\x01")]


def test_exotels_one_channel_is_in_doubt_unless_somebody_says_whose_it_is() -> None:
    said = start(Exotel())
    assert said.parties == said.mixed == ("customer",)
    protocol = Exotel()
    said = start(protocol, custom_parameters={"inbound_party": "agent"})
    assert (said.parties, said.mixed) == (("agent",), ())
    media = {"event": "media", "sequence_number": "2", "media": {"track": "both", "chunk": "1", "payload": "AQI="}}
    assert protocol.receive(json.dumps(media)) == [Sound("agent", b"\x01\x02")]


# ---- Telnyx: order by chunk


def telnyx(track: str, chunk: int, payload: bytes = b"") -> dict[str, Any]:
    body = {"track": track, "chunk": str(chunk), "payload": base64.b64encode(payload or bytes([chunk % 256])).decode()}
    return {"event": "media", "sequence_number": "2", "media": body}


def play(messages: list[dict[str, Any]], protocol: Telnyx | None = None) -> list[Said]:
    """What is said, to the end."""
    if protocol is None:
        start(protocol := Telnyx())
    said = [each for message in messages for each in protocol.receive(json.dumps(message))]
    return [*said, *protocol.flush()]


def heard(said: list[Said], party: str) -> list[int]:
    return [each.payload[0] for each in said if isinstance(each, Sound) and each.party == party]


def shuffled(frames: list[dict[str, Any]], lateness: list[int]) -> list[dict[str, Any]]:
    order = sorted(range(len(frames)), key=lambda n: (n + lateness[n], n))
    return [frames[n] for n in order]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), count=st.integers(1, 80), shared=st.booleans(), begins=st.integers(0, 60))
def test_any_order_within_the_window_sounds_the_same(
    data: st.DataObject, count: int, shared: bool, begins: int
) -> None:
    """Whether tracks share their numbers or not, and whenever the second begins."""
    frames: list[dict[str, Any]] = []
    numbers = dict.fromkeys(BOTH, 0)
    for n in range(count):
        for track in BOTH[: 1 if n < begins else 2]:
            numbers[track] = len(frames) + 1 if shared else numbers[track] + 1
            frames.append(telnyx(track, numbers[track]))
    lateness = data.draw(st.lists(st.integers(0, 8), min_size=len(frames), max_size=len(frames)))
    said = play(shuffled(frames, lateness))
    for track, party in zip(BOTH, ("customer", "agent"), strict=True):
        wanted = [base64.b64decode(f["media"]["payload"])[0] for f in frames if f["media"]["track"] == track]
        assert heard(said, party) == wanted
    assert not any(isinstance(each, Lost | Dropped) for each in said)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BOTH), st.integers(0, 2_000)), max_size=150))
def test_nothing_is_lost_from_sight_and_what_waits_is_bounded(sent: list[tuple[str, int]]) -> None:
    start(protocol := Telnyx())
    said: list[Said] = []
    for track, chunk in sent:
        said += protocol.receive(json.dumps(telnyx(track, chunk)))
        assert sum(len(order.early) for order in protocol._orders.values()) <= 4 * WINDOW
        assert len(protocol._held or ()) <= HELD
    said += protocol.flush()
    assert sum(isinstance(each, Sound | Dropped) for each in said) == len(sent)


@pytest.mark.parametrize("both", [True, False])
def test_a_hole_is_told_where_it_is_known_whose_it_is(both: bool) -> None:
    tracks = BOTH if both else BOTH[:1]
    frames = [telnyx(track, n, bytes(160)) for n in range(1, 90) for track in tracks if n != 40]
    said = play(frames)
    lost = [each for each in said if isinstance(each, Lost)]
    assert lost == ([Lost("customer", 20), Lost("agent", 20)] if both else [Lost("customer", 20)])


def test_a_hole_in_a_shared_run_is_nobodys() -> None:
    frames = [telnyx(BOTH[n % 2], n, bytes(160)) for n in range(1, 180) if n != 90]
    said = play(frames)
    assert not any(isinstance(each, Lost) for each in said)
    assert sum(isinstance(each, Sound) for each in said) == 178
    assert Odd("missing") in said


def test_telnyx_errors_are_counted_and_stop_is_final() -> None:
    start(protocol := Telnyx())
    error = {"event": "error", "stream_id": "s", "payload": {"code": 100_002, "title": "unknown_error"}}
    stop = {"event": "stop", "sequence_number": "9", "stop": {}}
    dtmf = {"event": "dtmf", "sequence_number": "7", "dtmf": {"digit": "1"}}
    said = play([telnyx("inbound", 1), error, dtmf, telnyx("inbound", 3), stop, telnyx("inbound", 2)], protocol)
    assert heard(said, "customer") == [1, 3]
    assert said[1:3] == [Odd("platform_error"), Key("customer")]
    assert said[-2:] == [Bye(), Odd("after_stop")]
