"""One party of a call: its leg through the ear, what is under way for it, and its books. It decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from assist.audio import FRAME_MS, Leg, Timeline
from assist.events import Ledger
from assist.segment import Segmenter
from assist.transcribe import Job

TOGETHER_MS = 5
"""What comes within it came together."""


@dataclass
class Side:
    """State of one party. `taken_ms` counts bytes as they were accepted; the other figures say what became of them."""

    leg: Leg
    timeline: Timeline[tuple[bytes, bytes]]
    segmenter: Segmenter
    bytes_per_ms: float
    taken_ms: float = 0.0
    due_ms: int = 0
    """When more should be there, by the length of what came the last two times: until then nothing is missing."""
    heard_ms: float = -math.inf
    length_ms: float = math.inf
    """What came together at `heard_ms`."""
    before_ms: float = math.inf
    """What had come together the time before."""
    lag_ms: int = 0
    paused_ms: float = 0.0
    dropped_ms: dict[str, float] = field(default_factory=dict)
    transcribed_ms: float = 0.0
    failed_ms: dict[str, float] = field(default_factory=dict)
    unsettled_ms: float = 0.0
    missing_ms: float = 0.0
    cut_off_ms: float = 0.0
    """What did not fill a frame when the party's socket went, or at a pause."""
    speculative: Job | None = None
    speculative_shown: bool = False
    partial: Job | None = None
    heard_so_far: str = ""
    """Text of the last partial of the utterance that is being heard."""
    partial_at_ms: int = 0

    def came(self, length_ms: float, now_ms: int) -> None:
        """So much came, which says when more should: where several messages come together, so will the next ones."""
        if now_ms - self.heard_ms > TOGETHER_MS:
            self.heard_ms, self.length_ms, self.before_ms = now_ms, 0.0, self.length_ms
        self.length_ms += length_ms
        self.due_ms = now_ms + int(min(self.length_ms, self.before_ms))

    def ledger(self) -> Ledger:
        """The books of this party: bytes in, against the fate of every frame. `gap_ms` is what no line explains."""
        tally = self.segmenter.tally
        received = self.taken_ms + sum(self.dropped_ms.values())
        skipped = {**self.dropped_ms}
        for reason, ms in (
            ("paused", self.paused_ms),
            ("too_short", float(tally.blip * FRAME_MS)),
            ("fragment", self.cut_off_ms + self.leg.rest_ms),
            *self.failed_ms.items(),
        ):
            if ms:
                skipped[reason] = skipped.get(reason, 0.0) + ms
        silence = float(tally.silence * FRAME_MS)
        gap = received - self.transcribed_ms - silence - sum(skipped.values())
        # A sum of thirds may miss by a hair; a sample is 0.06 ms, so 3 digits hide none.
        return Ledger(round(received, 3), self.transcribed_ms, silence, skipped, self.missing_ms, round(gap, 3) + 0.0)
