"""Logs and cursors: nothing missed, nothing twice, whoever publishes, follows, opens or forgets at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import DuplicateCall, FutureCursor, StoreFailed, UnknownCall
from assist.events import CallEnded, Dtmf, Line, Reviewed
from assist.hub import CallSummary, Hub, Log
from assist.stores.memory import Memory
from tests.contracts.store import ENDED, STARTED, lines

KEY = Dtmf("agent")


def hub(store: Memory | None = None, **options: int) -> tuple[Hub, list[Line]]:
    kept: list[Line] = []
    return Hub(store or Memory(), kept.append, **options), kept


async def collect(made: Hub, call: str, after: int = 0) -> list[int]:
    return [told.entry.seq async for told in made.follow(call, after, 5.0) if told]


class Slow(Memory):
    """A store whose answers wait until they are let go, so that something can happen in between."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go = threading.Event()

    def call(self, call: str) -> CallSummary:
        try:
            return super().call(call)
        finally:
            self._pause()

    def read(self, call: str, after: int = 0, limit: int | None = None) -> list[Line]:
        found = super().read(call, after, limit)
        self._pause()
        return found

    def _pause(self) -> None:
        self.asked.set()
        assert self.go.wait(10)

    async def was_asked(self) -> None:
        assert await asyncio.to_thread(self.asked.wait, 10)


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(0, 20),
    bursts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=12),
    afters=st.lists(st.integers(0, 20), min_size=1, max_size=6),
)
def test_every_cursor_gets_every_line_once(before: int, bursts: list[tuple[int, int]], afters: list[int]) -> None:
    async def scene() -> None:
        made, kept = hub()
        log = await made.open("c")
        for _ in range(before):
            made.publish(log, KEY, 0)
        starts = [min(after, before) for after in afters]
        cursors = [asyncio.create_task(collect(made, "c", after)) for after in starts]
        late: list[tuple[int, asyncio.Task[list[int]]]] = []
        for count, turns in bursts:
            for _ in range(count):
                made.publish(log, KEY, 0)
            for _ in range(turns):
                await asyncio.sleep(0)
            late.append((log.last_seq, asyncio.create_task(collect(made, "c", log.last_seq))))
        made.publish(log, ENDED, 0)
        last = log.last_seq
        for start, cursor in [*zip(starts, cursors, strict=True), *late]:
            assert await cursor == list(range(start + 1, last + 1))
        assert [each.entry.seq for each in kept] == list(range(1, last + 1))

    asyncio.run(scene())


async def test_a_cursor_says_once_that_it_has_caught_up_and_then_beats() -> None:
    made, _ = hub()
    log = await made.open("c")
    made.publish(log, STARTED, 0)
    following = made.follow("c", 0, heartbeat_s=0.02)
    told = [await anext(following) for _ in range(4)]
    assert [each and each.entry.seq for each in told] == [1, None, None, None]
    made.publish(log, KEY, 10)
    first = await anext(following)
    assert first is log.lines[1], "all subscribers share one encoded line"
    made.publish(log, ENDED, 20)
    assert [each and each.entry.seq async for each in following] == [3]


async def test_an_ended_call_is_told_to_its_end_and_closes() -> None:
    store = Memory()
    store.append(lines("c", STARTED, KEY, ENDED))
    made, _ = hub(store)
    assert await collect(made, "c") == [1, 2, 3]
    assert await collect(made, "c", 3) == []
    assert await collect(made, "c", -7) == [1, 2, 3]


async def test_a_cursor_from_the_future_is_refused() -> None:
    store = Memory()
    store.append(lines("past", STARTED, ENDED))
    made, _ = hub(store)
    made.publish(await made.open("live"), STARTED, 0)
    for call, after in (("past", 3), ("live", 2), ("live", 10**14)):
        with pytest.raises(FutureCursor, match=str(after)):
            await anext(made.follow(call, after))


async def test_an_unknown_call_is_named() -> None:
    made, _ = hub()
    for ask in (anext(made.follow("nobody", 0)), made.log("nobody")):
        with pytest.raises(UnknownCall, match="nobody"):
            await ask


