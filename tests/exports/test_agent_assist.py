"""A call in the shapes of Google's Agent Assist: its documented fields and no other, and no article is missed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from assist import replay
from assist.conversation import Evidence, Finding, Suggestion, Transcript
from assist.events import AnyEvent, CallEnded, CallStarted, Entry, Marked, Noticed, Suggested, Transcribed, Withdrawn
from assist.exports.agent_assist import responses
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.exports.test_contact_lens import listed, shape
from tests.wire import new_id, until

TEXT = {"type": "string", "minLength": 1}
PART = {"type": "number", "minimum": 0, "maximum": 1}
NAME = {"type": "string", "pattern": r"^projects/[^/]+/conversations/[^/]+/messages/[^/]+$"}
SENTIMENT = shape(
    {"queryTextSentiment": shape({"score": {"type": "number", "minimum": -1, "maximum": 1}, "magnitude": PART})}
)
MESSAGE = shape(
    {
        "name": NAME,
        "content": TEXT,
        "languageCode": TEXT,
        "participant": {"type": "string", "pattern": r"^projects/[^/]+/conversations/[^/]+/participants/[^/]+$"},
        "participantRole": {"enum": ["HUMAN_AGENT", "END_USER", "AUTOMATED_AGENT"]},
    },
    {"createTime": {"type": "string", "format": "date-time"}, "sentimentAnalysis": SENTIMENT},
)
ANSWER = shape(
    {
        "title": TEXT,
        "uri": TEXT,
        "snippets": listed(TEXT),
        "confidence": PART,
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "answerRecord": {"type": "string", "pattern": r"^projects/[^/]+/answerRecords/[^/]+$"},
    }
)
ARTICLES = shape(
    {
        "articleAnswers": {**listed(ANSWER), "minItems": 1},
        "latestMessage": NAME,
        "contextSize": {"type": "integer", "minimum": 1, "maximum": 50},
    }
)
RESPONSE = shape(
    {"message": MESSAGE, "humanAgentSuggestionResults": listed(shape({"suggestArticlesResponse": ARTICLES}))}
)
PAGE = shape({"responses": listed(RESPONSE)}, {"nextPageToken": TEXT})

STARTED = CallStarted("2026-11-25T10:00:00.000+00:00", "plain", ("agent", "customer"), "mulaw", 8_000, "scripted")


def said(utterance: str, party: Any, start_ms: int, text: str, stage: Any = "final") -> Transcribed:
    return Transcribed(Transcript(utterance, party, start_ms, start_ms + 1000, text, stage=stage))


def card(name: str, kind: Any = "article", score: float = 0.7) -> Suggestion:
    return Suggestion(name, kind, f"a/{name}", f"Title {name}", "because", score, "quote", "source")


CALL: tuple[AnyEvent, ...] = (
    STARTED,
    said("u1", "agent", 0, "hello"),
    said("u2", "customer", 2000, "my cam", "partial"),
    said("u2", "customer", 2000, "my camera is black"),
    Noticed("u2", "customer", (Finding("sentiment", "negative", -0.4, Evidence()),)),
    Suggested("u2", (card("s1", score=1.4), card("s2", "action"))),
    said("u3", "customer", 4000, ""),
    Suggested("u4", (card("s3"),)),
    Withdrawn("u4"),
    Suggested("u2", (card("s4", score=0.2),)),
    Marked("s1", "a/s1", "used"),
    CallEnded("bye", 9000, {}, {}),
)


def page(length: int = len(CALL), after: int = 0) -> Any:
    entries = [Entry("c/1", seq, seq * 1000, event) for seq, event in enumerate(CALL[:length], 1)]
    made = json.loads(json.dumps(responses(entries, after, length == len(CALL))))
    jsonschema.validate(made, PAGE, format_checker=jsonschema.FormatChecker())
    return made


def articles(response: Any) -> list[str]:
    return [
        answer["answerRecord"].rsplit("/", 1)[-1]
        for result in response["humanAgentSuggestionResults"]
        for answer in result["suggestArticlesResponse"]["articleAnswers"]
    ]


def test_a_turn_comes_with_its_mood_and_the_articles_shown_for_it() -> None:
    agent, customer = page()["responses"]
    assert agent["message"]["participantRole"] == "HUMAN_AGENT" and "sentimentAnalysis" not in agent["message"]
    assert customer["message"]["createTime"] == "2026-11-25T10:00:03.000+00:00"
    assert customer["message"]["sentimentAnalysis"]["queryTextSentiment"]["score"] == -0.4
    assert articles(customer) == ["s1", "s4"], "best first; no action, nothing that was taken back"
    found = customer["humanAgentSuggestionResults"][0]["suggestArticlesResponse"]
    assert found["articleAnswers"][0]["uri"] == "/articles/a%2Fs1" and found["articleAnswers"][0]["confidence"] == 1.0
    assert found["latestMessage"] == customer["message"]["name"] and found["contextSize"] == 2


def test_a_turn_comes_again_when_an_article_joins_it() -> None:
    first = page(4)
    assert [articles(each) for each in first["responses"]] == [[], []]
    second = page(6, int(first["nextPageToken"]))
    assert [articles(each) for each in second["responses"]] == [["s1"]]
    third = page(9, int(second["nextPageToken"]))
    assert third["responses"] == []
    last = page(len(CALL), int(third["nextPageToken"]))
    assert [articles(each) for each in last["responses"]] == [["s1", "s4"]] and "nextPageToken" not in last


def test_a_bot_that_writes_is_an_automated_agent() -> None:
    made = responses([Entry("c", 1, 0, STARTED), Entry("c", 2, 0, said("u1", "system", 0, "I am the bot."))], 0, False)
    jsonschema.validate(made, PAGE, format_checker=jsonschema.FormatChecker())
    (bot,) = made["responses"]
    assert bot["message"]["participantRole"] == "AUTOMATED_AGENT"


async def test_a_real_call_has_that_shape(server: door.Door) -> None:
    call = new_id()
    await replay.play(replay.read(SHIPPED), server.ws, call=call, speed=30)
    await until(lambda: server.get(f"/calls/{call}")["ended"])
    made = server.get(f"/calls/{call}/agent-assist")
    jsonschema.validate(made, PAGE, format_checker=jsonschema.FormatChecker())
    assert any(articles(each) for each in made["responses"])
    assert {each["message"]["participantRole"] for each in made["responses"]} == {"HUMAN_AGENT", "END_USER"}
