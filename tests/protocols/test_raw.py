"""The raw family: text and audio in any order and any framing, WAV headers, and who is on which channel."""

from __future__ import annotations

import json
import struct
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadEncoding, BadMessage, Busy, WireError
from assist.protocols import Bye, Handshake, Key, Odd, Opened, Said, Sound
from assist.protocols.freeswitch import FreeSwitch
from assist.protocols.jambonz import Jambonz
from assist.protocols.lca import Lca
from assist.protocols.raw import HOLD_BYTES, MOST_HEADER_BYTES, Raw
from assist.protocols.sinch import Sinch
from assist.protocols.vonage import Vonage
from tests.contracts.protocol import ProtocolContract

UUID = "0b9d7c5e-3f61-4a7e-9d0c-5a1f8e2b4c6d"
KINDS: dict[type[Raw], dict[str, Any]] = {
    FreeSwitch: {"call": "c-1", "rate": 8000, "channels": "stereo"},
    Jambonz: {"callSid": UUID, "callId": "a@b", "from": "+15551234", "sampleRate": 8000, "mixType": "stereo"},
    Lca: {"callEvent": "START", "callId": "c-1", "fromNumber": "+15551234", "agentId": "ann", "samplingRate": 8000},
    Sinch: {"command": "connect", "version": 1, "callId": "c-1", "codec": "PCM", "sampleRate": 8000},
    Vonage: {"event": "websocket:connected", "content-type": "audio/l16;rate=8000", "call": "c-1"},
}
"""Each dialect with the text that opens a call."""


def asked(kind: type[Raw], query: str = "", key: str = "a") -> Raw:
    """A socket that was asked for with this query."""
    protocol = kind()
    target = f"/ingest/{kind.platform}" + (f"?{query}" if query else "")
    protocol.greet(Handshake(target, {"sec-websocket-key": key}, 17.0))
    return protocol


def play(protocol: Raw, *messages: str | bytes | dict[str, Any]) -> list[Said]:
    """All messages, then the end of the socket."""
    said: list[Said] = []
    for message in messages:
        said += protocol.receive(json.dumps(message) if isinstance(message, dict) else message)
    return [*said, *protocol.flush()]


def heard(said: list[Said]) -> dict[str, bytes]:
    """Each party's bytes."""
    found: dict[str, bytes] = {}
    for each in said:
        if isinstance(each, Sound):
            found[each.party] = found.get(each.party, b"") + each.payload
    return found


def odd(said: list[Said]) -> Counter[str]:
    return Counter(each.kind for each in said if isinstance(each, Odd))


def call_of(said: list[Said]) -> Opened:
    (opened,) = (each for each in said if isinstance(each, Opened))
    return opened


def pcm(count: int, seed: int = 1) -> bytes:
    """Samples of which no two runs are alike."""
    return np.random.default_rng(seed).integers(-20_000, 20_000, count, dtype=np.int16).tobytes()


def wav(channels: int = 2, rate_hz: int = 8_000, *, tag: int = 1, bits: int = 16, extra: bytes = b"") -> bytes:
    """The header of a WAV file whose length nobody knew; `extra` are chunks before its data."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits)
    if tag == 0xFFFE:
        form += struct.pack("<HHIH14x", 22, bits, 0, 1)
    chunk = struct.pack("<4sI", b"fmt ", len(form)) + form
    return b"RIFF\xff\xff\xff\xffWAVE" + chunk + extra + b"data\xff\xff\xff\xff"


class RawContract(ProtocolContract):
    """What holds for all of the family beyond what holds for all dialects."""

    kind: type[Raw]
    form = ("l16", 8_000)

    def protocol(self) -> Raw:
        return asked(self.kind)

    def opening(self) -> dict[str, Any]:
        return KINDS[self.kind]


class TestFreeSwitch(RawContract):
    name = "freeswitch"
    kind = FreeSwitch

    def messages(self) -> list[dict[str, Any]]:
        return [{"event": "dtmf", "dtmf": "4"}, {"any": "thing"}]

    def test_nothing_else_comes_first(self) -> None:
        """Every text opens a call."""
        for message in self.messages():
            assert isinstance(self.protocol().receive(json.dumps(message))[0], Opened)

    def test_a_second_opening_is_refused(self) -> None:
        """Nobody says which text is the description: a further one is counted."""
        assert self.opened().receive(json.dumps(self.opening())) == [Odd("late_text")]


class TestJambonz(RawContract):
    name = "jambonz"
    kind = Jambonz

    def messages(self) -> list[dict[str, Any]]:
        return [{"event": "dtmf", "dtmf": "2", "duration": "1600"}]

    def test_a_second_opening_is_refused(self) -> None:
        """A call's attributes may be sent again; they change nothing."""
        assert self.opened().receive(json.dumps(self.opening())) == [Odd("late_text")]


