"""Asterisk's websocket channel: one party's audio on a socket of its own, control as JSON or as plain text.

    Dial(WebSocket/CONNECTION/c(slin16)f(json)d(in)v(leg=customer,ref=c-1))

> {"event": "MEDIA_START", "connection_id": "..", "channel": "..", "channel_id": "..", "format": "slin16",
   "optimal_frame_size": 640, "ptime": 20, "channel_variables": {}}
> MEDIA_START connection_id:.. channel:.. channel_id:.. format:ulaw optimal_frame_size:160 ptime:20      the same, older
> binary: one channel's samples; {"event": "DTMF_END", "digit": "1"}; STATUS and others, which change nothing
> a close, without goodbye

Legs with the same `ref` in the query are one call, each with its `leg` (customer, agent). Without `ref` a socket is a
call of its own: its `leg`, else a customer whose channel may carry other voices too. Nothing is sent: Asterisk would
play it, and closing is how the end is said; its reason is the error's name.
Source: github.com/asterisk/asterisk, channels/chan_websocket.c.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from assist.audio import RATE_HZ, Encoding, Party
from assist.errors import AssistError, BadEncoding, BadMessage
from assist.protocols import Handshake, Key, Odd, Opened, Said, Simple, Sound, read_object
from assist.protocols.plain import call_id
from assist.resample import Resampler

FORMATS: dict[str, tuple[Encoding, int]] = {
    "ulaw": ("mulaw", 8_000), "alaw": ("alaw", 8_000), "slin": ("l16", 8_000), "slin12": ("l16", 12_000),
    "slin16": ("l16", 16_000), "slin24": ("l16", 24_000), "slin32": ("l16", 32_000), "slin44": ("l16", 44_100),
    "slin48": ("l16", 48_000), "slin96": ("l16", 96_000), "slin192": ("l16", 192_000),
}  # fmt: skip
IDLE = frozenset({
    "MEDIA_XON", "MEDIA_XOFF", "STATUS", "QUEUE_DRAINED", "MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED",
})  # fmt: skip
"""What is said about audio that is played, and here nothing is."""
LEGS: dict[str, Party] = {"agent": "agent", "customer": "customer"}
MOST_ENTRIES, MOST_CHARACTERS = 64, 1_024


class Asterisk(Simple):
    """One media websocket."""

    joins = True

    def __init__(self) -> None:
        self._ref = ""
        self._leg: Party | None = None
        self._asked: dict[str, str] = {}
        self._opened: Opened | None = None
        self._resampler: Resampler | None = None

    def greet(self, handshake: Handshake) -> None:
        asked = dict(parse_qsl(urlsplit(handshake.target).query))
        leg, ref = asked.pop("leg", ""), asked.pop("ref", "")
        if leg and leg not in LEGS:
            raise BadMessage(f"leg={leg[:40]!r}: agent or customer")
        if ref and not leg:
            raise BadMessage("ref without leg: agent or customer?")
        self._ref, self._leg = call_id(ref) if ref else "", LEGS.get(leg)
        self._asked = asked

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            return self._audio(message)
        told = _read(message)
        event = told.get("event")
        if not isinstance(event, str):
            raise BadMessage("`event` is missing or no string")
        if event == "MEDIA_START":
            return [self._start(told)]
        if self._opened is None:
            raise BadMessage(f"{event[:40]!r} before MEDIA_START")
        if event == "DTMF_END":
            return [Key(self._opened.leg or self._opened.parties[0])]
        if event == "ERROR":
            return [Odd("platform_error")]
        return [] if event in IDLE else [Odd("unknown_event")]

    def flush(self) -> list[Said]:
        return [Odd("odd_bytes")] if self._resampler and self._resampler.half else []

    def refusal(self, error: AssistError) -> list[str]:
        return []

    def _start(self, told: dict[str, Any]) -> Opened:
        if self._opened is not None:
            raise BadMessage("a second MEDIA_START: one socket carries one leg")
        name = str(told.get("format", ""))
        if name not in FORMATS:
            raise BadEncoding(f"format {name[:40]!r} is not taken: dial with c(ulaw), c(alaw), c(slin) or c(slin16)")
        encoding, rate_hz = FORMATS[name]
        if rate_hz not in (8_000, RATE_HZ):
            self._resampler, rate_hz = Resampler(rate_hz), RATE_HZ
        channel = next((told[k] for k in ("channel_id", "connection_id") if isinstance(told.get(k), str)), "")
        party: Party = self._leg or "customer"
        self._opened = Opened(
            self._ref or call_id(channel),
            "asterisk",
            ("agent", "customer") if self._ref else (party,),
            encoding,
            rate_hz,
            self._metadata(told, name),
            mixed=() if self._leg else (party,),
            leg=self._leg if self._ref else None,
        )
        return self._opened

    def _metadata(self, told: dict[str, Any], name: str) -> dict[str, str]:
        variables = told.get("channel_variables")
        given = {
            **(variables if isinstance(variables, dict) else {}),
            **self._asked,
            **{key: told[key] for key in ("channel", "channel_id", "connection_id") if key in told},
            "format": name,
        }
        kept = [(str(k)[:128], v[:MOST_CHARACTERS]) for k, v in given.items() if isinstance(v, str)]
        return dict(kept[-MOST_ENTRIES:])

    def _audio(self, message: bytes) -> list[Said]:
        if self._opened is None:
            raise BadMessage("audio before MEDIA_START")
        if not message:
            return [Odd("empty")]
        if self._resampler:
            message = self._resampler.push(message)
        return [Sound(self._opened.leg or self._opened.parties[0], message)] if message else []


def _read(message: str) -> dict[str, Any]:
    """Control of either kind as an object: `EVENT key:value key:value` says the same. Raises BadMessage."""
    if message.lstrip()[:1] in ("{", "["):
        return read_object(message)
    event, *fields = message.split(" ") if len(message) < 65_536 else [""]
    if not re.fullmatch(r"[A-Z][A-Z_]{0,63}", event.strip()):
        raise BadMessage("neither a JSON object nor EVENT key:value ...")
    return {**dict(field.split(":", 1) for field in fields if ":" in field), "event": event.strip()}
