"""Genesys AudioHook v2: JSON both ways with numbers on each message, binary audio, what was heard sent back as events.

> {"version": "2", "type": "open", "id": SESSION, "seq": 1, "serverseq": 0, "position": "PT0S", "parameters": {
   "organizationId": UUID, "conversationId": UUID, "participant": {"id": UUID, "ani": "", "aniName": "", "dnis": ""},
   "media": [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}]}}
< {"version": "2", "type": "opened", "id": SESSION, "seq": 1, "clientseq": 1, "parameters": {"media": [the chosen one]}}
> binary audio, interleaved; ping, paused, resumed, discarded, update, error; close
< pong, updated, event; disconnect or reconnect, where the end is ours; closed, after the last final's event

Offsets are the client's: its position stands still while it is paused. `update` ends what is being said. Languages are
told as en-US.

`external` is the customer, `internal` the agent. The call's id is the conversation's; a further session of the same
conversation (a reconnect, a transfer) is a call of its own, `ID.2`. A connection probe makes no call. The client's
`customConfig` may ask for more than finals: {"partials": true}, and {"agentassist": true} for articles and next
actions; it becomes metadata. What is unknown is taken and counted; what is wrong is answered with `disconnect`.
Source: github.com/purecloudlabs/audiohook-reference-implementation.
"""

from __future__ import annotations

import bisect
import html
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from assist.audio import Encoding, Party
from assist.conversation import Suggestion, Transcript
from assist.errors import AssistError, BadEncoding, BadMessage, Busy, Unauthorized
from assist.events import Entry, Ledger, Paused, Resumed, Suggested, Transcribed
from assist.protocols import (
    Bye,
    Cut,
    Due,
    Handshake,
    Key,
    Lost,
    Odd,
    Opened,
    Pause,
    Resume,
    Said,
    Simple,
    as_text,
    reason_of,
    spread,
)
from assist.protocols.plain import Interleaved

Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z", max_length=36)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^PT([0-9]*\.)?[0-9]+S\Z", max_length=40)]
NOBODY = "00000000-0000-0000-0000-000000000000"
"""Conversation and participant of a connection probe."""
MOST_LOST_MS = 3_600_000
PARTIES: dict[str, Party] = {"external": "customer", "internal": "agent"}
ENCODINGS: dict[str, Encoding] = {"PCMU": "mulaw", "L16": "l16"}
S = TypeVar("S", bound=msgspec.Struct)


class _Envelope(msgspec.Struct, frozen=True):
    version: Literal["2"]
    type: str
    id: Uuid
    seq: int
    serverseq: int
    position: Duration
    parameters: dict[str, Any]


class _Participant(msgspec.Struct, frozen=True, rename="camel"):
    id: Uuid
    ani: str = ""
    ani_name: str = ""
    dnis: str = ""


class _Continued(msgspec.Struct, frozen=True):
    id: Uuid


class _Open(msgspec.Struct, frozen=True, rename="camel"):
    organization_id: Uuid
    conversation_id: Uuid
    participant: _Participant
    media: list[dict[str, Any]]
    language: str | None = None
    supported_languages: bool | None = None
    continued_sessions: list[_Continued] | None = None
    custom_config: dict[str, Any] | None = None


class _Discarded(msgspec.Struct, frozen=True):
    discarded: Duration
    start: Duration


class _Resumed(msgspec.Struct, frozen=True):
    discarded: Duration = "PT0S"


class _Update(msgspec.Struct, frozen=True):
    language: str


class _Position:
    """Times of the call as those of the client's stream, whose position stands still while it is paused."""

    def __init__(self) -> None:
        self._discarded_ms: deque[int] = deque()
        """Of each resumption that was told and is not in the log yet: so much its position moved on all the same."""
        self._paused_at_ms: int | None = None
        self._from: list[tuple[int, int]] = [(0, 0)]
        """From this time of the call on, so many ms were no stream's."""

    def resumed(self, discarded_ms: int) -> None:
        self._discarded_ms.append(discarded_ms)

    def note(self, entry: Entry) -> None:
        """A pause or its end, as the log has it."""
        if isinstance(entry.event, Paused):
            self._paused_at_ms = entry.at_ms
        elif self._paused_at_ms is not None and isinstance(entry.event, Resumed):
            moved_ms = self._discarded_ms.popleft() if self._discarded_ms else 0
            still_ms = max(0, entry.at_ms - self._paused_at_ms - moved_ms)
            self._from.append((entry.at_ms, self._from[-1][1] + still_ms))
            self._paused_at_ms = None

    def of(self, call_ms: int) -> int:
        """ms of the stream; nothing is said in a pause, so what lies in one does not matter."""
        at = bisect.bisect_right(self._from, call_ms, key=lambda each: each[0]) - 1
        return max(0, call_ms - self._from[max(0, at)][1])


