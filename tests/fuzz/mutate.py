"""Bends an input as a client would that is nearly right: messages dropped, repeated, swapped, fields that lie.

It knows lines and JSON, and no dialect. After bending, numbers that count messages may be made good again, or nothing
behind the first message would ever be reached.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

COUNTS: Final = ("seq", "sequenceNumber", "sequence_number", "chunk")
ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 255, 65_535, 65_536, 2**31, 2**53, 2**63, 2**64, 10**400, -(10**400), 0.5,
    1e308, "", "0", "-1", "1e9", "9" * 300, "١٢", "x" * 2_000, "\0", "\ud800", "é漢🎉", "PT1S", "PT99999999999S",
    "PT.5S", "PT.S",
    "mulaw", "audio/x-alaw", "l16", "audio/l16;rate=16000", "PCMU", "L16", "customer", "agent", "inbound", "outbound",
    "system", "A", "AAAA", "AAAB=", "=", "//8=", [], {}, [[]], ["agent"], [{}], {"": {}},
    "00000000-0000-0000-0000-000000000000", 8_000, 16_000, 44_100, "8000", [None] * 100,
)  # fmt: skip
RAW: Final = (
    b"1e999", b"-0", b"NaN", b"Infinity", b"[" * 2_000, b'{"a":' * 2_000, b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800",
    b"\xef\xbb\xbf", b'"\\u0000"', b"RIFF\x24\0\0\0WAVEfmt ", b"\0", b"\x0165536", b"\x011", b"\x01160", b"{}", b"[]",
    b"null", b'{"type":1}',
)  # fmt: skip
Bend = Callable[[list[bytes], random.Random], None]


def mutated(data: bytes, dice: random.Random, others: Sequence[bytes] = (), most: int = 65_536) -> bytes:
    """One to four bends of `data`, at most so many bytes. `others`: inputs from which lines may be taken."""
    lines = data.split(b"\n")
    for _ in range(dice.choice((1, 1, 2, 4))):
        bend = dice.choice(BENDS)
        if bend is _take and others:
            lines.insert(dice.randrange(len(lines) + 1), dice.choice(dice.choice(others).split(b"\n")))
        else:
            bend(lines, dice)
        lines = lines or [b""]
    if dice.random() < 0.6:
        lines = renumbered(lines)
    return b"\n".join(lines)[:most]


def renumbered(lines: list[bytes]) -> list[bytes]:
    """The same messages, counted from where the first one starts; what is no JSON object stays."""
    made = []
    last: dict[str, int] = {}
    for line in lines:
        whole = _object(line)
        if whole is not None:
            places: list[dict[str, Any]] = [each for each in (whole, whole.get("media")) if isinstance(each, dict)]
            for place in places:
                for name in COUNTS:
                    given = place.get(name)
                    if isinstance(given, int | str) and str(given).isascii() and str(given).isdigit():
                        key = name + str(place.get("track", ""))
                        last[key] = last[key] + 1 if key in last else int(str(given)[:9])
                        place[name] = type(given)(last[key])
            line = _text(whole)
        made.append(line)
    return made


def _drop(lines: list[bytes], dice: random.Random) -> None:
    del lines[dice.randrange(len(lines))]


def _repeat(lines: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    lines[at:at] = [lines[at]] * dice.choice((1, 1, 2, 60, 300))
    del lines[2_000:]


def _swap(lines: list[bytes], dice: random.Random) -> None:
    a, b = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


def _cut(lines: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    lines[at] = lines[at][: dice.randrange(len(lines[at]) + 1)]


def _flip(lines: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    line = bytearray(lines[at] or b"\0")
    line[dice.randrange(len(line))] = dice.randrange(256)
    lines[at] = bytes(line)


def _put(lines: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    where = dice.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:where] + dice.choice(RAW) + lines[at][where:]


def _take(lines: list[bytes], dice: random.Random) -> None:
    lines.insert(dice.randrange(len(lines) + 1), dice.choice(RAW))


def _lie(lines: list[bytes], dice: random.Random) -> None:
    """A field of a JSON message, at any depth, is another, goes, or comes twice."""
    at = dice.randrange(len(lines))
    whole = _object(lines[at])
    if not whole:
        return _flip(lines, dice)
    places = list(_places(whole))
    place, key = dice.choice(places)
    roll = dice.random()
    if roll < 0.15:
        del place[key]
    elif roll < 0.3:
        other, name = dice.choice(places)
        with contextlib.suppress(RecursionError):  # bent too often
            place[key] = copy.deepcopy(other[name])
    elif roll < 0.4:
        for _ in range(dice.choice((3, 30, 500))):
            place[key] = [place[key]] if dice.random() < 0.5 else {"a": place[key]}
    elif roll < 0.5 and isinstance(place, dict):
        place[dice.choice(("", "x", "\0", "type", "event", "start", "media", "rate"))] = place[key]
    elif roll < 0.6 and isinstance(place[key], int) and abs(place[key]) < 2**53:
        place[key] += dice.choice((-1, 1, 2, 49, 50, 51, 1_000))
    else:
        place[key] = dice.choice(ODD)
    try:
        lines[at] = _text(whole)
    except RecursionError:  # bent too often
        lines[at] = b"[" * 500


def _places(whole: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting and len(found) < 500:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else list(range(len(each)))
        found += [(each, key) for key in keys]
        waiting += [each[key] for key in keys if isinstance(each[key], dict | list)]
    return found


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        whole = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def _text(whole: dict[str, Any]) -> bytes:
    try:
        return json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(whole).encode()


BENDS: Final[tuple[Bend, ...]] = (_drop, _repeat, _swap, _cut, _flip, _put, _take, _lie, _lie, _lie, _lie)
