"""A call as Salesforce's Telephony Integration API takes it: bodies for its voice call's messages and real-time events.

Pure functions of the log. Whoever relays them holds the organisation's certificate and posts each under
/telephony/v1/voiceCalls/{vendorCallKey}: `messages` one by one, `realtimeConversationEvents` as it stands. The key is
our call id, and after a transfer that of the conversation's first call. It wants each participant by the key that it
was told when the voice call was made: `participantId` is here only agent, customer or system.
Sources: developer.salesforce.com, Salesforce Voice developer guide: "Create a Transcript" and "Send a Real-Time
Conversation Event".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from assist.conversation import Evidence, Finding
from assist.events import CallStarted, Entry, Flagged, Noticed, Transcribed
from assist.exports.told import read

SERVICE: Final = "assist"
SENDERS: Final = {"agent": "HUMAN_AGENT", "customer": "END_USER", "system": "VIRTUAL_AGENT"}
SENTIMENT: Final = "Sentiment"
"""`events.type` of a customer's mood. A flag's rule and a topic are of the type "Category", as Contact Lens' are."""
CATEGORY: Final = "Category"


def bodies(entries: Sequence[Entry], after: int, ended: bool) -> dict[str, Any]:
    """What to post of the entries after `after`. `next`, while there may be more, is the next `after`.

    Times are milliseconds of Unix time; `details` gives them from the start of the call.
    """
    started = next((entry.event.started_at for entry in entries if isinstance(entry.event, CallStarted)), "")
    began_ms = round(datetime.fromisoformat(started).timestamp() * 1000) if started else 0
    roles = {said.utterance: said.party for said in read(entries).finals}  # some may have been put right since
    messages: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for entry in entries:
        if entry.seq <= after:
            continue
        match entry.event:
            case Transcribed(transcript=said) if said.stage == "final" and said.text:
                messages.append(
                    {
                        "messageId": f"{entry.call}-{said.utterance}"[:255],
                        "startTime": began_ms + said.start_ms,
                        "endTime": began_ms + said.end_ms,
                        "content": said.text,
                        "participantId": roles[said.utterance],
                        "senderType": SENDERS[roles[said.utterance]],
                    }
                )
            case Flagged(flag=flag):
                events.append(_event(began_ms, entry.at_ms, CATEGORY, flag.rule, flag.evidence))
            case Noticed(party=party, findings=findings) if roles.get(entry.event.utterance, party) == "customer":
                events += [_signal(began_ms, entry.at_ms, each) for each in findings if _is_signal(each)]
    events.sort(key=lambda event: event["startTime"])
    made: dict[str, Any] = {"messages": messages}
    if events:
        made["realtimeConversationEvents"] = {"service": SERVICE, "events": events, "persist": False}
    return made if ended else {**made, "next": entries[-1].seq if entries else 0}


def _is_signal(finding: Finding) -> bool:
    return finding.analyser in ("sentiment", "topic") and finding.label != "none"


def _signal(began_ms: int, at_ms: int, finding: Finding) -> dict[str, Any]:
    kind = SENTIMENT if finding.analyser == "sentiment" else CATEGORY
    return _event(began_ms, at_ms, kind, finding.label, finding.evidence)


def _event(began_ms: int, at_ms: int, kind: str, value: str, evidence: Evidence) -> dict[str, Any]:
    start_ms, end_ms = (evidence.start_ms, evidence.end_ms) if evidence.end_ms else (at_ms, at_ms)
    return {
        "type": kind,
        "value": value,
        "startTime": began_ms + start_ms,
        "details": {"BeginOffsetMillis": start_ms, "EndOffsetMillis": end_ms},
    }
