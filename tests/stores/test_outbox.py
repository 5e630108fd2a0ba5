"""What was told and what was given up outlives the process; a file that is not ours to read is refused by name."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from assist.errors import StoreFailed, StoreNewer
from assist.stores.outbox import Dead, Outbox

LETTER = Dead("msg_1", "c", 4, "call.ended", b"{}", "500")


def test_positions_and_dead_letters_are_there_again(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "o.db")
    assert first.is_new("http://x") and first.position("c") == (0, None)
    first.begin("http://x", [("old", 9)])
    first.refused("c", 3, 100.0)
    first.bury(LETTER, 100.0)
    first.bury(LETTER._replace(why="again"), 100.0)
    first.gone("http://x", True)
    first.close()
    second = Outbox(tmp_path / "o.db")
    assert not second.is_new("http://x") and second.is_new("http://y")
    assert (second.position("old"), second.position("c")) == ((9, None), (4, 100.0))
    assert second.dead() == (1, LETTER) and second.dead(1) is None
    second.reached("c", 5)
    second.delivered(LETTER)
    assert second.position("c") == (5, None) and second.dead() is None
    assert second.is_gone("http://x") and not second.is_gone("http://y")
    second.gone("http://x", False)
    assert not second.is_gone("http://x")
    second.close()


def test_a_file_that_never_began_is_still_new(tmp_path: Path) -> None:
    Outbox(tmp_path / "o.db").close()  # a crash before `begin`
    again = Outbox(tmp_path / "o.db")
    assert again.is_new("http://x")
    again.close()


def test_after_a_rest_everybody_is_new_and_dead_letters_are_there(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db")
    outbox.begin("http://x")
    outbox.bury(LETTER, 1.0)
    outbox.rest()
    outbox.close()
    again = Outbox(tmp_path / "o.db")
    assert again.is_new("http://x") and again.dead() == (1, LETTER)
    again.close()


VERSION_1 = """
CREATE TABLE cursor (call TEXT PRIMARY KEY, seq INTEGER NOT NULL, failing_since REAL) WITHOUT ROWID;
CREATE TABLE dead (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, call TEXT NOT NULL, seq INTEGER NOT NULL, type TEXT NOT NULL,
    body BLOB NOT NULL, why TEXT NOT NULL
);
CREATE TABLE gone (url TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO cursor VALUES ('c', 3, 100.0);
INSERT INTO dead VALUES (1, 'msg_1', 'c', 4, 'call.ended', '{}', '500');
INSERT INTO gone VALUES ('http://y');
"""


@pytest.mark.parametrize("began", [True, False])
def test_a_file_of_version_1_loses_nothing(tmp_path: Path, began: bool) -> None:
    """It does not say who was told; whoever is told next is taken to be the one."""
    with sqlite3.connect(tmp_path / "o.db") as connection:
        connection.executescript(VERSION_1 + f"PRAGMA user_version = {began:d};")
    connection.close()
    for _ in range(2):
        outbox = Outbox(tmp_path / "o.db")
        assert outbox.is_new("http://x") is not began
        outbox.close()
    outbox = Outbox(tmp_path / "o.db")
    outbox.begin("http://x")
    assert not outbox.is_new("http://x") and outbox.is_new("http://z")
    assert outbox.position("c") == (3, 100.0) and outbox.is_gone("http://y")
    found = outbox.dead()
    assert found and found[1].id == "msg_1"
    outbox.close()


def test_it_is_nobody_elses_to_read(tmp_path: Path) -> None:
    Outbox(tmp_path / "o.db").close()
    assert (tmp_path / "o.db").stat().st_mode & 0o077 == 0


def test_a_newer_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreNewer):
        Outbox(tmp_path / "newer.db")
    (tmp_path / "damaged.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreFailed):
        Outbox(tmp_path / "damaged.db")
    with pytest.raises(StoreFailed):
        Outbox(tmp_path / "no" / "folder.db")


def test_a_write_that_fails_leaves_nothing_half_done(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db")
    other = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
    outbox._connection.execute("PRAGMA busy_timeout = 10")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailed, match="locked"):
        outbox.bury(LETTER, 1.0)
    other.execute("COMMIT")
    other.close()
    assert outbox.dead() is None and outbox.position("c") == (0, None)
    outbox.bury(LETTER, 1.0)
    assert outbox.dead() == (1, LETTER)
    outbox.close()
