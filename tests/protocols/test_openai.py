"""OpenAI realtime transcription: events in their order, items by turns or by commits, errors that end nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from assist.errors import BadMessage, Unauthorized, WireError
from assist.events import AnyEvent, Faltered, Skipped, SpeechStarted
from assist.protocols import Cut, Due, Handshake, Odd, Opened, Said, Sound
from assist.protocols.openai import OpenAI, key_of
from tests.contracts.speech_client import HOLE, SpeechClientContract, entries, final
from tests.golden.exchange import openai

ASR = "conversation.item.input_audio_transcription"
MADE = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]


def append(data: bytes) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}


def update(**given: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": given}}}


class TestOpenAI(SpeechClientContract):
    name = "openai"

    def protocol(self) -> OpenAI:
        return openai()

    def opening(self) -> dict[str, Any]:
        return update(format={"type": "audio/pcmu"})

    def opens(self) -> list[str | bytes]:
        return [json.dumps(self.opening()), self.audio(b"\xff" * 160)]

    def audio(self, data: bytes) -> str:
        return json.dumps(append(data))

    def messages(self) -> list[dict[str, Any]]:
        kinds = ("commit", "clear", "later")
        return [update(turn_detection=None), *({"type": f"input_audio_buffer.{kind}"} for kind in kinds)]

    @pytest.mark.parametrize("depth", [500, 100_000])
    def test_deep_json_is_refused(self, depth: int) -> None:
        for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            try:
                assert self.opened().receive(text) == [Odd("client_error"), Due()]
            except WireError as error:
                assert len(str(error)) < 400

    def test_the_opening_describes_the_call(self) -> None:
        protocol = self.protocol()
        said = [each for message in self.opens() for each in protocol.receive(message) if not isinstance(each, Due)]
        assert isinstance(said[0], Opened) and said[1:] == [Sound("customer", b"\xff" * 160)]
        assert (said[0].parties, said[0].encoding, said[0].rate_hz) == (("customer",), "mulaw", 8_000)


class Client:
    def __init__(self, query: str = "intent=transcription") -> None:
        self.protocol = openai(query)

    def say(self, *messages: dict[str, Any]) -> list[Said]:
        return [said for message in messages for said in self.protocol.receive(json.dumps(message))]

    def replies(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.protocol.replies()]

    def tell(self, *events: AnyEvent) -> list[dict[str, Any]]:
        return [json.loads(text) for entry in entries(*events) for text in self.protocol.tell(entry)]

    def cut(self, *waiting: str) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.protocol.cut(dict.fromkeys(waiting, "customer"))]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in events]


def test_a_session_is_created_and_updated() -> None:
    client = Client()
    (created,) = client.replies()
    assert created["type"] == "session.created" and created["session"]["type"] == "transcription"
    assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    client.say(update(transcription={"model": "gpt-4o-transcribe", "language": "en"}, later=1))
    client.say(update(turn_detection=None, format={"type": "audio/pcma"}))
    last = client.replies()[-1]
    given = last["session"]["audio"]["input"]
    assert last["type"] == "session.updated" and given["turn_detection"] is None
    assert given["transcription"]["language"] == "en" and given["format"] == {"type": "audio/pcma"}
    old = {"input_audio_format": "g711_ulaw", "input_audio_transcription": {"model": "whisper-1"}}
    client.say({"type": "transcription_session.update", "session": old})
    (updated,) = client.replies()
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}


def test_the_first_audio_opens_the_call_at_16_khz() -> None:
    client = Client("intent=transcription&parties=agent&call=crm-9")
    client.say(update(transcription={"model": "m", "language": "en"}))
    opened, sound = client.say(append(b"\0\0" * 480))
    assert isinstance(opened, Opened) and (opened.call, opened.parties, opened.mixed) == ("crm-9", ("agent",), ())
    assert (opened.encoding, opened.rate_hz, opened.metadata["language"]) == ("l16", 16_000, "en")
    assert sound == Sound("agent", b"\0\0" * 320)


def test_turns_make_items() -> None:
    client = Client()
    client.say(append(b"\0\0" * 24_000))
    (started,) = client.tell(SpeechStarted("customer", 200))
    assert started["audio_start_ms"] == 200
    told = client.tell(final("my", 200, 400, stage="partial"), final("my camera", 200, 900))
    assert kinds(told) == ["input_audio_buffer.speech_stopped", *MADE, f"{ASR}.delta", f"{ASR}.completed"]
    assert {each.get("item_id") or each["item"]["id"] for each in told} == {started["item_id"]}
    assert told[0]["audio_end_ms"] == 900 and told[-1]["transcript"] == told[-2]["delta"] == "my camera"
    assert told[-1]["usage"] == {"type": "duration", "seconds": 0.7} and told[1]["previous_item_id"] is None
    further = client.tell(HOLE, SpeechStarted("customer", 3_100), final("is black", 3_100, 3_800, "customer-2"))
    assert further[0]["audio_start_ms"] == 1_100 and further[1]["audio_end_ms"] == 1_800
    assert further[2]["previous_item_id"] == started["item_id"]
    blip = client.tell(SpeechStarted("customer", 4_000), Skipped("customer", 4_000, 4_060, "too_short"))
    assert kinds(blip)[1:] == ["input_audio_buffer.speech_stopped", *MADE, f"{ASR}.completed"]
    failed = client.tell(Faltered("recogniser", "recogniser_failed", "it hung", "customer-3"))
    assert kinds(failed) == [*MADE, f"{ASR}.failed"] and failed[-1]["error"]["message"] == "it hung"
    events = [each["event_id"] for each in [started, *told, *further, *blip, *failed]]
    assert len(set(events)) == len(events)


def test_commits_make_items_in_their_order() -> None:
    client = Client()
    client.say(update(turn_detection=None), append(b"\0\0" * 4_800))
    client.replies()
    assert client.tell(SpeechStarted("customer", 0), final("one", 0, 200)) == []
    assert client.say({"type": "input_audio_buffer.commit"}) == [Cut()]
    assert kinds(client.cut("customer-2", "customer-3")) == MADE
    client.say(append(b"\0\0" * 4_800), {"type": "input_audio_buffer.commit"})
    assert kinds(client.cut("customer-3", "customer-4")) == MADE
    assert client.tell(final("two", 200, 400, "customer-2"), final("four", 600, 800, "customer-4")) == []
    told = client.tell(Faltered("recogniser", "recogniser_failed", "no", "customer-3"))
    assert [each["transcript"] for each in told if each["type"] == f"{ASR}.completed"] == ["one two", "four"]


def test_a_commit_may_come_in_the_middle_of_a_turn() -> None:
    client = Client()
    client.say(append(b"\0\0" * 24_000))
    (started,) = client.tell(SpeechStarted("customer", 200))
    client.say({"type": "input_audio_buffer.commit"})
    assert client.cut("customer-1")[0]["item_id"] == started["item_id"]
    told = client.tell(final("my camera", 200, 900))
    assert kinds(told) == [f"{ASR}.delta", f"{ASR}.completed"] and told[0]["item_id"] == started["item_id"]


def test_what_is_cleared_is_not_told() -> None:
    client = Client()
    assert client.say({"type": "input_audio_buffer.clear"}) == [Due()]
    client.say(update(turn_detection=None), append(b"\0\0" * 9_600))
    client.tell(final("one", 0, 200))
    client.replies()
    assert client.say({"type": "input_audio_buffer.clear"}) == [Cut()]
    assert kinds(client.cut("customer-2")) == ["input_audio_buffer.cleared"]
    assert client.tell(final("two", 200, 400, "customer-2")) == []
    client.say(append(b"\0\0" * 9_600), {"type": "input_audio_buffer.commit"})
    assert client.cut()[-1]["transcript"] == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "response.create"},
        {"type": 7},
        {},
        {"type": "session.update", "session": {"type": "realtime"}},
        {"type": "session.update", "session": {"audio": []}},
        {"type": "session.update", "session": {"audio": [1]}},
        update(format={"type": "audio/opus"}),
        update(format={"type": "audio/pcm", "rate": 11_025}),
        update(turn_detection="none"),
        update(format={"type": "audio/pcmu"}),
        {"type": "input_audio_buffer.append", "audio": "no base64!"},
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.commit"},
        {"type": "transcription_session.update", "session": {"input_audio_format": "mp3"}},
        {"type": "transcription_session.update", "session": None},
    ],
)
def test_a_wrong_event_is_an_error_and_no_end(wrong: dict[str, Any]) -> None:
    client = Client()
    client.say(append(b"\0\0" * 480))
    client.replies()
    said = client.say({**wrong, "event_id": "mine"})
    if wrong == {"type": "session.update", "session": {"audio": []}}:  # nothing is as good as an empty object
        assert kinds(client.replies()) == ["session.updated"]
        return
    assert said == [Odd("client_error"), Due()]
    (error,) = client.replies()
    assert error["type"] == "error" and error["error"]["event_id"] == "mine" and error["error"]["message"]
    assert client.say(append(b"\0\0" * 480)) == [Sound("customer", b"\0\0" * 320)]


def test_binary_is_refused() -> None:
    with pytest.raises(BadMessage):
        openai().receive(b"\0\0")


@pytest.mark.parametrize("query", ["model=gpt-realtime", "", "intent=transcription&parties=agent,customer"])
def test_only_transcription_is_done(query: str) -> None:
    with pytest.raises(BadMessage):
        openai(query)
    openai("model=gpt-4o-transcribe")


def test_where_a_key_may_stand() -> None:
    browser = Handshake("/v1/realtime", {}, 0.0, ("realtime", "openai-insecure-api-key.abc"))
    assert key_of(browser) == key_of(Handshake("/v1/realtime", {"authorization": "Bearer abc"}, 0.0)) == "abc"
    assert key_of(Handshake("/v1/realtime", {}, 0.0, ("realtime",))) == ""

    def check(key: str) -> None:
        raise Unauthorized("no")

    with pytest.raises(Unauthorized):
        OpenAI(check).greet(browser)
