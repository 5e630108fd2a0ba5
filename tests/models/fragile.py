"""A real recogniser as bad as native code can be: the first sample of an utterance says what becomes of it.

It lives in a process of its own (models/apart.py); in that of the tests it would end them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from assist.audio import RATE_HZ, SAMPLES_PER_MS, Utterance
from assist.conversation import Transcript
from assist.errors import ConfigError, ModelMissing, RecogniserFailed
from tests.contracts.recogniser import OneByOne

FINE, SLOW, SEGFAULT, ABORT, LEAVE, STUCK, ASLEEP, RAISE, REFUSE, CHATTER = range(100, 1_100, 100)
SLOW_S = 0.4
WARMING_MB = 100


class Fragile(OneByOne):
    """Says what it was given, and does what it was told."""

    name = "fragile"
    rough = False

    def __init__(self, workers: int, together: int) -> None:
        self.workers = workers
        self.together = together
        self._warmed = 0
        self._above = b""

    def transcribe(self, utterance: Utterance) -> Transcript:
        fate = int(utterance.samples[0]) if len(utterance.samples) else FINE
        if fate == SLOW:
            time.sleep(SLOW_S)
        elif fate == SEGFAULT:
            ctypes.string_at(0)
        elif fate == ABORT:
            os.abort()
        elif fate == LEAVE:
            os._exit(3)
        elif fate == STUCK:
            ctypes.PyDLL(None).sleep(600)  # and Python's lock with it
        elif fate == ASLEEP:
            time.sleep(600)
        elif fate == RAISE:
            raise ValueError("what a surprise")
        elif fate == REFUSE:
            raise RecogniserFailed("not this one")
        elif fate == CHATTER:
            print("a library says hello", flush=True)
            os.write(1, b"and so does its native half\n")
        given = utterance.call or "nobody", utterance.speech_end_ms, utterance.samples.sum()
        return Transcript(
            utterance.id,
            utterance.party,
            utterance.start_ms,
            utterance.end_ms,
            " ".join(map(str, given)) if utterance.samples.any() else "",
            stage=utterance.stage,
            probability=1 / 3,
        )

    def bucket(self, utterance: Utterance) -> int:
        return 10 if len(utterance.samples) <= 8 * RATE_HZ else 30

    def cost_ms(self, utterance: Utterance) -> float:
        return self._warmed * len(utterance.samples) / SAMPLES_PER_MS / 50

    def warm(self) -> None:
        held = [bytes(10_000) for _ in range(WARMING_MB * 100)]
        self._above = held[-1]  # so that malloc keeps the rest when it is freed
        self._warmed = 1

    def close(self) -> None: ...


def load(workers: int = 1, together: int = 1, fate: Path | None = None) -> Fragile:
    """`fate`: a file that says, when it is loaded, what becomes of that."""
    said = fate.read_text() if fate and fate.exists() else ""
    if said == "missing":
        raise ModelMissing("the weights of fragile are nowhere")
    if said == "wrong":
        raise ConfigError("fragile has no such option")
    if said == "surprise":
        raise ValueError("what a surprise")
    if said == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return Fragile(workers, together)
