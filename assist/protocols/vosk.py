"""Vosk server: binary PCM, and exactly one reply for each binary frame, because its clients wait for one.

> {"config": {"sample_rate": 8000, "words": true, "max_alternatives": 0}}      no reply; without it 8000 Hz
> binary: 16-bit linear PCM, mono, a WAV header before it or none
< {"partial": "my camera"}      or, where something has become final since the last reply:
< {"result": [{"conf": 0.9, "start": 1.2, "end": 1.5, "word": "my"}, ...], "text": "my camera is black"}
> {"reset": 1}                  < the final result of what was said; the socket stays open
> {"eof": 1}                    < the final result, then a close

A reply never waits for the recogniser: what is final when a frame comes goes as its reply, all of it in one. `result`
is there where the recogniser gives words, and not with "words": false. Seconds are of the audio sent. `conf` is 0
where the recogniser does not say. `phrase_list`, `model` and the like are taken and not used. The request's query may
say `call`, the call's id in our log, `parties=agent` (else the customer speaks), and anything for its metadata.
Source: github.com/alphacep/vosk-server.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from assist.audio import Party
from assist.conversation import Transcript, Word
from assist.errors import BadEncoding, BadMessage, UnknownMessage
from assist.events import Entry, Faltered, Ledger, Missing, Skipped, Transcribed
from assist.protocols import Bye, Cut, Due, Handshake, Odd, Opened, Said, Simple, as_text, read_object
from assist.protocols.plain import call_id
from assist.protocols.stream import Stream, asked, parties_of, told
from assist.protocols.wave import Form
from assist.resample import taken

RATE_HZ = 8_000
"""Where nobody says another."""


class _Config(msgspec.Struct, frozen=True):
    sample_rate: Annotated[float, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    words: bool | None = None
    max_alternatives: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Vosk(Simple):
    """One Vosk client's socket. `new_id` names a call whose client does not."""

    follows = True

    def __init__(self, new_id: Callable[[], str] = lambda: f"vosk-{uuid.uuid4()}") -> None:
        self._new_id = new_id
        self._query: dict[str, str] = {}
        self._parties: tuple[Party, ...] = ("customer",)
        self._rate_hz = RATE_HZ
        self._words = True
        self._alternatives = 0
        self._stream: Stream | None = None
        self._opened = False
        self._over = False
        self._due = 0
        self._results = 0
        """Final results that are due at once."""
        self._partial = ""
        self._finals: list[Transcript] = []
        self._waiting: set[str] | None = None
        """Utterances without which the answer to a reset is not whole; None: no reset is open."""

    def greet(self, handshake: Handshake) -> None:
        self._query = asked(handshake)
        if self._query.get("call"):
            call_id(self._query["call"])
        self._parties = parties_of(self._query) or self._parties
        if len(self._parties) != 1:
            raise BadMessage("parties: one, because this dialect has one channel")

    # ---- what comes

    def receive(self, message: str | bytes) -> list[Said]:
        if self._over:
            return [Odd("after_eof")]
        if isinstance(message, bytes):
            return self._audio(message)
        given = read_object(message)
        if "config" in given:
            return self._config(given["config"])
        if given.get("eof"):
            self._over = True
            return [*(self._stream.flush() if self._opened and self._stream else ()), Bye()]
        if given.get("reset"):
            if self._opened:
                return [Cut()]
            self._results += 1
            return [Due()]
        raise UnknownMessage("config, eof or reset is expected")

    def _config(self, given: object) -> list[Said]:
        try:
            config = msgspec.convert(given, _Config, strict=False)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BadMessage(f"config: {error}"[:200]) from error
        if config.sample_rate is not None:
            rate_hz = round(config.sample_rate)
            if self._stream and rate_hz != self._rate_hz:
                raise BadEncoding(f"sample_rate: {rate_hz} after audio at {self._rate_hz} Hz")
            taken(rate_hz)  # refused now, not at the first audio
            self._rate_hz = rate_hz
        self._words = self._words if config.words is None else config.words
        self._alternatives = self._alternatives if config.max_alternatives is None else config.max_alternatives
        return []

    def _audio(self, message: bytes) -> list[Said]:
        if self._stream is None:
            self._stream = Stream(Form("l16", self._rate_hz, 1), self._parties)
        said = self._stream.push(message)
        self._due += 1
        if self._stream.started and not self._opened:
            said = [self._open(self._stream), *said]
        return [*said, Due()]

    def _open(self, stream: Stream) -> Opened:
        assert stream.form
        if stream.form.encoding != "l16":
            raise BadEncoding(f"WAV: {stream.form.encoding} is not taken: 16-bit linear PCM")
        self._opened = True
        encoding, rate_hz = stream.opened_as
        own = {"sample_rate": str(stream.form.rate_hz)}
        mixed = () if self._query.get("parties") else self._parties
        call = self._query.get("call") or self._new_id()
        metadata = told(self._query, own)
        return Opened(call, "vosk", self._parties, encoding, rate_hz, metadata, mixed=mixed)

    def flush(self) -> list[Said]:
        return [] if self._over or not (self._opened and self._stream) else self._stream.flush()

    # ---- what goes

    def replies(self) -> list[str]:
        due, self._due = self._due, 0
        results, self._results = self._results, 0
        return [self._reply() for _ in range(due)] + [self._result() for _ in range(results)]

    def tell(self, entry: Entry) -> list[str]:
        match entry.event:
            case Missing() as missing if self._stream:
                self._stream.missing(missing)
            case Transcribed(transcript=said) if said.stage != "final":
                self._partial = said.text or self._partial
            case Transcribed(transcript=said):
                self._partial = ""
                if said.text:
                    self._finals.append(said)
                return self._heard(said.utterance)
            case Skipped():
                self._partial = ""
            case Faltered(part="recogniser", utterance=utterance):
                return self._heard(utterance)
        return []

    def cut(self, waiting: Mapping[str, Party]) -> list[str]:
        # A second reset while one is open is answered by itself: each has its reply.
        answer = [self._result()] if self._waiting is not None else []
        self._waiting = set(waiting)
        return [*answer, *self._heard("")]

    def _heard(self, utterance: str) -> list[str]:
        if self._waiting is None:
            return []
        self._waiting.discard(utterance)
        if self._waiting:
            return []
        self._waiting = None
        return [self._result()]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        open_reset = [self._result()] if self._waiting is not None else []
        return [*open_reset, self._result()]

    def _reply(self) -> str:
        if self._finals and self._waiting is None:
            return self._result()
        return as_text({"partial": self._partial})

    def _result(self) -> str:
        said, self._finals = self._finals, []
        self._partial = ""
        text = " ".join(each.text for each in said)
        words = [self._word(each, word) for each in said for word in each.words] if self._words else []
        shown: dict[str, Any] = {"result": words, "text": text} if words else {"text": text}
        if self._alternatives:
            return as_text({"alternatives": [{"confidence": _sure(said), **shown}]})
        return as_text(shown)

    def _word(self, said: Transcript, word: Word) -> dict[str, Any]:
        assert self._stream
        sure = said.probability if word.probability is None else word.probability
        start, end = (self._stream.at_s(said.party, ms) for ms in (word.start_ms, word.end_ms))
        return {"conf": sure or 0.0, "start": start, "end": end, "word": word.text}


def _sure(said: Sequence[Transcript]) -> float:
    """The least sure of them."""
    return min((each.probability or 0.0 for each in said), default=0.0)
