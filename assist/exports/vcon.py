"""A call as a vCon, the IETF's container for conversations (draft-ietf-vcon-vcon-core-04, syntax 0.4.0).

A pure function of the call's summary and log. It reads no audio and knows no socket.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from assist.audio import Party
from assist.events import Entry, plain
from assist.exports.told import Told, read
from assist.hub import CallSummary

SYNTAX: Final = "0.4.0"
TRANSCRIPT: Final = "draft-howe-vcon-wtf-extension-02"
"""The shape of a transcript's body: seconds from the start of the dialog; speakers are indices of parties."""
OURS: Final = "assist-analysis-1"
"""The shape of the other bodies: lists of the log's own values, with `party` as index and times in seconds."""
_NUMBER: Final = re.compile(r"\+?[0-9][0-9 ().-]{4,}")


def build(summary: CallSummary, entries: Iterable[Entry], audio: dict[str, str]) -> dict[str, Any]:
    """The unsigned vCon as JSON values. `audio`: content of the recording (`url` or `body`, and hash), or nothing.

    Its uuid, and all else but `updated_at` and what was added, is the same whenever it is asked for.
    """
    told = read(entries)
    duration_ms = summary.duration_ms if summary.ended else told.at_ms
    recording = {
        "type": "recording",
        "start": summary.started_at,
        "duration": duration_ms / 1000,
        "parties": list(range(len(told.parties))),  # one per channel
        "application": "assist",
        "interaction_id": summary.call,
        "mediatype": "audio/x-wav",
        **audio,
    }
    return {
        "vcon": SYNTAX,
        "uuid": str(_uuid(summary)),
        "extensions": ["CC"],
        "created_at": summary.started_at,
        "updated_at": _at(summary, told.at_ms),
        **({"subject": summary.topic} if summary.topic else {}),
        "parties": [_person(party, summary.metadata) for party in told.parties],
        "dialog": _messages(told, summary) if told.written else [recording],
        "analysis": [_transcript(told, summary, duration_ms), *_findings(told), *_lists(told)],
        "attachments": [_metadata(summary)] if summary.metadata and told.parties else [],
    }


def _messages(told: Told, summary: CallSummary) -> list[dict[str, Any]]:
    """A contact in writing: one dialog for each turn. Analyses point to the first, and by `utterance` to each."""
    return [
        {
            "type": "text",
            "start": _at(summary, said.start_ms),
            "parties": [told.parties.index(said.party)],  # the draft takes a number too; vcon-server takes lists only
            "application": "assist",
            "interaction_id": summary.call,
            "mediatype": "text/plain",
            "encoding": "none",
            "body": said.text,
        }
        for said in told.finals
    ]


def _uuid(summary: CallSummary) -> uuid.UUID:
    """Version 8: the call's start in ms, then bits of a hash of what the call is, so that it is found again."""
    start_ms = int(datetime.fromisoformat(summary.started_at).timestamp() * 1000)
    rest = int.from_bytes(sha256(f"{summary.started_at}\n{summary.call}".encode()).digest()[:10])
    number = (start_ms << 80 | rest) & ~(0xF << 76 | 0b11 << 62) | 8 << 76 | 0b10 << 62
    return uuid.UUID(int=number)


def _at(summary: CallSummary, at_ms: int) -> str:
    moment = datetime.fromisoformat(summary.started_at) + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds")


def _person(party: Party, metadata: dict[str, str]) -> dict[str, str]:
    """The platform may have said under the party's own name who it is: a number, or a name."""
    who = metadata.get(party, "")
    known = {"tel" if _NUMBER.fullmatch(who) else "name": who} if who else {}
    return {"type": "bot" if party == "system" else "person", "role": party, **known}


def _analysis(kind: str, product: str, schema: str, body: object) -> dict[str, Any]:
    return {
        "type": kind,
        "dialog": 0,
        "mediatype": "application/json",
        "vendor": "assist",
        **({"product": product} if product else {}),
        "schema": schema,
        "encoding": "json",
        "body": body,
    }


def _transcript(told: Told, summary: CallSummary, duration_ms: int) -> dict[str, Any]:
    """In the order in which things were said."""
    segments: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    finals = sorted(told.finals, key=lambda said: said.start_ms)
    for number, said in enumerate(finals):
        speaker = told.parties.index(said.party)
        first = len(words)
        for word in said.words:
            sure = {} if word.probability is None else {"confidence": word.probability}
            words.append({"id": len(words), **_span(word.start_ms, word.end_ms), "text": word.text, **sure})
            words[-1]["speaker"] = speaker
        sure = {} if said.probability is None else {"confidence": said.probability}
        segment = {"id": number, **_span(said.start_ms, said.end_ms), "text": said.text, **sure, "speaker": speaker}
        segments.append({**segment, "words": list(range(first, len(words))), "utterance": said.utterance})
    body = {
        "transcript": {
            "text": " ".join(said.text for said in finals if said.text),
            "language": finals[0].language if finals else "en",
            "duration": duration_ms / 1000,
        },
        "segments": segments,
        "words": words,
        "metadata": {"created_at": summary.started_at, "provider": "assist", "model": summary.recogniser},
    }
    return _analysis("transcript", summary.recogniser, TRANSCRIPT, body)


def _findings(told: Told) -> list[dict[str, Any]]:
    """One analysis per analyser: sentiment, stress, topic, whatever was asked for."""
    made = []
    for analyser, found in told.findings.items():
        body = [
            {
                "utterance": utterance,
                "party": told.parties.index(party),
                **_span(finding.evidence.start_ms, finding.evidence.end_ms),
                "label": finding.label,
                "score": finding.score,
                "detail": finding.detail,
            }
            for party, utterance, finding in found
        ]
        made.append(_analysis(analyser, found[-1][2].evidence.source, OURS, body))
    return made


def _lists(told: Told) -> list[dict[str, Any]]:
    suggestions = [
        {"utterance": utterance, **plain(each), "mark": told.marks.get(each.id)}
        for utterance, each in told.suggestions.values()
    ]
    lists = {"suggestions": suggestions, "flags": plain(told.flags), "reviews": plain(told.reviews)}
    return [_analysis(kind, "", OURS, body) for kind, body in lists.items() if body]


def _metadata(summary: CallSummary) -> dict[str, Any]:
    return {
        "purpose": "metadata",
        "start": summary.started_at,
        "party": 0,
        "dialog": 0,
        "mediatype": "application/json",
        "encoding": "json",
        "body": summary.metadata,
    }


def _span(start_ms: int, end_ms: int) -> dict[str, float]:
    return {"start": start_ms / 1000, "end": end_ms / 1000}
