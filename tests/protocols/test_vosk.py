"""Vosk: one reply for each frame whatever the recogniser does, finals joined, resets and the end answered whole."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from assist.errors import BadEncoding, BadMessage, UnknownMessage, WireError
from assist.events import AnyEvent, Faltered, Skipped
from assist.protocols import Bye, Cut, Due, Handshake, Odd, Opened, Sound
from assist.protocols.vosk import Vosk
from tests.contracts.speech_client import HOLE, SpeechClientContract, entries, final
from tests.golden.exchange import vosk

FRAME = b"\x01\x00" * 160


def wav(rate_hz: int = 16_000, tag: int = 1, bits: int = 16, channels: int = 1, extra: bytes = b"") -> bytes:
    """The header of a WAV whose length nobody knows."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits) + extra
    head = b"RIFF\xff\xff\xff\xffWAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    return head + b"fmt " + struct.pack("<I", len(form)) + form + b"data\xff\xff\xff\xff"


class TestVosk(SpeechClientContract):
    name = "vosk"
    form = ("l16", 8_000)

    def protocol(self) -> Vosk:
        return vosk()

    def opening(self) -> dict[str, Any]:
        return {"config": {"sample_rate": 8000, "words": True}}

    def opens(self) -> list[str | bytes]:
        return [json.dumps(self.opening()), FRAME]

    def messages(self) -> list[dict[str, Any]]:
        return [{"eof": 1}, {"reset": 1}, {"config": {"sample_rate": 16000.0, "phrase_list": ["a"], "later": {}}}]


class Client:
    """Waits for its reply, as they do."""

    def __init__(self, query: str = "", config: dict[str, Any] | None = None) -> None:
        self.protocol = vosk(query)
        if config:
            assert self.protocol.receive(json.dumps({"config": config})) == []

    def frame(self, data: bytes = FRAME) -> dict[str, Any]:
        assert self.protocol.receive(data)[-1] == Due()
        (reply,) = map(json.loads, self.protocol.replies())
        return dict(reply)

    def tell(self, *events: AnyEvent) -> list[dict[str, Any]]:
        return [json.loads(text) for entry in entries(*events) for text in self.protocol.tell(entry)]


def test_partials_then_all_that_is_final_then_nothing() -> None:
    client = Client()
    assert client.frame() == {"partial": ""}
    assert client.tell(final("my cam", 0, 400, stage="partial")) == []
    assert client.frame() == client.frame() == {"partial": "my cam"}
    client.tell(final("my camera", 0, 600), HOLE, final("is black", 3_500, 4_100, "customer-2"))
    words = [
        {"conf": 0.9, "start": 0.0, "end": 0.3, "word": "my"},
        {"conf": 0.9, "start": 0.3, "end": 0.6, "word": "camera"},
        {"conf": 0.9, "start": 1.5, "end": 1.8, "word": "is"},
        {"conf": 0.9, "start": 1.8, "end": 2.1, "word": "black"},
    ]
    assert client.frame() == {"result": words, "text": "my camera is black"}, "seconds are of the audio sent"
    assert client.frame() == {"partial": ""}


def test_config_shapes_the_results() -> None:
    client = Client(config={"sample_rate": "16000", "words": False, "max_alternatives": 2})
    client.frame()
    client.tell(final("hello", 0, 400))
    assert client.frame() == {"alternatives": [{"confidence": 0.8, "text": "hello"}]}


def test_a_reset_is_answered_when_all_of_it_is_there() -> None:
    client = Client()
    client.frame()
    assert client.protocol.receive('{"reset" : 1}') == [Cut()]
    assert client.protocol.cut({"customer-1": "customer", "customer-2": "customer"}) == []
    assert client.tell(final("my camera", 0, 600)) == []
    assert client.frame() == {"partial": ""}, "a frame meanwhile has its reply, and takes nothing away"
    (said,) = client.tell(Faltered("recogniser", "recogniser_failed", "no", "customer-2"))
    assert said["text"] == "my camera"
    assert client.tell(final("again", 900, 1_000, "customer-3")) == []
    assert client.frame()["text"] == "again"
    assert json.loads(*client.protocol.cut({})) == {"text": ""}


