"""A call in Contact Lens' shapes: the fields of Amazon's own documentation and no other, and figures that add up."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from assist import replay
from assist.conversation import Evidence, Finding, Flag, Transcript
from assist.events import AnyEvent, CallEnded, CallStarted, Entry, Flagged, Noticed, Transcribed
from assist.exports.contact_lens import output, segments
from assist.hub import CallSummary
from assist.stores.summary import summarise
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.wire import new_id, until

ROLE = {"enum": ["AGENT", "CUSTOMER", "SYSTEM"]}
MILLIS = {"type": "integer", "minimum": 0}


def shape(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these fields and no others."""
    fields = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": fields, "additionalProperties": False}


def by_role(value: Any) -> dict[str, Any]:
    return {"type": "object", "propertyNames": ROLE, "additionalProperties": value}


def listed(value: Any) -> dict[str, Any]:
    return {"type": "array", "items": value}


SPAN = {"BeginOffsetMillis": MILLIS, "EndOffsetMillis": MILLIS}
CATEGORIES = shape(
    {
        "MatchedCategories": listed({"type": "string"}),
        "MatchedDetails": {"type": "object", "additionalProperties": shape({"PointsOfInterest": listed(shape(SPAN))})},
    }
)
TURN = {"Id": {"type": "string"}, "ParticipantId": {"type": "string"}, "Content": {"type": "string"}, **SPAN}
SENTIMENT = {"Sentiment": {"enum": ["POSITIVE", "NEUTRAL", "NEGATIVE", "MIXED"]}}
SCORE = {"type": "number", "minimum": -5, "maximum": 5}
OUTPUT = shape(
    {
        "Version": {"const": "1.1.0"},
        "Channel": {"const": "VOICE"},
        "ContentMetadata": shape({"Output": {"enum": ["Raw", "Redacted"]}}),
        "JobStatus": {"enum": ["COMPLETED", "IN_PROGRESS"]},
        "LanguageCode": {"type": "string"},
        "CustomerMetadata": shape({"ContactId": {"type": "string"}}),
        "Participants": listed(shape({"ParticipantId": {"type": "string"}, "ParticipantRole": ROLE})),
        "Categories": CATEGORIES,
        "ConversationCharacteristics": shape(
            {
                "TotalConversationDurationMillis": MILLIS,
                "Sentiment": shape(
                    {
                        "OverallSentiment": by_role(SCORE),
                        "SentimentByPeriod": shape({"QUARTER": by_role(listed(shape({**SPAN, "Score": SCORE})))}),
                    }
                ),
                "NonTalkTime": shape(
                    {"TotalTimeMillis": MILLIS, "Instances": listed(shape({**SPAN, "DurationMillis": MILLIS}))}
                ),
                "TalkSpeed": shape({"DetailsByParticipant": by_role(shape({"AverageWordsPerMinute": MILLIS}))}),
                "TalkTime": shape(
                    {"TotalTimeMillis": MILLIS, "DetailsByParticipant": by_role(shape({"TotalTimeMillis": MILLIS}))}
                ),
            }
        ),
        "Transcript": listed(shape(TURN, SENTIMENT)),
    }
)
SEGMENT = {
    "oneOf": [
        shape({"Transcript": shape({**TURN, "ParticipantRole": ROLE}, SENTIMENT)}),
        shape({"Categories": CATEGORIES}),
    ]
}
PAGE = shape({"Segments": listed(SEGMENT)}, {"NextToken": {"type": "string"}})

STARTED = CallStarted("2026-11-25T10:00:00.000+00:00", "plain", ("agent", "customer"), "mulaw", 8_000, "scripted")


def said(utterance: str, party: Any, start_ms: int, end_ms: int, text: str, stage: Any = "final") -> Transcribed:
    return Transcribed(Transcript(utterance, party, start_ms, end_ms, text, stage=stage))


def felt(utterance: str, party: Any, label: str, score: float) -> Noticed:
    return Noticed(utterance, party, (Finding("sentiment", label, score, Evidence()),))


CALL: tuple[AnyEvent, ...] = (
    STARTED,
    said("u1", "agent", 0, 2000, "hello how may I help"),
    felt("u1", "agent", "positive", 0.6),
    said("u2", "customer", 7000, 10_000, "I sue", "partial"),
    said("u2", "customer", 7000, 10_000, "I will sue you people"),
    felt("u2", "customer", "negative", -0.8),
    Flagged(Flag("threat", "high", "legal", Evidence("u2", 7000, 10_000))),
    Flagged(Flag("threat", "high", "legal", Evidence("u3", 12_000, 13_000))),
    said("u3", "customer", 12_000, 13_000, "well"),
    felt("u3", "customer", "none", 0.9),
    CallEnded("bye", 20_000, {}, {}),
)


