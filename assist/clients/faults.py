"""What may go wrong between a platform and us, to order and from a seed: a plan of which message goes when.

It knows neither dialects nor sockets. What is lost, doubled or overtaken are messages with audio; what a dialect says
beside it always arrives, in its place.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from assist.clients import Message

Timed = tuple[float, int, Message]
"""When it is due, in ms of the call, on which line, and what."""


@dataclass(frozen=True)
class Faults:
    """`jitter_ms`: each message up to so much late, evenly; the order stays, as on one socket.

    `loss`, `reorder` and `duplicate` are percent of messages: it never comes, comes after the one behind it, comes
    twice. From `freeze_at_s` on nothing is sent for `freeze_s`, then all that was due at once. At `drop_at_s` the
    connection is reset.
    """

    jitter_ms: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    freeze_at_s: float = 0.0
    freeze_s: float = 0.0
    drop_at_s: float | None = None
    seed: int = 1


def spoilt(timed: Iterable[Timed], faults: Faults, done: Counter[str]) -> Iterator[Timed]:
    """The same messages as they are to be sent, never earlier than the ones before; `done` counts what was done."""
    dice = random.Random(faults.seed)
    held: list[Timed] = []
    last_ms = 0.0
    for at_ms, line, message in timed:
        # Each draws the same numbers whatever the others do: a seed plus one more fault is otherwise another call.
        late, lost, late_by_one, twice = (dice.random() for _ in range(4))
        due_ms = at_ms + late * faults.jitter_ms
        if 0 <= due_ms - faults.freeze_at_s * 1000 < faults.freeze_s * 1000:
            due_ms = (faults.freeze_at_s + faults.freeze_s) * 1000
        last_ms = due_ms = max(due_ms, last_ms)
        if lost * 100 < faults.loss:
            done["lost"] += 1
            continue
        copies = [(due_ms, line, message)]
        if twice * 100 < faults.duplicate:
            done["duplicated"] += 1
            copies *= 2
        if late_by_one * 100 < faults.reorder and not held:
            held = copies
            continue
        yield from copies
        if held:
            done["reordered"] += 1
            yield from ((due_ms, each_line, each) for _, each_line, each in held)
            held = []
    yield from ((last_ms, each_line, each) for _, each_line, each in held)
