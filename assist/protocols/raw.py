"""What the raw family shares: a text that describes the call, linear PCM in binary messages, and no order between them.

Rate, channels, whose voice and the call's id come in the text or in the query of our own URL, which goes before it:

    ws://host/ingest/freeswitch?call=c-1&rate=16000&channels=stereo&party=customer&queue=sales

`rate`: 4000 to 192000, also 8k, 16k, 44.1k. `channels`: mono (one party alone), mixed (one channel, all voices),
stereo; 1 or 2 where nobody knows more. `party`: whose voice the only or the left channel is, customer unless it is
said; the right one is the other's. An only channel that is not said to be one party's counts as mixed: its words are
followed, nobody's mood is read from its sound. What else is in text and query becomes metadata, but for what may be a
secret.

Audio before the text is held: 500 ms of it where the query says rate and channels, else 32,000 bytes (2 s of one
channel at 8 kHz). Then the dialect opens the call without a text, or refuses it. Whenever a call is opened, what was
held is its beginning. A WAV header before the audio is taken off and counted; it describes the call where nothing else
does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from assist.audio import Party
from assist.errors import BadEncoding, BadMessage, WireError
from assist.protocols import Handshake, Key, Odd, Opened, Said, Simple, Sound, wave
from assist.protocols.plain import Interleaved, platform_id
from assist.resample import Resamplers, taken

HOLD_MS: Final = 500
HOLD_BYTES: Final = 32_000
MOST_HEADER_BYTES: Final = 4_096
"""A WAV header is looked for in so much; one that is longer is heard as noise, and counted."""
RATE_HZ: Final = 8_000
"""Where nobody says: what FreeSWITCH and jambonz stream unless they are told otherwise."""
MOST_ENTRIES: Final = 64

_CALL = ("call", "callsid", "callid", "calluuid", "uuid", "uniqueid", "conversationuuid", "conversationid")
_RATE = ("rate", "ratehz", "samplerate", "samplingrate")
_CHANNELS = ("mixtype", "channels")
"""The platform's own word first: `channels` may be a field of whoever made the call, and mean something else."""
_KNOWN_AS = {"agent": ("agentid",), "ani": ("fromnumber", "from", "callerid")}
"""What the pages show, by the names that platforms give it."""
_SECRET = re.compile("token|authori[sz]ation|secret|passw|apikey|signature")
_RATE_GIVEN = re.compile(r"(?P<hz>[0-9]{4,6})(\.0+)?\Z|(?P<khz>[0-9]{1,3}(\.[0-9]{1,3})?)k\Z", re.ASCII)
_KINDS = {"1": "single", "2": "stereo", "mono": "mono", "mixed": "mixed", "stereo": "stereo"}

Check = Callable[[Handshake], None]
"""Raises WireError where a handshake is not let in."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a call; "", 0 and None for what nobody said. `kind`: mono, mixed, single, stereo."""

    call: str = ""
    rate_hz: int = 0
    kind: str = ""
    party: Party | None = None

    def over(self, other: Described) -> Described:
        """What this says, and where it says nothing the other."""
        return Described(
            self.call or other.call,
            self.rate_hz or other.rate_hz,
            self.kind or other.kind,
            self.party or other.party,
        )


def described(fields: Mapping[str, str]) -> tuple[Described, dict[str, str]]:
    """What the fields of text and query say, and as metadata what is left of them. Raises BadMessage, BadEncoding."""
    plain: dict[str, str] = {}
    for name, text in fields.items():
        plain.setdefault(_plain_name(name), text.strip())
    used: set[str] = set()

    def take(names: tuple[str, ...]) -> str:
        name = next((each for each in names if plain.get(each)), "")
        used.add(name)
        return plain.get(name, "")

    call, rate, kind, who = take(_CALL), take(_RATE).lower(), take(_CHANNELS).lower(), take(("party",)).lower()
    rate_hz = _rate(rate) if rate else 0
    if kind and kind not in _KINDS:
        raise BadEncoding(f"channels: {kind[:20]!r} is none of mono, mixed, stereo, 1, 2")
    if who not in ("", "agent", "customer"):
        raise BadMessage(f"party: {who[:20]!r} is neither agent nor customer")
    metadata: dict[str, str] = {}
    for name, text in fields.items():
        if text and _plain_name(name) not in used and not _SECRET.search(_plain_name(name)):
            metadata[name[:128]] = text[:1_024]
        if len(metadata) == MOST_ENTRIES:
            break
    for name, others in _KNOWN_AS.items():
        if found := next((plain[each] for each in others if plain.get(each)), ""):
            metadata.setdefault(name, found[:1_024])
    party: Party | None = "agent" if who == "agent" else "customer" if who else None
    if call:
        call, own = platform_id(call)
        metadata |= own
    return Described(call, rate_hz, _KINDS.get(kind, ""), party), metadata