class TestLca(RawContract):
    name = "lca"
    kind = Lca

    def messages(self) -> list[dict[str, Any]]:
        return [{"callEvent": event, "callId": "c-1"} for event in ("UPDATE_AGENT", "ADD_CALL_CATEGORY", "END")]


class TestSinch(RawContract):
    name = "sinch"
    kind = Sinch
    parties = ("customer",)

    def messages(self) -> list[dict[str, Any]]:
        return [{"command": "heartbeat"}]


class TestVonage(RawContract):
    name = "vonage"
    kind = Vonage
    parties = ("customer",)

    def messages(self) -> list[dict[str, Any]]:
        return [{"event": "websocket:dtmf", "digit": "5", "duration": 260}]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), header=st.sampled_from([b"", wav(), wav(extra=b"LIST\x05\0\0\0abcde\0")]))
def test_framing_changes_nothing(kind: type[Raw], data: st.DataObject, header: bytes) -> None:
    sound = data.draw(st.binary(max_size=700)) + data.draw(st.sampled_from([b"", pcm(900)]))
    stream = header + sound
    if not header and sound[:4] == b"RIFF"[: len(sound)]:
        return
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    frames = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    at = data.draw(st.integers(0, len(frames))) if len(stream) < HOLD_BYTES else 0
    opening = json.dumps(KINDS[kind])
    said = play(asked(kind), *frames[:at], opening, *frames[at:])
    whole = play(asked(kind), opening, stream)
    assert heard(said) == heard(whole)
    count = len(call_of(said).parties)
    for n, party in enumerate(call_of(said).parties):
        samples = np.frombuffer(sound[: len(sound) // (2 * count) * 2 * count], "<i2")[n::count]
        assert heard(said).get(party, b"") == samples.tobytes()
    assert odd(said)["wav_header"] == odd(whole)["wav_header"] == bool(header)
    assert odd(said)["odd_bytes"] == (len(sound) % (2 * count) > 0)


@pytest.mark.parametrize("size", [1, 3, 512, 1_023, 65_536])
def test_every_size_of_frame_is_heard_whole(size: int) -> None:
    stream = pcm(40_000)
    frames = [stream[at : at + size] for at in range(0, len(stream), size)]
    said = play(asked(FreeSwitch, "call=c&rate=16k&channels=stereo"), *frames)
    both = np.frombuffer(stream, "<i2")
    assert heard(said) == {"customer": both[0::2].tobytes(), "agent": both[1::2].tobytes()}
    assert not odd(said)


def test_what_was_held_is_one_piece_for_each_party() -> None:
    """The call's clock starts with the first audio: were it in pieces, all would be placed late by what was held."""
    stream = pcm(6_400)
    protocol = asked(FreeSwitch)
    assert all(protocol.receive(stream[at : at + 640]) == [] for at in range(0, 12_800, 640))
    said = protocol.receive('{"call": "c-1", "rate": "8k", "channels": "stereo", "queue": "sales", "n": 3}')
    assert call_of(said) == Opened(
        "c-1", "freeswitch", ("customer", "agent"), "l16", 8_000, {"queue": "sales", "n": "3"}
    )
    assert [type(each) for each in said] == [Opened, Sound, Sound]
    assert heard(said)["agent"] == np.frombuffer(stream, "<i2")[1::2].tobytes()


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("", HOLD_BYTES),
        ("rate=16000", HOLD_BYTES),
        ("rate=8000&channels=mono", 8_000),
        ("rate=16000&channels=stereo", 32_000),
    ],
)
def test_no_more_is_held_than_stated_and_then_the_call_is_opened(query: str, most: int) -> None:
    protocol = asked(FreeSwitch, query)
    assert protocol.receive(bytes(most - 1)) == []
    said = protocol.receive(b"\0")
    opened = call_of(said)
    assert opened.rate_hz == (16_000 if "16000" in query else 8_000)
    assert sum(map(len, heard(said).values())) == most
    assert odd(said)["assumed_rate"] == ("rate" not in query)
    assert odd(said)["assumed_channels"] == ("channels" not in query)
    assert odd(said)["made_up_call"] == 1
    assert protocol.receive("metadata at last") == [Odd("late_text")]


