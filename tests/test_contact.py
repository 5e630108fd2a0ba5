"""Contacts in writing over a real server: live and finished, understood, kept, taken away, and refused by name."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.contact import Contact, read, times_ms
from assist.errors import BadMessage
from assist.events import CallEnded, CallStarted, Noticed, Transcribed
from assist.phrase import pieces
from assist.protocols.text import TextMessage
from benchmarks import door
from tests.exports.test_asyncapi import validate
from tests.exports.test_vcon import SCHEMA
from tests.wire import follow, new_id, open_ingest, rest, say, status, until

CAMERA = "Hello. I bought a phone last week and the camera only shows a black screen in video calls."
AGENT = "Good morning, thank you for contacting Northgate, how can I help?"


def message(party: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "party": party, "text": text, **more}


def post(server: door.Door, body: Any) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(f"{server.url}/contacts", raw, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(answer.status), json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


async def test_a_chat_is_understood_as_it_is_written(server: door.Door) -> None:
    call = new_id()
    hello = {"type": "hello", "call": call, "channel": "chat", "customer": "crm-17"}
    async with open_ingest(server.ws, "text") as socket:
        await socket.send(json.dumps(hello))
        replies = [json.loads(await socket.recv())]
        for each in (
            message("agent", AGENT),
            {"type": "typing"},
            message("customer", " "),
            message("customer", CAMERA),
        ):
            await socket.send(json.dumps(each))
        await until(lambda: server.get(f"/calls/{call}")["topic"])
        await socket.send(json.dumps({"type": "bye"}))
        more, code = await rest(socket)
    assert code == 1000
    for reply in replies + more:
        validate("text", "send", reply)
    entries, _, _ = await follow(server.ws, call)
    started, ended = entries[0].event, entries[-1].event
    assert isinstance(started, CallStarted) and isinstance(ended, CallEnded)
    assert (started.platform, started.encoding, started.rate_hz, started.recogniser) == ("text", "text", 0, "")
    assert (ended.reason, ended.ledger) == ("bye", {})
    assert ended.anomalies == {"typing": 1, "empty_text": 1}
    said = [entry.event.transcript for entry in entries if isinstance(entry.event, Transcribed)]
    assert [(each.party, each.text, each.stage) for each in said] == [
        ("agent", AGENT, "final"),
        ("customer", CAMERA, "final"),
    ]
    found = {f.analyser for entry in entries if isinstance(entry.event, Noticed) for f in entry.event.findings}
    assert {"topic", "sentiment"} <= found
    assert "stress" not in found, "there is no voice"
    summary = server.get(f"/calls/{call}")
    assert (summary["topic"], summary["metadata"]["customer_id"]) == ("camera_fault", "crm-17")
    assert status(f"{server.url}/calls/{call}/audio") == 404


def test_a_finished_contact_comes_back_with_what_was_found_and_goes_out_in_every_shape(server: door.Door) -> None:
    call = new_id()
    messages = [
        {"party": "customer", "text": CAMERA, "at": "2026-11-26T10:00:00Z"},
        {"party": "agent", "text": "Did you allow the camera for the app?", "at": "2026-11-26T11:30:00Z"},
        {"party": "customer", "text": "I want to make a complaint!", "at": "2026-11-26T11:29:00Z"},
    ]
    code, told = post(server, {"call": call, "channel": "email", "customer": "crm-17", "messages": messages})
    assert code == 201
    assert told["call"] == call
    assert [turn["party"] for turn in told["turns"]] == ["customer", "agent", "customer"]
    assert any(finding["label"] == "camera_fault" for finding in told["turns"][0]["findings"])
    assert told["suggestions"]
    rules = [flag["rule"] for flag in told["flags"]]
    assert "complaint_made" in rules
    assert "long_silence" not in rules, "an hour between e-mails is no silence"
    vcon = server.get(f"/calls/{call}/vcon")
    jsonschema.Draft202012Validator(SCHEMA).validate(vcon)
    assert [(each["type"], each["body"]) for each in vcon["dialog"]] == [("text", m["text"]) for m in messages]
    lens = server.get(f"/calls/{call}/contact-lens")
    assert lens["Channel"] == "CHAT"
    moments = [datetime.fromisoformat(each["AbsoluteTime"]) for each in lens["Transcript"]]
    assert moments[1] - moments[0] == timedelta(minutes=90)
    assert moments[2] == moments[1], "nothing was said before what stands in front of it"
    assert post(server, {"call": call, "channel": "email", "messages": messages})[1]["code"] == "duplicate_call"


def test_an_email_of_five_thousand_words_is_read_to_its_end(server: door.Door) -> None:
    filler = "I have written to you before and nobody has answered me at all. " * 400
    text = f"{filler}\n\nMy camera only shows a black screen."
    code, told = post(server, {"call": new_id(), "channel": "email", "messages": [{"party": "customer", "text": text}]})
    assert code == 201
    assert " ".join(turn["text"] for turn in told["turns"]).split() == text.split()
    assert any(finding["label"] == "camera_fault" for finding in told["turns"][-1]["findings"])


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        (b"{", 400, "bad_message"),
        (b"[]", 400, "bad_message"),
        ({"call": "x", "channel": "chat", "messages": []}, 400, "bad_message"),
        ({"call": "a b", "channel": "chat", "messages": [{"party": "agent", "text": "x"}]}, 400, "bad_message"),
        ({"call": "x", "channel": "fax", "messages": [{"party": "agent", "text": "x"}]}, 400, "bad_message"),
        ({"call": "x", "channel": "sms", "messages": [{"party": "boss", "text": "x"}]}, 400, "bad_message"),
        (
            {"call": "x", "channel": "sms", "messages": [{"party": "agent", "text": "x", "at": "noon"}]},
            400,
            "bad_message",
        ),
        ({"call": "x", "channel": "sms", "messages": [{"party": "agent", "text": "x" * 60_001}]}, 413, "oversize"),
        ({"call": "x", "channel": "sms", "messages": [{"party": "agent", "text": "x" * 70_000}]}, 413, "oversize"),
    ],
)
def test_what_is_no_contact_is_refused_by_name_and_keeps_nothing(
    server: door.Door, body: Any, code: int, name: str
) -> None:
    got, told = post(server, body)
    assert (got, told["code"]) == (code, name)
    assert status(f"{server.url}/calls/x") == 404


def test_nothing_but_blanks_is_a_contact_without_turns(server: door.Door) -> None:
    code, told = post(server, {"call": new_id(), "channel": "sms", "messages": [{"party": "agent", "text": "\u0000 "}]})
    assert (code, told["turns"]) == (201, [])


async def test_a_flood_is_refused_by_name_and_what_came_before_is_kept(server: door.Door) -> None:
    call = new_id()
    flood = [message("customer", "camera " * 8_000)] * 3
    replies, code = await say(server.ws, [{"type": "hello", "call": call, "channel": "chat"}, *flood], "text")
    assert code == 4429
    assert [each["code"] for each in replies if each["type"] == "error"] == ["too_fast"]
    entries, _, _ = await follow(server.ws, call)
    last = entries[-1].event
    assert isinstance(last, CallEnded) and last.reason == "error:too_fast"
    texts = [entry.event.transcript.text for entry in entries if isinstance(entry.event, Transcribed)]
    assert len(" ".join(texts).split()) == 16_000


def test_openapi_knows_what_a_contact_is(server: door.Door) -> None:
    document = server.get("/openapi.json")
    asked = document["paths"]["/contacts"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert asked == {"$ref": "#/components/schemas/Contact"}
    assert {"call", "channel", "messages"} <= document["components"]["schemas"]["Contact"]["properties"].keys()


@given(st.text(max_size=400), st.integers(1, 60))
def test_pieces_lose_nothing_but_white_space(text: str, most: int) -> None:
    found = pieces(text, most)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(piece) <= most and piece == piece.strip() for piece in found)


def test_pieces_end_where_sentences_end() -> None:
    assert pieces("One two. Three four. Five", 12) == ["One two.", "Three four.", "Five"]


@given(st.lists(st.integers(-100_000, 100_000), max_size=12))
def test_times_never_fall(seconds: list[int]) -> None:
    start = datetime(2026, 11, 26)
    messages = [TextMessage("agent", "x", (start + timedelta(seconds=s)).isoformat()) for s in seconds]
    found = times_ms(Contact("c", "chat", messages))
    assert found == sorted(found)
    assert all(at_ms >= 0 for at_ms in found)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_contact_or_refused(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        read(raw)
