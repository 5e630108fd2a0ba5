"""A rendered call: each payload where its position says, silence elsewhere, refusals without half a file."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.audio import Encoding, Party, decode
from assist.errors import StoreFailed
from assist.journal import Header, Journal, Record
from assist.wav import channels, render_wav
from tests.limits import largest_file
from tests.test_journal import BOTH, some, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "call.journal"


def wav(path: Path) -> tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.int16]]]:
    """Rate, and samples of shape (n, channels), read by the standard library."""
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return file.getframerate(), samples.reshape(-1, file.getnchannels())


def test_the_agent_is_left_and_gaps_are_silent(path: Path, tmp_path: Path) -> None:
    one, two = bytes(range(100)), bytes(range(100, 200))
    written(path, [Record("agent", 1000, one), Record("customer", 0, two)], parties=("customer", "agent"))
    render_wav(path, tmp_path / "out.wav")
    rate_hz, samples = wav(tmp_path / "out.wav")
    assert (rate_hz, samples.shape) == (8000, (1100, 2))
    assert np.array_equal(samples[1000:, 0], decode(one, "mulaw"))
    assert np.array_equal(samples[:100, 1], decode(two, "mulaw"))
    assert not samples[:1000, 0].any()
    assert not samples[100:, 1].any()


@pytest.mark.parametrize(
    ("given_parties", "wanted"),
    [
        (("customer", "agent"), ("agent", "customer")),
        (("system", "customer", "agent"), ("system", "agent", "customer")),
        (("customer", "system"), ("customer", "system")),
        (("customer",), ("customer",)),
    ],
)
def test_channels(given_parties: tuple[Party, ...], wanted: tuple[Party, ...]) -> None:
    assert channels(Header("call", 8000, "mulaw", given_parties)) == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(
        st.builds(
            Record,
            st.sampled_from(("agent", "customer", "system")),
            st.integers(0, 100) | st.integers(65_400, 65_600) | st.integers(0, 1_200_000),
            st.binary(max_size=150).map(lambda payload: payload * 2),
        ),
        max_size=25,
    ),
    encoding=st.sampled_from(("mulaw", "alaw", "l16")),
)
def test_a_wav_is_what_painting_each_record_in_place_gives(
    path: Path, records: list[Record], encoding: Encoding
) -> None:
    path.unlink(missing_ok=True)
    parties: tuple[Party, ...] = ("agent", "customer", "system")
    written(path, records, encoding, parties)
    out = path.with_suffix(".wav")
    render_wav(path, out)
    painted = [(record, decode(record.payload, encoding)) for record in records if record.payload]
    wanted = np.zeros((max((r.position + s.size for r, s in painted), default=0), 3), dtype=np.int16)
    for record, samples in painted:
        wanted[record.position : record.position + samples.size, parties.index(record.party)] = samples
    assert np.array_equal(wav(out)[1], wanted)


def test_parties_far_apart_in_the_file_still_meet_in_time(path: Path, tmp_path: Path) -> None:
    places = [n * 65_536 + 65_530 for n in range(20)]  # each across the edge of a block, more than memory holds
    records = [Record(party, place, b"\x01" * 12) for party in BOTH for place in places]
    written(path, records)
    render_wav(path, tmp_path / "out.wav")
    samples = wav(tmp_path / "out.wav")[1]
    wanted = np.zeros_like(samples)
    for place in places:
        wanted[place : place + 12] = decode(b"\x01", "mulaw")[0]
    assert np.array_equal(samples, wanted)


def test_damage_is_silence_and_nothing_after_it_moves(path: Path, tmp_path: Path) -> None:
    whole = bytearray(written(path, some(10)).read_bytes())
    whole[len(whole) - 181 * 5 + 50] ^= 4
    path.write_bytes(whole)
    render_wav(path, tmp_path / "out.wav")
    samples = wav(tmp_path / "out.wav")[1]
    assert len(samples) == 1600
    assert not samples[800:960].any()
    assert np.array_equal(samples[1440:, 1], decode(bytes([9]) * 160, "mulaw"))


def test_a_lone_sample_after_a_day_takes_no_room(path: Path, tmp_path: Path) -> None:
    written(path, [Record("agent", 24 * 3600 * 8000 - 1, b"\x00")])
    render_wav(path, tmp_path / "out.wav")
    found = (tmp_path / "out.wav").stat()
    assert found.st_size == 44 + 24 * 3600 * 8000 * 4
    assert found.st_blocks * 512 < 2_000_000


def test_a_call_beyond_what_wav_can_say_is_refused_without_a_file(path: Path, tmp_path: Path) -> None:
    journal = Journal.create(path, "call", 48_000, "l16", BOTH)
    journal.append([Record("agent", 24 * 3600 * 48_000 - 2, bytes(4))])
    journal.close()
    with pytest.raises(StoreFailed, match="longer"):
        render_wav(path, tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_a_full_disk_leaves_no_half_of_a_wav(path: Path, tmp_path: Path) -> None:
    written(path, some(2000))
    with largest_file(100_000), pytest.raises(StoreFailed, match="cannot render"):
        render_wav(path, tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()
