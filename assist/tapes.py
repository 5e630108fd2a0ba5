"""Calls to listen to: their journals as WAV files and waveforms, made when asked for and kept once the call has ended.

One thread does it all: rendering an hour takes seconds, and must not take the threads that let calls in.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from assist.audio import Party
from assist.wav import peaks, render_wav

PEAK_MS = 50
REMEMBERED = 32

Peaks = tuple[tuple[Party, ...], list[list[int]]]


class Tapes:
    """The audio folder, read. `ended` says that a journal will not grow, so that what was made of it can be kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tapes")
        self._peaks: OrderedDict[Path, Peaks] = OrderedDict()

    def sweep(self) -> None:
        """Throw away what an earlier run made of live calls, or left half made."""
        for path in (*self._folder.glob("*.live"), *self._folder.glob("*.part")):
            path.unlink(missing_ok=True)

    async def wav(self, journal: Path, ended: bool) -> Path:
        """A WAV of all that the journal holds now. Raises StoreFailed."""
        return await asyncio.wrap_future(self._thread.submit(self._wav, journal, ended))

    async def waveform(self, journal: Path, ended: bool) -> Peaks:
        """The loudest sample of every `PEAK_MS` per party, 0..255. Raises StoreFailed."""
        return await asyncio.wrap_future(self._thread.submit(self._waveform, journal, ended))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _wav(self, journal: Path, ended: bool) -> Path:
        whole = journal.with_suffix(".wav")
        if whole.exists():  # also for who asked when the call was still live, and comes after one who did not
            return whole
        path = whole if ended else journal.with_suffix(".live")
        # Whoever still reads an earlier one keeps it: the new file takes its name, not its place on disk.
        with tempfile.NamedTemporaryFile(dir=journal.parent, suffix=".part", delete=False) as part:
            made = Path(part.name)
        try:
            render_wav(journal, made)
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)
        if ended:
            journal.with_suffix(".live").unlink(missing_ok=True)
        return path

    def _waveform(self, journal: Path, ended: bool) -> Peaks:
        if journal in self._peaks:
            return self._peaks[journal]
        found = peaks(journal, PEAK_MS)
        if ended:
            self._peaks[journal] = found
            while len(self._peaks) > REMEMBERED:
                self._peaks.popitem(last=False)
        return found
