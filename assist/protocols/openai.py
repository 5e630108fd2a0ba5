"""OpenAI's realtime transcription: JSON events both ways, audio in base64, an item for each stretch of speech.

WS /v1/realtime?intent=transcription                                        < session.created
> {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
   "format": {"type": "audio/pcm", "rate": 24000}, "turn_detection": {"type": "server_vad"}}}}}   < session.updated
> {"type": "input_audio_buffer.append", "audio": BASE64}; .commit; .clear
< input_audio_buffer.speech_started, .speech_stopped, .committed, conversation.item.added, .done
< conversation.item.input_audio_transcription.delta, .completed or .failed; error

Formats: audio/pcm at 24000 Hz (others are taken where `rate` names them), audio/pcmu, audio/pcma; the older flat names
of `transcription_session.update` too. With turn detection, of whatever kind, the house's own endpointing makes the
items; with "turn_detection": null each commit makes one. The words of an item are told whole, as one delta: what is
shown earlier may still change, and a delta cannot. Times are of the audio sent. What was cleared is in our log all the
same.
A wrong event is answered with `error`, and the session goes on; what is no JSON ends it. The query may say `call`, the
call's id in our log, and `parties=agent` (else the customer speaks).
Source: platform.openai.com/docs/api-reference/realtime, and the types of the official SDK.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from assist.audio import Encoding, Party
from assist.errors import AssistError, BadMessage, Busy, WireError
from assist.events import Entry, Faltered, Ledger, Missing, Skipped, SpeechStarted, Transcribed
from assist.protocols import Cut, Due, Handshake, Odd, Opened, Said, Simple, as_text, read_object, reason_of
from assist.protocols.plain import call_id
from assist.protocols.stream import Stream, asked, parties_of, told
from assist.protocols.wave import Form

KEY_PREFIX: Final = "openai-insecure-api-key."
"""Of the subprotocol in which a browser brings its key."""
LEAST_COMMIT_MS: Final = 100
FORMATS: Final[dict[str, Encoding]] = {"audio/pcm": "l16", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
FLAT: Final = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
SETTINGS: Final = ("transcription", "noise_reduction", "turn_detection")


class _Format(msgspec.Struct, frozen=True):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None


@dataclass
class _Item:
    """A committed stretch whose words are not all there: the finals it waits for, and what has come of it."""

    id: str
    waiting: set[str]
    texts: list[str] = field(default_factory=list)
    failure: str = ""
    length_ms: int = 0


class OpenAI(Simple):
    """One socket. `check` raises WireError for a key that is not let in; `new_id` names the session."""

    follows = True

    def __init__(self, check: Callable[[str], None], new_id: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self._check = check
        self._id = new_id()
        self._query: dict[str, str] = {}
        self._party: Party = "customer"
        self._format = _Format()
        self._settings: dict[str, Any] = {"transcription": None, "noise_reduction": None}
        self._settings["turn_detection"] = {"type": "server_vad"}
        self._include: Any = None
        self._stream: Stream | None = None
        self._opened = False
        self._due: list[str] = []
        self._events = 0
        self._items = 0
        self._previous: str | None = None
        self._committed_ms = 0.0
        """So much audio had come at the last commit, or clear."""
        self._speaking = ""
        """The item that speech which goes on now will be."""
        self._loose = _Item("", set())
        """What became final since the last commit."""
        self._open: list[_Item] = []
        self._cleared: set[str] = set()
        self._cuts: deque[str] = deque()

    @property
    def _by_turns(self) -> bool:
        return self._settings["turn_detection"] is not None

    def greet(self, handshake: Handshake) -> None:
        query = self._query = asked(handshake)
        self._check(key_of(handshake))
        model = query.get("model", "")
        if query.get("intent") != "transcription" and not ("transcribe" in model or "whisper" in model):
            raise BadMessage("intent=transcription is expected: nothing is spoken back here")
        if query.get("call"):
            call_id(query["call"])
        parties = parties_of(query) or ("customer",)
        if len(parties) != 1:
            raise BadMessage("parties: one, because this dialect has one channel")
        (self._party,) = parties
        self._due.append(self._event("session.created", session=self._session()))

    # ---- what comes

    def receive(self, message: str | bytes) -> list[Said]:
        if isinstance(message, bytes):
            raise BadMessage("events are JSON text, with the audio in base64")
        given = read_object(message)
        try:
            return self._heed(given)
        except WireError as error:
            return self._wrong(given, str(error), error.code)

    def _heed(self, given: dict[str, object]) -> list[Said]:
        match given.get("type"):
            case "session.update":
                return self._update(given.get("session"))
            case "transcription_session.update":
                # Older still, its fields stand beside the type.
                return self._update(_from_flat(given.get("session", given)), "transcription_session.updated")
            case "input_audio_buffer.append":
                return self._append(given.get("audio"))
            case "input_audio_buffer.commit":
                return self._commit(given)
            case "input_audio_buffer.clear":
                return self._clear()
        raise BadMessage(f"type: {str(given.get('type'))[:60]!r} is not an event of a transcription session")

    def _wrong(self, given: dict[str, object], message: str, code: str) -> list[Said]:
        own = given.get("event_id")
        self._due.append(self._error(message, code, own[:512] if isinstance(own, str) else None))
        return [Odd("client_error"), Due()]

    def _update(self, session: object, answer: str = "session.updated") -> list[Said]:
        if not isinstance(session, dict) or session.get("type", "transcription") != "transcription":
            raise BadMessage("session.type: transcription is expected")
        audio = session.get("audio") or {}
        given = (audio.get("input") or {}) if isinstance(audio, dict) else None
        if not isinstance(given, dict):
            raise BadMessage("session.audio.input: an object is expected")
        self._set_format(given.get("format"))
        for name in SETTINGS:
            if name in given:
                if not (given[name] is None or isinstance(given[name], dict)):
                    raise BadMessage(f"session.audio.input.{name}: an object or null is expected")
                self._settings[name] = given[name]
        self._include = session.get("include", self._include)
        self._due.append(self._event(answer, session=self._session()))
        return [Due()]

    def _set_format(self, given: object) -> None:
        if given is None:
            return
        try:
            wanted = msgspec.convert(given, _Format)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BadMessage(f"session.audio.input.format: {error}"[:200]) from error
        if self._stream and _form(wanted) != _form(self._format):
            raise BadMessage("session.audio.input.format: it cannot change after the first audio")
        Stream(_form(wanted))  # refused now, not at the first audio
        self._format = wanted

    def _append(self, audio: object) -> list[Said]:
        try:
            data = base64.b64decode(audio, validate=True) if isinstance(audio, str) else None
        except (binascii.Error, ValueError):
            data = None
        if data is None:
            raise BadMessage("audio: base64 is expected")
        if self._stream is None:
            self._stream = Stream(_form(self._format), (self._party,))
        stream = self._stream
        said = stream.push(data)
        if not (stream.started and not self._opened):
            return said
        self._opened = True
        encoding, rate_hz = stream.opened_as
        transcription = self._settings["transcription"] or {}
        own = {k: v for k in ("model", "language") if isinstance(v := transcription.get(k), str)}
        parties = (self._party,)
        mixed = () if self._query.get("parties") else parties
        call = self._query.get("call") or self._id
        metadata = told(self._query, {"session": self._id, **own})
        return [Opened(call, "openai", parties, encoding, rate_hz, metadata, mixed=mixed), *said]

    def _commit(self, given: dict[str, object]) -> list[Said]:
        heard_ms = self._stream.heard_ms if self._stream else 0.0
        since_ms = heard_ms - self._committed_ms
        if since_ms < LEAST_COMMIT_MS:
            told = f"buffer too small: {LEAST_COMMIT_MS} ms of audio are needed, {since_ms:.0f} came since the last"
            return self._wrong(given, told, "input_audio_buffer_commit_empty")
        self._committed_ms = heard_ms
        self._cuts.append("commit")
        return [Cut()]

    def _clear(self) -> list[Said]:
        if not self._opened:
            self._due.append(self._event("input_audio_buffer.cleared"))
            return [Due()]
        self._committed_ms = self._stream.heard_ms if self._stream else 0.0
        self._cuts.append("clear")
        return [Cut()]

    def flush(self) -> list[Said]:
        return self._stream.flush() if self._opened and self._stream else []

    # ---- what goes

    def replies(self) -> list[str]:
        due, self._due = self._due, []
        return due

    def tell(self, entry: Entry) -> list[str]:
        match entry.event:
            case Missing() as missing if self._stream:
                self._stream.missing(missing)
            case SpeechStarted(start_ms=start_ms) if self._by_turns:
                self._speaking = self._new_item()
                return [self._speech("started", self._at_ms(start_ms), self._speaking)]
            case Skipped(reason="too_short", end_ms=end_ms) if self._speaking:
                texts = self._turn(self._at_ms(end_ms))
                return [*texts, *self._completed(_Item(self._previous or "", set()))]
            case Faltered(part="recogniser", utterance=utterance, message=message):
                return self._final(utterance, None, "", message or "not transcribed")
            case Transcribed(transcript=said) if said.stage == "final":
                return self._final(said.utterance, (said.start_ms, said.end_ms), said.text, "")
        return []

    def _final(self, utterance: str, span_ms: tuple[int, int] | None, text: str, failure: str) -> list[str]:
        start_ms, end_ms = span_ms or (0, 0)
        if utterance in self._cleared:
            self._cleared.discard(utterance)
            return []
        for item in self._open:
            if utterance in item.waiting:
                return self._fill(item, utterance, text, failure, end_ms - start_ms)
        if not self._by_turns:
            _add(self._loose, text, failure, end_ms - start_ms)
            return []
        heard_ms = round(self._stream.heard_ms) if self._stream else 0
        texts = self._turn(self._at_ms(end_ms) if span_ms else heard_ms)
        item = _Item(self._previous or "", set())
        _add(item, text, failure, end_ms - start_ms)
        return [*texts, *self._completed(item)]

    def _turn(self, end_ms: int) -> list[str]:
        """An item by the server's own ears: the end of its speech, if its beginning was told, and its commit."""
        started, self._speaking = self._speaking, ""
        stopped = [self._speech("stopped", end_ms, started)] if started else []
        return [*stopped, *self._commits(started or self._new_item())]

    def _fill(self, item: _Item, utterance: str, text: str, failure: str, length_ms: int) -> list[str]:
        item.waiting.discard(utterance)
        _add(item, text, failure, length_ms)
        ready: list[str] = []
        while self._open and not self._open[0].waiting:  # in the order of the commits
            ready += self._completed(self._open.pop(0))
        return ready

    def cut(self, waiting: Mapping[str, Party]) -> list[str]:
        theirs = {utterance for item in self._open for utterance in item.waiting}
        mine = {utterance for utterance in waiting if utterance not in theirs | self._cleared}
        if self._cuts and self._cuts.popleft() == "clear":
            self._cleared |= mine
            self._loose, self._speaking = _Item("", set()), ""
            return [self._event("input_audio_buffer.cleared")]
        if self._by_turns and len(mine) > 1:
            return []  # each of them makes an item of its own when it comes
        loose, self._loose = self._loose, _Item("", set())
        item = _Item(self._speaking or self._new_item(), mine, loose.texts, loose.failure, loose.length_ms)
        self._speaking = ""
        self._open.append(item)
        texts = self._commits(item.id)
        return [*texts, *self._fill(self._open[0], "", "", "", 0)]

    def _commits(self, item: str) -> list[str]:
        previous, self._previous = self._previous, item
        content = [{"type": "input_audio", "transcript": None}]
        shown = {"id": item, "object": "realtime.item", "type": "message", "role": "user", "content": content}
        placed: dict[str, Any] = {"previous_item_id": previous}
        return [
            self._event("input_audio_buffer.committed", item_id=item, **placed),
            self._event("conversation.item.added", item={**shown, "status": "completed"}, **placed),
            self._event("conversation.item.done", item={**shown, "status": "completed"}, **placed),
        ]

    def _completed(self, item: _Item) -> list[str]:
        kind = "conversation.item.input_audio_transcription"
        whose: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        if item.failure and not item.texts:
            error = {"type": "server_error", "code": "transcription_failed", "message": item.failure}
            return [self._event(f"{kind}.failed", error=error, **whose)]
        text = " ".join(item.texts)
        delta = [self._event(f"{kind}.delta", delta=text, **whose)] if text else []
        usage = {"type": "duration", "seconds": item.length_ms / 1000}
        return [*delta, self._event(f"{kind}.completed", transcript=text, usage=usage, **whose)]

    def refusal(self, error: AssistError) -> list[str]:
        again = f"; retry after {error.again_s} s" if isinstance(error, Busy) else ""
        theirs = isinstance(error, WireError) and error.http_status < 500
        kind = "invalid_request_error" if theirs else "server_error"
        return [self._error(reason_of(error) + again, error.code, None, kind)]

    def leave(self) -> list[str]:
        return [self._error("the server is shutting down", "draining", None, "server_error")]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        return []

    def _at_ms(self, call_ms: int) -> int:
        return self._stream.at_ms(self._party, call_ms) if self._stream else call_ms

    def _speech(self, what: str, at_ms: int, item: str) -> str:
        name = "audio_start_ms" if what == "started" else "audio_end_ms"
        return self._event(f"input_audio_buffer.speech_{what}", item_id=item, **{name: at_ms})

    def _error(self, message: str, code: str, own: str | None = None, kind: str = "invalid_request_error") -> str:
        told = {"type": kind, "code": code, "message": message, "param": None, "event_id": own}
        return self._event("error", error=told)

    def _event(self, kind: str, **fields: Any) -> str:
        self._events += 1
        return as_text({"type": kind, "event_id": f"event_{self._id}_{self._events}", **fields})

    def _new_item(self) -> str:
        self._items += 1
        return f"item_{self._id}_{self._items}"

    def _session(self) -> dict[str, Any]:
        rate = {"rate": self._format.rate or 24_000} if self._format.type == "audio/pcm" else {}
        given = {"format": {"type": self._format.type, **rate}, **self._settings}
        known = {"id": f"sess_{self._id}", "object": "realtime.transcription_session", "type": "transcription"}
        return {**known, "audio": {"input": given}, "include": self._include}