def test_the_end_has_what_was_not_told() -> None:
    client = Client()
    client.frame()
    client.tell(final("my camera", 0, 600), Skipped("customer", 700, 760, "too_short"))
    assert client.protocol.receive('{"eof" : 1}') == [Bye()]
    client.tell(final("is black", 900, 1_400, "customer-2"))
    (last,) = map(json.loads, client.protocol.farewell("bye", {}))
    assert last["text"] == "my camera is black" and len(last["result"]) == 4
    assert client.protocol.receive(FRAME) == [Odd("after_eof")]
    empty = vosk()
    assert empty.receive('{"eof" : 1}') == [Bye()] and empty.farewell("bye", {}) == ['{"text":""}']


@pytest.mark.parametrize("step", [1, 3, 20, 4_096])
def test_a_wav_header_is_no_audio_and_is_right_about_the_rate(step: int) -> None:
    protocol = vosk()
    data = wav() + FRAME
    said = [each for at in range(0, len(data), step) for each in protocol.receive(data[at : at + step])]
    assert len([each for each in said if each == Due()]) == -(-len(data) // step)
    (opened,) = (each for each in said if isinstance(each, Opened))
    assert (opened.rate_hz, opened.mixed) == (16_000, ("customer",))
    assert b"".join(each.payload for each in said if isinstance(each, Sound)) == FRAME


def test_other_rates_are_made_16_khz() -> None:
    protocol = vosk("parties=agent&call=crm-7&queue=sales&token=secret")
    protocol.receive(json.dumps({"config": {"sample_rate": 48000}}))
    opened, sound, _ = protocol.receive(b"\0\0" * 960)
    assert isinstance(opened, Opened) and isinstance(sound, Sound)
    assert (opened.call, opened.parties, opened.rate_hz, opened.mixed) == ("crm-7", ("agent",), 16_000, ())
    assert opened.metadata == {"sample_rate": "48000", "parties": "agent", "call": "crm-7", "queue": "sales"}
    assert sound.payload == b"\0\0" * 320


@pytest.mark.parametrize(
    ("messages", "refusal"),
    [
        (['{"config": {"sample_rate": 3000}}'], BadEncoding),
        (['{"config": {"sample_rate": "fast"}}'], BadMessage),
        (['{"config": 8000}'], BadMessage),
        ([FRAME, '{"config": {"sample_rate": 16000}}'], BadEncoding),
        (['{"hello": 1}'], UnknownMessage),
        ([wav(tag=7, bits=8)], BadEncoding),
        ([wav(bits=24)], BadEncoding),
        ([wav(channels=2)], BadEncoding),
        ([wav(tag=0xFFFE, extra=b"\x16\0" + b"\0" * 6 + b"\x07\0" + b"\0" * 14)], BadEncoding),
        ([b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f" + b"\0" * 66_000], BadEncoding),
        ([b"RIFF\0\0\0\0WAVEdata\0\0\0\0"], BadEncoding),
    ],
)
def test_what_is_wrong_is_refused_by_name(messages: list[str | bytes], refusal: type[WireError]) -> None:
    protocol = vosk()
    *fine, wrong = messages
    for message in fine:
        protocol.receive(message)
    with pytest.raises(refusal):
        protocol.receive(wrong)


@pytest.mark.parametrize("query", ["parties=agent,customer", "parties=them", "call=../etc", "&".join(["a=1"] * 300)])
def test_a_wrong_query_is_refused(query: str) -> None:
    with pytest.raises(BadMessage):
        Vosk().greet(Handshake(f"/vosk?{query}", {}, 0.0))
