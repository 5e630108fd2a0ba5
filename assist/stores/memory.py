"""Logs in a dict: the reference for every other store, and the store of tests and trial runs.

It knows no disk; everything is gone with the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from assist.errors import StoreFailed, UnknownCall
from assist.events import Line
from assist.hub import CallSummary, Store
from assist.stores.summary import severity, summarise


class Memory(Store):
    """A dict of lines and a dict of summaries. A call's place in the dicts is the order of arrival."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[str, dict[int, Line]] = {}
        self._calls: dict[str, CallSummary] = {}
        self._closed = False

    def append(self, lines: Sequence[Line]) -> None:
        with self._lock:
            self._open()
            for line in lines:
                entry = line.entry
                kept = self._lines.setdefault(entry.call, {})
                if entry.seq not in kept:
                    kept[entry.seq] = line
                    self._calls[entry.call] = summarise(self._calls.get(entry.call), entry)

    def read(self, call: str, after: int = 0, limit: int | None = None) -> list[Line]:
        with self._lock:
            self._open()
            if call not in self._lines:
                raise UnknownCall(f"no call {call!r}")
            wanted = sorted((seq, line) for seq, line in self._lines[call].items() if seq > after)
        return [line for _, line in wanted][: None if limit is None else max(limit, 0)]

    def calls(self, limit: int = 200, offset: int = 0, live: bool = False) -> list[CallSummary]:
        wanted = [summary for summary in self._newest() if not (live and summary.ended)]
        return wanted[max(offset, 0) :][: max(limit, 0)]

    def call(self, call: str) -> CallSummary:
        with self._lock:
            self._open()
            if call not in self._calls:
                raise UnknownCall(f"no call {call!r}")
            return self._calls[call]

    def flagged(self, limit: int = 200) -> list[CallSummary]:
        newest = [summary for summary in self._newest() if summary.flags]
        return sorted(newest, key=lambda s: (bool(s.reviews), -severity(s)))[: max(limit, 0)]

    def unfinished(self) -> list[str]:
        return [summary.call for summary in reversed(self._newest()) if not summary.ended]

    def close(self) -> None:
        self._closed = True

    def _newest(self) -> list[CallSummary]:
        with self._lock:
            self._open()
            return list(reversed(self._calls.values()))

    def _open(self) -> None:
        if self._closed:
            raise StoreFailed("the store is closed")
