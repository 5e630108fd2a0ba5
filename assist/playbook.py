"""Where a conversation stands in a playbook: topic findings choose it, phrases tick its steps.

It knows no search, no rule and no model. A playbook's steps are a transition table: from each step to its `next`.
Opening steps that two playbooks share keep their ticks when the topic changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from assist.conversation import Conversation, PlaybookStep, Turn
from assist.events import PlaybookMoved
from assist.knowledge import Knowledge
from assist.material import Playbook, Step
from assist.phrase import find_any

_REPLAYED_TURNS: Final = 60  # what a newly chosen playbook looks back over, so that a long call costs no more
_TOPIC_TURNS: Final = 24
_FADE: Final = 0.5  # the topic analyser remembers too
_HOPS: Final = 2


@dataclass(frozen=True, slots=True)
class PlaybookSettings:
    """When the playbook changes. A topic's weight is the sum of its scores, each older turn counting `fade` less.

    `enter`: weight at which a first topic is believed. `margin`: by how much another must exceed it to replace it.
    `hops`: how many steps ahead an agent's phrase may tick (the words of a step between may have been misheard).
    """

    fade: float = _FADE
    enter: float = 0.4
    margin: float = 0.25
    hops: int = _HOPS


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation's place in one playbook. `last` is the step done last, "" at the start.

    `heard` holds steps whose phrase the customer said, perhaps before their turn came.
    """

    done: frozenset[str] = frozenset()
    heard: frozenset[str] = frozenset()
    last: str = ""


def call_topics(turns: Sequence[Turn], fade: float = _FADE) -> dict[str, float]:
    """Weight of each topic of the call so far, heaviest first, from the last 24 topic findings that named one."""
    weights: dict[str, float] = {}
    worth, count = 1.0, 0
    for turn in reversed(turns):
        finding = turn.finding("topic")
        if finding is not None and finding.label != "none":
            weights[finding.label] = weights.get(finding.label, 0.0) + worth * finding.score
            worth, count = worth * fade, count + 1
            if count == _TOPIC_TURNS:
                break
    return dict(sorted(weights.items(), key=lambda item: -item[1]))


def _ahead(playbook: Playbook, last: str) -> Iterator[tuple[int, Step]]:
    """Steps after `last` with their distance from it (1 is next), nearest first, each once."""
    steps = {step.id: step for step in playbook.step}
    level = list(steps[last].next) if last else [playbook.step[0].id]
    seen: set[str] = set()
    distance = 1
    while level:
        fresh = [ident for ident in dict.fromkeys(level) if ident not in seen]
        seen.update(fresh)
        yield from ((distance, steps[ident]) for ident in fresh)
        level = [ident for known in fresh for ident in steps[known].next]
        distance += 1


def now(playbook: Playbook, place: Place) -> Step | None:
    """The step to do now: the nearest one after the last that is not done; None at the end."""
    return next((step for _, step in _ahead(playbook, place.last) if step.id not in place.done), None)


def advance(playbook: Playbook, place: Place, turn: Turn, hops: int = _HOPS) -> Place:
    """The place after this turn.

    What the agent says ticks a step up to `hops` ahead, or one passed over earlier. What the customer says ticks
    the step only when its turn has come: a fault told in the first breath does not skip the identity check.
    """
    said = turn.transcript
    if said.party == "system" or not said.text:
        return place
    phrases = {step.id: step.done.agent if said.party == "agent" else step.done.customer for step in playbook.step}
    fresh = {ident for ident in phrases.keys() - place.done if find_any(phrases[ident], said.text)}
    if not fresh:
        return place
    if said.party == "customer":
        return _settled(playbook, replace(place, heard=place.heard | fresh))
    reach = hops
    while near := next(
        (step.id for far, step in _ahead(playbook, place.last) if far <= reach and step.id in fresh), ""
    ):
        place = replace(place, done=place.done | {near}, last=near)
        fresh.discard(near)
        reach = 1  # more than one in a turn only where they follow each other
    passed = fresh & _before(playbook, place.last)
    return _settled(playbook, replace(place, done=place.done | passed))


def _settled(playbook: Playbook, place: Place) -> Place:
    """Tick what was heard and is due."""
    while True:
        current = now(playbook, place)
        due = next(
            (
                step.id
                for far, step in _ahead(playbook, place.last)
                if step.id in place.heard - place.done and (far == 1 or step is current)
            ),
            "",
        )
        if not due:
            break
        place = replace(place, done=place.done | {due}, last=due)
    return replace(place, done=place.done | (place.heard & _before(playbook, place.last)))


