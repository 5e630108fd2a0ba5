"""Utterances to transcripts: what a recogniser is, and the gate that every call shares.

It knows no model and no socket.
"""

from __future__ import annotations

from typing import Protocol

from assist.audio import Utterance
from assist.conversation import Transcript


class Recogniser(Protocol):
    """Speech to text for whole utterances. Thread-safe: `workers` threads call `transcribe` at once."""

    name: str
    """Engine and weights as results name them, e.g. "whisper-base int8 window=fit" or "pocketsphinx en-us + kb"."""
    rough: bool
    """True where the text is not to be trusted word by word; shown to the agent."""
    workers: int
    """How many threads may usefully call `transcribe` at once."""

    def transcribe(self, utterance: Utterance) -> Transcript:
        """The transcript of `utterance`, same id, party, bounds and stage. Empty text where nothing was understood.

        Raises RecogniserFailed.
        """

    def warm(self) -> None:
        """Run once before the first call, so that no customer waits for a first allocation."""

    def close(self) -> None:
        """Give memory and threads back."""
