"""The header of a WAV, as programs send it before their audio: where the audio begins, and what it is.

It knows no call. Source: Microsoft's multimedia data standards update, 1994 (WAVE_FORMAT_EXTENSIBLE: the first two
bytes of the subformat are the format's tag).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from assist.audio import Encoding
from assist.errors import BadEncoding

_TAKEN: Final[dict[tuple[int, int], Encoding]] = {(1, 16): "l16", (6, 8): "alaw", (7, 8): "mulaw"}
"""By the format's tag and the bits of a sample."""
_EXTENSIBLE: Final = 0xFFFE
_LEAST_FORMAT: Final = 16
_TAG_AT: Final = 24  # in an extensible format
_TAG_END: Final = _TAG_AT + 2


class Form(NamedTuple):
    """What the bytes are. `channels`: their samples stand in turn."""

    encoding: Encoding
    rate_hz: int
    channels: int


class Header(NamedTuple):
    """`length`: bytes before the audio, 0 where it begins at once. `form`: None where no header says."""

    length: int
    form: Form | None = None


def begins(data: bytes) -> bool:
    """Whether `data` is a WAV, or may yet become one."""
    return b"RIFF".startswith(data[:4]) and b"WAVE".startswith(data[8:12])


def header(data: bytes, most: int) -> Header | None:
    """The header that `data` begins with, None as long as that cannot be told.

    One that goes beyond `most` bytes is not looked through: its length is 0. Raises BadEncoding for a format that is
    not taken.
    """
    if not begins(data):
        return Header(0)
    at, form = 12, None
    while at + 8 <= min(len(data), most):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            return Header(at, form)
        if name == b"fmt ":
            if at + min(size, _TAG_END) > len(data):
                break
            form = _form(data[at : at + size])
        at += size + size % 2
    return Header(0) if max(at, len(data)) > most else None


def _form(chunk: bytes) -> Form:
    if len(chunk) < _LEAST_FORMAT:
        raise BadEncoding("WAV: the fmt chunk is too short")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= _TAG_END:
        (tag,) = struct.unpack_from("<H", chunk, _TAG_AT)
    if (tag, bits) not in _TAKEN:
        raise BadEncoding(f"WAV: format {tag} of {bits} bits is not taken: PCM of 16 bits, A-law or mu-law")
    return Form(_TAKEN[tag, bits], rate_hz, channels)