def _before(playbook: Playbook, last: str) -> frozenset[str]:
    """Steps that lead to `last`."""
    before: set[str] = set()
    todo = [last]
    while todo:
        target = todo.pop()
        for step in playbook.step:
            if target in step.next and step.id not in before and step.id != last:
                before.add(step.id)
                todo.append(step.id)
    return frozenset(before)


def draw(playbook: Playbook, place: Place) -> tuple[PlaybookStep, ...]:
    """The steps as the overlay draws them, in the order of the file, without branches that were not taken."""
    current = now(playbook, place)
    ahead = {step.id for _, step in _ahead(playbook, place.last)}
    others = {x for step in playbook.step if place.done & set(step.next) for x in step.next}
    missed = _before(playbook, place.last) - others  # passed over, and not because another branch was taken
    shown = ahead | place.done | missed
    return tuple(
        PlaybookStep(
            step.id,
            step.title,
            "done" if step.id in place.done else "now" if current and step.id == current.id else "next",
        )
        for step in playbook.step
        if step.id in shown
    )


def _carried(left: Playbook | None, place: Place, chosen: Playbook) -> Place:
    """The opening steps that both playbooks share and that are done: a second question needs no second greeting."""
    shared = {(step.id, step.done) for step in left.step if step.id in place.done} if left else set()
    opened = _settled(chosen, Place(heard=frozenset(step.id for step in chosen.step if (step.id, step.done) in shared)))
    return replace(opened, heard=opened.done)


class Route:
    """One per call: which playbook the conversation follows, and how far it has come."""

    def __init__(self, knowledge: Knowledge, settings: PlaybookSettings | None = None) -> None:
        self.settings = settings or PlaybookSettings()
        self._by_topic = {topic: book for book in knowledge.playbooks.values() for topic in book.topics}
        self.playbook = next((book for book in knowledge.playbooks.values() if not book.topics), None)
        self.place = Place()
        self.topic = ""
        self._left: dict[str, Place] = {}
        self._seen = 0
        self.ticked = ""
        """Title of the step ticked last, or ""."""

    def fork(self) -> Route:
        """A copy that goes its own way."""
        other = copy.copy(self)
        other._left = dict(self._left)
        return other

    @property
    def step(self) -> Step | None:
        """The step to do now."""
        return now(self.playbook, self.place) if self.playbook else None

    @property
    def upcoming(self) -> Step | None:
        """The step worth suggesting: the one to do now, but never the opening: once words came it is late."""
        step = self.step
        if self.playbook is None or step is None or step.id != self.playbook.step[0].id:
            return step
        return next((later for distance, later in _ahead(self.playbook, step.id) if distance == 1), None)

    def after(self, conversation: Conversation) -> PlaybookMoved | None:
        """Follow the turns of `conversation` not followed yet; what to tell if the playbook or a step changed."""
        turns, seen = conversation.turns, self._seen
        self._seen = len(turns)
        before = (self.playbook, self.place.done)
        chosen = self._chosen(call_topics(turns, self.settings.fade))
        if chosen is not None and chosen is not self.playbook:
            seen = self._enter(chosen, seen)
        if self.playbook is None:
            return None
        for turn in turns[max(seen, len(turns) - _REPLAYED_TURNS) :]:
            self.place = advance(self.playbook, self.place, turn, self.settings.hops)
        self.ticked = next((step.title for step in self.playbook.step if step.id == self.place.last), "")
        if (self.playbook, self.place.done) == before:
            return None
        return PlaybookMoved(self.playbook.id, self.playbook.title, draw(self.playbook, self.place))

    def _enter(self, chosen: Playbook, seen: int) -> int:
        """Change to `chosen`; from which turn on it is to be followed.

        The first playbook with a topic looks back over the call, which was about it all along. A later one starts
        here, and one that was left is taken up where it was.
        """
        left, place = self.playbook, self.place
        if left is not None:
            self._left[left.id] = place
        self.playbook = chosen
        self.place = self._left.get(chosen.id) or _carried(left, place, chosen)
        return seen if left is not None and left.topics else 0

    def _chosen(self, topics: dict[str, float]) -> Playbook | None:
        """The playbook of the heaviest topic that has one, if it is heavy enough to move to."""
        best = next((topic for topic in topics if topic in self._by_topic), None)
        if best is None or best == self.topic:
            return None
        held = topics.get(self.topic, 0.0) + self.settings.margin if self.topic else 0.0
        if topics[best] < max(self.settings.enter, held):
            return None
        self.topic = best
        return self._by_topic[best]
