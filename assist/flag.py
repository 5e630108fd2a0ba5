"""Rules over a conversation: when a call needs a person's review.

It knows no search and no playbook; what a condition means is described in assist/material.py.
"""

from __future__ import annotations

import copy
from typing import Final

from assist.audio import Party
from assist.conversation import Conversation, Evidence, Flag, Transcript, Turn
from assist.knowledge import Knowledge
from assist.material import Rule
from assist.phrase import Span, find_any
from assist.playbook import call_topics

_OVERLAP_TURNS: Final = 12  # turns are published in the order they end, so a long one may stand this far back


def met(rule: Rule, conversation: Conversation, at_ms: int, ended: bool = False) -> Evidence | None:
    """The evidence if all conditions of `rule` hold on the newest turn (or at the end of the call), else None.

    `at_ms`: time on the call's clock; at the end, the call's duration. Once a call has ended only `missing` and
    `silence_ms` can hold anew.
    """
    when = rule.when
    turn = conversation.turns[-1] if conversation.turns else None
    if at_ms < when.lasted_ms or (when.topic and not _about(conversation, when.topic)):
        return None
    if when.missing:
        due = ended if when.by_ms is None else at_ms >= when.by_ms
        if not due or _was_said(when.missing, when.party, conversation):
            return None
    if when.silence_ms is not None:
        if conversation.written:
            return None
        start_ms, end_ms = _pause(conversation, at_ms if ended else None)
        if end_ms - start_ms < when.silence_ms:
            return None
        utterance = turn.transcript.utterance if turn else ""
        return Evidence(utterance, start_ms, end_ms, source=f"rule:{rule.id}")
    if turn is None or (ended and not when.missing):
        return None
    if when.missing:
        said = turn.transcript
        return Evidence(said.utterance, said.start_ms, said.end_ms, source=f"rule:{rule.id}")
    return _heard(rule, conversation, turn)


def _heard(rule: Rule, conversation: Conversation, turn: Turn) -> Evidence | None:
    when, said = rule.when, turn.transcript
    if said.party != when.party:
        return None
    span: Span | None = None
    if when.said:
        span = find_any(when.said, said.text)
        if span is None:
            return None
    sentiment = turn.finding("sentiment")
    if when.sentiment_call_below is not None and not (
        sentiment and sentiment.detail.get("call", 0.0) < when.sentiment_call_below
    ):
        return None
    if when.sentiment_turn_below is not None and not (
        sentiment and sentiment.label != "none" and sentiment.score < when.sentiment_turn_below
    ):
        return None
    if when.stress_above is not None and not _tense(conversation, when.party, when.stress_above, when.stress_turns):
        return None
    return quoted(said, span, f"rule:{rule.id}")


def quoted(said: Transcript, span: Span | None, source: str) -> Evidence:
    """Evidence of an utterance, narrowed to the characters of `span` where there is one."""
    if span is None:
        return Evidence(said.utterance, said.start_ms, said.end_ms, quote=said.text, source=source)
    quote = said.text[span.start : span.end]
    return Evidence(said.utterance, said.start_ms, said.end_ms, span.start, span.end, quote, source)


def _was_said(phrases: tuple[str, ...], party: Party, conversation: Conversation) -> bool:
    """True too where nothing of the party was understood: no ground to say that something was not said."""
    texts = [turn.transcript.text for turn in conversation.turns if turn.transcript.party == party]
    return not any(texts) or any(find_any(phrases, text) for text in texts)


def _about(conversation: Conversation, topics: tuple[str, ...]) -> bool:
    return next(iter(call_topics(conversation.turns)), "") in topics


def _tense(conversation: Conversation, party: Party, above: float, turns: int) -> bool:
    """True if the last `turns` turns in which stress was judged, the newest turn among them, all lie above."""
    judged = 0
    for turn in reversed(conversation.turns):
        finding = turn.finding("stress") if turn.transcript.party == party else None
        if finding is None or finding.label == "none":
            if turn is conversation.turns[-1]:
                return False
            continue
        if finding.score <= above:
            return False
        judged += 1
        if judged == turns:
            return True
    return False


def _pause(conversation: Conversation, ended_ms: int | None) -> tuple[int, int]:
    """The time without any speech before the newest turn, or before the end: (start_ms, end_ms)."""
    turns = [turn.transcript for turn in conversation.turns[-_OVERLAP_TURNS:]]
    if ended_ms is None and turns:
        newest, turns = turns[-1], turns[:-1]
        end_ms = newest.start_ms
    else:
        end_ms = ended_ms or 0
    return max((said.end_ms for said in turns), default=0), end_ms


class Watch:
    """One per call; a rule flags at most once. Rules with `flag = false` are left to the guide."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._waiting = {rule.id: rule for rule in knowledge.rules.values() if rule.flag}

    def fork(self) -> Watch:
        """A copy whose flags are its own."""
        other = copy.copy(self)
        other._waiting = dict(self._waiting)
        return other

    def after(self, conversation: Conversation, at_ms: int) -> list[Flag]:
        """Flags raised by the newest turn."""
        return self._raised(conversation, at_ms, ended=False)

    def ended(self, conversation: Conversation, duration_ms: int) -> list[Flag]:
        """Flags that only the end of the call can raise: what was never said, a long silence at the end."""
        return self._raised(conversation, duration_ms, ended=True)

    def _raised(self, conversation: Conversation, at_ms: int, ended: bool) -> list[Flag]:
        raised = []
        for rule in list(self._waiting.values()):
            evidence = met(rule, conversation, at_ms, ended)
            if evidence is not None:
                del self._waiting[rule.id]
                raised.append(Flag(rule.id, rule.severity, rule.reason, evidence))
        return raised
