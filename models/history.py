"""What has happened in a conversation so far, as tokens: who spoke which words, what was done, what was looked up.

It knows no action, no weights and no encoder; `models/next_action.py` makes a judgement of the tokens.

An event is a mapping, oldest first:

    {"party": "customer" | "agent", "text": "..."}     said
    {"action": "ask_name"}                             the agent took this action
    {"query": "hotel_book", "found": true,             something was looked up or booked, and was it found;
     "asked": {"Name": "Old Town Inn", ...},           what was filled in, and
     "item": {"Message": "Available", ...},            the first result with
     "total": 3}                                       how many there were: the last three may be left out

Whatever is not such a mapping is passed over.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

Event = Mapping[str, Any]

SLOTS: Final = 1 << 13
MOST_EVENTS: Final = 64  # the longest of 6,012 recorded conversations has 73 events, one in a hundred more than 53
MOST_WORDS: Final = 60
MOST_FIELDS: Final = 40
MOST_CHARACTERS: Final = 12 * MOST_WORDS
_WORD: Final = re.compile(r"[a-z']+|[0-9]+")


def known(events: Iterable[Any]) -> list[Event]:
    """The newest 64 of `events` that are events."""
    taken = [event for event in events if isinstance(event, Mapping) and kind(event)]
    return taken[-MOST_EVENTS:]


def kind(event: Event) -> str:
    """c: the customer spoke, a: the agent spoke, x: an action, q: a query; "" for anything else."""
    party, text = event.get("party"), event.get("text")
    if isinstance(text, str) and party in ("customer", "agent"):
        return "c" if party == "customer" else "a"
    if isinstance(event.get("action"), str):
        return "x"
    return "q" if isinstance(event.get("query"), str) else ""


def slots(tokens: Iterable[str]) -> list[int]:
    """Hash slots of `tokens`, each once, in a stable order."""
    return sorted({zlib.crc32(token.encode("utf-8", "replace")) % SLOTS for token in tokens})


@lru_cache(maxsize=2048)
def words(text: str) -> tuple[str, ...]:
    """Its first 60 words in lower case; a number counts as a number, not by its value."""
    found = _WORD.findall(text[:MOST_CHARACTERS].lower())[:MOST_WORDS]
    return tuple("#" if word.isdigit() else word for word in found)


def event_tokens(event: Event) -> list[str]:
    """One event by itself."""
    sort = kind(event)
    if sort == "x":
        return ["x", f"act={event['action']}"]
    if sort == "q":
        return ["q", *_query_tokens(event)]
    return [sort, *_phrases(sort, event["text"])]


def key(event: Event) -> tuple[str, ...]:
    """Equal for events that `event_tokens` and an encoder cannot tell apart."""
    sort = kind(event)
    return (sort, event["text"]) if sort in "ca" else (sort, *event_tokens(event))


def state_tokens(events: Sequence[Event]) -> list[str]:
    """Where `events` (as `known` gives them) have led: what was done and asked, and the newest words."""
    kinds = [kind(event) for event in events]
    done = [event["action"] for event, sort in zip(events, kinds, strict=True) if sort == "x"]
    heard = [event["text"] for event, sort in zip(events, kinds, strict=True) if sort == "c"]
    told = [event["text"] for event, sort in zip(events, kinds, strict=True) if sort == "a"]
    lately = "".join(itertools.takewhile(lambda sort: sort != "x", reversed(kinds)))
    order = "".join(kinds[-6:])
    first, second, third = ([*reversed(done), "-", "-", "-"])[:3]
    tokens = [f"last1={first}", f"last2={second}", f"last3={third}", f"last={first}|{second}"]
    for action, times in Counter(done).items():
        tokens += [f"did={action}", f"did={action}*{_some(times)}"]
    tokens += [f"since={lately[:5]}", f"since={lately[:3]}|{first}", f"order={order}", f"order={order[-3:]}"]
    tokens += [f"customer={_some(len(heard))}", f"actions={_some(len(done))}", f"agent={_some(len(told))}"]
    if heard:
        newest = words(heard[-1])
        tokens += [*_phrases("now", heard[-1]), f"long={_some(len(newest))}"]
        if len(newest) <= 4:
            tokens.append(f"short={' '.join(newest)}|{first}")
        tokens += [f"before:{word}" for word in (words(heard[-2]) if heard[1:] else ())]
        tokens += [f"ever:{word}" for text in heard for word in words(text)]
    if told:
        tokens += [f"told:{word}" for word in words(told[-1])]
        if lately[:2].find("a") >= 0:
            tokens += [f"just:{word}" for word in words(told[-1])]
    return tokens + list(_looked_up(events, kinds, heard[-1] if heard else ""))


def _phrases(prefix: str, text: str) -> Iterator[str]:
    """Words and neighbouring pairs."""
    said = words(text)
    yield from (f"{prefix}:{word}" for word in said)
    yield from (f"{prefix}:{left} {right}" for left, right in itertools.pairwise(said))


def _looked_up(events: Sequence[Event], kinds: Sequence[str], newest: str) -> Iterator[str]:
    """What queries brought, what was done about the newest one, and whether the customer names what it holds."""
    queries = [event for event, sort in zip(events, kinds, strict=True) if sort == "q"]
    if not queries:
        return
    last = queries[-1]
    name = last["query"]
    behind = kinds[::-1].index("q")
    age = "fresh" if not behind else "old"
    yield from (f"{age}:{token}" for token in _query_tokens(last))
    since = [
        (event, sort) for event, sort in zip(events[len(events) - behind :], kinds[len(kinds) - behind :], strict=True)
    ]
    steps = sum(sort in "ax" for _, sort in since)
    yield f"after={name}:{_some(steps)}"
    yield from (f"after={event['action']}" for event, sort in since if sort == "x")
    for query in {event["query"]: event for event in queries}:
        yield f"looked={query}"
    yield f"times={name}*{_some(sum(event['query'] == name for event in queries))}"
    yield from (f"filled={field}" for event in queries for field in _fields(event, "asked"))
    for back, event in enumerate(queries[:-3:-1]):
        match = int(2.01 * _named(newest, _fields(event, "item")))
        yield from (f"named{back}={name}:{match}", f"named{back}={name}:{match}:{age}")
    for field, value in _fields(last, "item").items():
        if isinstance(value, list):  # steps to be told one by one
            yield from (f"left={field}:{len(value) - steps}", f"left={len(value) - steps}")


def _query_tokens(event: Event) -> Iterator[str]:
    name = event["query"]
    yield from (f"query={name}", f"found={event.get('found')}", f"query={name} found={event.get('found')}")
    for field, value in _fields(event, "asked").items():
        yield f"asked={field}"
        if field == "RequestType":  # checking and booking are one query with two meanings
            yield from (f"kind={value}", f"query={name} kind={value}")
    for field, value in _fields(event, "item").items():
        yield f"has={field}"
        if isinstance(value, str | bool):
            yield f"query={name} {field}={' '.join(words(str(value))[:6])}"
    total = event.get("total")
    if isinstance(total, int):
        yield "total=" + ("-" if total < 0 else str(min(total, 2)))


def _fields(event: Event, key: str) -> dict[str, Any]:
    """Up to 40 named values of what was asked for or of the item, without the item's own name of the query."""
    table = event.get(key)
    if not isinstance(table, Mapping):
        return {}
    named = ((str(name), value) for name, value in table.items() if name != "APIName")
    return dict(itertools.islice(named, MOST_FIELDS))


def _named(text: str, item: Mapping[str, Any]) -> float:
    """The largest share of one value's words that stand in `text`, 0..1."""
    said = set(words(text))
    best = 0.0
    for value in item.values():
        if isinstance(value, str):
            own = set(words(value)[:8]) - {"#"}
            best = max(best, len(own & said) / len(own) if own else 0.0)
    return best


def _some(count: int) -> str:
    return str(count) if count < 4 else "4" if count < 6 else "6" if count < 10 else "10"
