"""AudioSocket: frames come out of any cut of the stream alike, a bad one costs none before it."""

from __future__ import annotations

import json
import uuid
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import AssistError, BadMessage, Busy, StoreFailed, WireError
from assist.protocols import Bye, Due, Key, Odd, Opened, Said, Sound
from assist.protocols.audiosocket import DTMF, ERROR, HANGUP, RATES_HZ, UUID, AudioSocket
from tests.contracts.protocol import ProtocolContract, check_said
from tests.golden.exchange import STREAM, audiosocket


def frame(kind: int, payload: bytes = b"") -> bytes:
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


def stream(text: str = STREAM) -> bytes:
    return frame(UUID, uuid.UUID(text).bytes)


def opened() -> AudioSocket:
    protocol = audiosocket()
    protocol.receive(stream())
    return protocol


def heard(said: list[Said]) -> bytes:
    return b"".join(each.payload for each in said if isinstance(each, Sound))


class TestAudioSocket(ProtocolContract):
    name = "audiosocket"
    form = ("l16", 16_000)

    def protocol(self) -> AudioSocket:
        return audiosocket()

    def opening(self) -> bytes:
        return stream()

    def messages(self) -> list[bytes]:
        return [frame(0x10, bytes(320)), frame(DTMF, b"5"), frame(ERROR, b"\x01"), frame(HANGUP), frame(0x77, b"x")]

    @pytest.mark.parametrize("error", [WireError("too bad"), Busy("full", 17), StoreFailed("/var/lib: no space")])
    def test_a_refusal_says_what_is_theirs_to_know(self, error: AssistError) -> None:
        """There is a word for the end and none for why."""
        for protocol in (self.protocol(), self.opened()):
            assert [text.encode("latin-1") for text in protocol.refusal(error)] == [frame(HANGUP)]

    def test_what_it_sends_is_json_text(self) -> None:
        """It sends one word, which is binary."""
        protocol = self.opened()
        assert [text.encode("latin-1") for text in protocol.leave()] == [frame(HANGUP)]
        assert [*protocol.welcome(), *protocol.ack(3, {}), *protocol.replies(), *protocol.farewell("bye", {})] == []


def test_who_is_heard() -> None:
    (said,) = audiosocket().receive(stream())
    assert said == Opened("c-1", "audiosocket", ("agent", "customer"), "l16", 16_000, {"stream": STREAM}, leg="agent")
    other = str(uuid.uuid4())
    (said,) = audiosocket().receive(stream(other))
    assert isinstance(said, Opened)
    assert (said.call, said.parties, said.mixed, said.leg) == (other, ("customer",), ("customer",), None)


PARTS = st.lists(
    st.one_of(
        st.builds(frame, st.sampled_from([*RATES_HZ, 0x12, 0x12, DTMF, ERROR, 0x44]), st.binary(max_size=90)),
        st.sampled_from([frame(HANGUP), stream(), frame(UUID, b"short"), frame(0x12, bytes(700))]),
    ),
    max_size=12,
)


def taken(protocol: AudioSocket, data: bytes, cuts: list[int]) -> tuple[list[Said], str]:
    """What was said of data cut there, and the refusal."""
    said: list[Said] = []
    refusal = ""
    for start, end in pairwise([0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]):
        try:
            said += protocol.receive(data[start:end])
            if Due() in said:
                protocol.replies()
        except WireError as error:
            refusal = str(error)
            break
    check_said(said)
    return [each for each in said if each != Due()], refusal


@settings(max_examples=200, deadline=None)
@given(parts=PARTS, cuts=st.lists(st.integers(0, 2_000), max_size=30), first=st.booleans())
def test_any_cut_says_the_same(parts: list[bytes], cuts: list[int], first: bool) -> None:
    data = (stream() if first else b"") + b"".join(parts)
    whole = taken(audiosocket(), data, [])
    assert taken(audiosocket(), data, cuts) == whole
    assert taken(audiosocket(), data, list(range(len(data)))) == whole


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6), opened_first=st.booleans())
def test_any_bytes_give_things_said_or_a_refusal(data: bytes, cuts: list[int], opened_first: bool) -> None:
    protocol = opened() if opened_first else audiosocket()
    taken(protocol, data, cuts)
    assert len(protocol._came) <= len(data)
    check_said(protocol.flush())


@pytest.mark.parametrize(("kind", "rate_hz"), RATES_HZ.items())
def test_every_rate_becomes_ours(kind: int, rate_hz: int) -> None:
    protocol = opened()
    at = np.arange(rate_hz) / rate_hz
    tone = (8_000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes()
    said = [s for n in range(0, len(tone), 1_234) for s in protocol.receive(frame(kind, tone[n : n + 1_234]))]
    pcm = np.frombuffer(heard(said), "<i2")
    assert len(pcm) == 16_000
    spectrum = np.abs(np.fft.rfft(pcm[2_000:10_000]))
    assert int(spectrum.argmax()) * 2 == 440
    assert np.abs(pcm[2_000:10_000]).max() == pytest.approx(8_000, rel=0.02)


def test_16_khz_comes_through_as_it_is() -> None:
    assert heard(opened().receive(frame(0x12, bytes(range(100))))) == bytes(range(100))


def test_a_rate_may_change() -> None:
    protocol = opened()
    assert protocol.receive(frame(0x12, b"\x01\x02\x03")) == [Sound("agent", b"\x01\x02")]
    changed = protocol.receive(frame(0x10, bytes(320)))
    assert changed[0] == Odd("rate_changed")
    assert len(heard(changed)) == 640


def test_keys_hangup_and_what_comes_after() -> None:
    protocol = opened()
    said = protocol.receive(frame(DTMF, b"7") + frame(ERROR, b"\x02") + frame(0x42, b"new") + frame(HANGUP))
    assert said == [Key("agent"), Odd("platform_error"), Odd("unknown_kind"), Bye()]
    assert protocol.receive(frame(0x12, b"\x01\x00")) == [Odd("after_hangup")]
    assert protocol.flush() == []


@pytest.mark.parametrize("first", [frame(0x10, bytes(320)), frame(HANGUP), b"GET / HTTP/1.1\r\n", b"\x00"])
def test_the_uuid_comes_first(first: bytes) -> None:
    protocol = audiosocket()
    with pytest.raises(BadMessage, match="UUID"):
        protocol.receive(first)
    with pytest.raises(BadMessage, match="UUID"):
        protocol.receive(stream())


def test_a_uuid_has_sixteen_bytes_and_comes_once() -> None:
    with pytest.raises(BadMessage, match="15 bytes"):
        audiosocket().receive(frame(UUID, bytes(15)))
    with pytest.raises(BadMessage, match="second UUID"):
        opened().receive(stream())


def test_what_came_before_a_bad_frame_is_said_and_then_it_is_refused() -> None:
    protocol = opened()
    assert protocol.receive(frame(0x12, b"\x01\x00") + stream()) == [Sound("agent", b"\x01\x00"), Due()]
    with pytest.raises(BadMessage, match="second UUID"):
        protocol.replies()
    with pytest.raises(BadMessage, match="second UUID"):
        protocol.receive(b"")


def test_a_frame_cut_off_by_the_close_is_counted() -> None:
    protocol = opened()
    protocol.receive(frame(0x10, bytes(320))[:100])
    assert protocol.flush() == [Odd("cut_off")]


def test_text_is_refused() -> None:
    with pytest.raises(BadMessage, match="binary"):
        opened().receive(json.dumps({}))
