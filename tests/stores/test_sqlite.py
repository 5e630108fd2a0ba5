"""SQLite keeps the contract, agrees with the reference, and survives full disks, locks, newer files and SIGKILL."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from traceback import format_exception

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from assist import journal
from assist.errors import StoreFailed, StoreNewer
from assist.hub import Store
from assist.stores.memory import Memory
from assist.stores.sqlite import METADATA, Sqlite
from tests.contracts.store import (
    ENDED,
    REVIEWED,
    STARTED,
    StoreContract,
    flagged,
    lines,
    noticed,
    spoken,
)
from tests.limits import largest_file
from tests.stores.writer import AHEAD, records, write

ROUNDS = 20


class TestSqlite(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = Sqlite(tmp_path / "calls.db")
        yield store
        store.close()


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def test_a_reopened_file_has_everything_and_is_not_migrated_again(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    first = Sqlite(path)
    first.append(lines("a", STARTED, spoken(2)))
    first.close()
    schema = dump_schema(path)
    second = Sqlite(path)
    assert second.read("a") == lines("a", STARTED, spoken(2))
    second.close()
    assert dump_schema(path) == schema
    assert integrity(path) == "ok"


def dump_schema(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_the_migrations_lead_to_the_tables_the_code_uses(tmp_path: Path) -> None:
    Sqlite(tmp_path / "calls.db").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'calls.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_a_file_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    Sqlite(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = dump_schema(path)
    with pytest.raises(StoreNewer, match="9999"):
        Sqlite(path)
    assert dump_schema(path) == before


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (somebody_elses TEXT)")  # the migration makes `call` and then meets this
    connection.commit()
    connection.close()
    with pytest.raises(StoreFailed, match="entry"):
        Sqlite(path)
    assert [text for text in dump_schema(path) if text.startswith("CREATE")] == [
        "CREATE TABLE entry (somebody_elses TEXT);"
    ]


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is a letter, not a database\n" * 100)
    for path in (tmp_path / "text.db", tmp_path / "absent" / "calls.db", tmp_path):
        with pytest.raises(StoreFailed, match="cannot open"):
            Sqlite(path)


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "calls.db")
    store.append(lines("a", STARTED))
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    store.close()


def test_a_full_disk_refuses_a_batch_whole_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    store = Sqlite(path)
    store.append(lines("a", STARTED, spoken(2)))
    large = lines("a", *(spoken(seq) for seq in range(3, 2000)), first=3)
    with largest_file(256 * 1024), pytest.raises(StoreFailed, match="cannot append"):
        store.append([*large, *lines("b", STARTED)])
    assert store.read("a") == lines("a", STARTED, spoken(2))
    assert [summary.call for summary in store.calls()] == ["a"]
    store.append([*large, *lines("b", STARTED)])
    assert len(store.read("a")) == 1999
    store.close()
    assert integrity(path) == "ok"


def test_each_write_of_a_scenario_may_be_the_one_that_fails(tmp_path: Path) -> None:
    limit = 0
    while True:
        limit += 30_011  # no multiple of a page: some writes come back short
        path = tmp_path / f"{limit}.db"
        store = Sqlite(path)
        kept = 0
        with largest_file(128 * 1024 + limit):
            try:
                for first in range(1, 1001, 100):
                    store.append(lines("a", *(spoken(seq) for seq in range(first, first + 100)), first=first))
                    kept = first + 99
            except StoreFailed:
                pass
        assert len(store.read("a")) == kept
        store.append(lines("a", ENDED, first=kept + 1))
        assert store.call("a").last_seq == kept + 1
        store.close()
        assert integrity(path) == "ok"
        if kept == 1000:
            return


def test_a_locked_file_fails_writers_in_time_and_no_readers(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "calls.db", busy_timeout_ms=30)
    store.append(lines("a", STARTED))
    other = sqlite3.connect(tmp_path / "calls.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreFailed, match="locked"):
        store.append(lines("a", spoken(2), first=2))
    assert store.read("a") == lines("a", STARTED)
    other.execute("ROLLBACK")
    other.close()
    store.append(lines("a", spoken(2), first=2))
    assert store.call("a").last_seq == 2
    store.close()


def test_an_error_does_not_repeat_what_was_said(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "calls.db", busy_timeout_ms=1)
    store.append(lines("a", STARTED))
    connection = sqlite3.connect(tmp_path / "calls.db")
    connection.execute("CREATE TRIGGER stop BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'no'); END")
    connection.commit()
    connection.close()
    with pytest.raises(StoreFailed) as caught:
        store.append(lines("secret", spoken(1)))
    assert str(caught.value) == "cannot append: no"
    assert "secret" not in "".join(format_exception(caught.value)).replace('lines("secret"', "")
    store.close()


def test_a_damaged_entry_is_named_and_hides_no_other_call(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "calls.db")
    store.append(lines("a", STARTED, spoken(2)))
    store.append(lines("b", STARTED))
    connection = sqlite3.connect(tmp_path / "calls.db")
    connection.execute("UPDATE entry SET raw = x'7b' WHERE seq = 2")
    connection.execute("UPDATE call SET summary = x'7b' WHERE call = 'a'")
    connection.commit()
    connection.close()
    for ask in (lambda: store.read("a"), lambda: store.call("a")):
        with pytest.raises(StoreFailed, match="damaged"):
            ask()
    assert [each.call for each in store.calls()] == ["b"]
    store.close()


CALLS = st.sampled_from(["a", "b", "c"])
EVENTS = st.one_of(
    st.just(STARTED),
    st.just(ENDED),
    st.just(REVIEWED),
    st.builds(flagged, st.sampled_from(["low", "medium", "high"])),
    st.builds(
        noticed,
        st.sampled_from(["agent", "customer"]),
        st.sampled_from(["none", "roaming", "cancellation"]),
        st.none() | st.floats(-1, 1),
    ),
    st.builds(spoken, st.integers(1, 9)),
)


class Agreement(RuleBasedStateMachine):
    """Whatever is appended, replayed, left out or reopened: SQLite answers as the reference does."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "calls.db"
        self.real: Store = Sqlite(self.path)
        self.model: Store = Memory()

    @rule(batch=st.lists(st.tuples(CALLS, st.integers(1, 12), EVENTS), max_size=8))
    def append(self, batch: list[tuple[str, int, object]]) -> None:
        given = [lines(call, event, first=seq)[0] for call, seq, event in batch]  # type: ignore[arg-type]
        self.model.append(given)
        self.real.append(given)

    @rule(call=CALLS, events=st.lists(EVENTS, min_size=1, max_size=5))
    def go_on(self, call: str, events: list[object]) -> None:
        last = next((summary.last_seq for summary in self.model.calls() if summary.call == call), 0)
        given = lines(call, *events, first=last + 1)  # type: ignore[arg-type]
        self.model.append(given)
        self.real.append(given)

    @rule()
    def reopen(self) -> None:
        self.real.close()
        self.real = Sqlite(self.path)

    @rule(after=st.integers(-1, 15), limit=st.none() | st.integers(-1, 5))
    def read(self, after: int, limit: int | None) -> None:
        for summary in self.model.calls():
            assert self.real.read(summary.call, after, limit) == self.model.read(summary.call, after, limit)

    @rule(limit=st.integers(-1, 4), offset=st.integers(-1, 4))
    def page(self, limit: int, offset: int) -> None:
        assert self.real.calls(limit, offset) == self.model.calls(limit, offset)
        assert self.real.flagged(limit) == self.model.flagged(limit)

    @invariant()
    def agree(self) -> None:
        assert self.real.calls() == self.model.calls()
        assert self.real.flagged() == self.model.flagged()
        assert self.real.unfinished() == self.model.unfinished()

    def teardown(self) -> None:
        self.real.close()
        self.folder.cleanup()


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_sigkill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """A real process writes both files and says so batch by batch; it is killed; what it said is there."""
    database = tmp_path / "calls.db"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores.writer"])
    moment = random.Random(2)
    acked_in_all = 0
    for round_ in range(ROUNDS):
        call = f"call-{round_}"
        audio = tmp_path / f"{call}.journal"
        listening, speaking = context.Pipe(duplex=False)
        child = context.Process(target=write, args=(database, audio, call, speaking))
        child.start()
        speaking.close()
        if round_ % 4:  # every fourth dies somewhere in its start
            assert listening.poll(30)
        time.sleep(moment.uniform(0, 0.05))
        child.kill()
        child.join()
        acked = 0
        try:
            while listening.poll(0):
                acked = listening.recv()
        except EOFError:
            pass
        listening.close()
        acked_in_all += acked
        check(database, audio, call, acked)
    assert acked_in_all > ROUNDS


def check(database: Path, audio: Path, call: str, acked: int) -> None:
    store = Sqlite(database)
    kept = [kept.entry.seq for kept in store.read(call)] if acked or call in store.unfinished() else []
    store.close()
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) >= acked
    assert integrity(database) == "ok"
    if acked or (audio.exists() and audio.stat().st_size):
        journal.repair(audio)
        assert journal.repair(audio) == 0
        found = journal.read(audio)[1]
        assert acked <= len(found) <= acked + AHEAD
        assert found == [record for seq in range(1, len(found) + 1) for record in records(seq)]
