"""Logs in one SQLite file: WAL, durable at each commit, migrated to the newest schema when opened.

It knows nothing of sockets or of who reads; what a summary says is decided in `summary.py`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.dialects.sqlite import insert

from assist.errors import BadMessage, StoreFailed, StoreNewer, UnknownCall
from assist.events import Line, decode
from assist.hub import CallSummary, Store
from assist.stores.summary import severity, summarise

log = logging.getLogger("assist.stores.sqlite")

METADATA: Final = sa.MetaData()

CALL: Final = sa.Table(
    "call",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),  # order of arrival; wall clocks may step back
    sa.Column("call", sa.Text, nullable=False, unique=True),
    sa.Column("ended", sa.Boolean, nullable=False),
    sa.Column("reviewed", sa.Boolean, nullable=False),
    sa.Column("severity", sa.Integer, nullable=False),
    sa.Column("summary", sa.LargeBinary, nullable=False),  # CallSummary as JSON; the columns above order it
)
sa.Index("call_unfinished", CALL.c.id, sqlite_where=sa.text("NOT ended"))
sa.Index("call_flagged", CALL.c.reviewed, CALL.c.severity, CALL.c.id, sqlite_where=sa.text("severity > 0"))

ENTRY: Final = sa.Table(
    "entry",
    METADATA,
    sa.Column("call", sa.Text, sa.ForeignKey("call.call"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.Integer, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)

_LARGEST: Final = 2**63 - 1  # SQLite's integer
_MOST_NAMED: Final = 1_000  # calls in one statement; SQLite takes 32,766 values
_WAL_BYTES: Final = 64 * 2**20  # what the WAL is cut back to after a checkpoint
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_GONE_ON: Final = (
    sa.update(CALL)
    .where(CALL.c.call == sa.bindparam("which"))
    .values({name: sa.bindparam(name) for name in ("ended", "reviewed", "severity", "summary")})
)
_ENTRIES: Final = insert(ENTRY).on_conflict_do_nothing()
_summaries: Final = msgspec.json.Decoder(CallSummary)


class Sqlite(Store):
    """One file, many threads: each call takes its own connection, writers queue, readers never wait for them.

    `busy_timeout_ms` is how long a writer waits for another process that holds the file.
    Raises StoreFailed if the file cannot be opened, StoreNewer if a newer version wrote it.
    """

    def __init__(self, path: Path, busy_timeout_ms: int = 5000) -> None:
        self._closed = False
        with _named(f"cannot open {path}"):
            path.touch(mode=0o600)  # transcripts are personal; -wal and -shm take the file's mode
            _migrate(path, busy_timeout_ms)
            self._engine = _engine(path, busy_timeout_ms)
            self._writer = self._engine.execution_options(writes=True)

    def append(self, lines: Sequence[Line]) -> None:
        logs: dict[str, list[Line]] = {}
        for each in lines:
            logs.setdefault(each.entry.call, []).append(each)
        if logs:
            with self._connection("cannot append", writes=True) as connection:
                _append(connection, logs)

    def read(self, call: str, after: int = 0, limit: int | None = None) -> list[Line]:
        wanted = (
            sa.select(ENTRY.c.raw)
            .where(ENTRY.c.call == call, ENTRY.c.seq > _fit(after))
            .order_by(ENTRY.c.seq)
            .limit(None if limit is None else _fit(limit, least=0))
        )
        with self._connection("cannot read") as connection:
            rows = connection.scalars(wanted).all()
            if not rows and _summary(connection, call) is None:
                raise UnknownCall(f"no call {call!r}")
        try:
            return [Line(decode(raw), raw) for raw in rows]
        except BadMessage as error:
            raise StoreFailed(f"the log of {call!r} holds a damaged entry: {error}") from error

    def calls(self, limit: int = 200, offset: int = 0, live: bool = False) -> list[CallSummary]:
        newest = sa.select(CALL.c.summary).order_by(CALL.c.id.desc())
        if live:
            newest = newest.where(~CALL.c.ended)
        return self._summaries(newest.limit(_fit(limit, least=0)).offset(_fit(offset, least=0)))

    def call(self, call: str) -> CallSummary:
        with self._connection("cannot read") as connection:
            summary = _summary(connection, call)
        if summary is None:
            raise UnknownCall(f"no call {call!r}")
        return summary

    def flagged(self, limit: int = 200) -> list[CallSummary]:
        flagged = sa.select(CALL.c.summary).where(CALL.c.severity > 0)
        ordered = flagged.order_by(CALL.c.reviewed, CALL.c.severity.desc(), CALL.c.id.desc())
        return self._summaries(ordered.limit(_fit(limit, least=0)))

    def unfinished(self) -> list[str]:
        with self._connection("cannot read") as connection:
            return list(connection.scalars(sa.select(CALL.c.call).where(~CALL.c.ended).order_by(CALL.c.id)))

    def close(self) -> None:
        self._closed = True
        self._engine.dispose()

    def _summaries(self, wanted: sa.Select[bytes]) -> list[CallSummary]:
        """Less those that are damaged: one such call must not hide all others."""
        found = []
        with self._connection("cannot read") as connection:
            for raw in connection.scalars(wanted):
                try:
                    found.append(_summaries.decode(raw))
                except msgspec.DecodeError as error:
                    log.error("a call is left out of the list, its summary is damaged: %s", error)
        return found

    @contextmanager
    def _connection(self, what: str, writes: bool = False) -> Iterator[sa.Connection]:
        if self._closed:
            raise StoreFailed("the store is closed")
        with _named(what), (self._writer if writes else self._engine).begin() as connection:
            yield connection


def _append(connection: sa.Connection, logs: dict[str, list[Line]]) -> None:
    """Each call's lines, in three statements for all calls together: many are live, and a statement costs 0.1 ms."""
    before = _last(connection, list(logs))
    begun: list[dict[str, Any]] = []
    gone_on: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for call, lines in logs.items():
        summary = before.get(call)
        kept: set[int] = set()
        if summary is not None and any(line.entry.seq <= summary.last_seq for line in lines):
            kept.update(connection.scalars(sa.select(ENTRY.c.seq).where(ENTRY.c.call == call)))
        fresh = len(rows)
        for entry, raw in lines:
            if entry.seq not in kept:
                kept.add(entry.seq)
                summary = summarise(summary, entry)
                name = type(entry.event).__name__
                rows.append({"call": call, "seq": entry.seq, "at_ms": entry.at_ms, "type": name, "raw": raw})
        if summary is not None and len(rows) > fresh:
            if call in before:
                gone_on.append({"which": call, **_row(summary)})
            else:
                begun.append({"call": call, **_row(summary)})
    if begun:
        connection.execute(sa.insert(CALL), begun)
    if gone_on:
        connection.execute(_GONE_ON, gone_on)
    if rows:
        connection.execute(_ENTRIES, rows)


