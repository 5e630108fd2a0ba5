"""Webex Contact Center media forking: protobuf messages, each with audio of one role, over a gRPC stream.

    com.cisco.wcc.ccai.media.v1.ConversationAudio/StreamConversationAudio

> {conversation_id, customer_org_id, audio: {audio_data, encoding: LINEAR16 | MULAW | ALAW, sample_rate_hertz: 8000 |
   16000, audio_timestamp, role: CALLER | AGENT, role_id}, additional_info}
< {status_message: "SUCCESS"}       once, when the platform has half-closed its stream
< {status_message: "NAME: why", error_code}       and the same as the stream's status, where that is refused

CALLER is the customer. A role may have a stream of its own, or share one with the other: streams of one
`conversation_id` are one call. A role is one person at a time, by `role_id`: on one stream another takes it over when
50 messages of others came and none of the first, and is counted as `extra` until then; a newer stream has it at once.

A stream that broke off may come anew and say again what it had said: a message with the `audio_timestamp` and the
audio of one that an earlier stream of that conversation and `role_id` brought, is a duplicate. Time is never taken
from it. A conversation that comes back after its call has ended, as one that is handed on may, is `ID.2`.
Source: github.com/webex/dataSourceSchemas (Services/AudioForking), github.com/CiscoDevNet/
webex-contact-center-provider-sample-code (media-forking), developer.webex.com (Media Forking).
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from assist.audio import Encoding, Party
from assist.errors import AssistError, BadEncoding, BadMessage, Busy
from assist.events import Ledger
from assist.protobuf import DecodeError, messages
from assist.protocols import Dropped, Handshake, Odd, Opened, Said, Simple, Sound, reason_of
from assist.protocols.plain import call_id

METHOD: Final = ("com.cisco.wcc.ccai.media.v1.ConversationAudio", "StreamConversationAudio")
ENCODINGS: Final[dict[int, Encoding]] = {1: "l16", 2: "mulaw", 3: "alaw"}
ROLES: Final[dict[int, Party]] = {1: "customer", 2: "agent"}
INVALID_AUDIO_FORMAT, STREAM_FAILURE = 1, 2
"""Error codes of a response."""
GONE: Final = 50
"""Messages of others, half a second of both roles, after which a person of whom none came has left."""
MOST_SAID: Final = 1_500
"""Messages of a leg that are remembered: 30 s of 20 ms."""
MOST_LEGS: Final = 1_000
MOST_ENTRIES, MOST_CHARACTERS = 64, 1_024

_TYPES: Final = messages(
    "com.cisco.wcc.ccai.media.v1",
    {
        "ConversationAudioForkingRequest": {
            "conversation_id": (1, "string"),
            "customer_org_id": (2, "string"),
            "audio": (3, "AudioStream"),
            "additional_info": (4, "Entry*"),
        },
        "AudioStream": {
            "audio_data": (1, "bytes"),
            "encoding": (2, "int32"),
            "sample_rate_hertz": (3, "int32"),
            "audio_timestamp": (4, "Timestamp"),
            "role": (5, "int32"),
            "role_id": (6, "string"),
        },
        "Timestamp": {"seconds": (1, "int64"), "nanos": (2, "int32")},
        "Entry": {"key": (1, "string"), "value": (2, "string")},
        "ConversationAudioForkingResponse": {"status_message": (1, "string"), "error_code": (2, "int32")},
    },
)
_REQUEST: Final = _TYPES["ConversationAudioForkingRequest"]
_RESPONSE: Final = _TYPES["ConversationAudioForkingResponse"]


class Heard:
    """What lately came of each leg, by conversation and person: one for all streams. A message is known by its hash."""

    def __init__(self) -> None:
        self._legs: OrderedDict[tuple[str, str], array[int]] = OrderedDict()

    def of(self, call: str, person: str) -> array[int]:
        """What came of this leg, oldest first; whoever hears more of it adds it there."""
        said = self._legs.setdefault((call, person), array("q"))
        self._legs.move_to_end((call, person))
        if len(self._legs) > MOST_LEGS:
            self._legs.popitem(last=False)
        return said


@dataclass
class _Speaker:
    """Who has a role. `last`: the number of the last message of theirs; `before`: what earlier streams brought."""

    person: str
    last: int
    said: array[int]
    before: frozenset[int] = field(default_factory=frozenset)

    def repeats(self, audio: Any) -> bool:
        """Has an earlier stream brought this? If not, it is remembered."""
        if not audio.HasField("audio_timestamp"):
            return False
        at = audio.audio_timestamp
        mark = hash((at.seconds, at.nanos, audio.audio_data))
        if mark in self.before:
            return True
        self.said.append(mark)
        if len(self.said) >= 2 * MOST_SAID:
            del self.said[:MOST_SAID]
        return False


class Webex(Simple):
    """One stream. `check` raises WireError for a handshake that is not let in; by default all are."""

    repeats = True
    joins = True
    renews = True

    def __init__(self, check: Callable[[Handshake], None] = lambda _: None, heard: Heard | None = None) -> None:
        self._check = check
        self._heard = heard or Heard()
        self._call = ""
        self._form: tuple[Encoding, int] | None = None
        self._speakers: dict[Party, _Speaker] = {}
        self._count = 0

    def greet(self, handshake: Handshake) -> None:
        self._check(handshake)

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, str):
            raise BadMessage("text: this dialect is protobuf")
        try:
            request = _REQUEST.FromString(message)
        except DecodeError as error:
            raise BadMessage("not a ConversationAudioForkingRequest") from error
        self._of_this(request.conversation_id)
        audio = request.audio
        if not request.HasField("audio"):
            return [Odd("no_audio")]
        party = ROLES.get(audio.role)
        if party is None:
            if self._call:
                return [Odd("unknown_role")]
            raise BadMessage(f"role {audio.role}: CALLER (1) or AGENT (2)")
        form = self._formed(audio)
        said: list[Said] = []
        if party not in self._speakers:
            said.append(self._open(request, party, form))
        self._count += 1
        if not audio.audio_data:
            return [*said, Odd("empty")]
        speaker = self._speaker(party, audio.role_id)
        if speaker is None:
            return [*said, Dropped(party, len(audio.audio_data), "extra")]
        if speaker.repeats(audio):
            return [*said, Dropped(party, len(audio.audio_data), "duplicate")]
        return [*said, Sound(party, audio.audio_data)]

    def refusal(self, error: AssistError) -> list[str]:
        again = f"; again in {error.again_s} s" if isinstance(error, Busy) else ""
        code = INVALID_AUDIO_FORMAT if isinstance(error, BadEncoding) else STREAM_FAILURE
        return [_response(f"{error.code}: {reason_of(error)}{again}", code)]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        return [] if reason == "drained" or reason.startswith("error:") else [_response("SUCCESS")]

    def _of_this(self, conversation: str) -> None:
        if not conversation:
            raise BadMessage("conversation_id is missing")
        if self._call and conversation != self._call:
            raise BadMessage("another conversation_id: one stream carries one conversation")

    def _formed(self, audio: Any) -> tuple[Encoding, int]:
        encoding, rate_hz = ENCODINGS.get(audio.encoding), audio.sample_rate_hertz
        if encoding is None:
            raise BadEncoding(f"encoding {audio.encoding}: LINEAR16 (1), MULAW (2) or ALAW (3)")
        if rate_hz not in (8_000, 16_000):
            raise BadEncoding(f"sample_rate_hertz {rate_hz}: 8000 or 16000")
        if self._form not in (None, (encoding, rate_hz)):
            raise BadEncoding(f"{encoding} at {rate_hz} Hz, where this stream began otherwise")
        return encoding, int(rate_hz)

    def _open(self, request: Any, party: Party, form: tuple[Encoding, int]) -> Opened:
        """This party's leg of the call. Raises BadMessage."""
        call, person = call_id(request.conversation_id), request.audio.role_id
        given = {entry.key: entry.value for entry in request.additional_info}
        given |= {"customer_org_id": request.customer_org_id, "role_id": person}
        kept = [(key[:128], value[:MOST_CHARACTERS]) for key, value in given.items() if value]
        self._call, self._form = call, form
        self._speakers[party] = self._new(party, person)
        return Opened(call, "webex", ("agent", "customer"), *form, dict(kept[-MOST_ENTRIES:]), leg=party)

    def _speaker(self, party: Party, person: str) -> _Speaker | None:
        """Whoever has this role, if it is this person."""
        speaker = self._speakers[party]
        if speaker.person != person:
            if self._count - speaker.last <= GONE:
                return None
            speaker = self._speakers[party] = self._new(party, person)
        speaker.last = self._count
        return speaker

    def _new(self, party: Party, person: str) -> _Speaker:
        said = self._heard.of(self._call, person or party)
        return _Speaker(person, self._count, said, frozenset(said))


def _response(status: str, error_code: int = 0) -> str:
    """A response; as texts it is Latin-1, a byte for each character."""
    whole: bytes = _RESPONSE(status_message=status, error_code=error_code).SerializeToString()
    return whole.decode("latin-1")
