"""A call's journal as a WAV file to listen to: one channel per party, silence where nothing came.

It knows the journal's records and nothing of how they are kept.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from assist.audio import Party, Samples, decode
from assist.errors import StoreFailed
from assist.journal import Header, Record, read_header, scan

_BLOCK: Final = 1 << 16  # samples per channel, 8 s at 8 kHz
_BLOCKS: Final = 8  # parties may drift apart by this many blocks before rendering gets slow
_START: Final = 44  # bytes of RIFF header
_LARGEST: Final = 2**32 - 1 - _START  # RIFF counts bytes in 32 bits


def in_channels(parties: tuple[Party, ...]) -> tuple[Party, ...]:
    """The parties in the order of the WAV's channels: as given, but the agent left of the customer."""
    order: tuple[Party, ...] = ("agent", "customer", "system")
    if not {"agent", "customer"}.issubset(parties):
        return parties
    pair = iter(order[:2])
    return tuple(next(pair) if party in order[:2] else party for party in parties)


def channels(header: Header) -> tuple[Party, ...]:
    """The channels of this journal's WAV."""
    return in_channels(header.parties)


def render_wav(path: Path, out: Path) -> None:
    """Write the journal at `path` as WAV: s16 at the journal's own rate, channels as `channels` says.

    Each payload stands where its position says; gaps and damage are silence, later audio never shifts.
    Where two records overlap, the one later in the file is heard. Memory stays within 8 blocks of 65,536
    samples per channel, however long the call. Raises StoreFailed, and then leaves no file.
    """
    header = read_header(path)
    parties = channels(header)
    try:
        with out.open("w+b") as file:
            canvas = _Canvas(file, len(parties))
            for item in scan(path):
                if isinstance(item, Record):
                    canvas.put(parties.index(item.party), item.position, decode(item.payload, header.encoding))
            canvas.finish(header.rate_hz)
    except (OSError, StoreFailed) as error:
        out.unlink(missing_ok=True)
        raise StoreFailed(f"cannot render {path}: {error}") from error


def peaks(path: Path, ms_per_peak: int) -> tuple[tuple[Party, ...], list[list[int]]]:
    """The parties as channels, and for each the loudest sample of every `ms_per_peak`, 0..255, all of one length.

    Raises StoreFailed.
    """
    header = read_header(path)
    parties = channels(header)
    step = header.rate_hz * ms_per_peak // 1000
    found: list[list[int]] = [[] for _ in parties]
    for item in scan(path):
        if isinstance(item, Record):
            loud = np.minimum(np.abs(decode(item.payload, header.encoding).astype(np.int32)) >> 7, 255)
            if not loud.size:
                continue
            row = found[parties.index(item.party)]
            first, last = item.position // step, (item.position + loud.size - 1) // step
            starts = np.maximum(np.arange(first, last + 1) * step - item.position, 0)
            row.extend([0] * (last + 1 - len(row)))
            for n, peak in enumerate(np.maximum.reduceat(loud, starts), first):
                row[n] = max(row[n], int(peak))
    longest = max(map(len, found), default=0)
    return parties, [row + [0] * (longest - len(row)) for row in found]


class _Canvas:
    """Interleaved samples in a file, written in any order through a few blocks in memory."""

    def __init__(self, file: BinaryIO, width: int) -> None:
        self._file = file
        self._width = width
        self._samples = 0
        self._blocks: OrderedDict[int, Samples] = OrderedDict()

    def put(self, channel: int, position: int, samples: Samples) -> None:
        end = position + samples.size
        if end * self._width * 2 > _LARGEST:
            raise StoreFailed("longer than a WAV file can say")
        self._samples = max(self._samples, end)
        while samples.size:
            number, at = divmod(position, _BLOCK)
            part = samples[: _BLOCK - at]
            self._block(number)[at : at + part.size, channel] = part
            position += part.size
            samples = samples[part.size :]

    def finish(self, rate_hz: int) -> None:
        while self._blocks:
            self._write_oldest()
        frame_bytes = self._width * 2
        data_bytes = self._samples * frame_bytes
        self._file.truncate(_START + data_bytes)  # also lengthens: a gap at the end is silence
        self._file.seek(0)
        form = (1, self._width, rate_hz, rate_hz * frame_bytes, frame_bytes, 16)  # 1 is PCM
        self._file.write(struct.pack("<4sI8sIHHIIHH", b"RIFF", 36 + data_bytes, b"WAVEfmt ", 16, *form))
        self._file.write(struct.pack("<4sI", b"data", data_bytes))

    def _block(self, number: int) -> Samples:
        block = self._blocks.get(number)
        if block is None:
            if len(self._blocks) >= _BLOCKS:
                self._write_oldest()
            block = np.zeros((_BLOCK, self._width), dtype="<i2")
            self._file.seek(_START + number * block.nbytes)
            seen = np.frombuffer(self._file.read(block.nbytes), dtype="<i2")
            block.reshape(-1)[: seen.size] = seen
            self._blocks[number] = block
        self._blocks.move_to_end(number)
        return block

    def _write_oldest(self) -> None:
        number, block = self._blocks.popitem(last=False)
        self._file.seek(_START + number * block.nbytes)
        self._file.write(block.tobytes())
