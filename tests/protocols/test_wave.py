"""Headers of WAVs: whole, in pieces, of other formats, without an end, and any bytes at all."""

from __future__ import annotations

import io
import wave as python_wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadEncoding
from assist.protocols import wave
from assist.protocols.wave import Form, Header

MOST = 4_096


def written(channels: int, rate_hz: int) -> bytes:
    """The header that Python's own writer makes."""
    file = io.BytesIO()
    with python_wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
    return file.getvalue()


@pytest.mark.parametrize(("channels", "rate_hz"), [(1, 8_000), (2, 44_100)])
def test_what_others_write_is_read_as_soon_as_it_is_whole(channels: int, rate_hz: int) -> None:
    whole = written(channels, rate_hz)
    assert [wave.header(whole[:end], MOST) for end in range(len(whole))] == [None] * len(whole)
    assert wave.header(whole + b"audio", MOST) == Header(44, Form("l16", rate_hz, channels))


@pytest.mark.parametrize("audio", [b"\0\0\1\0", b"RIFX", b"RIFF\0\0\0\0AVI "])
def test_audio_without_one_begins_at_once(audio: bytes) -> None:
    assert wave.header(audio, MOST) == Header(0)
    assert not wave.begins(audio)


def test_one_that_goes_on_and_on_is_not_looked_through() -> None:
    assert wave.header(b"RIFF\0\0\0\0WAVE" + b"junk\xff\xff\0\0", MOST) == Header(0)
    assert wave.header(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 600, MOST) == Header(0)


@pytest.mark.parametrize(("tag", "bits"), [(3, 32), (1, 24), (1, 8), (7, 16)])
def test_a_format_that_is_not_taken_is_named(tag: int, bits: int) -> None:
    whole = bytearray(written(1, 8_000))
    whole[20:22], whole[34:36] = tag.to_bytes(2, "little"), bits.to_bytes(2, "little")
    with pytest.raises(BadEncoding, match=f"WAV: format {tag} of {bits} bits"):
        wave.header(bytes(whole), MOST)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda rest: b"RIFF\0\0\0\0WAVE" + rest)))
def test_any_beginning_is_a_header_or_none_or_refused(begin: bytes) -> None:
    try:
        found = wave.header(begin, MOST)
    except BadEncoding as error:
        assert "WAV: " in str(error)
        return
    assert found is None or 0 <= found.length <= len(begin)
    if found is not None:
        assert wave.header(begin + b"more", MOST) == found, "what was found stands, whatever follows"