async def test_an_id_is_given_out_once() -> None:
    store = Memory()
    store.append(lines("past", STARTED, ENDED))
    made, _ = hub(store)
    outcomes = await asyncio.gather(*(made.open("c") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(each, Log) for each in outcomes) == 1
    assert sum(isinstance(each, DuplicateCall) for each in outcomes) == 7
    with pytest.raises(DuplicateCall):
        await made.open("past")
    assert list(made._live) == ["c"]


async def test_an_ended_call_that_the_store_has_not_yet_seen_is_known_all_the_same() -> None:
    made, _ = hub()
    log = await made.open("c")
    made.publish(log, ENDED, 0)
    assert not made._live
    with pytest.raises(DuplicateCall):
        await made.open("c")
    assert await collect(made, "c") == [1]


async def test_a_store_that_refuses_lets_nobody_in_and_blocks_no_id() -> None:
    store = Memory()
    made, _ = hub(store)
    store.close()
    with pytest.raises(StoreFailed):
        await made.open("c")
    assert not made._live


async def test_a_second_opening_does_not_hide_the_past_call() -> None:
    store = Slow()
    store.append(lines("c", STARTED, KEY, ENDED))
    made, _ = hub(store)
    opening = asyncio.create_task(made.open("c"))
    await store.was_asked()
    reading = asyncio.create_task(collect(made, "c", 1))
    await asyncio.sleep(0.01)
    store.go.set()
    with pytest.raises(DuplicateCall):
        await opening
    assert await asyncio.wait_for(reading, 5) == [2, 3]


async def test_a_log_read_while_its_call_was_let_in_is_the_live_one() -> None:
    store = Slow()
    made, _ = hub(store)
    store.go.set()
    log = await made.open("c")
    store.go.clear()
    store.asked.clear()
    del made._live["c"]  # as if the reader had asked a moment before it was let in
    made.publish(log, STARTED, 0)
    store.append(log.lines)
    reading = asyncio.create_task(made.log("c"))
    await store.was_asked()
    made._live["c"] = log
    store.go.set()
    assert await reading is log


async def test_who_follows_a_call_that_is_not_let_in_is_let_go() -> None:
    made, _ = hub()
    await made.open("c")
    following = asyncio.create_task(collect(made, "c"))
    await asyncio.sleep(0.01)
    made.forget("c")
    assert await asyncio.wait_for(following, 5) == []
    assert not made._live
    assert isinstance(await made.open("c"), Log)


async def test_what_cannot_be_kept_is_not_told() -> None:
    refusing = False

    def keep(_: Line) -> None:
        if refusing:
            raise StoreFailed("full")

    made = Hub(Memory(), keep)
    log = await made.open("c")
    made.publish(log, STARTED, 0)
    refusing = True
    with pytest.raises(StoreFailed):
        made.publish(log, KEY, 0)
    refusing = False
    assert made.publish(log, KEY, 0).seq == 2, "no hole where the refused line would have stood"


async def test_a_review_of_a_past_call_goes_on_its_log() -> None:
    store = Memory()
    store.append(lines("c", STARTED, ENDED))
    made, kept = hub(store)
    log = await made.log("c")
    entry = made.publish(log, Reviewed("confirmed", "fair", "ann"), 5)
    assert (entry.seq, kept[-1].entry) == (3, entry)
    assert await collect(made, "c", 2) == [3]


async def test_past_logs_are_forgotten_only_once_they_are_kept() -> None:
    made, kept = hub(remember_bytes=2 * len(Log("a").next(ENDED, 0).raw))
    for call in "abcd":
        log = await made.open(call)
        made.publish(log, ENDED, 0)
    assert [await collect(made, call) for call in "abcd"] == [[1]] * 4, "the store has none of them yet"
    for line in kept:
        made.kept(line.entry.call, line.entry.seq)
    made.publish(await made.open("e"), ENDED, 0)
    assert list(made._past) == ["d", "e"]
    with pytest.raises(UnknownCall):
        await made.log("a")  # forgotten here, and this test's store was never given it


async def test_what_the_store_has_is_known() -> None:
    made, _ = hub()
    log = await made.open("c")
    for _ in range(3):
        made.publish(log, KEY, 0)
    made.kept("c", 2)
    made.kept("c", 1)
    made.kept("nobody", 9)
    assert (log.kept, log.last_seq) == (2, 3)


def test_reading_a_log_tells_whether_it_ended() -> None:
    whole: Sequence[Line] = lines("c", STARTED, CallEnded("bye", 0, {}, {}), Reviewed("praise", "", "ann"))
    assert Log("c", list(whole)).ended
    assert not Log("c", list(whole[:1])).ended
