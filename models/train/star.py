"""Reads STAR (Mosig, Mehri and Kober 2020, MIT): conversations in which a human agent picked the next action.

It knows how the file is written and which part a dialogue belongs to, and nothing of what is learnt from it.

What stands before a pick is its history: what customer and agent said in their own words, the actions picked before,
and what the agent looked up with what came back. Left out, because no policy could know it at that moment: the options
the agent was offered, the text the agent typed to get them (it is made while deciding), the text that was then sent,
the instructions to the people who played customers, and the name of the task. The agent's clicks that choose a task
are left out too: they say what is to come.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Part = Literal["train", "inner", "test"]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """`events`: see models/history.py. `picks`: (position, action); what stands before it is events[:position]."""

    id: str
    part: Part
    domains: frozenset[str]
    events: tuple[dict[str, Any], ...]
    picks: tuple[tuple[int, str], ...]


def part(ident: str) -> Part:
    """test: as the data's own description says. inner: a tenth of the rest, for choosing and calibrating."""
    if int(hashlib.md5(ident.encode(), usedforsecurity=False).hexdigest(), 16) % 5 == 0:
        return "test"
    inner = int(hashlib.md5(f"inner {ident}".encode(), usedforsecurity=False).hexdigest(), 16) % 10 == 0
    return "inner" if inner else "train"


def dialogues(data: Path) -> list[Dialogue]:
    """Every dialogue with at least one pick. Raises SystemExit where the set is not in `data`."""
    file = data / "star" / "dialogues.jsonl.gz"
    if not file.exists():
        raise SystemExit(f"{file} is not there: this needs the shared data; point to it with --data FOLDER")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [dialogue for line in lines if (dialogue := _dialogue(json.loads(line))).picks]


def _dialogue(raw: dict[str, Any]) -> Dialogue:
    events: list[dict[str, Any]] = []
    picks: list[tuple[int, str]] = []
    for event in raw["Events"]:
        if event["Action"] == "pick_suggestion":
            picks.append((len(events), event["ActionLabel"]))
        if event["Action"] == "return_item" and events and "query" in events[-1] and "found" not in events[-1]:
            events[-1] |= _found(event)  # the answer belongs to its question
        else:
            events += _event(event)
    ident = str(raw["DialogueID"])
    return Dialogue(ident, part(ident), frozenset(raw["Scenario"]["Domains"]), tuple(events), tuple(picks))


def _event(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match event["Action"], event["Agent"]:
        case "utter", "User" | "Wizard" as who:
            yield {"party": "customer" if who == "User" else "agent", "text": event.get("Text") or ""}
        case "pick_suggestion", _:
            yield {"action": event["ActionLabel"]}
        case "query", _:
            asked: dict[str, Any] = {}
            for constraint in event["Constraints"]:
                asked |= constraint
            yield {"query": event["APIName"], "asked": asked}
        case "return_item", _:
            yield {"query": event["APIName"]} | _found(event)


def _found(event: dict[str, Any]) -> dict[str, Any]:
    item = event.get("Item") or {}
    return {"found": bool(item), "item": item, "total": event.get("TotalItems", -1)}