class AudioHook(Simple):
    """One AudioHook session. `check` raises WireError for a handshake that is not let in."""

    follows = True
    repeats = True
    opens_s: float | None = 4.0
    parting_s = 5.0

    def __init__(self, check: Callable[[Handshake], None], languages: Sequence[str] = ()) -> None:
        self._check = check
        self._languages = tuple(languages)
        self._session = ""
        self._organisation = ""
        self._correlation = ""
        self._heard = 0
        self._sent = 0
        self._due: list[tuple[str, dict[str, Any]]] = []
        self._welcome: dict[str, Any] | None = None
        self._parties: tuple[Party, ...] = ()
        self._lanes = Interleaved((), 1)
        self._probe = False
        self._paused = False
        self._position = _Position()
        self._language = ""
        """What the client says is spoken."""
        self._closing = False
        self._closed = False
        self._partials = False
        self._assists = False

    def greet(self, handshake: Handshake) -> None:
        self._check(handshake)
        ids = [handshake.headers.get(f"audiohook-{name}-id", "") for name in ("organization", "session", "correlation")]
        for each in ids:
            _as(each, Uuid, "Audiohook-Organization-Id, -Session-Id and -Correlation-Id")
        self._organisation, self._session, self._correlation = (each.lower() for each in ids)

    # ---- what comes

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            return self._audio(message)
        read = _read(message)
        if read.id.lower() != self._session:
            raise BadMessage("id: not the session of the handshake")
        if read.seq != self._heard + 1:
            raise BadMessage(f"seq: {self._heard + 1} is next, not {read.seq}")
        if not 0 <= read.serverseq <= self._sent:
            raise BadMessage(f"serverseq: {read.serverseq} was never sent")
        self._heard = read.seq
        if self._closed or (self._closing and read.type != "ping"):
            return [Odd("after_close")]
        if read.type == "open":
            return self._open(_parameters(read, _Open))
        if self._welcome is None and read.type not in ("ping", "close"):
            raise BadMessage(f"the first message must be open, not {read.type[:40]!r}")
        return self._control(read)

    def _control(self, read: _Envelope) -> list[Said]:
        match read.type:
            case "ping":
                return self._answer("pong")
            case "paused":
                self._paused = True
                return [Pause("paused by the platform")]
            case "resumed":
                if self._paused:
                    self._position.resumed(_ms(_parameters(read, _Resumed).discarded))
                self._paused = False
                return [Resume("resumed by the platform")]
            case "discarded":
                return self._discarded(_parameters(read, _Discarded))
            case "update":
                # What is being said ends here. The recogniser settles each party's language by itself, or has one.
                self._language = _parameters(read, _Update).language
                return [Cut(), Odd("update"), *self._answer("updated")]
            case "error":
                return [Odd("client_error")]
            case "dtmf":
                return [Key("customer")]
            case "close":
                self._closing = True
                return [Bye()]
        return [Odd("unknown_message")]

    def _answer(self, kind: str) -> list[Said]:
        self._due.append((kind, {}))
        return [Due()]

    def _open(self, given: _Open) -> list[Said]:
        if self._welcome is not None:
            raise BadMessage("a second open: one socket carries one session")
        if given.organization_id.lower() != self._organisation:
            raise Unauthorized("organizationId is not that of the handshake")
        self._probe = given.conversation_id == given.participant.id == NOBODY
        media = _chosen(given.media)
        if media is None and not self._probe:
            raise BadEncoding("media: PCMU or L16 at 8000 Hz, of external, internal or both, is taken")
        self._language = given.language or ""
        self._welcome = {"media": [] if media is None else [media], "startPaused": False}
        if given.supported_languages:
            self._welcome["supportedLanguages"] = [_locale(each, self._language) for each in self._languages]
        if media is None or self._probe:
            return self._opened()
        wishes = given.custom_config or {}
        self._partials = wishes.get("partials") is True
        self._assists = wishes.get("agentassist") is True
        self._parties = tuple(PARTIES[name] for name in media["channels"])
        encoding = ENCODINGS[media["format"]]
        self._lanes = Interleaved(self._parties, 2 if encoding == "l16" else 1)
        call = given.conversation_id.lower()
        return [Opened(call, "audiohook", self._parties, encoding, 8_000, self._metadata(given))]

    def _opened(self) -> list[Said]:
        assert self._welcome is not None
        self._due.append(("opened", self._welcome))
        return [Due()]

    def _metadata(self, given: _Open) -> dict[str, str]:
        who = given.participant
        told = {
            "organizationId": self._organisation,
            "sessionId": self._session,
            "correlationId": self._correlation,
            "participantId": who.id,
            "ani": who.ani,
            "aniName": who.ani_name,
            "dnis": who.dnis,
            "language": given.language or "",
            "continuedSessions": ",".join(each.id for each in given.continued_sessions or ()),
        }
        custom = (given.custom_config or {}).items()
        own = {k[:128]: str(v) for k, v in custom if isinstance(v, str | int | float)}
        return {k: v[:1_024] for k, v in itertools.islice(({**own, **told}).items(), 64) if v}

    def _discarded(self, given: _Discarded) -> list[Said]:
        length_ms = _ms(given.discarded)
        if length_ms > MOST_LOST_MS:
            raise BadMessage(f"discarded: {given.discarded} is more than an hour")
        return [Lost(party, length_ms) for party in self._parties]

    def _audio(self, message: bytes) -> list[Said]:
        if self._welcome is None:
            raise BadMessage("audio before open")
        if self._probe:
            return []
        if self._closing:
            return [Odd("after_close")]
        if self._paused:
            raise BadMessage("audio while paused")
        if not message:
            return [Odd("empty")]
        return self._lanes.push(message)

    def flush(self) -> list[Said]:
        return self._lanes.flush()

    # ---- what goes

    def replies(self) -> list[str]:
        due, self._due = self._due, []
        return [self._message(kind, parameters) for kind, parameters in due]

    def welcome(self) -> list[str]:
        self._opened()
        return self.replies()

    def tell(self, entry: Entry) -> list[str]:
        event = entry.event
        self._position.note(entry)
        if self._closed or self._welcome is None:
            return []
        if isinstance(event, Transcribed):
            said = event.transcript
            if said.text and said.party in self._parties and (said.stage == "final" or self._partials):
                return [self._event("transcript", self._transcript(said))]
        if isinstance(event, Suggested) and self._assists:
            offered = [self._suggestion(each) for each in event.suggestions]
            data = {"id": self._id(f"suggested {entry.seq}"), "suggestions": offered}
            return [self._event("agentassist", data)] if offered else []
        return []

    def refusal(self, error: AssistError) -> list[str]:
        if self._closing:
            return []
        reason = "unauthorized" if isinstance(error, Unauthorized) else "error"
        again = f"; retry after {error.again_s} s" if isinstance(error, Busy) else ""
        info = f"{error.http_status} {error.code}: {reason_of(error)}{again}"
        return [self._message("disconnect", {"reason": reason, "info": info})]

    def leave(self) -> list[str]:
        return [] if self._closing else [self._message("reconnect", {"info": "the server is shutting down"})]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        if self._closed or not self._closing:
            return []
        self._closed = True
        return [self._message("closed", {})]

    def _message(self, kind: str, parameters: dict[str, Any]) -> str:
        self._sent += 1
        told = {
            "version": "2",
            "type": kind,
            "id": self._session,
            "seq": self._sent,
            "clientseq": self._heard,
            "parameters": parameters,
        }
        return as_text(told)

    def _event(self, kind: str, data: dict[str, Any]) -> str:
        return self._message("event", {"entities": [{"type": kind, "data": data}]})

    def _id(self, name: str) -> str:
        """A UUID for something of this session, the same each time: a final replaces its partials."""
        return str(uuid.uuid5(uuid.UUID(self._session), name))

    def _transcript(self, said: Transcript) -> dict[str, Any]:
        sure = 0.0 if said.probability is None else said.probability
        tokens = []
        last_ms = -1
        for word in said.words or spread(said):
            last_ms = max(self._position.of(word.start_ms), last_ms + 1)  # two at one offset are one to the receiver
            token = {
                "type": "word",
                "value": word.text,
                "confidence": sure if word.probability is None else word.probability,
                **_span(last_ms, max(self._position.of(word.end_ms), last_ms)),
            }
            tokens.append(token)
        shown = {"type": "display", "transcript": said.text, "tokens": tokens}
        start_ms, channel = self._position.of(said.start_ms), self._parties.index(said.party)
        languages = [_locale(said.language, self._language)] if said.language else []
        return {
            "id": self._id(said.utterance),
            "channelId": channel,
            "channel": channel,  # its name until October 2024, which their own test suite still asks for
            "isFinal": said.stage == "final",
            **_span(start_ms, max(start_ms, self._position.of(said.end_ms))),
            "alternatives": [{"confidence": sure, "languages": languages, "interpretations": [shown]}],
        }

    def _suggestion(self, card: Suggestion) -> dict[str, Any]:
        common = {
            "id": self._id(f"card {card.id}"),
            "confidence": min(1.0, max(0.0, card.score)),
            "position": _seconds(self._position.of(card.evidence.start_ms)),
        }
        if card.kind == "article":
            what = {"title": card.title, "excerpts": [html.escape(card.quote)] if card.quote else []}
            metadata = {"why": card.why}
            return {"type": "article", **common, **what, "documentUri": f"/articles/{card.ref}", "metadata": metadata}
        return {"type": "faq", **common, "question": card.title, "answer": html.escape(card.quote or card.why)}


