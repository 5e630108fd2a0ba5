"""A call as Salesforce's Telephony Integration API takes it: the documented fields, in order, and each entry once."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from assist import replay
from assist.conversation import Evidence, Finding, Flag
from assist.events import AnyEvent, CallEnded, Entry, Flagged, Noticed
from assist.exports.salesforce import bodies
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.exports.test_agent_assist import STARTED, said
from tests.exports.test_contact_lens import SPAN, listed, shape
from tests.wire import new_id, until

BEGAN_MS = 1_795_600_800_000
"""2026-11-25T10:00:00Z"""
TEXT = {"type": "string", "minLength": 1}
MOMENT = {"type": "integer", "minimum": BEGAN_MS}
MESSAGE = shape(
    {
        "messageId": TEXT,
        "startTime": MOMENT,
        "endTime": MOMENT,
        "content": TEXT,
        "participantId": TEXT,
        "senderType": {"enum": ["END_USER", "HUMAN_AGENT", "VIRTUAL_AGENT", "SUPERVISOR"]},
    }
)
EVENT = shape({"type": TEXT, "value": TEXT, "startTime": MOMENT, "details": shape(SPAN)})
EVENTS = shape({"service": TEXT, "events": {**listed(EVENT), "minItems": 1}, "persist": {"type": "boolean"}})
PAGE = shape({"messages": listed(MESSAGE)}, {"realtimeConversationEvents": EVENTS, "next": {"type": "integer"}})

CALL: tuple[AnyEvent, ...] = (
    STARTED,
    said("u1", "agent", 0, "hello"),
    Noticed("u1", "agent", (Finding("sentiment", "positive", 0.9, Evidence("u1", 0, 1000)),)),
    said("u2", "customer", 2000, "I will su", "speculative"),
    said("u2", "customer", 2000, "I will sue you"),
    Flagged(Flag("threat", "high", "legal", Evidence("u2", 2000, 3000))),
    Noticed(
        "u2",
        "customer",
        (
            Finding("sentiment", "negative", -0.9, Evidence("u2", 2000, 3000)),
            Finding("topic", "none", 0.3, Evidence("u2", 2000, 3000)),
            Finding("topic", "billing", 0.8, Evidence("u1", 0, 1000)),
            Finding("stress", "high", 0.8, Evidence("u2", 2000, 3000)),
        ),
    ),
    CallEnded("bye", 9000, {}, {}),
)


def page(length: int = len(CALL), after: int = 0) -> Any:
    entries = [Entry("c-1", seq, seq * 1000, event) for seq, event in enumerate(CALL[:length], 1)]
    made = json.loads(json.dumps(bodies(entries, after, length == len(CALL))))
    jsonschema.validate(made, PAGE)
    return made


def test_messages_and_signals_in_their_order() -> None:
    made = page()
    assert [(each["senderType"], each["content"], each["startTime"] - BEGAN_MS) for each in made["messages"]] == [
        ("HUMAN_AGENT", "hello", 0),
        ("END_USER", "I will sue you", 2000),
    ]
    found = [(each["type"], each["value"]) for each in made["realtimeConversationEvents"]["events"]]
    assert found == [("Category", "billing"), ("Category", "threat"), ("Sentiment", "negative")]


def test_each_entry_is_told_once() -> None:
    told, after = [], 0
    for length in range(1, len(CALL) + 1):
        made = page(length, after)
        told += [each["messageId"] for each in made["messages"]]
        told += [each["value"] for each in made.get("realtimeConversationEvents", {}).get("events", [])]
        after = made.get("next", -1)
    assert told == ["c-1-u1", "c-1-u2", "threat", "billing", "negative"] and after == -1


def test_a_bot_that_writes_is_a_virtual_agent() -> None:
    made = bodies([Entry("c", 1, 0, STARTED), Entry("c", 2, 0, said("u1", "system", 0, "I am the bot."))], 0, False)
    jsonschema.validate(made, PAGE)
    (bot,) = made["messages"]
    assert (bot["participantId"], bot["senderType"]) == ("system", "VIRTUAL_AGENT")


async def test_a_real_call_has_that_shape(server: door.Door) -> None:
    call = new_id()
    await replay.play(replay.read(SHIPPED), server.ws, call=call, speed=30)
    await until(lambda: server.get(f"/calls/{call}")["ended"])
    made = server.get(f"/calls/{call}/salesforce")
    jsonschema.validate(made, PAGE)
    assert made["messages"] and made["realtimeConversationEvents"]["events"] and "next" not in made
