"""A call in the shapes of Amazon Connect's Contact Lens, for what was built to read those.

`output` is its file for an analysed call, version 1.1.0, `segments` a page of ListRealtimeContactAnalysisSegments. Pure
functions of summary and log. What only Amazon could say (accounts) and what is not measured here (loudness, issues,
interruptions) is left out. A flag's rule is a category.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import fmean
from typing import Any, Final

from assist.audio import Party
from assist.conversation import Flag, Transcript
from assist.events import Entry, Flagged, Transcribed
from assist.exports.told import Told, read
from assist.hub import CallSummary

SILENCE_MS: Final = 3_000
"""From here on Contact Lens calls it non-talk time."""
SCALE: Final = 5.0
"""Its sentiment goes from -5 to 5, ours from -1 to 1."""


def output(summary: CallSummary, entries: Iterable[Entry]) -> dict[str, Any]:
    """The analysed call. While it lasts, what there is of it, with `JobStatus` IN_PROGRESS."""
    told = read(entries)
    moods = _moods(told)
    finals = sorted((said for said in told.finals if said.text), key=lambda said: said.start_ms)
    duration_ms = summary.duration_ms if summary.ended else told.at_ms
    return {
        "Version": "1.1.0",
        "Channel": "CHAT" if told.written else "VOICE",
        "ContentMetadata": {"Output": "Raw"},
        "JobStatus": "COMPLETED" if summary.ended else "IN_PROGRESS",
        "LanguageCode": finals[0].language if finals else "en",
        "CustomerMetadata": {"ContactId": summary.call},
        "Participants": [{"ParticipantId": party.upper(), "ParticipantRole": party.upper()} for party in told.parties],
        "Categories": _categories(told.flags),
        "ConversationCharacteristics": {
            "TotalConversationDurationMillis": duration_ms,
            "Sentiment": _sentiment(told, finals, duration_ms),
            **({} if told.written else {"NonTalkTime": _silence(finals), **_talk(told.parties, finals)}),
        },
        "Transcript": [{**_turn(said, moods), **_message(told, summary, said)} for said in finals],
    }


def segments(entries: Sequence[Entry], after: int, ended: bool) -> dict[str, Any]:
    """What was said and flagged after entry `after`. `NextToken`, while there may be more, is the next `after`."""
    told = read(entries)
    moods, finals = _moods(told), {said.utterance: said for said in told.finals}
    found: list[dict[str, Any]] = []
    for entry in entries[max(0, after) :]:
        match entry.event:
            case Transcribed(transcript=said) if said.stage == "final" and said.text:
                said = finals[said.utterance]  # its role may have been put right since
                found.append({"Transcript": {**_turn(said, moods), "ParticipantRole": said.party.upper()}})
            case Flagged(flag=flag):
                found.append({"Categories": _categories([flag])})
    last = entries[-1].seq if entries else 0
    return {"Segments": found, **({} if ended else {"NextToken": str(last)})}


def _moods(told: Told) -> dict[str, str]:
    """POSITIVE, NEUTRAL or NEGATIVE by utterance; nothing where nobody could tell."""
    found = told.findings.get("sentiment", [])
    return {utterance: each.label.upper() for _, utterance, each in found if each.label != "none"}


def _turn(said: Transcript, moods: dict[str, str]) -> dict[str, Any]:
    return {
        "Id": said.utterance,
        "ParticipantId": said.party.upper(),
        "Content": said.text,
        "BeginOffsetMillis": said.start_ms,
        "EndOffsetMillis": said.end_ms,
        **({"Sentiment": moods[said.utterance]} if said.utterance in moods else {}),
    }


def _message(told: Told, summary: CallSummary, said: Transcript) -> dict[str, Any]:
    """What is said of a message in writing beside its text."""
    if not told.written:
        return {}
    at = datetime.fromisoformat(summary.started_at) + timedelta(milliseconds=said.start_ms)
    return {"Type": "MESSAGE", "ContentType": "text/plain", "AbsoluteTime": at.isoformat(timespec="milliseconds")}


def _categories(flags: Sequence[Flag]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for flag in flags:
        points = details.setdefault(flag.rule, {"PointsOfInterest": []})["PointsOfInterest"]
        if flag.evidence.end_ms:
            points.append({"BeginOffsetMillis": flag.evidence.start_ms, "EndOffsetMillis": flag.evidence.end_ms})
    return {"MatchedCategories": list(details), "MatchedDetails": details}


def _sentiment(told: Told, finals: Sequence[Transcript], duration_ms: int) -> dict[str, Any]:
    """Means of the turns of which somebody could tell, over the call and over each quarter of it."""
    starts = {said.utterance: said.start_ms for said in finals}
    scores: dict[str, list[tuple[int, float]]] = {}
    for party, utterance, finding in told.findings.get("sentiment", []):
        if finding.label != "none" and utterance in starts:
            scores.setdefault(party.upper(), []).append((starts[utterance], SCALE * finding.score))
    edges = [duration_ms * quarter // 4 for quarter in range(5)]
    periods = {
        role: [
            {"BeginOffsetMillis": begin, "EndOffsetMillis": end, "Score": round(fmean(inside), 1)}
            for begin, end in pairwise(edges)
            if (inside := [score for at_ms, score in found if begin <= at_ms < end])
        ]
        for role, found in scores.items()
    }
    overall = {role: round(fmean(score for _, score in found), 1) for role, found in scores.items()}
    return {"OverallSentiment": overall, "SentimentByPeriod": {"QUARTER": periods}}


def _silence(finals: Sequence[Transcript]) -> dict[str, Any]:
    """Where nobody spoke for longer than `SILENCE_MS`, between what was said."""
    instances = []
    end_ms = finals[0].end_ms if finals else 0
    for said in finals:
        if (gap_ms := said.start_ms - end_ms) > SILENCE_MS:
            span = {"BeginOffsetMillis": end_ms, "EndOffsetMillis": said.start_ms, "DurationMillis": gap_ms}
            instances.append(span)
        end_ms = max(end_ms, said.end_ms)
    return {"TotalTimeMillis": sum(each["DurationMillis"] for each in instances), "Instances": instances}


def _talk(parties: Sequence[Party], finals: Sequence[Transcript]) -> dict[str, Any]:
    times: dict[str, int] = {}
    words: dict[str, int] = {}
    for party in parties:
        mine = [said for said in finals if said.party == party]
        times[party.upper()] = sum(said.end_ms - said.start_ms for said in mine)
        words[party.upper()] = sum(len(said.text.split()) for said in mine)
    speeds = {
        role: {"AverageWordsPerMinute": round(words[role] * 60_000 / time_ms)}
        for role, time_ms in times.items()
        if time_ms
    }
    details = {role: {"TotalTimeMillis": time_ms} for role, time_ms in times.items()}
    return {
        "TalkSpeed": {"DetailsByParticipant": speeds},
        "TalkTime": {"TotalTimeMillis": sum(times.values()), "DetailsByParticipant": details},
    }
