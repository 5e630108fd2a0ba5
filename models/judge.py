"""`python -m models judge TASK FILE.jsonl`: a line of JSON in, a finding as a line of JSON out.

It knows how lines are written and what may be wrong with one; what is judged, and how, is `models.load`'s.

    {"text": "I want my money back"}                   topic, sentiment, search, satisfaction, next_action
    {"turns": ["hello", {"party": "agent", "text": "how can I help"}]}   the same; oldest first
    {"wav": "a.wav", "baseline": ["calm.wav"], "channel": 0}          stress (baseline is optional), transcribe
    {"events": [...]}         next_action, where what was done and looked up is known as well (models/history.py)

Paths are taken from where FILE lies. A turn without a party is the customer's; topic and sentiment read the
customer's alone. An `id` is repeated in the answer, other fields are left alone. Findings come with `line` and `ms`;
where a task ranks, the first one is told and all stand in `ranked`. A line that cannot be judged gives
{"error": code, "message": ..., "line": n}, and the others go on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

import models
from assist.conversation import Evidence, Finding, Transcript
from assist.errors import AssistError, BadMessage, ConfigError, Oversize, StoreFailed
from models import given

LONGEST: Final = 1 << 20
"""Bytes of a line; 5,000 words are some 30,000."""

Line = dict[str, Any]


def judged(task: str, source: Path | None, options: dict[str, Any], channel: int | None, out: IO[str]) -> int:
    """Judge every line of `source` (None: stdin) and write to `out`. 0, or 1 where any line was in error.

    Raises ConfigError (no such task, option or file) and ModelMissing before the first line, StoreFailed where no
    answer can be written, BrokenPipeError where nobody reads them.
    """
    beside = Path() if source is None else source.parent
    wrong = 0
    with _opened(source) as lines:  # before the models, which take their time
        judge = models.load(task, **options)
        ask = _askers(judge, beside, channel)[task]
        try:
            for number, raw in enumerate(_lines(lines), 1):
                if isinstance(raw, bytes) and not raw.strip():
                    continue
                answer = _answer(ask, raw, number)
                wrong += "error" in answer
                _tell(answer, out)
        finally:
            close = getattr(judge, "close", None)
            if close is not None:
                close()
    return 1 if wrong else 0


def _tell(answer: dict[str, Any], out: IO[str]) -> None:
    try:
        print(json.dumps(answer), file=out, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreFailed(f"answers cannot be written: {error.strerror}") from error


def _opened(source: Path | None) -> IO[bytes]:
    if source is None:
        return sys.stdin.buffer
    try:
        return source.open("rb")
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from error


def _lines(file: IO[bytes]) -> Iterator[bytes | Oversize]:
    """The file's lines; an error instead of one that is too long to hold."""
    while raw := file.readline(LONGEST + 1):
        if len(raw) <= LONGEST:
            yield raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = file.readline(LONGEST)
        yield Oversize(f"a line has more than {LONGEST} bytes")


def _answer(ask: Callable[[Line], Callable[[], Any]], raw: bytes | Oversize, number: int) -> dict[str, Any]:
    known: dict[str, Any] = {}
    try:
        if isinstance(raw, Oversize):
            raise raw
        line = _parsed(raw)
        if isinstance(line.get("id"), str | int):
            known["id"] = line["id"]
        judge = ask(line)
        began = time.perf_counter()
        found = judge()
        took_ms = round((time.perf_counter() - began) * 1000, 3)
        return {"line": number, **known, **_told(found), "ms": took_ms}
    except AssistError as error:
        return {"error": error.code, "message": str(error), "line": number, **known}
    except Exception as error:  # a fault of ours in one line must not cost the lines behind it
        return {"error": AssistError.code, "message": f"{type(error).__name__}: {error}", "line": number, **known}


def _parsed(raw: bytes) -> Line:
    if b"\0" in raw:
        raise BadMessage("not JSON: there are zero bytes in it, as in UTF-16; save the file as UTF-8")
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from error
    if not isinstance(line, dict):
        raise BadMessage("an object is expected")
    return line


def _told(found: Any) -> dict[str, Any]:
    if isinstance(found, Finding | Transcript):
        return dict(msgspec.to_builtins(found))
    ranked = [each for each in found if isinstance(each, Finding)]
    first = ranked[0] if ranked else Finding("", "none", 0.0, Evidence())
    short = [{"label": each.label, "score": each.score} for each in ranked]
    return {**msgspec.to_builtins(first), "ranked": short}


def _askers(judge: models.Judge, beside: Path, channel: int | None) -> dict[str, Callable[[Line], Callable[[], Any]]]:
    """Task → a line to what must be called, and timed, for its finding."""

    def words(line: Line) -> Callable[[], Any]:
        said = _said(line)
        return lambda: judge(said)

    def stress(line: Line) -> Callable[[], Any]:
        samples, rate_hz = _sound(line, _field(line, "wav", str), beside, channel)
        calm = [_sound(line, path, beside, channel) for path in _paths(line.get("baseline", []))]
        if any(hz != rate_hz for _, hz in calm):
            raise BadMessage("baseline: must be recorded at the rate of the wav")
        before = [each for each, _ in calm] or None
        return lambda: judge(samples, rate_hz, before)

    def transcribe(line: Line) -> Callable[[], Any]:
        samples = given.at_16k(*_sound(line, _field(line, "wav", str), beside, channel))
        return lambda: judge(samples)

    def events(line: Line) -> Callable[[], Any]:
        if "events" in line and ("text" in line or "turns" in line):
            raise BadMessage("events, or text or turns: one of them is expected")
        if "text" in line or "turns" in line:
            happened = [{"party": turn.party, "text": turn.text} for turn in _turns(line)]
        else:
            happened = _field(line, "events", list)
        return lambda: judge(happened)

    return {
        "topic": words,
        "sentiment": words,
        "satisfaction": words,
        "search": words,
        "stress": stress,
        "transcribe": transcribe,
        "next_action": events,
    }


def _field(line: Line, name: str, kind: type) -> Any:
    if name not in line:
        raise BadMessage(f"{name}: missing")
    if not isinstance(line[name], kind):
        raise BadMessage(f"{name}: a {'text' if kind is str else kind.__name__} is expected")
    return line[name]


def _said(line: Line) -> str | list[Transcript]:
    if ("text" in line) == ("turns" in line):
        raise BadMessage("text or turns: one of them is expected")
    return str(_field(line, "text", str)) if "text" in line else given.said(_field(line, "turns", list))


def _turns(line: Line) -> list[Transcript]:
    return given.said(_said(line))


def _paths(listed: Any) -> Sequence[str]:
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise BadMessage("baseline: a list of paths is expected")
    return listed


def _sound(line: Line, path: str, beside: Path, channel: int | None) -> Any:
    chosen = line.get("channel", channel)
    if isinstance(chosen, bool) or not isinstance(chosen, int | None):
        raise BadMessage("channel: a whole number is expected")
    try:
        return given.sound(beside / path, chosen)
    except ValueError as error:  # a NUL in it
        raise BadMessage(f"wav: {error}") from error
