"""A call as a vCon: valid by a schema written from the draft, true to the log, nothing in it that was taken back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import urllib.request
import uuid
import wave
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from assist import replay
from assist.audio import Party
from assist.conversation import Evidence, Finding, Flag, Suggestion, Transcript, Word
from assist.events import (
    AnyEvent,
    CallEnded,
    CallStarted,
    Entry,
    Flagged,
    Marked,
    Noticed,
    Reviewed,
    Suggested,
    Transcribed,
    Withdrawn,
)
from assist.exports.vcon import build
from assist.hub import CallSummary
from assist.stores.summary import summarise
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.wire import answer, hello, new_id, open_ingest, until

SCHEMA = json.loads(Path(__file__).with_name("vcon.schema.json").read_text())
STARTED = CallStarted(
    "2026-11-25T10:00:00.000+00:00",
    "plain",
    ("customer", "agent"),
    "mulaw",
    8_000,
    "scripted",
    metadata={"agent": "ann", "customer": "+44 20 7946 0000", "queue": "sales"},
)


def check(made: Any) -> None:
    """Valid, and every index in it points at something."""
    jsonschema.Draft202012Validator(SCHEMA).validate(made)
    parties, dialogs = len(made["parties"]), len(made["dialog"])
    assert all(each["dialog"] < dialogs for each in [*made["analysis"], *made["attachments"]])
    assert all(each["party"] < parties for each in made["attachments"])
    assert all(index < parties for dialog in made["dialog"] for index in dialog["parties"])


def of(made: Any, kind: str) -> Any:
    """The body of the one analysis of a kind."""
    (found,) = [each for each in made["analysis"] if each["type"] == kind]
    return found["body"]


def vcon(*events: AnyEvent, started: CallStarted = STARTED) -> Any:
    """What a log of these comes to."""
    entries = [Entry("c-1", seq, seq * 1000, event) for seq, event in enumerate((started, *events), 1)]
    summary: CallSummary | None = None
    for entry in entries:
        summary = summarise(summary, entry)
    assert summary
    made = json.loads(json.dumps(build(summary, entries, {})))
    check(made)
    return made


def said(utterance: str, text: str, stage: Any = "final", start_ms: int = 0) -> Transcribed:
    words = tuple(Word(word, start_ms, start_ms + 500, 0.5) for word in text.split())
    return Transcribed(Transcript(utterance, "customer", start_ms, start_ms + 1000, text, words, stage=stage))


def suggested(utterance: str, *names: str) -> Suggested:
    return Suggested(utterance, tuple(Suggestion(name, "article", name, name, "because", 0.9) for name in names))


def test_parties_stand_in_the_order_of_the_channels() -> None:
    made = vcon()
    assert made["parties"] == [
        {"type": "person", "role": "agent", "name": "ann"},
        {"type": "person", "role": "customer", "tel": "+44 20 7946 0000"},
    ]
    assert made["dialog"][0]["parties"] == [0, 1]
    assert made["dialog"][0]["start"] == made["created_at"] == STARTED.started_at
    assert made["attachments"][0]["body"] == STARTED.metadata


def test_each_message_in_writing_is_a_dialog_of_one_party() -> None:
    written = CallStarted(STARTED.started_at, "text", ("agent", "customer", "system"), "text", 0, "")
    texts: list[tuple[Party, str]] = [("system", "I am the bot."), ("customer", "Hello."), ("agent", "Good morning.")]
    turns = [Transcribed(Transcript(f"u{n}", party, n, n, text)) for n, (party, text) in enumerate(texts)]
    made = vcon(*turns, started=written)
    told = [(made["parties"][index]["role"], each["body"]) for each in made["dialog"] for index in each["parties"]]
    assert told == texts
    assert made["parties"][2]["type"] == "bot"


def test_the_transcript_is_what_was_final_in_the_order_of_speech() -> None:
    made = vcon(
        said("u2", "later", start_ms=4000),
        said("u1", "ear", "partial"),
        said("u1", "early on"),
        CallEnded("bye", 9500, {}, {}),
    )
    body = of(made, "transcript")
    assert body["transcript"] == {"text": "early on later", "language": "en", "duration": 9.5}
    assert [(s["text"], s["start"], s["end"], s["speaker"]) for s in body["segments"]] == [
        ("early on", 0.0, 1.0, 1),
        ("later", 4.0, 5.0, 1),
    ]
    assert [[body["words"][n]["text"] for n in s["words"]] for s in body["segments"]] == [["early", "on"], ["later"]]
    assert made["dialog"][0]["duration"] == 9.5


def test_what_was_withdrawn_is_left_out_unless_it_was_marked_or_shown_again() -> None:
    made = vcon(
        suggested("u1", "gone", "used"),
        suggested("u2", "other"),
        Marked("used", "used", "used"),
        Withdrawn("u1"),
        suggested("u1", "later"),
        suggested("u3", "twice"),
        Withdrawn("u3"),
        suggested("u3", "twice"),
    )
    shown = {each["id"]: each["mark"] for each in of(made, "suggestions")}
    assert shown == {"used": "used", "other": None, "later": None, "twice": None}


def test_findings_flags_and_reviews_are_analyses() -> None:
    finding = Finding("sentiment", "negative", -0.5, Evidence(end_ms=2000, source="sentiment 1"), {"call": -0.5})
    topic = Finding("topic", "refund", 0.9, Evidence(source="topic 2"))
    flag = Flag("threat", "high", "said so", Evidence(quote="lawyer"))
    made = vcon(
        Noticed("u1", "customer", (finding, topic)), Flagged(flag), Reviewed("confirmed", "fair", "ann", score=4)
    )
    (judged,) = of(made, "sentiment")
    assert (judged["party"], judged["label"], judged["score"], judged["end"]) == (1, "negative", -0.5, 2.0)
    assert made["subject"] == "refund" and of(made, "topic")[0]["label"] == "refund"
    assert of(made, "flags")[0]["evidence"]["quote"] == "lawyer" and of(made, "reviews")[0]["score"] == 4
    assert {each["product"] for each in made["analysis"][1:3]} == {"sentiment 1", "topic 2"}


def test_a_call_has_one_uuid_of_version_eight_whenever_it_is_asked_for() -> None:
    first, later = vcon(), vcon(said("u1", "more"))
    assert first["uuid"] == later["uuid"] and first["updated_at"] < later["updated_at"]
    made = uuid.UUID(first["uuid"])
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert made.int >> 80 == 1_795_600_800_000, "its first bits are the call's start"


@pytest.mark.parametrize("broken", [{"vcon": "0.3.0"}, {"uuid": "x"}, {"created_at": "today"}, {"appended": {}}])
def test_the_schema_refuses(broken: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({**vcon(), **broken})


async def test_a_real_call_can_be_taken_away(server: door.Door) -> None:
    call = new_id()
    playing = replay.play(replay.read(SHIPPED), server.ws, call=call, metadata={"agent": "ann"}, speed=30)
    await playing
    await until(lambda: server.get(f"/calls/{call}")["ended"])

    def ask(query: str, https: bool = False) -> Any:
        asked = urllib.request.Request(f"{server.url}/calls/{call}/vcon{query}")
        if https:
            asked.add_header("X-Forwarded-Proto", "https")  # what a proxy with TLS in front of it says
        with urllib.request.urlopen(asked, timeout=60) as reply:
            assert reply.headers["Content-Type"] == "application/vcon"
            made = json.load(reply)
        check(made)
        return made

    bare = await asyncio.to_thread(ask, "")
    assert {"sentiment", "stress", "topic", "transcript", "suggestions", "flags"} <= {
        each["type"] for each in bare["analysis"]
    }
    assert not {"url", "body"} & bare["dialog"][0].keys()

    wav = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{server.url}/calls/{call}/audio").read())
    digest = "sha512-" + base64.urlsafe_b64encode(hashlib.sha512(wav).digest()).rstrip(b"=").decode()
    linked = (await asyncio.to_thread(ask, "?audio=url", True))["dialog"][0]
    assert linked["url"] == f"https://127.0.0.1:{server.port}/calls/{call}/audio"
    attached = (await asyncio.to_thread(ask, "?audio=attached"))["dialog"][0]
    assert attached["content_hash"] == linked["content_hash"] == digest
    body = attached["body"]
    assert base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)) == wav
    with wave.open(io.BytesIO(wav)) as heard:
        assert heard.getnchannels() == len(attached["parties"])
        assert heard.getnframes() / heard.getframerate() == pytest.approx(attached["duration"], abs=0.1)


async def test_what_cannot_be_given_is_refused_by_name(server: door.Door) -> None:
    call = new_id()

    def ask(query: str, proto: str = "http") -> tuple[int, str]:
        where = f"{server.url}/calls/{call}/vcon{query}"
        return answer(urllib.request.Request(where, headers={"X-Forwarded-Proto": proto}))

    assert await asyncio.to_thread(ask, "") == (404, "unknown_call")
    async with open_ingest(server.ws) as socket:
        await socket.send(json.dumps(hello(call)))
        await socket.recv()
        assert await asyncio.to_thread(ask, "") == (200, "")
        assert await asyncio.to_thread(ask, "?audio=attached") == (200, "")
        assert await asyncio.to_thread(ask, "?audio=url", "https") == (400, "bad_message"), "it still grows"
        assert await asyncio.to_thread(ask, "?audio=some") == (400, "bad_message")
    await until(lambda: server.get(f"/calls/{call}")["ended"])
    assert await asyncio.to_thread(ask, "?audio=url") == (400, "bad_message"), "a link has to be https"
