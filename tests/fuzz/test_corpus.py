"""The kept inputs, and a few new ones, to every target; and what a dialect holds does not grow with what it is sent."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from assist.errors import WireError
from assist.protocols import Handshake, Protocol
from tests.fuzz.__main__ import corpus, grown
from tests.fuzz.mutate import mutated, renumbered
from tests.fuzz.seek import PATIENCE_S
from tests.fuzz.targets import as_input, golden, held_bytes, makers, messages, targets
from tests.golden.exchange import ASKED

NAMES = sorted(targets())
TRIES = 150
GROWTH_BYTES = 64 * 1024


def test_an_input_is_its_messages() -> None:
    sent: list[str | bytes] = ['{"a": 1}', b"\x00\x01", "", b"", "é", b"\n\xff\n"]
    assert list(messages(as_input(sent))) == sent
    assert list(messages(b"\x01160\n\x0170000\n\x01x\n\x020a z0b1")) == [bytes(160), bytes(65_536), b"", b"\n\x0b"]


def test_counts_are_made_good() -> None:
    lines = [b'{"seq": 5}', b"noise", b'{"seq": 5}', b'{"seq": "x"}', b'{"seq": 99}']
    assert [json.loads(line)["seq"] for line in renumbered(lines) if line != b"noise"] == [5, 6, "x", 7]


def test_only_what_reaches_something_new_is_kept() -> None:
    target = targets()["plain"]
    (first, *_) = golden("plain")
    assert grown(target, [first], [first]) == []
    assert grown(target, [], [b"{}", b"{}", first]) == [b"{}", first]


@pytest.mark.parametrize("name", NAMES)
def test_kept_and_bent_inputs_find_nothing(name: str) -> None:
    known = [*golden(name), *(path.read_bytes() for path in corpus(name))]
    dice = random.Random(name)
    for data in [*known, *(mutated(dice.choice(known or [b""]), dice, known, 16_384) for _ in range(TRIES))]:
        began = time.process_time()
        targets()[name](data)
        assert time.process_time() - began < PATIENCE_S, data[:200]


def bends(message: str) -> Iterator[Callable[[int], str]]:
    """A message of a sound count, and with each of its texts and numbers another one each time."""
    try:
        whole = json.loads(message)
    except ValueError:
        whole = None
    if not isinstance(whole, dict):
        yield lambda _: message
        return
    counts = {key: type(whole[key]) for key in ("seq", "sequenceNumber", "sequence_number") if key in whole}
    if "serverseq" in whole:
        whole["serverseq"] = 0

    def bent(n: int, place: Any = whole, key: Any = "", kept: Any = "") -> str:
        whole.update({name: kind(n + 1) for name, kind in counts.items()})  # the opening was the first
        if key:
            place[key] = 3 * n if isinstance(kept, int) else str(3 * n) if str(kept).isdigit() else f"x{n}"
        text = json.dumps(whole)
        if key:
            place[key] = kept
        return text

    yield bent
    waiting = [whole]
    while waiting:
        each = waiting.pop()
        for key, value in each.items():
            if isinstance(value, str | int):
                yield partial(bent, place=each, key=key, kept=value)
        waiting += [value for value in each.values() if isinstance(value, dict)]


def opened(name: str, first: bytes) -> Protocol:
    """A socket that has heard these lines."""
    protocol = makers()[name]()
    protocol.greet(Handshake(f"/ingest/{name}", ASKED, 0.0))
    for message in messages(first):
        protocol.receive(message)
    protocol.welcome()
    return protocol


@pytest.mark.parametrize("name", sorted(makers()))
def test_what_is_held_does_not_grow_with_what_is_sent(name: str) -> None:
    for exchange in golden(name)[:1]:
        lines = exchange.split(b"\n")
        for n, line in enumerate(lines[1:], 1):
            for bend in bends(line.decode("utf-8", "replace")):
                try:
                    protocol = opened(name, b"\n".join(lines[:1]))
                except WireError:
                    break
                held = []
                for count in range(1, 2_401):
                    try:
                        protocol.receive(next(messages(line)) if line[:1] in (b"\0", b"\2") else bend(count))
                        protocol.replies()
                    except WireError:
                        pass
                    if count in (800, 1_600, 2_400):
                        held.append(held_bytes(protocol))
                # Once is no growth: a number that was bent may become a rate, whose filter is held from then on.
                grown = min(later - before for before, later in itertools.pairwise(held))
                assert grown < GROWTH_BYTES, (n, bend(2_400)[:300], held)
