"""A process that writes a call's log and its journal until somebody kills it, and says how far it came."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from assist.journal import Journal, Record
from assist.stores.sqlite import Sqlite
from tests.contracts.store import STARTED, lines, spoken

AHEAD: Final = 5  # entries, and journal records, in one batch: the most that may be kept and not yet said


def records(seq: int) -> list[Record]:
    """The one record that goes with entry `seq`."""
    return [Record("agent" if seq % 2 else "customer", seq * 160, seq.to_bytes(4, "little") * 40)]


def write(database: Path, audio: Path, call: str, acknowledged: Connection) -> None:
    """Batch after batch: entries, then audio, then the last seq to `acknowledged`; a sync now and then."""
    store = Sqlite(database)
    journal = Journal.create(audio, call, 8000, "mulaw", ("agent", "customer"))
    first = 1
    while True:
        seqs = range(first, first + AHEAD)
        store.append(lines(call, *(STARTED if seq == 1 else spoken(seq) for seq in seqs), first=first))
        journal.append([record for seq in seqs for record in records(seq)])
        acknowledged.send(seqs[-1])
        if first % 50 == 1:
            journal.sync()
        first += AHEAD
