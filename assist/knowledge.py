"""The knowledge base: loading a folder of articles, topics, actions, playbooks and rules, and checking it.

It knows no model, no search and no call. `python -m assist.knowledge check [PATH]` prints counts and every problem.
What the files hold is described in assist/material.py.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from assist.errors import KnowledgeError
from assist.material import Action, Article, Beyond, Playbook, Rule, Topic, When, nearest, read
from assist.phrase import is_content, tokens

Encoder = Callable[[Sequence[str]], NDArray[np.float32]]
"""Sentences to vectors, shape (n, d), rows of length 1; cached per text."""

BODY_WORDS: Final = (80, 240)
FILE_BYTES: Final = 262_144
SHIPPED_MINIMUM: Final = {"articles": 80, "topics": 25, "actions": 30, "playbooks": 12, "rules": 12}


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All of it, by id, in the order of the files."""

    articles: Mapping[str, Article]
    topics: Mapping[str, Topic]
    actions: Mapping[str, Action]
    playbooks: Mapping[str, Playbook]
    rules: Mapping[str, Rule]
    beyond: tuple[str, ...] = ()
    """What callers ask that no article answers."""

    @classmethod
    def load(cls, path: Path | str) -> Knowledge:
        """Read and check a folder. Raises KnowledgeError naming file, key and what to do."""
        knowledge, problems = inspect(Path(path))
        if problems:
            more = f" (and {len(problems) - 1} more: python -m assist.knowledge check {path})" if problems[1:] else ""
            raise KnowledgeError(problems[0] + more)
        return knowledge

    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in SHIPPED_MINIMUM}


Kind = TypeVar("Kind", Article, Topic, Action, Playbook, Rule)


def parse_article(text: str, file: str) -> Article:
    """One article file. Raises KnowledgeError naming `file`, the key and what to do."""
    problems: list[str] = []
    article = _article(text, file, problems)
    if article is None or problems:
        raise KnowledgeError(problems[0])
    return article


def inspect(path: Path) -> tuple[Knowledge, list[str]]:
    """What of the folder could be read, and every problem found. Never raises for what the files hold."""
    problems: list[str] = []
    if not path.is_dir():
        problems.append(f"{path}: no such folder; give the path of a knowledge base")
    articles: list[tuple[str, Article]] = []
    for file in sorted((path / "articles").glob("*.md")):
        name = f"articles/{file.name}"
        text = _text(file, name, problems)
        article = _article(text, name, problems) if text is not None else None
        if article:
            articles.append((name, article))
    playbooks = []
    for file in sorted((path / "playbooks").glob("*.toml")):
        name = f"playbooks/{file.name}"
        table = _toml(_text(file, name, problems), name, problems)
        playbook = read(Playbook, table, name, problems) if table is not None else None
        if playbook and file.stem != playbook.id:
            problems.append(f"{name}: id: '{playbook.id}' is not the file's name; make them the same")
        if playbook:
            playbooks.append((name, playbook))
    knowledge = Knowledge(
        _by_id(articles, problems),
        _by_id(_list(Topic, path, "topics", problems), problems),
        _by_id(_list(Action, path, "actions", problems), problems),
        _by_id(playbooks, problems),
        _by_id(_list(Rule, path, "rules", problems), problems),
        _beyond(path, problems),
    )
    problems += _links(knowledge)
    return knowledge, problems


def _text(file: Path, name: str, problems: list[str]) -> str | None:
    try:
        raw = file.read_bytes()
        if len(raw) > FILE_BYTES:
            problems.append(f"{name}: {len(raw)} bytes; at most {FILE_BYTES}, split it")
            return None
        return raw.decode("utf-8")
    except OSError as error:
        problems.append(f"{name}: cannot be read ({error.strerror}); make it a readable file")
    except UnicodeDecodeError as error:
        problems.append(f"{name}: not UTF-8 at byte {error.start}; save it as UTF-8")
    return None


def _toml(text: str | None, name: str, problems: list[str]) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}: not TOML: {error}; mend the line it names")
        return None


def _list(kind: type[Kind], path: Path, plural: str, problems: list[str]) -> list[tuple[str, Kind]]:
    """The `[[topic]]` entries of topics.toml, and so on."""
    name, key = f"{plural}.toml", plural[:-1]
    table = _toml(_text(path / name, name, problems), name, problems) or {}
    problems += [f"{name}: unknown key '{other}'; entries are [[{key}]]" for other in table if other != key]
    entries = table.get(key, [])
    if not isinstance(entries, list):
        problems.append(f"{name}: {key} must be a list; write [[{key}]] above each entry")
        return []
    found = []
    for number, entry in enumerate(entries, 1):
        ident = entry.get("id") if isinstance(entry, dict) else None
        where = f"{name}: {key} '{ident}'" if isinstance(ident, str) else f"{name}: {key} number {number}"
        record = read(kind, entry, where, problems)
        if record:
            found.append((name, record))
    return found


def _beyond(path: Path, problems: list[str]) -> tuple[str, ...]:
    """The phrases of beyond.toml, which may be missing."""
    name = "beyond.toml"
    if not (path / name).exists():
        return ()
    table = _toml(_text(path / name, name, problems), name, problems) or {}
    found = read(Beyond, table, name, problems)
    return found.phrases if found else ()


