"""What subscribers are told and the store keeps: facts in the past tense, each in an `Entry`.

An entry is the one envelope everywhere: on the wire, in the log, in golden files. `(call, seq)` makes a
log resumable. It knows neither who listens nor where entries are kept.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from assist.audio import Party
from assist.conversation import Finding, Flag, PlaybookStep, Suggestion, Transcript
from assist.errors import BadMessage


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """Base of all events; on the wire `type` is the class name."""


class CallStarted(Event, frozen=True):
    """The only wall clock in a log: `started_at`, RFC 3339, by this server. `client_started_at` is hearsay.

    `recogniser` names engine and weights; `rough` says its text is not to be trusted word by word.
    """

    started_at: str
    platform: str
    parties: tuple[Party, ...]
    encoding: str
    rate_hz: int
    recogniser: str
    rough: bool = False
    metadata: dict[str, str] = {}
    client_started_at: str = ""


class SpeechStarted(Event, frozen=True):
    party: Party
    start_ms: int


class Transcribed(Event, frozen=True):
    """`transcript.stage`: partial (will change), speculative (probably final), final (never changes).

    A later transcript with the same `utterance` id replaces an earlier one.
    """

    transcript: Transcript


class Withdrawn(Event, frozen=True):
    """The eager final of this utterance was wrong about the end: speech went on. Show it as partial.

    Suggestions that came with it are void, unless they were marked.
    """

    utterance: str


class Noticed(Event, frozen=True):
    """What the analysers found in one final utterance."""

    utterance: str
    party: Party
    findings: tuple[Finding, ...]


class Suggested(Event, frozen=True):
    """New suggestions for the agent because of this utterance, best first.

    They may come before its final, on the word of its speculative transcript: then `Withdrawn` may take them back.
    """

    utterance: str
    suggestions: tuple[Suggestion, ...]


class PlaybookMoved(Event, frozen=True):
    """Where the conversation now stands in its playbook."""

    playbook: str
    title: str
    steps: tuple[PlaybookStep, ...]


class Flagged(Event, frozen=True):
    flag: Flag


class Marked(Event, frozen=True):
    """The agent said what became of a suggestion."""

    suggestion: str
    ref: str
    mark: Literal["used", "opened", "not_useful", "dismissed"]


class Reviewed(Event, frozen=True):
    """A reviewer's verdict on the call, or on one flag of it (`rule`)."""

    verdict: Literal["confirmed", "rejected", "coach", "praise"]
    comment: str
    reviewer: str
    rule: str = ""
    score: int | None = None


class Faltered(Event, frozen=True):
    """One part failed on one utterance and the others went on. `code` is the error's wire code."""

    part: str
    code: str
    message: str
    utterance: str = ""


class Degraded(Event, frozen=True):
    """Overload. `level` 0 normal, 1 slower partials, 2 no partials, 3 new calls refused."""

    level: int
    shed: tuple[str, ...]


class Paused(Event, frozen=True):
    """Audio after this is neither kept nor transcribed, until `Resumed`."""

    reason: str = ""


class Resumed(Event, frozen=True):
    reason: str = ""


class Skipped(Event, frozen=True):
    """Received audio that was not transcribed, and why."""

    party: Party
    start_ms: int
    end_ms: int
    reason: str


class Missing(Event, frozen=True):
    """Audio that never came: the platform stopped sending, or lost frames."""

    party: Party
    start_ms: int
    end_ms: int


class LegJoined(Event, frozen=True):
    """A party came on a socket of its own."""

    party: Party
    metadata: dict[str, str] = {}


class LegLeft(Event, frozen=True):
    """Its socket has gone; the call goes on while one is here, and for a grace without any. `reason`: as CallEnded,
    or renewed: a newer socket of the same leg has its place."""

    party: Party
    reason: str


class LegMissing(Event, frozen=True):
    """An alert: the agent's leg has been here for so long, and there is no leg of this party."""

    party: Party
    waited_ms: int


FaultKind = Literal["no_audio", "dead", "clipped", "duplicated", "crossed", "roles"]


class ChannelFaulted(Event, frozen=True):
    """Something is wrong with the sound of these parties' channels, from about now on.

    no_audio: the call carries none at all. dead: this channel never sounds while others speak. clipped: its tops are
    cut off. duplicated: both carry the same. crossed: this channel repeats another one's voice. roles: who is agent and
    who is customer is in doubt. `detail`: delay_ms and gain_db of the repetition, share of clipped samples.
    Nobody's mood is read from a channel whose voice is in doubt (duplicated, crossed, roles).
    """

    kind: FaultKind
    parties: tuple[Party, ...]
    detail: dict[str, float] = {}


class ChannelMended(Event, frozen=True):
    """The fault of this kind is gone."""

    kind: FaultKind
    parties: tuple[Party, ...]


class RolesSwapped(Event, frozen=True):
    """The platform had named agent and customer the wrong way round: the customer's channel greeted, in `quote`.

    In what is said after this entry roles are right; `utterances` were said before it, under the other one's name, and
    what was judged by their sound is void. Channels keep their names: `Missing`, `Skipped`, the ledger and the
    recording speak of channels, as the platform named them.
    """

    utterance: str
    quote: str
    utterances: tuple[str, ...]


class Dtmf(Event, frozen=True):
    """A key was pressed; which one is not kept (it may be a card number)."""

    party: Party


class Ledger(msgspec.Struct, frozen=True):
    """Audio seconds of one party, in ms: received = transcribed + silence + sum(skipped) + gap, gap 0.

    `missing` was never received and stands outside the sum.
    """

    received_ms: float
    transcribed_ms: float
    silence_ms: float
    skipped_ms: dict[str, float]
    missing_ms: float
    gap_ms: float


class CallEnded(Event, frozen=True):
    """Every call gets one. `reason`: bye | closed | lost | error:<code> | drained | interrupted.

    `anomalies` counts frames that were duplicated, late, reordered, missing or odd-sized.
    """

    reason: str
    duration_ms: int
    ledger: dict[str, Ledger]
    anomalies: dict[str, int]


AnyEvent = (
    CallStarted
    | SpeechStarted
    | Transcribed
    | Withdrawn
    | Noticed
    | Suggested
    | PlaybookMoved
    | Flagged
    | Marked
    | Reviewed
    | Faltered
    | Degraded
    | Paused
    | Resumed
    | Skipped
    | Missing
    | LegJoined
    | LegLeft
    | LegMissing
    | ChannelFaulted
    | ChannelMended
    | RolesSwapped
    | Dtmf
    | CallEnded
)


class Entry(msgspec.Struct, frozen=True):
    """One line of a call's log. `seq` starts at 1 and has no holes. `at_ms` is on the call's clock.

    `latency_ms` (floats, where the event has one): `queue`, `asr`, `final` (end of speech to this final),
    `analyse`, `suggest`, `total` (end of speech to this event), `eager` (the same of suggestions before their final).
    """

    call: str
    seq: int
    at_ms: int
    event: AnyEvent
    latency_ms: dict[str, float] = {}


class Line(NamedTuple):
    """An entry with its JSON, encoded once for the store and for every subscriber."""

    entry: Entry
    raw: bytes


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Entry to compact JSON."""
    return _encoder.encode(entry)


def decode(raw: bytes | str) -> Entry:
    """JSON to Entry. Raises BadMessage."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadMessage(f"not an entry: {error}") from error


def plain(value: Any) -> Any:
    """Any of these values as dicts, lists, numbers and strings, for templates and routes."""
    return msgspec.to_builtins(value)


def line(entry: Entry) -> Line:
    """The entry with its JSON."""
    return Line(entry, encode(entry))
