"""A call as Google's Agent Assist tells of it, for what was built to read those: one AnalyzeContentResponse per turn.

Pure functions of the log; the JSON names of google.cloud.dialogflow.v2. `humanAgentSuggestionResults` holds the
articles that were shown because of that turn: an action or a playbook step has no counterpart there, and is left out.
An article's `uri` is a path of this server; its `answerRecord` ends with the id that `POST /calls/{call}/marks` takes.
Source: docs.cloud.google.com/dialogflow/es/docs/reference/rest/v2/AnalyzeContentResponse.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from assist.conversation import Suggestion, Transcript
from assist.events import CallStarted, Entry, Suggested, Transcribed
from assist.exports.told import read

PROJECT: Final = "projects/assist"
ROLES: Final = {"agent": "HUMAN_AGENT", "customer": "END_USER", "system": "AUTOMATED_AGENT"}
CONTEXT: Final = 20
"""Messages that Agent Assist says an answer was found from, unless asked for another number."""


def responses(entries: Sequence[Entry], after: int, ended: bool) -> dict[str, Any]:
    """Turns that were said, or got an article, after entry `after`, with what is shown because of them by now.

    A turn comes again when articles join it. `nextPageToken`, while there may be more, is the next `after`.
    """
    told = read(entries)
    finals = {said.utterance: said for said in told.finals}  # a role may have been put right since it was said
    moods = {utterance: each.score for _, utterance, each in told.findings.get("sentiment", []) if each.label != "none"}
    shown: dict[str, list[Suggestion]] = {}
    for utterance, each in told.suggestions.values():
        if each.kind == "article":
            shown.setdefault(utterance, []).append(each)
    fresh = {
        entry.event.utterance for entry in entries if isinstance(entry.event, Suggested) and entry.seq > after
    } & shown.keys()
    found, turns, began = [], 0, ""
    for entry in entries:
        match entry.event:
            case CallStarted(started_at=started_at):
                began = started_at
            case Transcribed(transcript=said) if said.stage == "final" and said.text:
                turns += 1
                if entry.seq > after or said.utterance in fresh:
                    said = finals[said.utterance]
                    found.append(_response(entry.call, began, said, moods, shown.get(said.utterance, []), turns))
    last = entries[-1].seq if entries else 0
    return {"responses": found, **({} if ended else {"nextPageToken": str(last)})}


def _response(
    call: str, began: str, said: Transcript, moods: dict[str, float], articles: Sequence[Suggestion], turns: int
) -> dict[str, Any]:
    conversation = f"{PROJECT}/conversations/{quote(call, safe='')}"
    name = f"{conversation}/messages/{quote(said.utterance, safe='')}"
    message: dict[str, Any] = {
        "name": name,
        "content": said.text,
        "languageCode": said.language,
        "participant": f"{conversation}/participants/{said.party}",
        "participantRole": ROLES[said.party],
    }
    if began:
        moment = datetime.fromisoformat(began) + timedelta(milliseconds=said.end_ms)
        message["createTime"] = moment.isoformat(timespec="milliseconds")
    if said.utterance in moods:
        score = round(moods[said.utterance], 3)
        message["sentimentAnalysis"] = {"queryTextSentiment": {"score": score, "magnitude": abs(score)}}
    results = []
    if articles:
        answers = [_answer(each) for each in sorted(articles, key=lambda each: -each.score)]
        size = min(CONTEXT, turns)
        results = [{"suggestArticlesResponse": {"articleAnswers": answers, "latestMessage": name, "contextSize": size}}]
    return {"message": message, "humanAgentSuggestionResults": results}


def _answer(article: Suggestion) -> dict[str, Any]:
    return {
        "title": article.title,
        "uri": f"/articles/{quote(article.ref, safe='')}",
        "snippets": [article.quote] if article.quote else [],
        "confidence": min(1.0, max(0.0, article.score)),
        "metadata": {"why": article.why, "source": article.source},
        "answerRecord": f"{PROJECT}/answerRecords/{quote(article.id, safe='')}",
    }
