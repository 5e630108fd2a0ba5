"""What a knowledge base holds, as frozen values: articles, topics, actions, playbooks and rules.

It knows no file, no model and no call; `read` makes a value of a table and names what is wrong with it.

rules.toml: every `[[rule]]` has id, severity (low, medium, high), reason (what a reviewer reads), flag (mark the call
for review, default true), suggest (an action id) or tell (a short alert for the agent), and `when`: all that it names
must hold on the newest turn.

    party = "customer"            whose turns are looked at (customer by default, or agent)
    said = [phrases]              one of them is said in this turn, loosely matched (assist/phrase.py)
    sentiment_call_below = -0.4   the call's decayed sentiment, -1..1, lies below
    sentiment_turn_below = -0.7   this turn's sentiment, -1..1, lies below
    stress_above = 0.6            the voice's stress, 0..1, lies above in each of the last
    stress_turns = 3              so many turns in which it was judged (1 by default)
    topic = [topic ids]           the call is about one of them
    silence_ms = 20000            nobody spoke for so long before this turn (or before the end)
    missing = [phrases]           none of them was said by the party
    by_ms = 120000                with missing: by this time; without it the end of the call decides
    lasted_ms = 30000             the call is at least so long
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from assist.conversation import Severity

Id = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:[_-][a-z0-9]+)*$", max_length=60)]
Name = Annotated[str, Meta(min_length=2, max_length=90)]
Sentence = Annotated[str, Meta(min_length=8, max_length=300)]
Phrases = tuple[Annotated[str, Meta(min_length=2, max_length=80)], ...]


class Article(Struct, frozen=True):
    """What the agent may open. `body` is plain Markdown; its first paragraph is the answer.

    `asked`: sentences in which a caller would ask for it; search compares with them too.
    """

    id: Id
    title: Name
    topics: Annotated[tuple[str, ...], Meta(min_length=1)]
    keywords: tuple[Name, ...]
    updated: date
    body: str = ""
    asked: tuple[Name, ...] = ()


class Topic(Struct, frozen=True):
    """What a call can be about. `examples` are phrases as customers say them."""

    id: Id
    label: Annotated[str, Meta(min_length=2, max_length=32)]
    description: Sentence
    examples: Annotated[tuple[Name, ...], Meta(min_length=3)]


class Beyond(Struct, frozen=True):
    """What callers ask that no article answers; search shows nothing for what is like it."""

    phrases: tuple[Name, ...]


class Action(Struct, frozen=True):
    """Something the agent can do. `say` may be read out; `when` is for people."""

    id: Id
    title: Annotated[str, Meta(min_length=2, max_length=48)]
    say: Sentence
    when: Sentence
    topics: tuple[str, ...] = ()


class Done(Struct, frozen=True):
    """Phrases that show a step is done, by who says them."""

    agent: Phrases = ()
    customer: Phrases = ()


class Step(Struct, frozen=True):
    """One row of a playbook's transition table: from here to `next`."""

    id: Id
    title: Annotated[str, Meta(min_length=2, max_length=24)]
    say: Sentence
    next: tuple[str, ...]
    done: Done
    action: str = ""


class Playbook(Struct, frozen=True):
    """Steps in the order they are drawn; the first is where a call starts. No topics: for calls not yet placed."""

    id: Id
    title: Name
    topics: tuple[str, ...]
    step: tuple[Step, ...]


class When(Struct, frozen=True):
    """Conditions of a rule; see the module's docstring."""

    party: Literal["customer", "agent"] = "customer"
    said: Phrases = ()
    sentiment_call_below: Annotated[float, Meta(ge=-1, le=1)] | None = None
    sentiment_turn_below: Annotated[float, Meta(ge=-1, le=1)] | None = None
    stress_above: Annotated[float, Meta(ge=0, le=1)] | None = None
    stress_turns: Annotated[int, Meta(ge=1, le=20)] = 1
    topic: tuple[str, ...] = ()
    silence_ms: Annotated[int, Meta(ge=1000)] | None = None
    missing: Phrases = ()
    by_ms: Annotated[int, Meta(ge=1000)] | None = None
    lasted_ms: Annotated[int, Meta(ge=0)] = 0


class Rule(Struct, frozen=True):
    """When a call is flagged for review, or the agent is told something out of the playbook's turn."""

    id: Id
    severity: Severity
    reason: Name
    when: When
    flag: bool = True
    suggest: str = ""
    tell: Annotated[str, Meta(max_length=60)] = ""


Kind = TypeVar("Kind", bound=Struct)
# What lies inside is judged by itself, so that every problem in it is named.
_NESTED: Final[dict[tuple[type[Struct], str], type[Struct]]] = {(Step, "done"): Done, (Rule, "when"): When}
_STEPS: Final[Any] = Annotated[tuple[Any, ...], Meta(min_length=2, max_length=10)]


def nearest(name: str, known: Iterable[str]) -> str:
    """ ", did you mean 'x'?" for a misspelt name, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def read(kind: type[Kind], table: Any, where: str, problems: list[str]) -> Kind | None:
    """A table as a value, every key judged by itself so that all problems are named at once."""
    before = len(problems)
    problems += _wrong(kind, table, where)
    return msgspec.convert(table, kind) if len(problems) == before else None


def _wrong(kind: type[Struct], table: Any, where: str) -> Iterator[str]:
    if not isinstance(table, dict):
        yield f"{where}: must be a table of keys"
        return
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in table.keys() - fields.keys():
        yield f"{where}: unknown key '{key}'{nearest(key, fields) or '; known: ' + ', '.join(fields)}"
    for key, field in fields.items():
        if key not in table:
            if field.required:
                yield f"{where}: {key}: missing; add it"
            continue
        inside = _NESTED.get((kind, key))
        if inside is not None:
            yield from _wrong(inside, table[key], f"{where}: {key}")
            continue
        steps = kind is Playbook and key == "step"
        try:
            msgspec.convert(table[key], _STEPS if steps else field.type)
        except msgspec.ValidationError as error:
            yield f"{where}: {key}: {str(error)[0].lower()}{str(error)[1:]}; correct it"
            continue
        for number, step in enumerate(table[key] if steps else (), 1):
            yield from _wrong(Step, step, f"{where}: step {number}")
