"""What to show the agent after each final turn: the next best action first, then at most two articles.

It knows no model, no screen and no log; searching, rules and playbooks are asked, and this ranks, explains and holds
back what was shown already.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from assist.conversation import Conversation, Evidence, Suggestion, SuggestionKind, Transcript
from assist.events import PlaybookMoved
from assist.flag import met, quoted
from assist.knowledge import Knowledge
from assist.material import Rule, Step
from assist.phrase import content, gist, is_number
from assist.playbook import PlaybookSettings, Route
from assist.search import Hit, Said, Search

Mark = Literal["used", "opened", "not_useful", "dismissed"]

_SEVERITY_SCORE: Final = {"high": 0.95, "medium": 0.8, "low": 0.65}
_STEP_SCORE: Final = 0.6
_WHY_WORDS: Final = 8  # with "because:" well under a dozen


@dataclass(frozen=True, slots=True)
class GuideSettings:
    """`cooldown_turns`: how long a card is not shown again, unless its score has risen by `rise`.

    The query of a search is the newest customer turn and up to `context_turns` before it, each counting `context` of
    the one after it, the agent's words `agent` of that again. A turn with fewer than `telling` words of content asks
    nothing.
    """

    articles: int = 2
    cooldown_turns: int = 8
    rise: float = 0.15
    context_turns: int = 3
    context: float = 0.6
    agent: float = 0.5
    telling: int = 2


class Taste(Protocol):
    """What this house's agents make of suggestions, learnt from their marks. `least`: below it one is held back."""

    @property
    def least(self) -> float: ...

    def __call__(self, events: Sequence[Mapping[str, str]], refs: Sequence[str]) -> Sequence[float]:
        """Per ref, the probability that the agent uses it now. Events: {"party", "text"} or {"action": ref}."""
        ...


class Guidance(NamedTuple):
    """What one turn brings: at most three suggestions, best first, and the playbook's new state if it changed."""

    suggestions: tuple[Suggestion, ...] = ()
    moved: PlaybookMoved | None = None


class _Card(NamedTuple):
    kind: SuggestionKind
    ref: str
    title: str
    why: str
    score: float
    quote: str
    evidence: Evidence
    key: str
    """What the cooldown goes by: the same question in two playbooks is one."""