def _article(text: str, name: str, problems: list[str]) -> Article | None:
    head, body = _front_matter(text)
    if head is None:
        problems.append(f"{name}: no front matter; begin with a line of +++, then TOML, then a line of +++")
        return None
    table = _toml(head, name, problems)
    if table is None:
        return None
    if "body" in table:
        problems.append(f"{name}: body: not a key; write the text under the second +++")
        return None
    article = read(Article, table | {"body": body}, name, problems)
    if article is None:
        return None
    if Path(name).name != f"{article.id}.md":
        problems.append(f"{name}: id: '{article.id}' is not the file's name; make them the same")
    words, (least, most) = len(tokens(body)), BODY_WORDS
    if not least <= words <= most:
        problems.append(f"{name}: body: {words} words; write {least} to {most}")
    return article


def _front_matter(text: str) -> tuple[str | None, str]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "+++":
        return None, ""
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "+++"), None)
    return (None, "") if end is None else ("\n".join(lines[1:end]), "\n".join(lines[end + 1 :]).strip())


def _by_id(found: Sequence[tuple[str, Kind]], problems: list[str]) -> Mapping[str, Kind]:
    records: dict[str, Kind] = {}
    for name, record in found:
        if record.id in records:
            problems.append(f"{name}: id: '{record.id}' is used twice; ids are unique, rename one")
        records.setdefault(record.id, record)
    return MappingProxyType(records)


def _unknown(names: Iterable[str], known: Mapping[str, Any], where: str, kind: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{where}: no {kind} '{name}'{nearest(name, known) or '; name one that is there'}"


def _links(knowledge: Knowledge) -> Iterator[str]:
    topics, actions = knowledge.topics, knowledge.actions
    for article in knowledge.articles.values():
        yield from _unknown(article.topics, topics, f"articles/{article.id}.md: topics", "topic")
    for action in actions.values():
        yield from _unknown(action.topics, topics, f"actions.toml: action '{action.id}': topics", "topic")
    taken: dict[str, str] = {}
    for playbook in knowledge.playbooks.values():
        where = f"playbooks/{playbook.id}.toml"
        yield from _unknown(playbook.topics, topics, f"{where}: topics", "topic")
        for topic in playbook.topics or ("no topic",):
            if topic in taken:
                yield f"{where}: topics: '{topic}' already belongs to playbook '{taken[topic]}'; keep it in one"
            taken.setdefault(topic, playbook.id)
        yield from _steps(playbook, where)
        for step in playbook.step:
            yield from _unknown(filter(None, [step.action]), actions, f"{where}: step '{step.id}': action", "action")
    for rule in knowledge.rules.values():
        where = f"rules.toml: rule '{rule.id}'"
        yield from _unknown(filter(None, [rule.suggest]), actions, f"{where}: suggest", "action")
        yield from _unknown(rule.when.topic, topics, f"{where}: when.topic", "topic")
        yield from _rule(rule, where)


def _rule(rule: Rule, where: str) -> Iterator[str]:
    yield from _empty_phrases((*rule.when.said, *rule.when.missing), f"{where}: when")
    if not rule.flag and not rule.suggest and not rule.tell:
        yield f"{where}: does nothing; set flag, suggest or tell"
    if rule.when == When(party=rule.when.party, lasted_ms=rule.when.lasted_ms, stress_turns=rule.when.stress_turns):
        yield f"{where}: when: no condition; name at least one"
    if rule.when.by_ms is not None and not rule.when.missing:
        yield f"{where}: when.by_ms: only goes with missing; remove it or say what is missing"


def _steps(playbook: Playbook, where: str) -> Iterator[str]:
    steps = {step.id: step for step in playbook.step}
    if len(steps) < len(playbook.step):
        yield f"{where}: step: two steps share an id; ids are unique, rename one"
    reached, todo = set(), [playbook.step[0].id]
    while todo:
        ident = todo.pop()
        if ident in steps and ident not in reached:
            reached.add(ident)
            todo += steps[ident].next
    for step in playbook.step:
        yield from _unknown(step.next, steps, f"{where}: step '{step.id}': next", "step")
        if step.id not in reached:
            yield f"{where}: step '{step.id}': no step leads here; name it in a next"
        if not step.done.agent and not step.done.customer:
            yield f"{where}: step '{step.id}': done: no phrase would ever tick it; add done.agent or done.customer"
        yield from _empty_phrases((*step.done.agent, *step.done.customer), f"{where}: step '{step.id}': done")
    if all(step.next for step in playbook.step):
        yield f"{where}: step: no step ends the playbook; give the last one next = []"


def _empty_phrases(phrases: Iterable[str], where: str) -> Iterator[str]:
    for phrase in phrases:
        if not any(is_content(token.word) for token in tokens(phrase)):
            yield f"{where}: '{phrase}' holds no telling word; make it longer"


def main(arguments: Sequence[str]) -> int:
    """`check [PATH]`: print counts and every problem. 0 where there is none, 1 where there is, 2 for wrong use."""
    if not arguments or arguments[0] != "check" or len(arguments) > 2:
        print("use: python -m assist.knowledge check [PATH]", file=sys.stderr)
        return 2
    path = Path(arguments[1] if arguments[1:] else "knowledge_base")
    knowledge, problems = inspect(path)
    for name, count in knowledge.counts().items():
        least = SHIPPED_MINIMUM[name]
        print(f"{count:4} {name}" + (f"  (the shipped knowledge base has at least {least})" if count < least else ""))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)} in {path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
