"""A log whose roles were put right comes out with the right ones in every shape, whatever was said before it."""

from __future__ import annotations

from assist.conversation import Evidence, Finding, Transcript
from assist.events import AnyEvent, CallStarted, Entry, Noticed, RolesSwapped, Transcribed
from assist.exports import agent_assist, contact_lens, salesforce
from assist.exports.told import read
from assist.ingest import by_channel

EVENTS: tuple[AnyEvent, ...] = (
    CallStarted("2026-11-26T10:00:00.000+00:00", "plain", ("agent", "customer"), "mulaw", 8_000, "scripted"),
    Transcribed(Transcript("customer-1", "customer", 0, 900, "Thank you for calling.")),
    Noticed("customer-1", "customer", (Finding("stress", "calm", 0.2, Evidence()),)),
    RolesSwapped("customer-1", "Thank you for calling.", ("customer-1",)),
    Transcribed(Transcript("agent-1", "customer", 1_000, 1_900, "My camera is black.")),
)
ENTRIES = [Entry("c", seq, seq, event) for seq, event in enumerate(EVENTS, 1)]
ROLES = ["agent", "customer"]


def test_who_spoke_is_put_right_and_what_was_judged_by_sound_is_void() -> None:
    told = read(ENTRIES)
    assert [said.party for said in told.finals] == ROLES
    assert told.parties == ("customer", "agent"), "in the order of the channels"
    assert not told.findings


def test_platforms_hear_of_their_own_channels() -> None:
    event = by_channel(ENTRIES[-1]).event
    assert isinstance(event, Transcribed) and event.transcript.party == "agent"
    assert by_channel(ENTRIES[0]) == ENTRIES[0]


def test_every_shape_says_it() -> None:
    segments = contact_lens.segments(ENTRIES, 0, True)["Segments"]
    assert [each["Transcript"]["ParticipantRole"].lower() for each in segments] == ROLES
    messages = salesforce.bodies(ENTRIES, 0, True)["messages"]
    assert [each["participantId"] for each in messages] == ROLES
    answers = agent_assist.responses(ENTRIES, 0, True)["responses"]
    assert [each["message"]["participant"].rsplit("/", 1)[-1] for each in answers] == ROLES