def test_a_call_shorter_than_what_is_held_is_not_lost() -> None:
    said = play(asked(FreeSwitch), pcm(500))
    assert call_of(said).mixed == ("customer",) and len(heard(said)["customer"]) == 1_000
    assert play(asked(FreeSwitch)) == [], "nothing came, so nothing was"


@pytest.mark.parametrize("kind", [Jambonz, Lca, Sinch, Vonage])
def test_audio_that_no_text_explains_is_refused(kind: type[Raw]) -> None:
    protocol = asked(kind)
    assert protocol.receive(bytes(HOLD_BYTES // 2)) == []
    with pytest.raises(BadMessage, match="no text before them"):
        protocol.receive(bytes(HOLD_BYTES // 2))
    assert protocol.receive(bytes(9)) == [Odd("after_end")], "it holds no more"
    assert protocol.flush() == []


@pytest.mark.parametrize(
    ("query", "text", "parties", "mixed"),
    [
        ("channels=stereo", "", ("customer", "agent"), ()),
        ("channels=stereo&party=agent", "", ("agent", "customer"), ()),
        ("channels=mono", "", ("customer",), ()),
        ("channels=mono&party=agent", "", ("agent",), ()),
        ("channels=mixed", "", ("customer",), ("customer",)),
        ("channels=mixed&party=agent", "", ("agent",), ("agent",)),
        ("channels=1", "", ("customer",), ("customer",)),
        ("channels=1&party=customer", "", ("customer",), ()),
        ("party=agent", "", ("agent",), ()),
        ("", "sales queue", ("customer",), ("customer",)),
        ("channels=stereo", '{"mixType": "mono", "party": "agent"}', ("agent", "customer"), ()),
    ],
)
def test_who_is_on_which_channel(query: str, text: str, parties: tuple[str, ...], mixed: tuple[str, ...]) -> None:
    protocol = asked(FreeSwitch, query)
    opened = call_of(protocol.receive(text) if text else play(protocol, pcm(9)))
    assert (opened.parties, opened.mixed) == (parties, mixed)


def test_the_query_goes_before_the_text() -> None:
    protocol = asked(FreeSwitch, "call=q-1&rate=16k&queue=sales")
    opened = call_of(protocol.receive('{"callId": "t-1", "rate": 8000, "queue": "other", "agentId": "ann"}'))
    assert (opened.call, opened.rate_hz) == ("q-1", 16_000)
    assert opened.metadata == {"queue": "sales", "agentId": "ann", "agent": "ann"}


@pytest.mark.parametrize(
    ("text", "call", "metadata"),
    [
        (UUID, UUID, {}),
        ("  sales queue  ", "", {"text": "sales queue"}),
        ("[1, 2]", "", {"text": "[1, 2]"}),
        ('{"uuid": "u-1", "vip": true, "no": null, "more": {"q": 2, "vip": 1}}', "u-1", {"vip": "true", "q": "2"}),
    ],
)
def test_a_text_may_be_anything(text: str, call: str, metadata: dict[str, str]) -> None:
    said = asked(FreeSwitch).receive(text)
    assert call_of(said).metadata == metadata
    assert call_of(said).call == call or (not call and odd(said)["made_up_call"] == 1)


def test_a_made_up_call_is_another_on_every_socket() -> None:
    calls = {call_of(asked(FreeSwitch, key=key).receive("x")).call for key in "abc"}
    assert len(calls) == 3 and all(call.startswith("freeswitch-") for call in calls)


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("rate=44099", BadEncoding),
        ("rate=44.1k", None),
        ("rate=many", BadEncoding),
        ("rate=", None),
        ("channels=3", BadEncoding),
        ("party=robot", BadMessage),
        ("call=%20/", BadMessage),
        ("&".join(f"a{n}=1" for n in range(65)), BadMessage),
    ],
)
def test_a_wrong_query_is_refused_before_the_socket(query: str, refusal: type[WireError] | None) -> None:
    if refusal is None:
        assert asked(FreeSwitch, query)
        return
    with pytest.raises(refusal):
        asked(FreeSwitch, query)


def test_no_secret_becomes_metadata() -> None:
    query = "authorization=Bearer%20abc&id_token=abc&refresh_token=abc&api-key=abc&password=abc&queue=sales"
    opened = call_of(asked(Lca, query).receive(json.dumps({**KINDS[Lca], "accessToken": "abc"})))
    assert "abc" not in str(opened) and opened.metadata["queue"] == "sales"


class TestWavHeaders:
    """A recording's header that is sent as audio."""

    @pytest.mark.parametrize("header", [wav(), wav(tag=0xFFFE), wav(extra=b"LIST\x04\0\0\0abcd" * 20)])
    def test_it_is_taken_off_and_counted(self, header: bytes) -> None:
        said = play(asked(Lca), KINDS[Lca], header + pcm(100))
        assert odd(said) == {"wav_header": 1}
        assert heard(said)["customer"] == np.frombuffer(pcm(100), "<i2")[0::2].tobytes()

    def test_it_describes_the_call_where_nothing_else_does(self) -> None:
        protocol = asked(FreeSwitch)
        said = play(protocol, wav(2, 16_000) + pcm(20_000))
        opened = call_of(said)
        assert (opened.rate_hz, opened.parties) == (16_000, ("customer", "agent"))
        assert odd(said) == {"made_up_call": 1, "wav_header": 1}

    def test_it_may_contradict(self) -> None:
        said = play(asked(Lca), KINDS[Lca], wav(2, 16_000) + pcm(100))
        assert call_of(said).rate_hz == 8_000 and odd(said) == {"wav_header": 1, "wav_header_differs": 1}

    @pytest.mark.parametrize("header", [wav(tag=7, bits=8), wav(tag=0xFFFE, bits=24), wav(3), wav(2, 44_099)])
    def test_what_is_not_taken_is_refused_by_name(self, header: bytes) -> None:
        with pytest.raises(BadEncoding, match=r"WAV|44099 Hz"):
            play(asked(Lca), KINDS[Lca], header)
        protocol = asked(FreeSwitch)
        with pytest.raises(BadEncoding, match=r"WAV|44099 Hz"):
            protocol.receive(header)
        assert protocol.flush() == []

    def test_one_that_never_ends_is_heard(self) -> None:
        endless = b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 600
        said = play(asked(Lca), KINDS[Lca], *[endless[at : at + 100] for at in range(0, len(endless), 100)])
        assert odd(said) == {"wav_header_unread": 1}
        assert len(endless) > MOST_HEADER_BYTES and sum(map(len, heard(said).values())) == len(endless)

    def test_one_that_is_cut_is_no_audio(self) -> None:
        assert odd(play(asked(Lca), KINDS[Lca], wav()[:30])) == {"wav_header_cut": 1}
        assert heard(play(asked(Lca), KINDS[Lca], b"RIFF")) == {"customer": b"RI", "agent": b"FF"}


def test_jambonz_describes_its_call() -> None:
    text = {**KINDS[Jambonz], "sampleRate": 16_000, "mixType": "mixed", "metadata": {"queue": "sales", "from": "-"}}
    opened = call_of(asked(Jambonz).receive(json.dumps(text)))
    assert (opened.call, opened.rate_hz, opened.parties, opened.mixed) == (UUID, 16_000, ("customer",), ("customer",))
    assert opened.metadata == {"callId": "a@b", "from": "+15551234", "ani": "+15551234", "queue": "sales"}
    with pytest.raises(BadEncoding, match="24001"):
        asked(Jambonz).receive(json.dumps({**text, "sampleRate": 24_001}))


def test_what_its_user_calls_channels_is_not_how_jambonz_lays_out_its_audio() -> None:
    fields = {**KINDS[Jambonz], "mixType": "stereo", "metadata": {"channels": "web", "call": "crm-77"}}
    opened = call_of(asked(Jambonz).receive(json.dumps(fields)))
    assert opened.parties == ("customer", "agent") and opened.metadata["channels"] == "web"
    assert opened.call == "crm-77"


@given(st.sampled_from([22_050, 24_000, 32_000, 44_100, 48_000]), st.lists(st.integers(1, 3_000), max_size=20))
def test_any_rate_becomes_16_khz_wherever_it_is_cut(rate_hz: int, cuts: list[int]) -> None:
    audio = pcm(sum(cuts) // 4)
    text = {**KINDS[Lca], "samplingRate": rate_hz}
    messages, at = [], 0
    for cut in cuts:
        messages.append(audio[at : at + cut])
        at += cut
    said = play(asked(Lca), text, *filter(None, messages))
    assert call_of(said).rate_hz == 16_000
    frames = len(audio[:at]) // 4
    for party in ("customer", "agent"):
        found = heard(said).get(party, b"")
        assert abs(len(found) // 2 - frames * 16_000 / rate_hz) <= 1
    assert heard(said) == heard(play(asked(Lca), text, *filter(None, [audio[:at]])))


@pytest.mark.parametrize(("given", "call"), [("crm 77/b=", "crm-77-b-"), ("/-x", "x"), ("Ünal", "nal")])
def test_an_id_of_other_letters_is_written_so_that_it_can_stand_in_a_url(given: str, call: str) -> None:
    opened = call_of(play(asked(Lca), {**KINDS[Lca], "callId": given}))
    assert opened.call == call and opened.metadata["platform_call"] == given


def test_keys_say_who_pressed_them_and_not_which() -> None:
    said = play(asked(Jambonz, "party=agent"), KINDS[Jambonz], {"event": "dtmf", "dtmf": "2", "duration": "1600"})
    assert said[-1] == Key("agent")
    assert play(asked(Vonage), KINDS[Vonage], {"event": "websocket:dtmf", "digit": "5"})[-1] == Key("customer")


@pytest.mark.parametrize(
    ("content_type", "rate_hz"),
    [
        ("audio/l16;rate=16000", 16_000),
        ("audio/L16; rate=8000", 8_000),
        ("audio/l16", 8_000),
        ("audio/l16;rate=24000", 16_000),
        ("audio/l16;rate=24001", None),
        ("audio/pcmu;rate=8000", None),
        ("", None),
    ],
)
def test_vonage_says_the_rate_in_its_content_type(content_type: str, rate_hz: int | None) -> None:
    text = json.dumps({**KINDS[Vonage], "content-type": content_type})
    if rate_hz is None:
        with pytest.raises(BadEncoding):
            asked(Vonage).receive(text)
        return
    said = asked(Vonage).receive(text)
    assert call_of(said).rate_hz == rate_hz and odd(said)["assumed_rate"] == ("rate" not in content_type)


def test_a_conversation_is_mixed_and_a_leg_is_not() -> None:
    assert call_of(asked(Vonage).receive(json.dumps(KINDS[Vonage]))).mixed == ("customer",)
    leg = call_of(asked(Vonage).receive(json.dumps({**KINDS[Vonage], "party": "agent"})))
    assert (leg.parties, leg.mixed) == (("agent",), ())
    sinch = call_of(asked(Sinch).receive(json.dumps({**KINDS[Sinch], "callHeaders": {"party": "agent"}})))
    assert (sinch.parties, sinch.mixed) == (("agent",), ())


def test_sinch_is_answered_in_its_own_words() -> None:
    protocol = asked(Sinch)
    protocol.receive(json.dumps(KINDS[Sinch]))
    assert protocol.welcome() == ['{"command":"answer"}']
    assert json.loads(protocol.refusal(Busy("full", 17))[0])["command"] == "busy"
    assert json.loads(protocol.refusal(BadMessage("no"))[0])["command"] == "reject"
    with pytest.raises(BadEncoding, match="codec"):
        asked(Sinch).receive(json.dumps({**KINDS[Sinch], "codec": "OPUS"}))


def test_after_the_end_nothing_is_heard() -> None:
    said = play(asked(Lca), KINDS[Lca], pcm(2), {"callEvent": "END"}, pcm(2), {"callEvent": "END"})
    assert said[-3:] == [Bye(), Odd("after_end"), Odd("after_end")]
    assert len(heard(said)["agent"]) == 2


def test_other_events_of_lca_change_nothing() -> None:
    said = play(
        asked(Lca), KINDS[Lca], {"callEvent": "UPDATE_AGENT", "agentId": "bob"}, {"callEvent": "SPEAKER_CHANGE"}
    )
    assert odd(said) == {"update_agent": 1, "unknown_message": 1}
    assert call_of(said).metadata["agent"] == "ann"


@pytest.mark.parametrize("text", ['{"callEvent": 3}', "{}", "START", '{"callEvent": "START", "samplingRate": 44099}'])
def test_a_wrong_start_is_refused_by_name(text: str) -> None:
    with pytest.raises((BadMessage, BadEncoding)):
        asked(Lca).receive(text)
