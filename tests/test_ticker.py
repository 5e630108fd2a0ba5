"""One timer for all: everybody is called, what one raises is his own, and with nobody there nothing runs."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from assist.ticker import SLICES, TICK_S, Ticker


async def test_everybody_is_called_until_he_has_enough() -> None:
    ticker, counts = Ticker(), {"a": 0, "b": 0}

    def counting(name: str, most: int) -> bool:
        counts[name] += 1
        return counts[name] < most

    followers = [ticker.follow(lambda: counting("a", 2)), ticker.follow(lambda: counting("b", 4))]
    await asyncio.wait_for(asyncio.gather(*followers), 10)
    assert counts == {"a": 2, "b": 4}
    assert ticker.resting, "nobody is there"


async def test_what_one_raises_is_raised_to_him_alone() -> None:
    ticker, counted = Ticker(), 0

    def fails() -> bool:
        raise ValueError("mine")

    def counts() -> bool:
        nonlocal counted
        counted += 1
        return counted < 3

    failing, counting = asyncio.create_task(ticker.follow(fails)), asyncio.create_task(ticker.follow(counts))
    with pytest.raises(ValueError, match="mine"):
        await asyncio.wait_for(failing, 10)
    await asyncio.wait_for(counting, 10)
    assert counted == 3


async def test_who_gives_up_is_called_no_more() -> None:
    ticker, counted = Ticker(), 0

    def counts() -> bool:
        nonlocal counted
        counted += 1
        return True

    following = asyncio.create_task(ticker.follow(counts))
    while not counted:
        await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    before = counted
    await asyncio.sleep(0.15)
    assert counted == before
    assert ticker.resting


async def test_many_are_not_called_all_at_once() -> None:
    ticker = Ticker()
    called = 0

    def counts() -> bool:
        nonlocal called
        called += 1
        return False

    following = [asyncio.create_task(ticker.follow(counts)) for _ in range(SLICES * 20)]
    await asyncio.sleep(0)
    assert [len(each) for each in ticker._slices] == [20] * SLICES
    due = sorted(each.timer.when() for each in ticker._slices if each.timer)
    assert min(later - sooner for sooner, later in itertools.pairwise(due)) > 0.9 * TICK_S / SLICES
    await asyncio.gather(*following)
    assert called == len(following)