class Guide:
    """One per call. `after` is called once for each final turn, in order; `marked` from any thread."""

    def __init__(
        self,
        knowledge: Knowledge,
        search: Search,
        settings: GuideSettings | None = None,
        playbook: PlaybookSettings | None = None,
        taste: Taste | None = None,
    ) -> None:
        self.settings = settings or GuideSettings()
        self._taste = taste
        self._knowledge = knowledge
        self._search = search
        self._route = Route(knowledge, playbook)
        self._rules = sorted(
            (rule for rule in knowledge.rules.values() if rule.suggest or rule.tell),
            # What the customer asked for in words comes before how they sound.
            key=lambda rule: (not rule.when.said, -_SEVERITY_SCORE[rule.severity]),
        )
        self._spent: set[str] = set()  # rules about what was not said or not heard, told once
        self._refused: set[str] = set()
        self._used: list[tuple[int, str]] = []  # after how many turns, and what
        self._turns = 0
        self._shown: dict[str, tuple[int, float]] = {}
        self._count = 0

    def fork(self) -> Guide:
        """A copy that may think ahead: where it goes is its own, what the agent marks reaches both."""
        other = copy.copy(self)
        other._route = self._route.fork()
        other._spent = set(self._spent)
        other._shown = dict(self._shown)
        return other

    def having_shown(self, ahead: Guide) -> Guide:
        """This guide as it is when what `ahead`, a fork of it, has decided to show stands on the screen already."""
        other = self.fork()
        other._shown, other._count = dict(ahead._shown), ahead._count
        return other

    def having_taken_back(self, ahead: Guide, before: Guide) -> Guide:
        """This guide when the cards that `ahead` showed on top of `before` are gone from the screen: they may come."""
        other = self.fork()
        for key, shown in ahead._shown.items():
            if before._shown.get(key) != shown and other._shown.get(key) == shown:
                if key in before._shown:
                    other._shown[key] = before._shown[key]
                else:
                    del other._shown[key]
        return other

    def marked(self, ref: str, mark: Mark) -> None:
        """The agent said what became of a suggestion: one that was used or not wanted does not come back."""
        if mark != "opened":
            self._refused.add(ref)
        if mark == "used":
            self._used.append((self._turns, ref))

    def after(self, conversation: Conversation) -> Guidance:
        """What to show because of the newest turn of `conversation`."""
        if not conversation.turns:
            return Guidance()
        moved = self._route.after(conversation)
        said = conversation.turns[-1].transcript
        if said.party == "system":
            return Guidance((), moved)
        turn = self._turns = len(conversation.turns)
        cards = self._next_action(conversation, turn)
        if said.party == "customer":
            cards += [card for card in self._articles(conversation) if self._fresh(card, turn)]
        return Guidance(tuple(self._show(card, turn) for card in cards), moved)

    def _fresh(self, card: _Card, turn: int) -> bool:
        if card.ref in self._refused:
            return False
        shown = self._shown.get(card.key)
        if shown is None:
            return True
        return turn - shown[0] > self.settings.cooldown_turns or card.score >= shown[1] + self.settings.rise

    def _show(self, card: _Card, turn: int) -> Suggestion:
        self._shown[card.key] = (turn, card.score)
        self._count += 1
        kind, ref, title, why, score, quote, evidence, _ = card
        return Suggestion(f"s{self._count}", kind, ref, title, why, round(score, 3), quote, evidence.source, evidence)

    def _next_action(self, conversation: Conversation, turn: int) -> list[_Card]:
        """At most one card: what a rule asks for, else the playbook's step, as far as agents are likely to use it."""
        candidates = self._candidates(conversation, turn)
        if self._taste is None:
            rule, card = next(candidates, (None, None))
        else:
            rule, card = self._liked(list(candidates), conversation, self._taste)
        if rule is not None:
            self._spend(rule)
        return [card] if card is not None else []

    def _candidates(self, conversation: Conversation, turn: int) -> Iterator[tuple[Rule | None, _Card]]:
        """Cards that may be shown now, with the rule each comes from, in the order of the rules; the step last."""
        at_ms = conversation.turns[-1].transcript.end_ms
        for rule in self._rules:
            evidence = met(rule, conversation, at_ms) if rule.id not in self._spent else None
            if evidence is None:
                continue
            card = self._rule_card(rule, evidence, conversation)
            if self._fresh(card, turn):
                yield rule, card
            else:
                self._spend(rule)
        step = self._route.upcoming
        if step is None:
            return
        card = self._step_card(step, conversation)
        # An offer waits for the customer's words; what to ask next can be shown as soon as the last step is ticked.
        waits = card.kind == "action" and conversation.turns[-1].transcript.party == "agent"
        if not waits and self._fresh(card, turn):
            yield None, card

    def _spend(self, rule: Rule) -> None:
        if rule.when.missing or rule.when.silence_ms:
            self._spent.add(rule.id)

    def _liked(
        self, candidates: Sequence[tuple[Rule | None, _Card]], conversation: Conversation, taste: Taste
    ) -> tuple[Rule | None, _Card | None]:
        """The candidate that the agent most likely uses, the first of equals. An alert is not a matter of taste."""
        if candidates and candidates[0][1].kind == "alert":
            return candidates[0]
        offers = [each for each in candidates if each[1].kind != "alert"]
        worth = taste(self._events(conversation), [card.ref for _, card in offers]) if offers else ()
        best = max(range(len(offers)), key=lambda number: worth[number], default=None)
        if best is not None and worth[best] >= taste.least:
            return offers[best]
        return next((each for each in candidates if each[1].kind == "alert"), (None, None))

    def _events(self, conversation: Conversation) -> list[dict[str, str]]:
        """What was said, and what the agent marked as used, in order."""
        events: list[dict[str, str]] = []
        used = list(self._used)
        for number, turn in enumerate(conversation.turns, 1):
            events.append({"party": turn.transcript.party, "text": turn.transcript.text})
            events += ({"action": ref} for after, ref in used if after == number)
        return events

    def _rule_card(self, rule: Rule, evidence: Evidence, conversation: Conversation) -> _Card:
        if rule.when.missing:
            why = f"not heard after {evidence.end_ms // 1000} seconds"
        elif rule.when.silence_ms:
            why = f"because: {(evidence.end_ms - evidence.start_ms) // 1000} seconds of silence"
        elif rule.when.said and rule.when.party == "customer":
            why = f"because: “{evidence.quote}”" if len(evidence.quote.split()) <= _WHY_WORDS else rule.reason
        else:
            why = _because(conversation.turns[-1].transcript, ()) or rule.reason
        score = _SEVERITY_SCORE[rule.severity]
        if rule.suggest:
            action = self._knowledge.actions[rule.suggest]
            return _Card("action", action.id, action.title, why, score, action.say, evidence, action.id)
        return _Card("alert", rule.id, rule.tell, why, score, evidence.quote, evidence, rule.id)

    def _step_card(self, step: Step, conversation: Conversation) -> _Card:
        playbook = self._route.playbook
        assert playbook is not None  # a step comes from one
        source = f"playbook:{playbook.id}/{step.id}"
        said = conversation.turns[-1].transcript
        why = _because(said, ()) if said.party == "customer" else ""
        if not why:
            why = f"next after: {self._route.ticked}" if self._route.ticked else f"next in: {playbook.title}"
        evidence = quoted(said, gist(said.text, most_words=_WHY_WORDS), source)
        if step.action:
            action = self._knowledge.actions[step.action]
            return _Card("action", action.id, action.title, why, _STEP_SCORE, step.say, evidence, action.id)
        return _Card("step", f"{playbook.id}/{step.id}", step.title, why, _STEP_SCORE, step.say, evidence, step.say)

    def _articles(self, conversation: Conversation) -> list[_Card]:
        """Cards of the articles that answer the newest customer turn; a card held back gives its place to nobody."""
        said = conversation.turns[-1].transcript
        if sum(not is_number(token.word) for token in content(said.text)) < self.settings.telling:
            return []
        return [_article_card(hit, said) for hit in self._search(self.query(conversation), self.settings.articles)]

    def query(self, conversation: Conversation) -> list[Said]:
        """The newest turns as a search reads them, newest first."""
        turns = [turn.transcript for turn in conversation.turns[-1 - self.settings.context_turns :]][::-1]
        return [
            Said(said.text, self.settings.context**age * (self.settings.agent if said.party == "agent" else 1.0))
            for age, said in enumerate(turns)
            if said.party != "system"
        ]


def _article_card(hit: Hit, said: Transcript) -> _Card:
    source = f"article:{hit.article.id}"
    evidence = quoted(said, gist(said.text, hit.terms, _WHY_WORDS), source)
    why = _because(said, hit.terms)
    return _Card("article", hit.article.id, hit.article.title, why, hit.score, hit.passage, evidence, source)


def _because(said: Transcript, terms: tuple[str, ...]) -> str:
    """The speaker's own words that matter most (`terms` are stems that matter more), or "" where there are none."""
    span = gist(said.text, terms, _WHY_WORDS)
    return f"because: “{said.text[span.start : span.end]}”" if span else ""
