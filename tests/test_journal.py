"""The journal gives back what it took, whatever was cut, flipped, refused or imitated."""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.audio import Encoding, Party
from assist.errors import StoreFailed
from assist.journal import (
    LARGEST_PAYLOAD,
    Damage,
    Journal,
    Record,
    measure,
    read,
    read_header,
    repair,
    scan,
)
from tests.limits import largest_file

BOTH: tuple[Party, ...] = ("agent", "customer")


def written(path: Path, records: list[Record], encoding: Encoding = "mulaw", parties: tuple[Party, ...] = BOTH) -> Path:
    journal = Journal.create(path, "call", 8000, encoding, parties)
    journal.append(records)
    journal.close()
    return path


def some(count: int, size: int = 160) -> list[Record]:
    return [Record(BOTH[n % 2], n * size, bytes([n % 251]) * size) for n in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "call.journal"


RECORDS = st.lists(
    st.builds(Record, st.sampled_from(BOTH), st.integers(0, 10**8), st.binary(min_size=1, max_size=300)), max_size=12
)
PROPERTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(batches=st.lists(RECORDS, max_size=4))
def test_gives_back_what_it_took(path: Path, batches: list[list[Record]]) -> None:
    path.unlink(missing_ok=True)
    journal = Journal.create(path, "call-1", 8000, "mulaw", BOTH)
    for batch in batches:
        journal.append(batch)
    journal.sync()
    journal.close()
    journal.close()
    header, found = read(path)
    assert found == [record for batch in batches for record in batch]
    assert (header.call, header.rate_hz, header.encoding, header.parties) == ("call-1", 8000, "mulaw", BOTH)
    assert path.stat().st_size == journal.size
    assert repair(path) == 0


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    written(path, some(3))
    with pytest.raises(StoreFailed, match="cannot create"):
        Journal.create(path, "call", 8000, "mulaw", BOTH)
    assert read(path)[1] == some(3)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="cannot create"):
        Journal.create(tmp_path / "absent" / "j", "call", 8000, "mulaw", BOTH)
    with pytest.raises(StoreFailed, match="cannot read"):
        read(tmp_path / "absent")


def test_only_the_owner_may_read_it(path: Path) -> None:
    assert written(path, []).stat().st_mode & 0o077 == 0


def test_a_large_payload_is_split_and_stays_in_place(path: Path) -> None:
    payload = bytes(range(256)) * 1000
    written(path, [Record("agent", 5, payload)], "l16")
    found = read(path)[1]
    assert b"".join(record.payload for record in found) == payload
    assert [record.position for record in found] == [5 + n * LARGEST_PAYLOAD // 2 for n in range(len(found))]
    assert len(found) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        Record("system", 0, b"ab"),
        Record("agent", -1, b"ab"),
        Record("agent", 24 * 3600 * 8000, b"ab"),
        Record("agent", 2**70, b"ab"),
        Record("agent", 0, b"odd"),
    ],
)
def test_a_record_without_a_place_is_refused_with_its_batch(path: Path, wrong: Record) -> None:
    journal = Journal.create(path, "call", 8000, "l16", BOTH)
    with pytest.raises(StoreFailed, match="no place"):
        journal.append([Record("agent", 0, b"good"), wrong])
    journal.append([Record("agent", 24 * 3600 * 8000 - 1, b"ok")])
    journal.close()
    assert [record.payload for record in read(path)[1]] == [b"ok"]


@PROPERTY
@given(records=RECORDS, data=st.data())
def test_a_tail_cut_at_any_byte_costs_only_the_cut_record(
    path: Path, records: list[Record], data: st.DataObject
) -> None:
    path.unlink(missing_ok=True)
    whole = written(path, records).read_bytes()
    start = len(whole) - sum(21 + len(record.payload) for record in records)
    cut = start + data.draw(st.integers(0, len(whole) - start))
    path.write_bytes(whole[:cut])
    ends = [start + sum(21 + len(record.payload) for record in records[: n + 1]) for n in range(len(records))]
    left = [record for record, end in zip(records, ends, strict=True) if end <= cut]
    assert read(path)[1] == left
    good = max((end for end in ends if end <= cut), default=start)
    assert repair(path) == cut - good
    assert path.stat().st_size == good
    assert (read(path)[1], measure(path).damage) == (left, ())


def test_zeros_after_the_end_are_a_torn_tail(path: Path) -> None:
    size = written(path, some(3)).stat().st_size
    os.truncate(path, size + 700_000)  # as a file system may leave it after a power cut
    assert measure(path).damage == (Damage(size, 700_000, torn=True),)
    assert repair(path) == 700_000
    assert read(path)[1] == some(3)


@PROPERTY
@given(records=RECORDS, data=st.data())
def test_a_flipped_bit_costs_at_most_its_own_record(path: Path, records: list[Record], data: st.DataObject) -> None:
    path.unlink(missing_ok=True)
    whole = bytearray(written(path, records).read_bytes())
    start = len(whole) - sum(21 + len(record.payload) for record in records)
    at = start + data.draw(st.integers(-180, len(whole) - start - 1))  # from the end: the header's length varies
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    wanted, place = [], start
    for record in records:
        end = place + 21 + len(record.payload)
        if not place <= at < end:
            wanted.append(record)
        place = end
    header, found = read(path)
    assert (header.call, header.parties) == ("call", BOTH)
    assert found == wanted
    lost = measure(path).damage
    assert len(lost) == (at >= start)
    assert all(damage.at <= at < damage.at + damage.size for damage in lost)