def entries(events: tuple[AnyEvent, ...] = CALL) -> list[Entry]:
    return [Entry("c-1", seq, seq * 1000, event) for seq, event in enumerate(events, 1)]


def analysed(events: tuple[AnyEvent, ...] = CALL) -> Any:
    summary: CallSummary | None = None
    for entry in entries(events):
        summary = summarise(summary, entry)
    assert summary
    made = json.loads(json.dumps(output(summary, entries(events))))
    jsonschema.validate(made, OUTPUT)
    return made


def test_an_ended_call_is_an_analysed_call() -> None:
    made = analysed()
    assert made["JobStatus"] == "COMPLETED" and made["CustomerMetadata"] == {"ContactId": "c-1"}
    assert [(turn["ParticipantId"], turn.get("Sentiment")) for turn in made["Transcript"]] == [
        ("AGENT", "POSITIVE"),
        ("CUSTOMER", "NEGATIVE"),
        ("CUSTOMER", None),
    ]
    assert made["Categories"]["MatchedCategories"] == ["threat"]
    points = made["Categories"]["MatchedDetails"]["threat"]["PointsOfInterest"]
    assert [point["BeginOffsetMillis"] for point in points] == [7000, 12_000]


def test_its_figures_add_up() -> None:
    found = analysed()["ConversationCharacteristics"]
    assert found["TotalConversationDurationMillis"] == 20_000
    assert found["Sentiment"]["OverallSentiment"] == {"AGENT": 3.0, "CUSTOMER": -4.0}, "who is unsure does not count"
    assert found["Sentiment"]["SentimentByPeriod"]["QUARTER"] == {
        "AGENT": [{"BeginOffsetMillis": 0, "EndOffsetMillis": 5000, "Score": 3.0}],
        "CUSTOMER": [{"BeginOffsetMillis": 5000, "EndOffsetMillis": 10_000, "Score": -4.0}],
    }
    assert found["NonTalkTime"] == {
        "TotalTimeMillis": 5000,
        "Instances": [{"BeginOffsetMillis": 2000, "EndOffsetMillis": 7000, "DurationMillis": 5000}],
    }
    assert found["TalkTime"]["TotalTimeMillis"] == 6000
    assert found["TalkSpeed"]["DetailsByParticipant"] == {
        "AGENT": {"AverageWordsPerMinute": 150},
        "CUSTOMER": {"AverageWordsPerMinute": 90},
    }


@pytest.mark.parametrize("length", range(1, len(CALL)))
def test_a_call_that_lasts_has_what_there_is(length: int) -> None:
    assert analysed(CALL[:length])["JobStatus"] == "IN_PROGRESS"


def test_segments_go_on_where_the_last_page_ended() -> None:
    pages, after = [], 0
    for length in (3, 7, len(CALL)):
        made = segments(entries(CALL[:length]), after, length == len(CALL))
        jsonschema.validate(made, PAGE)
        pages.append([next(iter(each.values())).get("Id", "flag") for each in made["Segments"]])
        after = int(made.get("NextToken", "0"))
    assert pages == [["u1"], ["u2", "flag"], ["flag", "u3"]] and after == 0, "no more after the end"


@pytest.mark.parametrize("broken", [{"Version": "1.0.0"}, {"Loudness": []}, {"JobStatus": "DONE"}])
def test_the_shape_refuses(broken: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**analysed(), **broken}, OUTPUT)


async def test_a_real_call_has_that_shape(server: door.Door) -> None:
    call = new_id()
    await replay.play(replay.read(SHIPPED), server.ws, call=call, speed=30)
    await until(lambda: server.get(f"/calls/{call}")["ended"])
    made = server.get(f"/calls/{call}/contact-lens")
    jsonschema.validate(made, OUTPUT)
    assert made["Transcript"] and made["Categories"]["MatchedCategories"]
    assert {"AGENT", "CUSTOMER"} == set(made["ConversationCharacteristics"]["TalkSpeed"]["DetailsByParticipant"])
    page = server.get(f"/calls/{call}/contact-lens/segments")
    jsonschema.validate(page, PAGE)
    spoken = [each["Transcript"]["Content"] for each in page["Segments"] if "Transcript" in each]
    assert sorted(spoken) == sorted(turn["Content"] for turn in made["Transcript"])
    assert "NextToken" not in page