def _chosen(offered: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The best of what is offered, unchanged: both parties, else the customer, else the agent; PCMU before L16."""
    ways = [["external", "internal"], ["internal", "external"], ["external"], ["internal"]]
    wanted = [(channels, format) for channels in ways for format in ENCODINGS]
    fit = [
        media
        for media in offered
        if media.get("type") == "audio"
        and media.get("rate") == 8_000
        and (media.get("channels"), media.get("format")) in wanted
    ]
    return min(fit, key=lambda media: wanted.index((media["channels"], media["format"])), default=None)


def _read(message: str) -> _Envelope:
    try:
        return msgspec.json.decode(message, type=_Envelope)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadMessage(str(error)[:200]) from error


def _parameters(read: _Envelope, kind: type[S]) -> S:
    found: S = _as(read.parameters, kind, read.type)
    return found


def _as(value: object, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadMessage(f"{name}: {error}"[:200]) from error


def _ms(duration: str) -> int:
    return round(float(duration[2:-1]) * 1000)


_REGIONS = {
    "ar": "SA", "cs": "CZ", "da": "DK", "el": "GR", "en": "US", "et": "EE", "fa": "IR", "he": "IL", "hi": "IN",
    "ja": "JP", "ko": "KR", "ms": "MY", "nb": "NO", "sl": "SI", "sq": "AL", "sr": "RS", "sv": "SE", "uk": "UA",
    "ur": "PK", "vi": "VN", "zh": "CN",
}  # fmt: skip
"""Where a language's region is not called as the language is."""


def _locale(language: str, told: str) -> str:
    """A language as Genesys writes it, en-US: the client's own word where it is of this language."""
    base = language.split("-")[0].lower()
    if told.split("-")[0].lower() == base and "-" in told:
        return told
    return language if "-" in language else f"{base}-{_REGIONS.get(base, base.upper())}"


def _span(start_ms: int, end_ms: int) -> dict[str, str]:
    return {"offset": _seconds(start_ms), "duration": _seconds(end_ms - start_ms)}


def _seconds(ms: int) -> str:
    """PT1.250S."""
    return f"PT{ms // 1000}.{ms % 1000:03d}S"
