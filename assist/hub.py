"""Logs and cursors: one append-only list of lines per call, and the store that follows behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from assist.conversation import Flag
from assist.events import Line, Reviewed


class CallSummary(msgspec.Struct, frozen=True):
    """One row of the list of calls, kept up to date by the store from the entries it appends.

    `sentiment` is the call score, -1..1, of the last Noticed; `topic` its last topic other than "none".
    """

    call: str
    started_at: str
    platform: str
    metadata: dict[str, str]
    recogniser: str
    last_seq: int
    ended: bool = False
    reason: str = ""
    duration_ms: int = 0
    topic: str = ""
    sentiment: float | None = None
    flags: tuple[Flag, ...] = ()
    reviews: tuple[Reviewed, ...] = ()


class Store(Protocol):
    """Keeps logs. Synchronous: the hub calls it from its one writer thread, routes from theirs."""

    def append(self, lines: Sequence[Line]) -> None:
        """Keep these, all or none; durable on return. Idempotent on (call, seq). Raises StoreFailed."""

    def read(self, call: str, after: int = 0, limit: int | None = None) -> list[Line]:
        """Lines with seq > `after`, in order. Raises UnknownCall."""

    def calls(self, limit: int = 200, offset: int = 0) -> list[CallSummary]:
        """Newest first."""

    def call(self, call: str) -> CallSummary:
        """One call. Raises UnknownCall."""

    def flagged(self, limit: int = 200) -> list[CallSummary]:
        """Calls with at least one flag: unreviewed first, then by highest severity, then newest first."""

    def unfinished(self) -> list[str]:
        """Ids of calls without a CallEnded, oldest first."""

    def close(self) -> None: ...
