"""Azure Communication Services audio streaming: JSON with base64 PCM at 16 kHz, one participant per message.

> {"kind": "AudioMetadata", "audioMetadata": {"subscriptionId": UUID, "encoding": "PCM", "sampleRate": 16000,
   "channels": 1, "length": 640}}
> {"kind": "AudioData", "audioData": {"timestamp": ..., "participantRawID": "8:acs:...", "data": BASE64,
   "silent": false}}
> {"kind": "DtmfData", "dtmfData": {"data": "5"}}        nothing says goodbye: the socket is closed

The call is `?call=` of our address, else the header `x-ms-call-connection-id`, else the subscription; a stream that is
stopped and started again is `ID.2`. Who is who, our address says too: `?customer=4:+15551234&agent=8:acs:...`, each as
often as there are ids. A party whose ids are given has the sound of nobody else. A party without is whoever is left, a
telephone number as the customer, a Teams user as the agent, and else who speaks first as the agent, who is the one to
greet; it may be somebody else's, so how it sounds is not judged. One party is one person at a time: another takes it
over when 50 messages of others came and none of the first, and is counted as `extra` until then. `?channels=mixed` is
one channel with everybody on it; mixed sound that was not announced so is the customer's channel, not judged either.

Pcm24KMono becomes 16 kHz here: ask for Pcm16KMono. Azure brings a signed token in `authorization`: it is verified where
`ingest.tokens` says with which keys and for which resource; else put `?token=` into the address.
Source: learn.microsoft.com/azure/communication-services/how-tos/call-automation/audio-streaming-quickstart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from assist.audio import Encoding, Party
from assist.errors import BadEncoding, BadMessage, UnknownMessage
from assist.protocols import Dropped, Handshake, Key, Odd, Opened, Said, Simple, Sound, read_object, read_payload
from assist.protocols.plain import encoding_named, platform_id
from assist.resample import Resamplers

GONE = 50
"""Messages of others, a second of one of them, after which a participant of whom none came has left."""
BOTH: tuple[Party, ...] = ("agent", "customer")


class Azure(Simple):
    """One media stream. `check` raises WireError for a handshake that is not let in; by default all are."""

    repeats = True

    def __init__(self, check: Callable[[Handshake], None] = lambda _: None) -> None:
        self._check = check
        self._call = ""
        self._named: dict[str, Party] = {}
        """Ids that the address gives to a party."""
        self._one_channel = False
        self._opened: Opened | None = None
        self._rates = Resamplers((), 16_000)
        self._leg: dict[Party, str] = {}
        """Whose sound each party is now."""
        self._last: dict[str, int] = {}
        """The number of the last message of who has a leg."""
        self._count = 0

    def greet(self, handshake: Handshake) -> None:
        self._check(handshake)
        self._call = handshake.headers.get("x-ms-call-connection-id", "")
        for part in handshake.target.partition("?")[2].split("&")[:64]:
            name, _, value = part.partition("=")
            value = unquote(value)  # a plus is a plus: telephone numbers are ids here
            if value and name in ("agent", "customer"):
                self._named[value] = "agent" if name == "agent" else "customer"
            elif value and name == "call":
                self._call = value
            elif name == "channels":
                self._one_channel = value == "mixed"

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            raise BadMessage("binary message: this dialect is JSON with base64 audio")
        text = read_object(message)
        kind = text.get("kind")
        if kind == "AudioMetadata":
            return self._metadata(_object(text, "audioMetadata"))
        if self._opened is None or not isinstance(kind, str):
            known = kind in ("AudioData", "DtmfData")
            raise (BadMessage if known else UnknownMessage)(
                f"the first message must be AudioMetadata, not {kind!r:.40}"
            )
        if kind == "AudioData":
            return self._audio(_object(text, "audioData"))
        return [Key("customer")] if kind == "DtmfData" else [Odd("unknown_message")]

    def _metadata(self, given: dict[str, Any]) -> list[Said]:
        if self._opened is not None:
            raise BadMessage("a second AudioMetadata: one socket carries one stream")
        encoding: Encoding = encoding_named(str(given.get("encoding") or "PCM"))
        rate_hz, channels = given.get("sampleRate", 16_000), given.get("channels", 1)
        if type(rate_hz) is not int or channels != 1 or encoding != "l16":
            raise BadEncoding(f"{rate_hz!r:.20} Hz, {channels!r:.20} channels: one channel at 16000 Hz (Pcm16KMono)")
        subscription = given.get("subscriptionId")
        call = self._call or subscription
        if not isinstance(call, str):
            raise BadMessage("audioMetadata: `subscriptionId` is missing")
        told = {"subscriptionId": subscription[:128]} if isinstance(subscription, str) else {}
        parties: tuple[Party, ...] = ("customer",) if self._one_channel else BOTH
        sure = {} if self._one_channel else self._named
        mixed = tuple(party for party in parties if party not in sure.values())
        self._rates = Resamplers(parties, rate_hz)
        call, own = platform_id(call)
        self._opened = Opened(call, "azure", parties, encoding, self._rates.rate_hz, {**told, **own}, mixed=mixed)
        return [self._opened]

    def _audio(self, given: dict[str, Any]) -> list[Said]:
        data, who = given.get("data"), given.get("participantRawID", given.get("participantRawId"))
        if not isinstance(data, str):
            raise BadMessage("audioData: `data` is missing or no string")
        audio = read_payload(data)
        if not audio:
            return [Odd("empty")]
        if self._one_channel:
            return self._sound("customer", audio)
        if not isinstance(who, str) or not who:
            if self._named:
                raise BadEncoding("mixed audio where the address says who is who: channels=mixed must stand there too")
            who = ""
        return self._placed(who, audio, given.get("silent") is True)

    def _placed(self, who: str, audio: bytes, silent: bool) -> list[Said]:
        self._count += 1
        party = next((party for party, owner in self._leg.items() if owner == who), None)
        if party is None:
            likely, open_to = self._place_of(who)
            if likely is None and silent:
                return [Odd("silent_nobody")]  # nothing is lost, and who speaks first is still to come
            party = next((each for each in open_to if self._free(each)), None)
            if party is None:
                return [Odd("extra"), Dropped(likely or "customer", self._rates.length(len(audio)), "extra")]
            if (gone := self._leg.get(party)) is not None:
                self._last.pop(gone, None)
            self._leg[party] = who
        self._last[who] = self._count
        return self._sound(party, audio)

    def _sound(self, party: Party, audio: bytes) -> list[Said]:
        audio = self._rates.push(party, audio)
        return [Sound(party, audio)] if audio else []

    def _place_of(self, who: str) -> tuple[Party | None, list[Party]]:
        """The party somebody is likely to be, None where nobody knows; and those they may be, the likeliest first."""
        if who in self._named:
            return self._named[who], [self._named[who]]
        likely: Party | None = None
        if not who or who.startswith("4:"):
            likely = "customer"
        elif who.startswith("8:orgid:"):
            likely = "agent"
        unnamed = [party for party in BOTH if party not in self._named.values()]
        return likely, sorted(unnamed, key=lambda party: party != likely)

    def _free(self, party: Party) -> bool:
        owner = self._leg.get(party)
        return owner is None or self._count - self._last[owner] > GONE


def _object(text: dict[str, Any], name: str) -> dict[str, Any]:
    given = text.get(name)
    if not isinstance(given, dict):
        raise BadMessage(f"the object `{name}` is missing")
    return given
