"""One socket's audio as programs for speech services send it: any rate, a WAV header or none, channels in turn.

It makes each party's sound of the bytes, and gives the call's times back as seconds of what was sent: the call counts
silence that nobody sent, these programs do not. It knows no dialect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from assist.audio import RATE_HZ, Encoding, Party, decode
from assist.errors import BadEncoding, BadMessage
from assist.events import Missing
from assist.protocols import Handshake, Odd, Said, Sound, wave
from assist.protocols.plain import one_channel
from assist.protocols.wave import Form
from assist.resample import Resamplers

MOST_HEAD_BYTES: Final = 65_536
MOST_ASKED: Final = 64
SECRET: Final = frozenset({"authorization", "access_token", "api_key", "apikey", "key", "token"})
"""Names of the query that may hold a key: they are not kept."""
PARTIES: Final[tuple[Party, ...]] = ("customer", "agent", "system")
"""Who speaks on channel 0, 1 and 2, where `parties` does not say."""


class Head:
    """What stands before the first sample: a RIFF header, which says what follows, or nothing."""

    def __init__(self) -> None:
        self.settled = False
        self.form: Form | None = None
        self._data = b""
        self._refused = ""

    def push(self, data: bytes) -> bytes:
        """The audio in it; empty while a header is not whole. Raises BadEncoding."""
        if self.settled:
            return data
        if self._refused:  # and nothing more of it is held
            raise BadEncoding(self._refused)
        self._data += data
        try:
            start = self._start()
        except BadEncoding as error:
            self._refused, self._data = str(error), b""
            raise
        if start is None:
            return b""
        self.settled = True
        audio, self._data = self._data[start:], b""
        return audio

    def _start(self) -> int | None:
        """Where the audio starts; None while that cannot be told."""
        found = wave.header(self._data, MOST_HEAD_BYTES)
        if found is None:
            return None
        if not found.length and wave.begins(self._data):
            raise BadEncoding(f"WAV: no data chunk within {MOST_HEAD_BYTES} bytes")
        if found.length and found.form is None:
            raise BadEncoding("WAV: no fmt chunk before the data")
        self.form = found.form
        return found.length


class Stream:
    """`form`: what the program says it sends, None where only a header can tell. A header is right where both speak.

    `parties`: by channel; as many as the form has channels. Raises BadEncoding for a rate that is not taken.
    """

    def __init__(self, form: Form | None, parties: Sequence[Party] = ()) -> None:
        self.form = form
        self.parties: tuple[Party, ...] = ()
        self._asked = tuple(parties)
        self._head = Head()
        self._rest = b""
        self._rates = Resamplers((), RATE_HZ)
        self._bytes = 0
        self._digest = hashlib.sha256()
        self._holes: dict[str, list[tuple[int, int]]] = {}
        if form:
            self._settle(form)

    @property
    def started(self) -> bool:
        """It is known what the bytes are, and some have come."""
        return self._head.settled and self.form is not None

    @property
    def opened_as(self) -> tuple[Encoding, int]:
        """Encoding and rate of the sound that `push` gives."""
        assert self.form
        return ("l16", RATE_HZ) if self._converts else (self.form.encoding, self.form.rate_hz)

    @property
    def _converts(self) -> bool:
        return self.form is not None and self._rates.rate_hz != self.form.rate_hz

    @property
    def heard_ms(self) -> float:
        """So much audio of each channel has come."""
        return self._bytes * 1000 / self._block / self.form.rate_hz if self.form else 0.0

    @property
    def sha256(self) -> str:
        """Of the bytes as they came."""
        return self._digest.hexdigest()

    def push(self, data: bytes) -> list[Said]:
        """Bytes as received to what each party sounds like. Raises BadEncoding."""
        self._digest.update(data)
        settled = self._head.settled and self.form is not None  # what was refused once is refused again
        audio = self._head.push(data)
        if not settled and self._head.settled:
            if (form := self._head.form or self.form) is None:
                raise BadEncoding("neither an encoding was named nor is this a WAV: name encoding and sample_rate")
            self._settle(form)
        if not audio:
            return []
        self._bytes += len(audio)
        whole = self._rest + audio
        end = len(whole) // self._block * self._block
        self._rest = whole[end:]
        return self._sounds(whole[:end])

    def flush(self) -> list[Said]:
        """What was held back, when nothing more will come."""
        found: list[Said] = [Odd("odd_bytes")] if self._rest else []
        self._rest = b""
        return found

    def missing(self, event: Missing) -> None:
        """The call's clock has jumped over silence that nobody sent."""
        self._holes.setdefault(event.party, []).append((event.start_ms, event.end_ms))

    def at_ms(self, party: Party, call_ms: int) -> int:
        """A time of the call as ms of this party's audio."""
        return call_ms - sum(max(0, min(end, call_ms) - start) for start, end in self._holes.get(party, ()))

    def at_s(self, party: Party, call_ms: int) -> float:
        """The same in seconds."""
        return self.at_ms(party, call_ms) / 1000

    @property
    def _block(self) -> int:
        assert self.form
        return self.form.channels * (2 if self.form.encoding == "l16" else 1)

    def _settle(self, form: Form) -> None:
        if not 1 <= form.channels <= len(PARTIES):
            raise BadEncoding(f"{form.channels} channels are not taken: 1 to {len(PARTIES)}")
        parties = self._asked or PARTIES[: form.channels]
        if len(parties) != form.channels:
            raise BadEncoding(f"parties: {len(parties)} are named for {form.channels} channels")
        self.form, self.parties = form, parties
        self._rates = Resamplers(parties, form.rate_hz)

    def _sounds(self, data: bytes) -> list[Said]:
        assert self.form
        count, width = self.form.channels, self._block // self.form.channels
        found: list[Said] = []
        for n, party in enumerate(self.parties):
            mine = data if count == 1 else one_channel(data, n, count, width)
            if self._converts:
                mine = self._rates.push(party, decode(mine, self.form.encoding).astype("<i2").tobytes())
            if mine:
                found.append(Sound(party, mine))
        return found


def asked(handshake: Handshake) -> dict[str, str]:
    """The query of the request, the last of what comes twice; more than 64 are no client's."""
    query = handshake.target.partition("?")[2]
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=4 * MOST_ASKED))
    except ValueError as error:
        raise BadMessage(f"query: {error}"[:200]) from error


def told(query: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """What was asked for, as the call's metadata."""
    both = {**more, **query, **more}
    return {k[:128]: v[:1_024] for k, v in list(both.items())[:MOST_ASKED] if v and k.lower() not in SECRET}


def parties_of(query: Mapping[str, str]) -> tuple[Party, ...]:
    """`parties=customer,agent`: who speaks on which channel; () where it does not say. Raises BadMessage."""
    names = [name.strip() for name in query.get("parties", "").split(",") if name.strip()]
    found = tuple(party for name in names for party in PARTIES if party == name)
    if len(found) != len(names) or len(set(found)) != len(found):
        raise BadMessage("parties: different ones of customer, agent and system, with commas between")
    return found


def as_number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises BadMessage."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise BadMessage(f"{name}: a whole number from {least} to {most} is expected, not {text[:40]!r}")
    return int(text)


def as_truth(query: Mapping[str, str], name: str) -> bool:
    """true or false of the query; false where it is not there. Raises BadMessage."""
    text = query.get(name, "false").lower()
    if text not in ("true", "false", "1", "0", ""):
        raise BadMessage(f"{name}: true or false is expected, not {text[:40]!r}")
    return text in ("true", "1")