def key_of(handshake: Handshake) -> str:
    """The key that came: `Authorization: Bearer KEY`, or a browser's subprotocol."""
    kind, _, key = handshake.headers.get("authorization", "").strip().partition(" ")
    if kind.lower() == "bearer":
        return key.strip()
    offered = [each for each in handshake.subprotocols if each.startswith(KEY_PREFIX)]
    return offered[0].removeprefix(KEY_PREFIX) if offered else ""


def _add(item: _Item, text: str, failure: str, length_ms: int) -> None:
    item.texts += [text] if text else []
    item.failure = item.failure or failure
    item.length_ms += length_ms


def _form(given: _Format) -> Form:
    default_hz = 24_000 if given.type == "audio/pcm" else 8_000
    return Form(FORMATS[given.type], default_hz if given.rate is None else given.rate, 1)


def _from_flat(session: object) -> object:
    """A session in the older, flat shape as the one of today."""
    if not isinstance(session, dict):
        return session
    given: dict[str, Any] = {name: session[name] for name in ("turn_detection",) if name in session}
    for name in ("transcription", "noise_reduction"):
        if (old := f"input_audio_{name}") in session:
            given[name] = session[old]
    if isinstance(form := session.get("input_audio_format"), str):
        given["format"] = {"type": FLAT.get(form, form[:40])}
    return {"type": "transcription", "audio": {"input": given}, "include": session.get("include")}
