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
_LIVE, _PART = ".live", ".part"

Peaks = tuple[tuple[Party, ...], list[list[int]]]


class Tapes:
    """The audio folder, read. `ended` says that a journal will not grow, so that what was made of it can be kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tapes")
        self._peaks: OrderedDict[Path, Peaks] = OrderedDict()

    def sweep(self) -> None:
        """Throw away what an earlier run made of live calls, or left half made."""
        for path in (*self._folder.glob(f"*{_LIVE}"), *self._folder.glob(f"*{_PART}")):
            path.unlink(missing_ok=True)

    async def wav(self, journal: Path, ended: bool) -> Path:
        """A WAV of all that the journal holds now, for `release` once it has been read. Raises StoreFailed."""
        return await asyncio.wrap_future(self._thread.submit(self._wav, journal, ended))

    async def waveform(self, journal: Path, ended: bool) -> Peaks:
        """The loudest sample of every `PEAK_MS` per party, 0..255. Raises StoreFailed."""
        return await asyncio.wrap_future(self._thread.submit(self._waveform, journal, ended))

    def release(self, wav: Path) -> None:
        """Throw it away where it was made of a live call. Whoever asks has one of their own: none grows under one."""
        if wav.suffix == _LIVE:
            wav.unlink(missing_ok=True)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _wav(self, journal: Path, ended: bool) -> Path:
        whole = journal.with_suffix(".wav")
        if whole.exists():  # also for who asked when the call was still live, and comes after one who did not
            return whole
        with tempfile.NamedTemporaryFile(dir=journal.parent, suffix=_PART if ended else _LIVE, delete=False) as file:
            made = Path(file.name)
        try:
            render_wav(journal, made)
            return made.replace(whole) if ended else made
        except BaseException:
            made.unlink(missing_ok=True)
            raise

    def _waveform(self, journal: Path, ended: bool) -> Peaks:
        if journal in self._peaks:
            return self._peaks[journal]
        found = peaks(journal, PEAK_MS)
        if ended:
            self._peaks[journal] = found
            while len(self._peaks) > REMEMBERED:
                self._peaks.popitem(last=False)
        return found
