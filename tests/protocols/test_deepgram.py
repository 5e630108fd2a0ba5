"""Deepgram: the query decides, results in its shape, Finalize answered whole, utterances end by the audio's clock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assist.errors import BadEncoding, BadMessage, Unauthorized, WireError
from assist.events import AnyEvent, CallStarted, Faltered, Skipped, SpeechStarted
from assist.protocols import Bye, Cut, Due, Handshake, Odd, Opened, Sound
from assist.protocols.deepgram import Deepgram, key_of
from tests.contracts.speech_client import HOLE, SpeechClientContract, entries, final
from tests.golden.exchange import SESSION, STEREO, deepgram
from tests.protocols.test_vosk import wav

MONO = "encoding=linear16&sample_rate=16000"
SECOND = b"\xff" * 8_000 * 2


class TestDeepgram(SpeechClientContract):
    name = "deepgram"
    parties = ("agent", "customer")

    def protocol(self) -> Deepgram:
        return deepgram()

    def opening(self) -> dict[str, Any]:
        return {"type": "KeepAlive"}

    def opens(self) -> list[str | bytes]:
        return [json.dumps(self.opening()), b"\xff" * 320]

    def messages(self) -> list[dict[str, Any]]:
        kinds = ("KeepAlive", "Finalize", "CloseStream", "Configure", "Later")
        return [{"type": kind} for kind in kinds] + [{"type": "Configure", "keyterms": ["camera"]}]


class Client:
    def __init__(self, query: str = MONO) -> None:
        self.protocol = deepgram(query)
        self.opened, *_ = self.protocol.receive(b"\0" * 640)
        self.tell(CallStarted("2026-11-26T10:00:00.000+00:00", "deepgram", ("customer",), "l16", 16_000, "whisper x"))

    def tell(self, *events: AnyEvent) -> list[dict[str, Any]]:
        return [json.loads(text) for entry in entries(*events) for text in self.protocol.tell(entry)]

    def replies(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.protocol.replies()]


def test_a_final_in_full() -> None:
    client = Client(f"{MONO}&multichannel=true")
    (told,) = client.tell(HOLE, final("My camera.", 3_200, 4_000))
    model = told["metadata"].pop("model_info")
    assert model == {"name": "whisper x", "version": "", "arch": "whisper"}
    assert told.pop("metadata").keys() == {"request_id", "model_uuid"}
    words = [
        {"word": "my", "start": 1.2, "end": 1.6, "confidence": 0.9, "punctuated_word": "My"},
        {"word": "camera", "start": 1.6, "end": 2.0, "confidence": 0.9, "punctuated_word": "camera."},
    ]
    assert told == {
        "type": "Results", "channel_index": [0, 1], "start": 1.2, "duration": 0.8, "is_final": True,
        "speech_final": True, "from_finalize": False,
        "channel": {"alternatives": [{"transcript": "My camera.", "confidence": 0.8, "words": words}]},
    }  # fmt: skip


def test_only_what_was_asked_for_is_told() -> None:
    events: list[AnyEvent] = [SpeechStarted("customer", 100), final("my", 0, 300, stage="partial"), final("my", 0, 300)]
    assert [each["type"] for each in Client().tell(*events)] == ["Results"]
    asked = Client(f"{MONO}&interim_results=true&vad_events=true&endpointing=false").tell(*events)
    assert asked[0] == {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1}
    assert [(each["is_final"], each["speech_final"]) for each in asked[1:]] == [(False, False), (True, False)]


def test_channels_are_parties() -> None:
    said = deepgram(f"{STEREO}&parties=agent,customer").receive(b"\x01\x02\x01\x02")
    opened, *sounds = said
    assert isinstance(opened, Opened) and (opened.parties, opened.mixed) == (("agent", "customer"), ())
    assert sounds == [Sound("agent", b"\x01\x01"), Sound("customer", b"\x02\x02")]
    client = Client(f"{STEREO}&call=crm-1")
    assert isinstance(client.opened, Opened) and client.opened.call == "crm-1"
    assert [each["channel_index"] for each in client.tell(final("hello", 0, 300, "agent-1"))] == [[1, 2]]
    one = Client(f"{STEREO}&multichannel=false")
    assert [each["channel_index"] for each in one.tell(final("hello", 0, 300, "agent-1"))] == [[0, 1]]


def test_one_channel_counts_as_mixed_until_it_is_said_who_speaks() -> None:
    for query, mixed in ((MONO, ("customer",)), (f"{MONO}&parties=customer", ())):
        opened = Client(query).opened
        assert isinstance(opened, Opened) and opened.mixed == mixed
        assert opened.metadata["request_id"] == SESSION == opened.call


def test_without_an_encoding_the_wav_says_what_it_is() -> None:
    opened, *sounds = deepgram("channels=2").receive(wav(24_000, channels=2) + b"\0\0\0\0" * 480)
    assert isinstance(opened, Opened) and (opened.encoding, opened.rate_hz) == ("l16", 16_000)
    assert sounds == [Sound("customer", b"\0\0" * 320), Sound("agent", b"\0\0" * 320)]
    with pytest.raises(BadEncoding):
        deepgram("").receive(b"OggS" + b"\0" * 100)


def test_finalize_is_answered_for_each_channel_when_all_is_there() -> None:
    client = Client(STEREO)
    assert client.protocol.receive('{"type": "Finalize"}') == [Cut()]
    (told,) = map(json.loads, client.protocol.cut({"customer-1": "customer", "customer-2": "customer"}))
    assert (told["channel_index"], told["from_finalize"], told["is_final"]) == ([1, 2], True, True)
    first, second = client.tell(final("my", 0, 300), final("camera", 300, 900, "customer-2"))
    assert (first["from_finalize"], second["from_finalize"]) == (False, True)
    client.protocol.receive('{"type": "Finalize", "channel": 1}')
    assert client.protocol.cut({"customer-3": "customer", "agent-1": "agent"}) == []
    (failed,) = client.tell(Faltered("recogniser", "recogniser_failed", "no", "agent-1"))
    assert failed["from_finalize"] and failed["channel_index"] == [1, 2]
    assert client.tell(final("is", 900, 950, "customer-3"))[0]["from_finalize"] is False
    unopened = deepgram(MONO)
    assert unopened.receive('{"type": "Finalize"}') == [Due()]
    assert [json.loads(text)["from_finalize"] for text in unopened.replies()] == [True]


def test_an_utterance_ends_when_so_much_audio_has_come_after_its_last_word() -> None:
    client = Client(f"{STEREO}&utterance_end_ms=1000")
    client.tell(SpeechStarted("customer", 0), final("my camera", 0, 400))
    client.protocol.receive(SECOND)
    assert client.replies() == []
    client.tell(SpeechStarted("customer", 1_100), Skipped("customer", 1_100, 1_160, "too_short"))
    client.tell(final("is black", 1_000, 1_200, "customer-2"))
    client.protocol.receive(SECOND)
    assert client.replies() == [], "0.84 s after it"
    assert client.protocol.receive(SECOND)[-1] == Due()
    assert client.replies() == [{"type": "UtteranceEnd", "channel": [0, 2], "last_word_end": 1.2}]
    client.protocol.receive(SECOND)
    assert client.replies() == [], "it is told once"


def test_configure_and_what_is_unknown_are_answered() -> None:
    client = Client()
    for message in ({"type": "Configure", "features": {"numerals": True}}, {"type": "Configure", "keyterms": ["a"]}):
        assert client.protocol.receive(json.dumps(message))[-1] == Due()
    assert [each["type"] for each in client.replies()] == ["ConfigureSuccess", "ConfigureFailure"]
    assert client.protocol.receive('{"type": "Sing"}') == [Odd("unknown_message"), Due()]
    (error,) = client.replies()
    assert error["type"] == "Error" and error["variant"] == "SchemaError" and "Sing" in error["description"]


@pytest.mark.parametrize("goodbye", ['{"type": "CloseStream"}', b""])
def test_metadata_comes_last(goodbye: str | bytes) -> None:
    client = Client()
    client.protocol.receive(b"\0" * 32_000)
    assert client.protocol.receive(goodbye) == [Bye()]
    assert client.protocol.receive(b"\0\0") == [Odd("after_close")]
    (told,) = map(json.loads, client.protocol.farewell("bye", {}))
    assert (told["type"], told["request_id"], told["duration"], told["channels"]) == ("Metadata", SESSION, 1.02, 1)
    assert told["created"] == "2026-11-26T10:00:00.000+00:00" and len(told["sha256"]) == 64


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("encoding=opus&sample_rate=16000", BadEncoding),
        ("encoding=linear16", BadMessage),
        ("encoding=linear16&sample_rate=16k", BadMessage),
        ("encoding=linear16&sample_rate=3000", BadMessage),
        (f"{MONO}&channels=4", BadMessage),
        (f"{MONO}&channels=2&parties=agent", BadEncoding),
        (f"{MONO}&parties=agent,agent", BadMessage),
        (f"{MONO}&interim_results=yes", BadMessage),
        (f"{MONO}&endpointing=soon", BadMessage),
        (f"{MONO}&utterance_end_ms=-1", BadMessage),
        (f"{MONO}&call=a/b", BadMessage),
        (f"{MONO}&redact=pci", BadMessage),
    ],
)
def test_a_wrong_query_is_refused_before_the_socket(query: str, refusal: type[WireError]) -> None:
    with pytest.raises(refusal):
        deepgram(query)


@pytest.mark.parametrize(
    ("headers", "offered", "key"),
    [
        ({"authorization": "Token abc"}, (), "abc"),
        ({"authorization": "bearer abc"}, (), "abc"),
        ({"authorization": "Basic abc"}, (), ""),
        ({}, ("token", "abc"), "abc"),
        ({}, ("abc", "token"), ""),
        ({}, (), ""),
    ],
)
def test_where_a_key_may_stand(headers: dict[str, str], offered: tuple[str, ...], key: str) -> None:
    seen: list[str] = []

    def check(key: str) -> None:
        seen.append(key)
        raise Unauthorized("no")

    handshake = Handshake(f"/v1/listen?{MONO}", headers, 0.0, offered)
    with pytest.raises(Unauthorized):
        Deepgram(check).greet(handshake)
    assert seen == [key] == [key_of(handshake)]
