"""The audio of one call in one append-only file, as received, each record with its length and checksum.

It knows neither sockets nor the log of entries, and nothing of what is said.

Layout, little-endian. Twice the header: `ASJ1`, u32 length, u32 crc32, JSON. Then records:
`F7 FE A7 52`, u32 length of the body, u32 crc32 of the body, body = u8 index of the party, u64 position in
samples at `rate_hz` on the call's clock, payload in the leg's encoding. The checksums of records start from the
header's random `salt`, so that a caller whose audio imitates a record cannot have it taken for one.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, NamedTuple
from zlib import crc32

import msgspec

from assist.audio import Encoding, Party
from assist.errors import StoreFailed

LONGEST_HOURS: Final = 24  # a position beyond this is a mistake, not a call
LARGEST_PAYLOAD: Final = 64 * 1024  # bytes in one record; `append` splits larger ones

_HEAD: Final = struct.Struct("<4sII")
_BODY: Final = struct.Struct("<BQ")
_HEADER_MARK: Final = b"ASJ1"
_RECORD_MARK: Final = b"\xf7\xfe\xa7\x52"
_LARGEST: Final = _BODY.size + LARGEST_PAYLOAD
_CHUNK: Final = 256 * 1024


class NoPlace(StoreFailed):
    """A record that no journal of this call will ever take: not what the disk says today."""


class Header(msgspec.Struct, frozen=True):
    """What every record of the file shares. `encoding` and `rate_hz` are the legs' own."""

    call: str
    rate_hz: Annotated[int, msgspec.Meta(ge=1_000, le=192_000)]
    encoding: Encoding
    parties: Annotated[tuple[Party, ...], msgspec.Meta(min_length=1)]
    salt: int = 0

    @property
    def width(self) -> int:
        """Bytes per sample."""
        return 2 if self.encoding == "l16" else 1

    def takes(self, party: Party, position: int, payload_bytes: int) -> bool:
        """Whether there is a place for it: of a party of this call, and as in `holds`."""
        return party in self.parties and self.holds(position, payload_bytes)

    def holds(self, position: int, payload_bytes: int) -> bool:
        """Whether a payload of that many bytes at `position` is whole samples within the first 24 hours."""
        end = position + payload_bytes // self.width
        return payload_bytes % self.width == 0 and position >= 0 and end <= LONGEST_HOURS * 3600 * self.rate_hz


_header_decoder: Final = msgspec.json.Decoder(Header)


class Record(NamedTuple):
    """`payload` of one party, whose first sample stands at `position` (samples at `rate_hz` from call start)."""

    party: Party
    position: int
    payload: bytes


class Damage(NamedTuple):
    """`size` bytes from byte `at` of the file that are no good record; `torn` if no good record follows."""

    at: int
    size: int
    torn: bool


class Measure(NamedTuple):
    """What a journal holds. `audio_ms` counts payload by party, so audio that came twice counts twice.

    `duration_ms` is the end of the last sample on the call's clock.
    """

    records: int
    audio_ms: dict[Party, float]
    duration_ms: int
    damage: tuple[Damage, ...]