def _row(summary: CallSummary) -> dict[str, Any]:
    return {
        "ended": summary.ended,
        "reviewed": bool(summary.reviews),
        "severity": severity(summary),
        "summary": msgspec.json.encode(summary),
    }


def _last(connection: sa.Connection, calls: Sequence[str]) -> dict[str, CallSummary]:
    """The summaries of those among `calls` that are known."""
    found: dict[str, CallSummary] = {}
    for at in range(0, len(calls), _MOST_NAMED):
        wanted = sa.select(CALL.c.call, CALL.c.summary).where(CALL.c.call.in_(calls[at : at + _MOST_NAMED]))
        found.update((call, _summaries.decode(raw)) for call, raw in connection.execute(wanted))
    return found


def _summary(connection: sa.Connection, call: str) -> CallSummary | None:
    raw = connection.scalar(sa.select(CALL.c.summary).where(CALL.c.call == call))
    return None if raw is None else _summaries.decode(raw)


def _engine(path: Path, busy_timeout_ms: int, foreign_keys: bool = True) -> sa.Engine:
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, pool_size=8, max_overflow=32, hide_parameters=True)  # rows are personal data

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver's own guessing at BEGIN is switched off
        connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms:d}")  # first: the next line may have to wait
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES:d}")
        connection.execute(f"PRAGMA foreign_keys = {foreign_keys:d}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes its lock at once: one that reads first and writes later fails if another wrote between.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(path: Path, busy_timeout_ms: int) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    # Without foreign keys: altering a table in SQLite means dropping the old one.
    engine = _engine(path, busy_timeout_ms, foreign_keys=False)
    try:
        with engine.execution_options(writes=True).begin() as connection:
            found = MigrationContext.configure(connection).get_current_heads()
            script = ScriptDirectory.from_config(config)
            known = {revision.revision for revision in script.walk_revisions()}
            if not known.issuperset(found):
                raise StoreNewer(
                    f"{path} has schema {', '.join(found)}, this version knows up to {script.get_current_head()}: "
                    "run the version that wrote it, or start with another file"
                )
            if set(found) != set(script.get_heads()):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()


def _fit(number: int, least: int = -_LARGEST) -> int:
    return max(least, min(number, _LARGEST))


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, CommandError, OSError, OverflowError, UnicodeEncodeError) as error:
        cause = getattr(error, "orig", None) or error  # SQLAlchemy's own text repeats the statement
        raise StoreFailed(f"{what}: {cause}") from error
    except msgspec.DecodeError as error:
        raise StoreFailed(f"{what}: a damaged summary: {error}") from error