@PROPERTY
@given(junk=st.binary(max_size=200), after=st.booleans())
def test_any_bytes_give_records_or_a_named_error(path: Path, junk: bytes, after: bool) -> None:
    path.unlink(missing_ok=True)
    good = written(path, some(2)).read_bytes() if after else b""
    path.write_bytes(good + junk)
    try:
        found = read(path)[1]
    except StoreFailed:
        assert not after
    else:
        assert found[:2] == some(2)


def test_damage_in_the_middle_is_told_and_the_rest_found_far_away(path: Path) -> None:
    records = some(40, size=20_000)
    whole = bytearray(written(path, records).read_bytes())
    step = 20_021
    start = len(whole) - 40 * step
    whole[start + 5 * step : start + 35 * step] = bytes(30 * step)  # a hole larger than one search
    path.write_bytes(whole)
    assert read(path)[1] == records[:5] + records[35:]
    assert measure(path).damage == (Damage(start + 5 * step, 30 * step, torn=False),)
    assert repair(path) == 0
    assert len(read(path)[1]) == 10


def test_audio_that_imitates_a_record_is_not_taken_for_one(path: Path) -> None:
    fake_body = b"\x00" + (10**8).to_bytes(8, "little") + b"spoof"
    fake = (
        b"\xf7\xfe\xa7\x52" + len(fake_body).to_bytes(4, "little") + crc32(fake_body).to_bytes(4, "little") + fake_body
    )
    whole = bytearray(written(path, [Record("customer", 0, b"x" * 50 + fake), *some(2)]).read_bytes())
    whole[whole.index(b"xxxx")] ^= 1
    path.write_bytes(whole)
    assert read(path)[1] == some(2)


def test_a_file_of_another_kind_or_version_is_refused(path: Path) -> None:
    whole = written(path, some(2)).read_bytes()
    size = (len(whole) - 2 * 181) // 2
    for content in (
        b"",
        whole[:50],
        whole[: size - 1],
        b"RIFF" * 100,
        whole.replace(b"ASJ1", b"ASJ2"),
        whole.replace(b'"mulaw"', b'"opus!"'),
    ):
        path.write_bytes(content)
        for ask in (read, read_header, measure, repair, lambda file: list(scan(file))):
            with pytest.raises(StoreFailed):
                ask(path)
        assert path.read_bytes() == content


def test_a_header_of_nonsense_is_refused(path: Path) -> None:
    for text in (b"{}", b"[1]", b'{"call":"a","rate_hz":8000,"encoding":"opus","parties":["agent"]}', b"\xff"):
        path.write_bytes(b"ASJ1" + len(text).to_bytes(4, "little") + crc32(text).to_bytes(4, "little") + text)
        with pytest.raises(StoreFailed):
            read(path)


def test_a_full_disk_refuses_a_batch_whole_and_harms_nothing(path: Path) -> None:
    journal = Journal.create(path, "call", 8000, "mulaw", BOTH)
    journal.append(some(5))
    size = journal.size
    for room in (0, 1, 100, 181, 500):  # short writes, and none at all
        with largest_file(size + room), pytest.raises(StoreFailed, match="cannot write"):
            journal.append(some(5))
        assert path.stat().st_size == journal.size == size
    journal.append(some(3))
    journal.sync()
    journal.close()
    assert read(path)[1] == some(5) + some(3)
    assert repair(path) == 0


def test_no_journal_is_left_where_there_was_no_room_for_its_header(path: Path) -> None:
    with largest_file(10), pytest.raises(StoreFailed):
        Journal.create(path, "call", 8000, "mulaw", BOTH)
    assert not path.exists()
    written(path, some(1))


def test_a_sync_that_failed_once_is_never_believed_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "call.journal"
    path.parent.mkdir()
    journal = Journal.create(path, "call", 8000, "mulaw", BOTH)
    path.parent.rename(tmp_path / "elsewhere")  # its folder cannot be synced under the old name
    for _ in range(2):
        with pytest.raises(StoreFailed, match="sync"):
            journal.sync()
    (tmp_path / "elsewhere").rename(path.parent)
    with pytest.raises(StoreFailed, match="earlier sync"):
        journal.sync()
    journal.append(some(1))
    journal.close()
    assert read(path)[1] == some(1)


def test_a_closed_journal_takes_nothing(path: Path) -> None:
    journal = Journal.create(path, "call", 8000, "mulaw", BOTH)
    journal.close()
    with pytest.raises(StoreFailed, match="closed"):
        journal.append(some(1))
    with pytest.raises(StoreFailed, match="closed"):
        journal.sync()


def test_it_can_be_read_while_it_is_written(path: Path) -> None:
    journal = Journal.create(path, "call", 8000, "mulaw", BOTH)
    for count in range(1, 30):
        journal.append([some(count)[-1]])
        assert read(path)[1] == some(count)
    journal.close()


def test_it_measures_each_party(path: Path) -> None:
    written(
        path, [Record("agent", 0, bytes(800)), Record("customer", 4000, bytes(400)), Record("agent", 800, bytes(8))]
    )
    found = measure(path)
    assert (found.records, found.duration_ms, found.damage) == (3, 550, ())
    assert found.audio_ms == {"agent": 101.0, "customer": 50.0}
