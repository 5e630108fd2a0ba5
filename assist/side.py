"""One party of a call: its leg through the ear, what is under way for it, and its books. It decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from assist.audio import FRAME_MS, Leg, Timeline
from assist.events import Ledger
from assist.segment import Segmenter
from assist.transcribe import Job


@dataclass
class Side:
    """State of one party. `taken_ms` counts bytes as they were accepted; the other figures say what became of them."""

    leg: Leg
    timeline: Timeline[tuple[bytes, bytes]]
    segmenter: Segmenter
    bytes_per_ms: float
    taken_ms: float = 0.0
    due_ms: int = 0
    """When the next message should be there, by the length of the last two: until then nothing is missing."""
    length_ms: float = math.inf
    lag_ms: int = 0
    paused_ms: float = 0.0
    dropped_ms: dict[str, float] = field(default_factory=dict)
    transcribed_ms: float = 0.0
    failed_ms: dict[str, float] = field(default_factory=dict)
    unsettled_ms: float = 0.0
    missing_ms: float = 0.0
    cut_off_ms: float = 0.0
    """What did not fill a frame when the party's socket went."""
    speculative: Job | None = None
    speculative_shown: bool = False
    partial: Job | None = None
    heard_so_far: str = ""
    """Text of the last partial of the utterance that is being heard."""
    partial_at_ms: int = 0

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
