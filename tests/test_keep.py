"""The write-behind loses nothing and lets nothing overtake, whatever the disk, the store and the waiters do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import Party
from assist.conversation import Transcript
from assist.errors import StoreFailed
from assist.events import CallEnded, Line, Transcribed
from assist.hub import Hub, Store
from assist.journal import Journal, Record, read
from assist.keep import MOST_AUDIO_BYTES, Keeper, Pending, Sound, _joined, recover
from assist.stores.memory import Memory
from assist.stores.sqlite import Sqlite
from tests.contracts.store import ENDED, STARTED, lines, spoken
from tests.limits import largest_file

BOTH: tuple[Party, ...] = ("agent", "customer")
FRAME = bytes(range(160))


class Moody(Memory):
    """A store that refuses while `mood` says why, and remembers its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.mood: Exception | None = None
        self.batches: list[list[int]] = []
        self.entered: Callable[[], None] = lambda: None

    def append(self, lines: Sequence[Line]) -> None:
        self.entered()
        if self.mood:
            raise self.mood
        self.batches.append([made.entry.seq for made in lines])
        super().append(lines)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = Memory() if request.param == "memory" else Sqlite(tmp_path / "assist.db")
    yield made
    made.close()


def positions(path: Path) -> list[int]:
    """Where each `FRAME` of a journal stands, in file order; what followed on is one record."""
    found: list[int] = []
    for record in read(path)[1]:
        assert record.payload == FRAME * (len(record.payload) // len(FRAME))
        found.extend(range(record.position, record.position + len(record.payload), len(FRAME)))
    return found


@asynccontextmanager
async def keeping(store: Store, folder: Path, follow: bool = False) -> AsyncIterator[tuple[Keeper, dict[str, int]]]:
    """A keeper, and what it said is kept: call to seq."""
    kept: dict[str, int] = {}
    keeper = Keeper(store, folder, lambda entry: kept.__setitem__(entry.call, entry.seq))
    if follow:
        keeper.open()
    try:
        yield keeper, kept
    finally:
        await keeper.close()


def add(sound: Sound, count: int, first: int = 0, party: Party = "agent") -> None:
    for n in range(first, first + count):
        sound.add(party, n * 160, FRAME, (n + 1) * 20)


async def test_lines_and_audio_reach_the_disk_by_themselves(store: Store, tmp_path: Path) -> None:
    log = lines("c", STARTED, spoken(2), ENDED)
    async with keeping(store, tmp_path / "audio", follow=True) as (keeper, kept):
        sound = await keeper.sound("c", 8_000, "mulaw", BOTH)
        for made in log:
            keeper.line(made)
        add(sound, 50)
        add(sound, 25, party="customer")
        for _ in range(100):
            if kept.get("c") == 3 and sound.kept_ms["customer"]:
                break
            await asyncio.sleep(0.02)
        assert kept == {"c": 3}
        assert sound.kept_ms == {"agent": 1_000, "customer": 500}
        assert store.read("c") == log
        assert len(positions(keeper.path("c"))) == 75
    assert keeper.failing == ""


async def test_an_ended_call_gives_its_journal_back(tmp_path: Path) -> None:
    async with keeping(Memory(), tmp_path) as (keeper, _):
        sound = await keeper.sound("c", 8_000, "mulaw", BOTH)
        add(sound, 3)
        sound.closing = True
        await keeper.flush()
        assert sound.journal is None
        assert keeper._sounds == []
        assert len(positions(sound.path)) == 3


async def test_one_id_has_one_journal(tmp_path: Path) -> None:
    async with keeping(Memory(), tmp_path) as (keeper, _):
        await keeper.sound("c/../../d é", 8_000, "mulaw", BOTH)
        assert keeper.path("c/../../d é").parent == tmp_path
        with pytest.raises(StoreFailed, match="cannot create"):
            await keeper.sound("c/../../d é", 8_000, "mulaw", BOTH)


@pytest.mark.parametrize("mood", [StoreFailed("the database is locked"), RuntimeError("a bug of the store's own")])
async def test_lines_wait_in_order_while_the_store_refuses(tmp_path: Path, mood: Exception) -> None:
    store = Moody()
    log = lines("c", STARTED, *(spoken(seq) for seq in range(2, 8)), ENDED)
    async with keeping(store, tmp_path) as (keeper, kept):
        keeper.line(log[0])
        await keeper.flush()
        store.mood = mood
        for made in log[1:4]:
            keeper.line(made)
            await keeper.flush()
        assert keeper.failing == str(mood)
        assert kept == {"c": 1}, "what the store has not taken is not acknowledged"
        store.mood = None
        for made in log[4:]:
            keeper.line(made)
        await keeper.flush()
        assert (keeper.failing, kept) == ("", {"c": 8})
        assert store.batches == [[1], [2, 3, 4, 5, 6, 7, 8]]
        assert store.read("c") == log


async def test_no_batch_overtakes_one_that_is_refused(tmp_path: Path) -> None:
    store = Moody()
    log = lines("c", STARTED, spoken(2))
    loop = asyncio.get_running_loop()
    async with keeping(store, tmp_path) as (keeper, kept):
        refused_once = asyncio.Event()

        def entered() -> None:
            # The first batch is under way and will be refused; the second is handed over meanwhile.
            store.entered = lambda: setattr(store, "mood", None)
            loop.call_soon_threadsafe(refused_once.set)

        store.mood, store.entered = StoreFailed("locked"), entered
        keeper.line(log[0])
        first = asyncio.create_task(keeper.flush())
        await refused_once.wait()
        keeper.line(log[1])
        await asyncio.gather(first, keeper.flush(), keeper.flush())
        assert store.batches == [[1, 2]]
        assert kept == {"c": 2}


async def test_whoever_gives_up_waiting_costs_no_line(tmp_path: Path) -> None:
    store = Moody()
    log = lines("c", STARTED, *(spoken(seq) for seq in range(2, 30)))
    async with keeping(store, tmp_path) as (keeper, _):
        sound = await keeper.sound("c", 8_000, "mulaw", BOTH)
        for n, made in enumerate(log):
            keeper.line(made)
            add(sound, 1, n)
            waiting = asyncio.create_task(keeper.flush())
            for _ in range(n % 4):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await keeper.flush()
        assert store.read("c") == log
        assert [seq for batch in store.batches for seq in batch] == list(range(1, 30))
        assert positions(sound.path) == [n * 160 for n in range(29)]


async def test_a_store_that_never_takes_anything_is_told_of_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assist.keep.MOST_LINES", 10)
    store = Moody()
    async with keeping(store, tmp_path) as (keeper, _):
        store.mood = StoreFailed("no space")
        hub = Hub(store, keeper.line)
        log = await hub.open("c")
        for seq in range(10):
            hub.publish(log, spoken(seq), 0)
        await keeper.flush()
        with pytest.raises(StoreFailed, match="no space"):
            hub.publish(log, spoken(10), 0)
        store.mood = None
        await keeper.flush()
        hub.publish(log, spoken(11), 0)
        await keeper.flush()
        assert [made.entry.seq for made in store.read("c")] == list(range(1, 12))


async def test_a_full_disk_keeps_audio_waiting_and_then_takes_it_whole(tmp_path: Path) -> None:
    async with keeping(Memory(), tmp_path) as (keeper, _):
        sound = await keeper.sound("c", 8_000, "mulaw", BOTH)
        add(sound, 10)
        await keeper.flush()
        with largest_file(sound.path.stat().st_size + 400):
            add(sound, 20, 10)
            await keeper.flush()
            add(sound, 5, 30)
            await keeper.flush()
        assert "cannot write" in keeper.failing
        assert sound.kept_ms["agent"] == 200
        assert sound.waiting_bytes == 25 * 160
        sound.closing = True
        await keeper.flush()
        assert (keeper.failing, sound.waiting_bytes, sound.kept_ms["agent"]) == ("", 0, 700)
        assert positions(sound.path) == [n * 160 for n in range(35)]


async def test_one_bad_journal_holds_back_no_other_and_no_line(tmp_path: Path) -> None:
    store = Memory()
    async with keeping(store, tmp_path) as (keeper, kept):
        bad = await keeper.sound("bad", 8_000, "mulaw", ("agent",))
        good = await keeper.sound("good", 8_000, "mulaw", BOTH)
        assert bad.journal
        bad.journal.close()  # refused for ever
        add(bad, 1)
        add(good, 3)
        keeper.line(lines("good", STARTED)[0])
        await keeper.flush()
        assert "is closed" in keeper.failing
        assert (good.kept_ms["agent"], kept) == (60, {"good": 1})


async def test_audio_without_a_place_is_dropped_and_told_and_the_rest_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    day = 24 * 3_600 * 8_000
    async with keeping(Memory(), tmp_path) as (keeper, _):
        sound = await keeper.sound("c", 8_000, "mulaw", ("agent",))
        add(sound, 2)
        sound.add("agent", day, FRAME, 24 * 3_600_000 + 20)
        sound.add("customer", 320, FRAME, 60)
        add(sound, 1, 2)
        await keeper.flush()
        assert keeper.failing == ""
        assert (sound.waiting_bytes, sound.kept_ms) == (0, {"agent": 60})
        assert positions(sound.path) == [0, 160, 320]
        assert "call c: 2 pieces of audio are not kept" in caplog.text
        sound.add("agent", day, FRAME, 24 * 3_600_000 + 20)
        sound.closing = True
        await keeper.flush()
        assert (keeper.failing, sound.journal) == ("", None), "its end waits for nothing"


async def test_a_sync_that_fails_has_nothing_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assist.keep.SYNC_S", 0.0)

    def refuse(_: int) -> None:
        raise OSError("input/output error")

    async with keeping(Memory(), tmp_path) as (keeper, _):
        sound = await keeper.sound("c", 8_000, "mulaw", BOTH)
        monkeypatch.setattr("assist.journal.os.fdatasync", refuse)
        for n in range(5):
            add(sound, 1, n)
            await keeper.flush()
        assert "input/output error" in keeper.failing or "earlier sync" in keeper.failing
        monkeypatch.undo()
        keeper.line(lines("other", STARTED)[0])
        await keeper.flush(synced=False)
        assert keeper.failing, "nothing has been synced since"
        monkeypatch.setattr("assist.keep.SYNC_S", 0.0)
        other = await keeper.sound("other", 8_000, "mulaw", BOTH)
        add(other, 1)
        await keeper.flush()
        assert keeper.failing == "", "the disk takes others"
        assert (keeper.holds("c"), keeper.holds("never")) == (True, False)
        assert positions(sound.path) == [n * 160 for n in range(5)]
        sound.closing = True
        await keeper.flush()
        assert sound.journal is None, "a disk that cannot be trusted must not hold an ended call for ever"
        assert not keeper.holds("c")
        await keeper.flush()
        assert keeper.failing == ""


async def test_each_journal_is_synced_in_its_own_time_and_only_with_something_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assist.keep.SYNC_S", 0.2)
    synced: list[str] = []
    at_s: list[float] = []

    def noted(journal: Journal) -> None:
        synced.append(journal.header.call)
        at_s.append(time.monotonic())

    monkeypatch.setattr(Journal, "sync", noted)
    async with keeping(Memory(), tmp_path, follow=True) as (keeper, _):
        early, late, _ = [await keeper.sound(call, 8_000, "mulaw", BOTH) for call in ("early", "late", "silent")]
        began_s = time.monotonic()
        add(early, 1)
        await asyncio.sleep(0.12)
        add(late, 1)
        async with asyncio.timeout(5):
            while len(synced) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert at_s[0] - began_s >= 0.2
        assert synced == ["early", "late"], "one after the other, once each, and no journal without audio"
        add(early, 1, 1)
        async with asyncio.timeout(5):
            while len(synced) < 3:
                await asyncio.sleep(0.01)
        assert synced[2] == "early"


async def test_who_opens_a_call_waits_for_no_sync_and_who_ends_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    def slow(descriptor: int) -> None:
        may_go_on.wait(20)
        os.fsync(descriptor)

    async with keeping(Memory(), tmp_path) as (keeper, kept):
        ended = await keeper.sound("ended", 8_000, "mulaw", BOTH)
        monkeypatch.setattr("assist.journal.os.fdatasync", slow)
        add(ended, 3)
        ended.closing = True
        keeper.line(lines("ended", STARTED)[0])
        ends = asyncio.create_task(keeper.flush())
        while not kept:
            await asyncio.sleep(0.005)
        opened = await asyncio.wait_for(keeper.sound("opened", 8_000, "mulaw", BOTH), 5)
        keeper.line(lines("opened", STARTED)[0])
        add(opened, 2)
        await asyncio.wait_for(keeper.flush(synced=False), 5)
        assert kept == {"ended": 1, "opened": 1}
        assert opened.kept_ms["agent"] == 40
        assert not ends.done()
        assert ended.journal is not None
        may_go_on.set()
        await asyncio.wait_for(ends, 5)
        assert ended.journal is None
        await keeper.flush(last=True)
        assert [len(positions(each.path)) for each in (ended, opened)] == [3, 2]
    assert keeper.failing == ""


async def test_one_sync_that_hangs_holds_up_no_other_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Event()
    monkeypatch.setattr("assist.journal.os.fdatasync", lambda _: may_go_on.wait(30))
    async with keeping(Memory(), tmp_path, follow=True) as (keeper, kept):
        hangs = await keeper.sound("hangs", 8_000, "mulaw", BOTH)
        add(hangs, 1)
        hangs.closing = True
        while not hangs.finishing:
            await asyncio.sleep(0.01)
        other = await keeper.sound("other", 8_000, "mulaw", BOTH)
        try:
            for n, made in enumerate(lines("other", STARTED, spoken(1), ENDED)):
                keeper.line(made)
                add(other, 1, n)
                async with asyncio.timeout(5):
                    while other.kept_ms["agent"] < (n + 1) * 20 or kept.get("other", 0) < n + 1:
                        await asyncio.sleep(0.01)
            assert hangs.journal is not None
        finally:
            may_go_on.set()


async def test_an_id_that_comes_again_after_an_opening_was_given_up_keeps_its_journal(tmp_path: Path) -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        may_go_on.wait(20)

    async with keeping(Memory(), tmp_path) as (keeper, _):
        given_up = asyncio.create_task(keeper.sound("c", 8_000, "mulaw", BOTH, slow))
        await asyncio.to_thread(entered.wait, 20)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        again = asyncio.create_task(keeper.sound("c", 8_000, "mulaw", BOTH))
        await asyncio.sleep(0.05)
        may_go_on.set()
        sound = await asyncio.wait_for(again, 20)
        add(sound, 3)
        sound.closing = True
        await keeper.flush()
        assert len(positions(sound.path)) == 3
        assert [each.name for each in tmp_path.iterdir()] == [sound.path.name]


async def test_what_is_added_while_a_journal_is_synced_is_in_it_when_it_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assist.keep.SYNC_S", 0.0)
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        time.sleep(0.03)
        sync(descriptor)

    monkeypatch.setattr("assist.journal.os.fdatasync", slow)
    async with keeping(Memory(), tmp_path) as (keeper, _):
        sounds = [await keeper.sound(f"{n}", 8_000, "mulaw", BOTH) for n in range(12)]
        for at in range(40):
            for sound in sounds[at // 10 :]:
                add(sound, 1, at)
                sound.closing = sounds.index(sound) == at // 10 and at % 10 == 9
            await keeper.flush(synced=at % 3 == 0)
        for sound in sounds:
            sound.closing = True
        await keeper.flush()
        assert all(sound.journal is None for sound in sounds)
        assert [len(positions(each.path)) for each in sounds] == [10, 20, 30, *(40 for _ in sounds[3:])]
    assert keeper.failing == ""


async def test_audio_that_waits_too_long_is_full(tmp_path: Path) -> None:
    async with keeping(Memory(), tmp_path) as (keeper, _):
        sound = await keeper.sound("c", 8_000, "mulaw", ("customer",))
        assert not sound.full and sound.journal
        sound.journal.close()
        sound.add("customer", 0, bytes(MOST_AUDIO_BYTES), 0)
        assert sound.full
        await keeper.flush()
        assert sound.full, "refused, so it still waits"


async def test_the_follower_survives_a_bad_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assist.keep.FLUSH_S", 0.005)
    store = Moody()
    async with keeping(store, tmp_path, follow=True) as (keeper, kept):
        store.mood = ValueError("unexpected")
        keeper.line(lines("c", STARTED)[0])
        async with asyncio.timeout(20):
            while keeper.failing != "unexpected":
                await asyncio.sleep(0.01)
            store.mood = None
            while not kept:
                await asyncio.sleep(0.01)
        assert kept == {"c": 1}


# ---- after a crash


def crashed(store: Store, folder: Path, *, final_ms: int = 400, records: int = 50) -> Path:
    """A call that was cut off: a log without an end, a journal of a second of the agent."""
    transcript = Transcript("agent-1", "agent", 100, 100 + final_ms, "hello")
    store.append(lines("c", STARTED, Transcribed(transcript), Transcribed(transcript)))
    path = folder / "c.journal"
    journal = Journal.create(path, "c", 8_000, "mulaw", BOTH)
    journal.append([Record("agent", n * 160, FRAME) for n in range(records)])
    journal.close()
    return path


def ended(store: Store) -> CallEnded:
    event = store.read("c")[-1].entry.event
    assert isinstance(event, CallEnded)
    return event


def test_a_call_cut_off_is_closed_with_its_books_in_order(store: Store, tmp_path: Path) -> None:
    path = crashed(store, tmp_path)
    store.append(lines("whole", STARTED, ENDED))
    assert recover(store, lambda call: path) == ["c"]
    end = ended(store)
    assert (end.reason, end.duration_ms) == ("interrupted", 1_000)
    ledger = end.ledger["agent"]
    assert (ledger.received_ms, ledger.transcribed_ms, ledger.skipped_ms) == (1_000, 400, {"interrupted": 600})
    assert end.ledger["customer"].received_ms == 0
    assert ledger.gap_ms == 0
    assert recover(store, lambda call: path) == [], "the second start finds nothing to close"
    assert [made.entry.seq for made in store.read("c")] == [1, 2, 3, 4]


def test_a_torn_journal_is_cut_back_to_its_last_whole_record(store: Store, tmp_path: Path) -> None:
    path = crashed(store, tmp_path)
    path.write_bytes(path.read_bytes()[:-70])
    assert recover(store, lambda call: path) == ["c"]
    assert ended(store).ledger["agent"].received_ms == 980
    assert len(read(path)[1]) == 49


@pytest.mark.parametrize("content", [None, b"", b"ASJ1", bytes(300)])
def test_a_call_without_readable_audio_is_closed_too(store: Store, tmp_path: Path, content: bytes | None) -> None:
    path = crashed(store, tmp_path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert recover(store, lambda call: path) == ["c"]
    assert (ended(store).reason, ended(store).ledger) == ("interrupted", {})


def test_a_damaged_log_keeps_no_server_from_starting(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "assist.db")
    path = crashed(store, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "assist.db")) as database:
        database.execute("UPDATE entry SET raw = x'7b' WHERE seq = 2")
        database.commit()
    with pytest.raises(StoreFailed):
        store.read("c")
    assert recover(store, lambda call: path) == ["c"]
    summary = store.call("c")
    assert (summary.ended, summary.reason, summary.last_seq) == (True, "interrupted", 4)
    assert recover(store, lambda call: path) == []
    store.close()


def test_a_damaged_summary_keeps_no_server_from_starting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Sqlite(tmp_path / "assist.db")
    path = crashed(store, tmp_path)
    store.append(lines("damaged", STARTED))
    with contextlib.closing(sqlite3.connect(tmp_path / "assist.db")) as database:
        database.execute("UPDATE call SET summary = x'7b00' WHERE call = 'damaged'")
        database.commit()
    assert recover(store, lambda call: path) == ["c"]
    assert "call damaged: it cannot be closed" in caplog.text
    assert ended(store).reason == "interrupted"
    store.close()


def test_finals_longer_than_the_audio_on_disk_do_not_make_up_any(store: Store, tmp_path: Path) -> None:
    path = crashed(store, tmp_path, final_ms=5_000, records=10)
    recover(store, lambda call: path)
    ledger = ended(store).ledger["agent"]
    assert (ledger.received_ms, ledger.transcribed_ms, ledger.skipped_ms) == (200, 200, {"interrupted": 0})


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(BOTH), st.sampled_from([0, 0, 0, 320]), st.integers(1, 400)), max_size=40),
    st.integers(1, 2),
)
def test_what_follows_on_is_one_record_and_nothing_moves(said: list[tuple[Party, int, int]], width: int) -> None:
    at: dict[Party, int] = dict.fromkeys(BOTH, 0)
    pending: Pending = []
    wanted = {}
    for n, (party, hole, samples) in enumerate(said):
        at[party] += hole
        payload = bytes([n]) * samples * width
        pending.append((party, at[party], payload, 0))
        wanted.update({(party, at[party] + i): payload[:width] for i in range(samples)})
        at[party] += samples
    found: dict[tuple[Party, int], bytes] = {}
    for record in _joined(pending, width):
        for i in range(len(record.payload) // width):
            assert (record.party, record.position + i) not in found
            found[record.party, record.position + i] = record.payload[i * width : (i + 1) * width]
    assert found == wanted
    holes = sum(hole > 0 for _, hole, _ in said)
    assert len(_joined(pending, width)) <= len({party for party, _, _ in said}) + holes
