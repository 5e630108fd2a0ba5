"""Asterisk's AudioSocket: a stream of bytes over TCP, cut anywhere, in frames of kind (1 byte), length (2), payload.

> 01 0010 and the UUID's 16 bytes, first; 10 to 18: linear PCM, little-endian, at 8 to 192 kHz; 03 0001 and a digit
> 00 0000 hangup, or a bare close; ff: an error of the platform's own
< 00 0000 where the end is ours, with which the dialplan goes on

A UUID is all that a stream says of itself. Where it was announced (`whose`) it is that party of that call, whose other
party may come on a stream of its own; else it is a call by itself, of a customer whose channel may carry other voices
too; the same UUID again, as from a dialplan where it is written out, is `ID.2`. All rates become 16 kHz at once: the
UUID opens the call, and only audio that comes later tells its rate.
Source: docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

from assist.audio import RATE_HZ, Party
from assist.errors import AssistError, BadMessage, WireError
from assist.protocols import Bye, Due, Key, Odd, Opened, Said, Simple, Sound
from assist.resample import Resampler

HANGUP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES_HZ: Final = {
    0x10: 8_000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100, 0x16: 48_000, 0x17: 96_000,
    0x18: 192_000,
}  # fmt: skip
HEADER_BYTES = 3


class AudioSocket(Simple):
    """One stream. `whose`: UUID in small letters to call and party, where somebody has said so."""

    joins = True
    repeats = True

    def __init__(self, whose: Callable[[str], tuple[str, Party] | None] = lambda _: None) -> None:
        self._whose = whose
        self._came = b""
        self._party: Party | None = None
        self._rate_hz = 0
        self._resampler: Resampler | None = None
        self._rest = b""
        self._over = False
        self._fault: WireError | None = None

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, str):
            raise BadMessage("text: this dialect is binary")
        if self._fault:
            raise self._fault.with_traceback(None)  # or each time would add to what it holds
        came, at = self._came + message, 0
        said: list[Said] = []
        try:
            while frame := self._next(came, at):
                kind, payload, at = frame
                said += self._frame(kind, payload)
        except WireError as error:
            self._fault = error
            if not said:
                raise
            said.append(Due())  # what came before the bad frame stays said; asked for replies, we refuse
        finally:
            self._came = came[at:]
        return said

    def flush(self) -> list[Said]:
        return [Odd("cut_off")] if (self._came or self._rest) and self._party else []

    def replies(self) -> list[str]:
        if self._fault:
            raise self._fault.with_traceback(None)  # or each time would add to what it holds
        return []

    def refusal(self, error: AssistError) -> list[str]:
        return ["\x00\x00\x00"]

    def leave(self) -> list[str]:
        return ["\x00\x00\x00"]

    def _next(self, came: bytes, at: int) -> tuple[int, bytes, int] | None:
        """Kind and payload of the frame that begins at `at`, and where it ends; None while it is not whole."""
        if not self._party and len(came) > at and came[at] != UUID:
            raise BadMessage(f"the first frame is of kind {came[at]:#04x}: a UUID (0x01) is expected")
        start = at + HEADER_BYTES
        end = start + int.from_bytes(came[at + 1 : start], "big")
        return (came[at], came[start:end], end) if start <= len(came) and end <= len(came) else None

    def _frame(self, kind: int, payload: bytes) -> list[Said]:
        if self._over:
            return [Odd("after_hangup")]
        if kind in RATES_HZ:
            return self._audio(RATES_HZ[kind], payload)
        if kind == UUID:
            return [self._open(payload)]
        assert self._party
        if kind == DTMF:
            return [Key(self._party)]
        if kind == HANGUP:
            self._over = True
            return [Bye()]
        return [Odd("platform_error" if kind == ERROR else "unknown_kind")]

    def _open(self, payload: bytes) -> Opened:
        if self._party:
            raise BadMessage("a second UUID: one connection carries one stream")
        if len(payload) != 16:
            raise BadMessage(f"a UUID of {len(payload)} bytes; it has 16")
        stream = str(uuid.UUID(bytes=payload))
        announced = self._whose(stream)
        metadata = {"stream": stream}
        if announced is None:
            self._party = "customer"
            return Opened(stream, "audiosocket", ("customer",), "l16", RATE_HZ, metadata, mixed=("customer",))
        call, self._party = announced
        return Opened(call, "audiosocket", ("agent", "customer"), "l16", RATE_HZ, metadata, leg=self._party)

    def _audio(self, rate_hz: int, payload: bytes) -> list[Said]:
        assert self._party
        if not payload:
            return [Odd("empty")]
        said: list[Said] = []
        if rate_hz != self._rate_hz:
            if self._rate_hz:
                said.append(Odd("rate_changed"))
            self._rate_hz, self._rest = rate_hz, b""
            self._resampler = None if rate_hz == RATE_HZ else Resampler(rate_hz)
        data = self._rest + payload
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        pcm = self._resampler.push(data[:whole]) if self._resampler else data[:whole]
        return [*said, Sound(self._party, pcm)] if pcm else said
