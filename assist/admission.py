"""How many calls may be live, so that none that was let in waits: what a call costs, learnt, against what there is.

It knows no call and no recogniser, only seconds of work. One number decides; who is refused is told when to come again.
"""

from __future__ import annotations

import math
from typing import Final

TYPICAL_S: Final = 3.5
"""Length of an utterance on the telephone, s; with SPEECH of both channels together, how often one ends."""
SPEECH: Final = 0.8
AGAIN: Final = 1.3
"""Eager finals for each final: those whose speech went on were in vain."""
PRIOR_S: Final = 60.0
"""Call-seconds that the estimate before any call counts for."""
MEMORY_S: Final = 300.0
"""After so long, what was seen counts a third."""
USUAL_CALL_S: Final = 180.0
SOONEST_S, LATEST_S = 5.0, 60.0


class Admission:
    """Seconds of the recogniser's work that one second of one call takes, and whether there is room for another.

    `workers` work at once; at most the share `most` of their time is promised, 0: no limit. `typical_ms`: what
    transcribing TYPICAL_S of speech is expected to take, 0.0 where nobody knows: then only what is seen counts.
    """

    def __init__(self, workers: int, most: float, typical_ms: float = 0.0) -> None:
        self._there = workers * most
        self._prior = SPEECH / TYPICAL_S * AGAIN * typical_ms / 1000
        self._work_s = 0.0
        self._calls_s = 0.0
        self._ended_s = USUAL_CALL_S

    def passed(self, seconds: float, calls: int, worked_s: float) -> None:
        """In the last `seconds`, with `calls` live, the workers spent `worked_s`. Without calls nothing fades."""
        if calls:
            kept = math.exp(-seconds / MEMORY_S)
            self._work_s = self._work_s * kept + worked_s
            self._calls_s = self._calls_s * kept + calls * seconds

    def ended(self, seconds: float) -> None:
        """A call that lasted so long has ended."""
        self._ended_s += (seconds - self._ended_s) * 0.1

    @property
    def cost(self) -> float:
        """Seconds of work per second of a call."""
        weight = PRIOR_S if self._prior else 0.0
        seen = self._calls_s + weight
        return (self._work_s + self._prior * weight) / seen if seen else 0.0

    @property
    def room(self) -> float:
        """How many calls may be live at once; infinite where that is not limited or nothing is known."""
        return self._there / self.cost if self._there and self.cost else math.inf

    def again_s(self, calls: int) -> int:
        """When somebody who was refused may find a place: about when the next of `calls` calls ends, s."""
        return math.ceil(min(LATEST_S, max(SOONEST_S, self._ended_s / max(1, calls))))
