"""WAV files and waveforms of journals, live and ended."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
import soundfile

from assist.errors import StoreFailed
from assist.journal import Journal, Record
from assist.tapes import Tapes


def journal(folder: Path, seconds: int) -> Journal:
    made = Journal.create(folder / "6363.journal", "cc", 8_000, "mulaw", ("agent", "customer"))
    for second in range(seconds):
        made.append(
            [Record("agent", second * 8_000, b"\x10" * 8_000), Record("customer", second * 8_000, b"\xff" * 400)]
        )
    return made


async def test_a_live_call_grows_and_an_ended_one_is_made_once(tmp_path: Path) -> None:
    with closing(Tapes(tmp_path)) as tapes:
        made = journal(tmp_path, 1)
        live = await tapes.wav(made.path, ended=False)
        assert soundfile.info(live).frames == 8_000
        made.append([Record("agent", 8_000, b"\x10" * 8_000)])
        longer = await tapes.wav(made.path, ended=False)
        assert soundfile.info(longer).frames == 16_000
        assert soundfile.info(live).frames == 8_000, "what one listens to changed under them"
        tapes.release(live)
        assert longer.exists() and not live.exists()
        tapes.release(longer)
        made.close()
        waves = await asyncio.gather(*(tapes.wav(made.path, ended=True) for _ in range(5)))
        assert len(set(waves)) == 1 and soundfile.info(waves[0]).frames == 16_000
        assert oct(waves[0].stat().st_mode)[-3:] == "600"
        first = waves[0].stat().st_ino
        assert (await tapes.wav(made.path, ended=True)).stat().st_ino == first
        # Who asked just before the end may come just after it.
        assert await tapes.wav(made.path, ended=False) == waves[0]
        tapes.release(waves[0])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["6363.journal", "6363.wav"]


async def test_the_waveform_is_the_loudest_of_every_50_ms(tmp_path: Path) -> None:
    with closing(Tapes(tmp_path)) as tapes:
        journal(tmp_path, 2).close()
        parties, (agent, customer) = await tapes.waveform(tmp_path / "6363.journal", ended=True)
        assert parties == ("agent", "customer")
        assert len(agent) == len(customer) == 40
        assert min(agent) > 100 and max(agent) <= 255 and set(customer) == {0}


async def test_what_cannot_be_read_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "00.journal"
    broken.write_bytes(b"nothing of ours")
    (tmp_path / "old.live").write_bytes(b"")
    (tmp_path / "old.part").write_bytes(b"")
    with closing(Tapes(tmp_path)) as tapes:
        tapes.sweep()
        with pytest.raises(StoreFailed):
            await tapes.wav(broken, ended=True)
    assert [path.name for path in tmp_path.iterdir()] == ["00.journal"]