class Journal:
    """The writing end. `append` survives the process at once, `sync` survives a power cut.

    One thread appends while another may sync; neither may run when it is closed.
    """

    def __init__(self, path: Path, header: Header, descriptor: int, size: int) -> None:
        self.path = path
        self.header = header
        self.size = size
        self._descriptor = descriptor
        self._listed = False
        self._doubted = False

    @classmethod
    def create(cls, path: Path, call: str, rate_hz: int, encoding: Encoding, parties: Sequence[Party]) -> Journal:
        """A new journal. Raises StoreFailed if the file exists or cannot be written."""
        header = Header(call, rate_hz, encoding, tuple(parties), secrets.randbits(32))
        text = msgspec.json.encode(header)
        data = 2 * (_HEAD.pack(_HEADER_MARK, len(text), crc32(text)) + text)  # twice: one may take a bit flip
        with _named(f"cannot create {path}"):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        journal = cls(path, header, descriptor, size=0)
        try:
            journal._write(data)
        except StoreFailed:
            journal.close()
            path.unlink(missing_ok=True)
            raise
        return journal

    def append(self, records: Sequence[Record]) -> None:
        """Keep these, all or none, with one write.

        Raises StoreFailed if the disk refuses, NoPlace if a party is not in the header, if a payload is not
        whole samples or if it reaches beyond 24 hours; the file then ends with the last good record, as before.
        """
        data = b"".join(piece for record in records for piece in self._pieces(record))
        if data:
            self._write(data)

    def sync(self) -> None:
        """Return when everything appended is on the disk. Raises StoreFailed.

        After one failure it always fails: Linux drops the pages it could not write and reports that once.
        """
        if self._doubted:
            raise StoreFailed(f"{self.path}: an earlier sync failed, what the disk holds is not known")
        try:
            with _named(f"cannot sync {self.path}"):
                os.fdatasync(self._open())
                if not self._listed:
                    _sync_folder(self.path.parent)
                    self._listed = True
        except StoreFailed:
            self._doubted = True
            raise

    def close(self) -> None:
        """Close without syncing; closing twice is no error."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with _named(f"cannot close {self.path}"):
                os.close(descriptor)

    def _pieces(self, record: Record) -> Iterator[bytes]:
        header = self.header
        if not header.takes(record.party, record.position, len(record.payload)):
            raise NoPlace(f"{self.path}: no place for {len(record.payload)} bytes of {record.party}")
        for at in range(0, len(record.payload), LARGEST_PAYLOAD):
            position = record.position + at // header.width
            piece = record.payload[at : at + LARGEST_PAYLOAD]
            body = _BODY.pack(header.parties.index(record.party), position) + piece
            yield _HEAD.pack(_RECORD_MARK, len(body), crc32(body, header.salt)) + body

    def _write(self, data: bytes) -> None:
        with _named(f"cannot write {self.path}"):
            descriptor = self._open()
            try:
                # At a fixed place: what an earlier failure may have left behind is overwritten.
                if os.pwrite(descriptor, data, self.size) != len(data):
                    raise OSError("the disk took only a part")  # a disk that fills up says so only next time
            except OSError:
                os.ftruncate(descriptor, self.size)
                raise
        self.size += len(data)

    def _open(self) -> int:
        if self._descriptor < 0:
            raise StoreFailed(f"{self.path}: the journal is closed")
        return self._descriptor


def scan(path: Path) -> Iterator[Record | Damage]:
    """Records and damage in file order, holding one record at a time.

    After damage it goes on at the next good record. A file may be scanned while it is written.
    Raises StoreFailed if the file cannot be read or has no readable header.
    """
    with _named(f"cannot read {path}"), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, at = _find_header(path, file)
        while at < size:
            start = at
            while (body := _take(file, start, _RECORD_MARK, header.salt)) is None or not _sane(header, body):
                start = _find(file, _RECORD_MARK, start + 1)
                if start < 0:
                    yield Damage(at, size - at, torn=True)
                    return
            if start > at:
                yield Damage(at, start - at, torn=False)
            party, position = _BODY.unpack_from(body)
            yield Record(header.parties[party], position, body[_BODY.size :])
            at = start + _HEAD.size + len(body)


def read_header(path: Path) -> Header:
    """What all records of the file share. Raises StoreFailed as `scan` does."""
    with _named(f"cannot read {path}"), path.open("rb") as file:
        return _find_header(path, file)[0]


def read(path: Path) -> tuple[Header, list[Record]]:
    """The header and every good record, in file order. Raises StoreFailed as `scan` does."""
    return read_header(path), [item for item in scan(path) if isinstance(item, Record)]


def measure(path: Path) -> Measure:
    """How much audio the journal holds and how much of the file is damaged. Raises StoreFailed as `scan` does."""
    header = read_header(path)
    samples: dict[Party, int] = dict.fromkeys(header.parties, 0)
    records = end = 0
    damage: list[Damage] = []
    for item in scan(path):
        if isinstance(item, Damage):
            damage.append(item)
            continue
        count = len(item.payload) // header.width
        records += 1
        samples[item.party] += count
        end = max(end, item.position + count)
    audio_ms = {party: count * 1000 / header.rate_hz for party, count in samples.items()}
    return Measure(records, audio_ms, end * 1000 // header.rate_hz, tuple(damage))


def repair(path: Path) -> int:
    """Cut the file after its last good record and return how many bytes were cut.

    For journals that nobody writes any more. Damage before the last good record stays; `scan` skips it.
    Raises StoreFailed if the file cannot be read or written, or has no readable header and so no usable audio.
    """
    damage = measure(path).damage
    if not damage or not damage[-1].torn:
        return 0
    with _named(f"cannot repair {path}"), path.open("r+b") as file:
        file.truncate(damage[-1].at)
        os.fsync(file.fileno())
    return damage[-1].size


def _find_header(path: Path, file: BinaryIO) -> tuple[Header, int]:
    """The header and the byte where the records start."""
    at = 0
    while 0 <= at < _CHUNK:
        text = _take(file, at, _HEADER_MARK, 0)
        if text is not None:
            header = _header_decoder.decode(text)
            size = _HEAD.size + len(text)
            return header, at + size if at else 2 * size  # found late: it is the second copy
        at = _find(file, _HEADER_MARK, at + 1)
    raise StoreFailed(f"{path} is no journal that this version can read, or its header is damaged")


def _take(file: BinaryIO, at: int, mark: bytes, salt: int) -> bytes | None:
    """The checked bytes of what starts with `mark` at byte `at`, or None if nothing whole does."""
    file.seek(at)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    found, length, checksum = _HEAD.unpack(head)
    if found != mark or length > _LARGEST:
        return None
    body = file.read(length)
    return body if len(body) == length and crc32(body, salt) == checksum else None


def _sane(header: Header, body: bytes) -> bool:
    if len(body) < _BODY.size:
        return False
    party, position = _BODY.unpack_from(body)
    return party < len(header.parties) and header.holds(position, len(body) - _BODY.size)


def _find(file: BinaryIO, mark: bytes, at: int) -> int:
    """Where `mark` next stands at or after byte `at`; -1 if nowhere."""
    while True:
        file.seek(at)
        chunk = file.read(_CHUNK)
        found = chunk.find(mark)
        if found >= 0:
            return at + found
        if len(chunk) < _CHUNK:
            return -1
        at += _CHUNK - len(mark) + 1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StoreFailed(f"{what}: {error}") from error
