"""Thinking in threads: slots come back from thoughts that never end, and lost threads are found again."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing

import pytest

from assist.mind import Thinkers


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
