"""How far a receiver has been told of each call, and what it never took: a small SQLite file beside the logs.

It is a file of its own so that no delivery ever waits for, or holds up, who writes the logs. It knows no HTTP.
A commit survives the process; a power cut may take the last ones, and then a few events are sent twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from assist.errors import StoreFailed, StoreNewer

_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cursor (call TEXT PRIMARY KEY, seq INTEGER NOT NULL, failing_since REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, call TEXT NOT NULL, seq INTEGER NOT NULL, type TEXT NOT NULL,
    body BLOB NOT NULL, why TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS gone (url TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (url TEXT NOT NULL);
"""
_NOT_WRITTEN_DOWN: Final = ""
"""In `told`: version 1 did not say whom it told. Whoever is told next is taken to be the one."""


class Dead(NamedTuple):
    """An event that was given up, as it would be sent again."""

    id: str
    call: str
    seq: int
    type: str
    body: bytes
    why: str


class Outbox:
    """One user at a time, in whatever thread; another process may replay meanwhile. Raises StoreFailed, StoreNewer."""

    def __init__(self, path: Path) -> None:
        with _named(f"cannot open {path}"):
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            (found,) = self._connection.execute("PRAGMA user_version").fetchone()
            if found > _VERSION:
                raise StoreNewer(f"{path} has version {found}, this version knows up to {_VERSION}")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            if found < _VERSION:
                with self._writing():
                    self._migrate()

    def _migrate(self) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()  # another process may have been quicker
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        if found == 1:
            self._connection.execute("INSERT INTO told VALUES (?)", (_NOT_WRITTEN_DOWN,))
        self._connection.execute(f"PRAGMA user_version = {_VERSION:d}")

    def is_new(self, url: str) -> bool:
        """Is the receiver at this address another than the last one? It needs a `begin`: it is not sent the past."""
        with _named("cannot read"):
            row = self._connection.execute("SELECT url FROM told").fetchone()
        return row is None or row[0] not in (url, _NOT_WRITTEN_DOWN)

    def begin(self, url: str, positions: Iterable[tuple[str, int]] = ()) -> None:
        """This receiver is told from now on, but of these calls nothing up to these seqs."""
        with self._writing():
            self._connection.executemany("INSERT OR REPLACE INTO cursor VALUES (?, ?, NULL)", positions)
            self._connection.execute("DELETE FROM told")
            self._connection.execute("INSERT INTO told VALUES (?)", (url,))

    def rest(self) -> None:
        """Nobody is told from now on, and whoever is later is new. Dead letters stay."""
        with self._writing():
            self._connection.execute("DELETE FROM told")

    def position(self, call: str) -> tuple[int, float | None]:
        """The last seq that is done with, and since when (wall clock) the next one is refused."""
        with _named("cannot read"):
            row = self._connection.execute("SELECT seq, failing_since FROM cursor WHERE call = ?", (call,)).fetchone()
        return (0, None) if row is None else (row[0], row[1])

    def reached(self, call: str, seq: int) -> None:
        """Everything of this call up to `seq` is done with."""
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, NULL)", (call, seq))

    def refused(self, call: str, seq: int, since_s: float) -> None:
        """What follows `seq` is refused, and has been since then."""
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (call, seq, since_s))

    def bury(self, letter: Dead, since_s: float) -> None:
        """Give this event up and go on after it; what follows counts as refused as long as it was."""
        with self._writing():
            row = (letter.id, letter.call, letter.seq, letter.type, letter.body, letter.why)
            columns = "id, call, seq, type, body, why"
            self._connection.execute(f"INSERT OR IGNORE INTO dead ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
            position = (letter.call, letter.seq, since_s)
            self._connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", position)

    def dead(self, after: int = 0) -> tuple[int, Dead] | None:
        """The first dead letter whose number is greater than `after`, with its number."""
        wanted = "SELECT number, id, call, seq, type, body, why FROM dead WHERE number > ? ORDER BY number LIMIT 1"
        with _named("cannot read"):
            row = self._connection.execute(wanted, (after,)).fetchone()
        return None if row is None else (row[0], Dead(*row[1:]))

    def delivered(self, letter: Dead) -> None:
        """A dead letter was taken after all."""
        with self._writing():
            self._connection.execute("DELETE FROM dead WHERE id = ?", (letter.id,))

    def is_gone(self, url: str) -> bool:
        """Has the receiver at this address said that it wants no more?"""
        with _named("cannot read"):
            return self._connection.execute("SELECT 1 FROM gone WHERE url = ?", (url,)).fetchone() is not None

    def gone(self, url: str, yes: bool) -> None:
        """Remember that, or forget it."""
        with self._writing():
            what = "INSERT OR IGNORE INTO gone VALUES (?)" if yes else "DELETE FROM gone WHERE url = ?"
            self._connection.execute(what, (url,))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _named("cannot write"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
        raise StoreFailed(f"webhooks: {what}: {error}") from error
