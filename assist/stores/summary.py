"""How a call's summary follows from its entries: one pure function, so that all stores agree.

It knows no database and reads no clock.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from assist.events import (
    CallEnded,
    CallStarted,
    ChannelFaulted,
    ChannelMended,
    Entry,
    Flagged,
    Noticed,
    Reviewed,
    RolesSwapped,
)
from assist.hub import CallSummary

_SEVERITIES: Final = {"low": 1, "medium": 2, "high": 3}


def summarise(previous: CallSummary | None, entry: Entry) -> CallSummary:
    """The summary once `entry` is kept; `previous` is None for the first entry of a call.

    Entries are taken in the order in which they are kept. `topic` and `sentiment` stay what they were
    when the analyser abstains, since "no news" is not "no topic".
    """
    now = previous or CallSummary(entry.call, started_at="", platform="", metadata={}, recogniser="", last_seq=0)
    now = replace(now, last_seq=max(now.last_seq, entry.seq))
    match entry.event:
        case CallStarted() as event:
            return replace(
                now,
                started_at=event.started_at,
                platform=event.platform,
                metadata=event.metadata,
                recogniser=event.recogniser,
            )
        case Noticed() as event:
            return _noticed(now, event)
        case Flagged(flag=flag):
            return replace(now, flags=(*now.flags, flag))
        case Reviewed() as event:
            return replace(now, reviews=(*now.reviews, event))
        case ChannelFaulted(kind=kind):
            return replace(now, faults=(*now.faults, kind))
        case ChannelMended(kind=kind) if kind in now.faults:
            at = now.faults.index(kind)
            return replace(now, faults=(*now.faults[:at], *now.faults[at + 1 :]))
        case RolesSwapped():
            return replace(now, sentiment=None)  # it was the agent's
        case CallEnded() as event:
            return replace(now, ended=True, reason=event.reason, duration_ms=event.duration_ms)
    return now


def severity(summary: CallSummary) -> int:
    """The highest severity among the call's flags: 0 no flag, 1 low, 2 medium, 3 high."""
    return max((_SEVERITIES[flag.severity] for flag in summary.flags), default=0)


def _noticed(now: CallSummary, event: Noticed) -> CallSummary:
    topics, sentiment = dict(now.topics), now.sentiment
    for finding in event.findings:
        if finding.analyser == "topic" and finding.label != "none":
            topics[finding.label] = round(topics.get(finding.label, 0.0) + finding.score, 4)
        if finding.analyser == "sentiment" and event.party == "customer":
            sentiment = finding.detail.get("call", sentiment)
    # The first named wins a tie, so that what a page shows does not flip without reason.
    topic = max(topics, key=lambda label: topics[label], default="")
    return replace(now, topic=topic, topics=topics, sentiment=sentiment)