def _rate(text: str) -> int:
    """Hz, of 16000, 16k or 44.1k. Raises BadEncoding."""
    given = _RATE_GIVEN.match(text)
    if not given:
        raise BadEncoding(f"{text[:20]!r} Hz is not taken: 8000 or 16000 are best")
    rate_hz = int(given["hz"]) if given["hz"] else round(float(given["khz"]) * 1000)
    taken(rate_hz)
    return rate_hz


def flat(text: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a JSON object as texts, those of an object within it after its own; lists and nulls are left out."""
    nested = [each for each in text.values() if isinstance(each, dict)]
    found: dict[str, str] = {}
    for fields in (text, *nested):
        for name, value in fields.items():
            if isinstance(value, bool):
                found.setdefault(name, str(value).lower())
            elif isinstance(value, str | int | float):
                found.setdefault(name, str(value))
    return found


class Raw(Simple):
    """One socket of the family. A dialect says what it is called, and what its texts mean in `_text`.

    `check` says who may open one.
    """

    platform = ""
    kind = ""
    """Of the channels, where the platform's documents leave one only."""
    opens_itself = False
    """Its text may never come: the call is opened without. Else audio alone is refused."""
    repeats = True

    def __init__(self, check: Check | None = None) -> None:
        self._check = check
        self._asked: dict[str, str] = {}
        self._made_up = f"{self.platform}-0"
        self._opened: Opened | None = None
        self._lanes = Interleaved((), 2)
        self._rate_hz = RATE_HZ
        self._rates = Resamplers((), RATE_HZ)
        self._begin: bytearray | None = bytearray()
        """Audio that waits: for the call to be opened, or until it is clear whether it begins with a WAV header."""
        self._over = False
        """The platform has said goodbye, or was refused."""

    def greet(self, handshake: Handshake) -> None:
        if self._check:
            self._check(handshake)
        _, _, query = handshake.target.partition("?")
        try:
            self._asked = dict(parse_qsl(query, max_num_fields=MOST_ENTRIES))
        except ValueError as error:
            raise BadMessage(f"query: {error}") from error
        described(self._asked)
        # No clock and no chance in here: the key of a websocket's handshake is 16 random bytes.
        once = f"{handshake.headers.get('sec-websocket-key', '')} {handshake.at_s} {handshake.target}"
        self._made_up = f"{self.platform}-{hashlib.sha256(once.encode()).hexdigest()[:16]}"

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, str):
            return self._text(message)
        if self._over:
            return [Odd("after_end")]
        if not message:
            return [Odd("empty")]
        if self._begin is None:
            return self._sounds(message)
        self._begin += message
        try:
            return self._begun() if self._opened else self._wait()
        except WireError:
            self._over = True
            self._begin.clear()  # refused: nothing of it is held any longer
            raise

    def flush(self) -> list[Said]:
        said: list[Said] = []
        if self._opened is None:
            if not (self._begin and self.opens_itself):
                return []
            said += self._open({})
        if self._begin:
            begin, self._begin = bytes(self._begin), None
            said += [Odd("wav_header_cut")] if len(begin) >= 12 and wave.begins(begin) else self._sounds(begin)
        return [*said, *self._lanes.flush()]

    def _text(self, message: str) -> list[Said]:
        raise NotImplementedError

    def _open(self, fields: Mapping[str, str]) -> list[Said]:
        """The call as `fields` of the text describe it, then what was held of it."""
        said, metadata = described(fields)
        asked, more = described(self._asked)
        about = self._known(asked.over(said))
        odd = [] if about.call else [Odd("made_up_call")]
        odd += [] if about.rate_hz else [Odd("assumed_rate")]
        odd += [] if about.kind else [Odd("assumed_channels")]
        left = about.party or "customer"
        right: Party = "customer" if left == "agent" else "agent"
        stereo = about.kind == "stereo"
        parties: tuple[Party, ...] = (left, right) if stereo else (left,)
        alone = stereo or about.kind == "mono" or (about.kind != "mixed" and about.party is not None)
        self._rate_hz = about.rate_hz or RATE_HZ
        self._rates = Resamplers(parties, self._rate_hz)
        self._opened = Opened(
            about.call or self._made_up,
            self.platform,
            parties,
            "l16",
            self._rates.rate_hz,
            {**metadata, **more},
            mixed=() if alone else parties,
        )
        self._lanes = Interleaved(parties, 2)
        return [self._opened, *odd, *self._begun()]

    def _late(self, fields: Mapping[str, Any]) -> list[Said]:
        """A text after the one that opened the call: a key, or nothing that changes anything."""
        if str(fields.get("event", "")).rsplit(":", 1)[-1] == "dtmf" and self._opened:
            return [Key(self._opened.parties[0])]
        return [Odd("late_text")]

    def _wait(self) -> list[Said]:
        """Is what is held enough to go on without a text?"""
        assert self._begin is not None
        about = self._known(described(self._asked)[0])
        bytes_per_ms = about.rate_hz * (4 if about.kind == "stereo" else 2) // 1000
        most = min(HOLD_MS * bytes_per_ms, HOLD_BYTES) if about.rate_hz and about.kind else HOLD_BYTES
        if len(self._begin) < most:
            return []
        if not self.opens_itself:
            raise BadMessage(f"{len(self._begin)} bytes of audio, and no text before them that opens the call")
        return self._open({})

    def _known(self, about: Described) -> Described:
        """With what the platform's documents say, then what a WAV header does."""
        header = self._header()
        about = about.over(Described(kind=self.kind))
        if header is None or header.form is None:
            return about
        return about.over(Described(rate_hz=header.form.rate_hz, kind=_KINDS.get(str(header.form.channels), "")))

    def _header(self) -> wave.Header | None:
        """Raises BadEncoding where what follows is nothing that is taken."""
        found = wave.header(bytes(self._begin[: MOST_HEADER_BYTES + 1]), MOST_HEADER_BYTES) if self._begin else None
        if found and found.form:
            if found.form.encoding != "l16" or found.form.channels > 2:
                raise BadEncoding(
                    f"the WAV header says {found.form.encoding}, {found.form.channels} channels: "
                    "16-bit linear PCM of one or two channels is taken"
                )
            if found.form.rate_hz:
                taken(found.form.rate_hz)
        return found

    def _begun(self) -> list[Said]:
        """What waited goes on, once it is clear how it begins."""
        assert self._opened
        header = self._header()
        if header is None:
            return []
        begin, self._begin = bytes(self._begin or b""), None
        odd: list[Said] = [Odd("wav_header")] if header.length else []
        if not header.length and wave.begins(begin):
            odd = [Odd("wav_header_unread")]
        ours = (self._rate_hz, len(self._opened.parties))
        if header.form and (header.form.rate_hz or ours[0], header.form.channels or ours[1]) != ours:
            odd.append(Odd("wav_header_differs"))
        return [*odd, *self._sounds(begin[header.length :])]

    def _sounds(self, audio: bytes) -> list[Said]:
        lanes = [each for each in self._lanes.push(audio) if isinstance(each, Sound)]
        sounds = [Sound(each.party, self._rates.push(each.party, each.payload)) for each in lanes]
        return [each for each in sounds if each.payload]


def _plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
