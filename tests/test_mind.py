"""Thinking in threads: slots come back from thoughts that never end, lost threads are found, faults stay apart."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from assist.audio import Utterance
from assist.conversation import Flag, Heard, Transcript
from assist.events import AnyEvent, Faltered, Flagged, Suggested
from assist.flag import Watch
from assist.mind import Mind, Thinkers
from assist.search import Search
from assist.suggest import Guide
from tests.guidance import trigrams
from tests.scene import knowledge


async def test_a_thought_that_hangs_gives_its_slot_back() -> None:
    done = threading.Event()
    with closing(Thinkers(slots=1, spare=1, patience_s=1.0)) as thinkers:
        with pytest.raises(TimeoutError, match=r"within 1 s"):
            await thinkers.think(done.wait)
        assert await thinkers.think(lambda: 7) == 7, "the slot stayed taken"
        done.set()


async def test_with_every_thread_lost_it_fails_at_once_until_one_is_found() -> None:
    done = threading.Event()
    with closing(Thinkers(slots=1, spare=1, patience_s=1.0)) as thinkers:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await thinkers.think(done.wait)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="lost"):
            await thinkers.think(lambda: 7)
        assert time.monotonic() - began < 0.9, "it was waited for"
        done.set()
        async with asyncio.timeout(20):
            while thinkers._lost:
                await asyncio.sleep(0.01)
        assert await thinkers.think(lambda: 7) == 7


async def test_only_so_many_think_at_once_and_errors_pass() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    with closing(Thinkers(slots=2)) as thinkers:
        await asyncio.gather(*(thinkers.think(work) for _ in range(8)))
        assert most == 2
        with pytest.raises(ZeroDivisionError):
            await thinkers.think(lambda: 1 // 0)


def written(number: int, text: str) -> Heard:
    """A customer's turn."""
    said = Transcript(f"customer-{number}", "customer", number * 5_000, number * 5_000 + 900, text)
    sound = np.zeros(0, dtype=np.int16)
    return Heard(Utterance(said.utterance, "customer", said.start_ms, said.end_ms, said.end_ms, sound), said, False)


def fails() -> None:
    raise RuntimeError("the encoder failed on this text")


@pytest.mark.parametrize("code", ["suggest_failed", "timeout"])
async def test_a_flag_is_raised_once_although_guidance_fails(code: str) -> None:
    known, _ = knowledge()
    done = threading.Event()
    trouble: list[Callable[[], object]] = []

    def encoder(texts: Sequence[str]) -> NDArray[np.float32]:
        for each in trouble:
            each()
        return trigrams(texts)

    told: list[AnyEvent] = []
    guide = Guide(known, Search(known, encoder))
    trouble.append(fails if code == "suggest_failed" else lambda: done.wait(20))
    with closing(Thinkers(patience_s=1.0)) as thinkers:
        mind = Mind("c", {}, guide, Watch(known), thinkers, lambda event, _: told.append(event), lambda: 9_000)
        for number in (1, 2):
            mind.hear(written(number, "My camera is black, let me speak to a manager about it"), {"final": 0.0})
        mind.finish()
        await asyncio.wait_for(mind.run(), 20)
        assert [(each.part, each.code) for each in told if isinstance(each, Faltered)] == 2 * [("suggest", code)]
        assert [each.flag.rule for each in told if isinstance(each, Flagged)] == ["asks_for_manager"]
        done.set()
        trouble.clear()
        mind.hear(written(3, "The camera shows a black screen"), {"final": 0.0})
        mind.finish()
        await asyncio.wait_for(mind.run(), 20)
        assert any(isinstance(each, Suggested) for each in told), "the next turn has cards"


async def test_cards_come_although_the_watch_fails() -> None:
    class Blind(Watch):
        def fork(self) -> Blind:
            return self

        def after(self, *_: object) -> list[Flag]:
            raise RuntimeError("a rule that nobody can read")

    known, search = knowledge()
    told: list[AnyEvent] = []
    with closing(Thinkers()) as thinkers:
        mind = Mind("c", {}, Guide(known, search), Blind(known), thinkers, lambda e, _: told.append(e), lambda: 9_000)
        mind.hear(written(1, "My camera shows a black screen"), {"final": 0.0})
        mind.finish()
        await asyncio.wait_for(mind.run(), 20)
    assert [(each.part, each.code) for each in told if isinstance(each, Faltered)] == [("flag", "flag_failed")]
    assert any(isinstance(each, Suggested) for each in told)
