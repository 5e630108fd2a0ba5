"""Deepgram's live API: what is wanted stands in the query, audio is binary, JSON both ways.

WS /v1/listen?encoding=linear16&sample_rate=16000&channels=2&multichannel=true&interim_results=true
> binary audio; {"type": "KeepAlive"} {"type": "Finalize", "channel"?: 0} {"type": "CloseStream"} {"type": "Configure"}
< {"type": "Results", "channel_index": [0, 2], "start": 1.2, "duration": 2.1, "is_final": true, "speech_final": true,
   "channel": {"alternatives": [{"transcript": "...", "confidence": 0.9, "words": [...]}]}, "metadata": {...}}
< SpeechStarted (vad_events), UtteranceEnd (utterance_end_ms), ConfigureSuccess, Error; Metadata, then a close

Channel 0 is the customer, 1 the agent, unless `parties=agent,customer` says otherwise; one channel counts as mixed
unless `parties` names who speaks. `call` may name the call in our log. Without `encoding` a WAV is expected. Several
channels without `multichannel` are heard apart all the same, and told as one.

`interim_results` gives what this server shows as partials and eager finals: with `recogniser.partials` off, or under
load, only the eager finals. The house's own endpointing decides when speech has ended; `endpointing=false` leaves
`speech_final` false. `redact` is refused, because nobody would redact. What else is asked for is noted in the call's
metadata and not done. Seconds are of the audio sent. `confidence` is 0 where the recogniser does not say.
Source: developers.deepgram.com.
"""

from __future__ import annotations

import string
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from assist.audio import Encoding, Party
from assist.conversation import Transcript, Word
from assist.errors import AssistError, BadEncoding, BadMessage, Busy
from assist.events import CallStarted, Entry, Faltered, Ledger, Missing, Skipped, SpeechStarted, Transcribed
from assist.protocols import (
    Bye,
    Cut,
    Due,
    Handshake,
    Odd,
    Opened,
    Said,
    Simple,
    as_text,
    read_object,
    reason_of,
    spread,
)
from assist.protocols.plain import call_id
from assist.protocols.stream import Stream, as_number, as_truth, asked, parties_of, told
from assist.protocols.wave import Form

ENCODINGS: Final[dict[str, Encoding]] = {"linear16": "l16", "mulaw": "mulaw", "alaw": "alaw"}
LEAST_RATE_HZ: Final = 6_000


@dataclass
class _Channel:
    """One party, as this dialect follows it. `ended_ms`: where its last word ended, until that has been told."""

    speaking: bool = False
    ended_ms: int | None = None


class Deepgram(Simple):
    """One socket. `check` raises WireError for a key that is not let in; `new_id` makes request ids."""

    follows = True

    def __init__(self, check: Callable[[str], None], new_id: Callable[[], str] = lambda: str(uuid.uuid4())) -> None:
        self._check = check
        self._request = new_id()
        self._query: dict[str, str] = {}
        self._stream = Stream(None)
        self._interim = self._vad = self._apart = False
        self._endpoints = True
        self._utterance_end_ms = 0
        self._opened = False
        self._closing = False
        self._due: list[dict[str, Any]] = []
        self._channels: dict[Party, _Channel] = {}
        self._wanted: list[Party] = []
        """Parties of the open Finalize, of those with nothing to wait for."""
        self._waiting: dict[str, Party] = {}
        self._recogniser = ""
        self._created = ""

    def greet(self, handshake: Handshake) -> None:
        query = self._query = asked(handshake)
        self._check(key_of(handshake))
        if query.get("redact", "false").lower() != "false":
            raise BadMessage("redact: nothing is redacted here, so nothing that must be is taken")
        if query.get("call"):
            call_id(query["call"])
        self._interim, self._vad = as_truth(query, "interim_results"), as_truth(query, "vad_events")
        self._apart = as_truth(query, "multichannel")
        self._endpoints = query.get("endpointing", "").lower() != "false"
        if self._endpoints and query.get("endpointing", "").lower() != "true":
            as_number(query, "endpointing", 10, 0, 60_000)
        self._utterance_end_ms = as_number(query, "utterance_end_ms", 0, 1, 60_000)
        self._stream = Stream(_form(query), parties_of(query))

    # ---- what comes

    def receive(self, message: str | bytes) -> list[Said]:
        if self._closing:
            return [Odd("after_close")]
        if isinstance(message, bytes):
            return self._audio(message) if message else self._close()
        given = read_object(message)
        match given.get("type"):
            case "KeepAlive":
                return []
            case "Finalize":
                return self._finalize(given.get("channel"))
            case "CloseStream":
                return self._close()
            case "Configure":
                return self._configure(given)
        if not isinstance(kind := given.get("type"), str):
            raise BadMessage("`type` is missing or no string")
        error = f"{kind[:40]!r}: KeepAlive, Finalize, CloseStream or Configure is expected"
        self._due.append({"type": "Error", "variant": "SchemaError", "description": error, "message": message[:200]})
        return [Odd("unknown_message"), Due()]

    def _audio(self, message: bytes) -> list[Said]:
        said = self._stream.push(message)
        if self._stream.started and not self._opened:
            said = [self._open(), *said]
        self._end_utterances()
        return [*said, *([Due()] if self._due else [])]

    def _open(self) -> Opened:
        self._opened = True
        stream = self._stream
        assert stream.form
        self._channels = {party: _Channel() for party in stream.parties}
        encoding, rate_hz = stream.opened_as
        own = {"request_id": self._request, "sample_rate": str(stream.form.rate_hz)}
        alone = len(stream.parties) > 1 or self._query.get("parties")
        call = self._query.get("call") or self._request
        mixed = () if alone else stream.parties
        return Opened(call, "deepgram", stream.parties, encoding, rate_hz, told(self._query, own), mixed=mixed)

    def _finalize(self, channel: object) -> list[Said]:
        parties = self._stream.parties
        if channel is not None:
            if not isinstance(channel, int) or isinstance(channel, bool) or not 0 <= channel < max(1, len(parties)):
                raise BadMessage(f"Finalize: no channel {str(channel)[:20]!r}")
            parties = parties[channel : channel + 1]
        self._wanted = list(parties)
        if self._opened:
            return [Cut()]
        self._due += self._finalized()
        return [Due()]

    def _configure(self, given: dict[str, object]) -> list[Said]:
        if given.get("keyterms"):
            code = "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
            why = "the words of the knowledge base are the only hints the recogniser is given"
            told = {"type": "ConfigureFailure", "request_id": self._request, "code": code, "description": why}
        else:
            told = {"type": "ConfigureSuccess", "request_id": self._request}
        self._due.append(told)
        return [Odd("configure"), Due()]

    def _close(self) -> list[Said]:
        self._closing = True
        return [*(self._stream.flush() if self._opened else ()), Bye()]

    def flush(self) -> list[Said]:
        return self._stream.flush() if self._opened and not self._closing else []

    def _end_utterances(self) -> None:
        """Where nothing has been said for long enough after a last word, by the audio that came."""
        for party, channel in self._channels.items():
            quiet = channel.ended_ms is not None and not channel.speaking
            if quiet and self._stream.heard_ms - (channel.ended_ms or 0) >= self._utterance_end_ms:
                ended_s = (channel.ended_ms or 0) / 1000
                self._due.append({"type": "UtteranceEnd", "channel": self._index(party), "last_word_end": ended_s})
                channel.ended_ms = None

    # ---- what goes

    def replies(self) -> list[str]:
        due, self._due = self._due, []
        return [as_text(each) for each in due]

    def tell(self, entry: Entry) -> list[str]:
        match entry.event:
            case CallStarted() as started:
                self._recogniser, self._created = started.recogniser, started.started_at
            case Missing() as missing:
                self._stream.missing(missing)
            case SpeechStarted(party=party, start_ms=start_ms):
                channel = self._channels[party]
                channel.speaking, channel.ended_ms = True, None
                if self._vad:
                    at_s = self._stream.at_s(party, start_ms)
                    return [as_text({"type": "SpeechStarted", "channel": self._index(party), "timestamp": at_s})]
            case Skipped(party=party):
                self._channels[party].speaking = False
            case Faltered(part="recogniser", utterance=utterance) if utterance in self._waiting:
                return self._settled(self._waiting.pop(utterance))
            case Transcribed(transcript=said) if said.stage == "final":
                return self._final(said)
            case Transcribed(transcript=said):
                self._channels[said.party].ended_ms = None
                return [self._results(said)] if self._interim and said.text else []
        return []

    def _final(self, said: Transcript) -> list[str]:
        channel = self._channels[said.party]
        channel.speaking = False
        if self._utterance_end_ms and said.text:
            last_ms = said.words[-1].end_ms if said.words else said.end_ms
            channel.ended_ms = self._stream.at_ms(said.party, last_ms)
        asked_for = self._waiting.pop(said.utterance, None) is not None
        last = asked_for and said.party not in self._waiting.values()
        return [self._results(said, last)]

    def _settled(self, party: Party) -> list[str]:
        """What was waited for will not come: say that there is no more of it."""
        return [] if party in self._waiting.values() else [as_text(self._nothing(party))]

    def cut(self, waiting: Mapping[str, Party]) -> list[str]:
        wanted = self._wanted
        self._waiting |= {utterance: party for utterance, party in waiting.items() if party in wanted}
        self._wanted = [party for party in wanted if party not in self._waiting.values()]
        return [as_text(each) for each in self._finalized()]

    def _finalized(self) -> list[dict[str, Any]]:
        """A Finalize is answered in any case: its client may wait for it."""
        wanted, self._wanted = self._wanted, []
        return [self._nothing(party) for party in wanted]

    def refusal(self, error: AssistError) -> list[str]:
        again = f"; retry after {error.again_s} s" if isinstance(error, Busy) else ""
        told = {"type": "Error", "variant": error.code, "description": reason_of(error) + again}
        return [as_text({**told, "code": error.code, "message": reason_of(error)})]

    def farewell(self, reason: str, ledger: dict[str, Ledger]) -> list[str]:
        known = {"transaction_key": "deprecated", "request_id": self._request, "sha256": self._stream.sha256}
        books = {"created": self._created, "duration": round(self._stream.heard_ms / 1000, 3)}
        channels = len(self._stream.parties) if self._apart else 1
        model = {self._model(): self._info()}
        shown = {"type": "Metadata", **known, **books, "channels": channels, "models": list(model), "model_info": model}
        return [as_text(shown)]

    def _index(self, party: Party) -> list[int]:
        parties = self._stream.parties
        return [parties.index(party), len(parties)] if self._apart else [0, 1]

    def _nothing(self, party: Party) -> dict[str, Any]:
        at_s = round(self._stream.heard_ms / 1000, 3)
        return self._result(party, at_s, 0.0, Transcript("", party, 0, 0, ""), [], (True, True))

    def _results(self, said: Transcript, finalized: bool = False) -> str:
        start_s, end_s = (self._stream.at_s(said.party, ms) for ms in (said.start_ms, said.end_ms))
        words = [self._word(said, word) for word in (said.words or spread(said))]
        length_s = round(end_s - start_s, 3)
        return as_text(self._result(said.party, start_s, length_s, said, words, (said.stage == "final", finalized)))

    def _result(
        self, party: Party, start: float, duration: float, said: Transcript, words: list[Any], firm: tuple[bool, bool]
    ) -> dict[str, Any]:
        final, finalized = firm
        best = {"transcript": said.text, "confidence": said.probability or 0.0, "words": words}
        model = {"model_uuid": self._model(), "model_info": self._info()}
        return {
            "type": "Results",
            "channel_index": self._index(party),
            "start": start,
            "duration": duration,
            "is_final": final,
            "speech_final": final and self._endpoints,
            "from_finalize": finalized,
            "channel": {"alternatives": [best]},
            "metadata": {"request_id": self._request, **model},
        }

    def _word(self, said: Transcript, word: Word) -> dict[str, Any]:
        start, end = (self._stream.at_s(said.party, ms) for ms in (word.start_ms, word.end_ms))
        sure = said.probability if word.probability is None else word.probability
        bare = word.text.strip(string.punctuation).lower() or word.text
        return {"word": bare, "start": start, "end": end, "confidence": sure or 0.0, "punctuated_word": word.text}

    def _model(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"assist:{self._recogniser}"))

    def _info(self) -> dict[str, str]:
        return {"name": self._recogniser, "version": "", "arch": self._recogniser.partition(" ")[0]}


def key_of(handshake: Handshake) -> str:
    """The key that came: `Authorization: Token KEY` or `Bearer KEY`, or the subprotocols `token, KEY` of a browser."""
    kind, _, key = handshake.headers.get("authorization", "").strip().partition(" ")
    if kind.lower() in ("token", "bearer"):
        return key.strip()
    offered = handshake.subprotocols
    return offered[1] if len(offered) > 1 and offered[0].lower() in ("token", "bearer") else ""


def _form(query: Mapping[str, str]) -> Form | None:
    """What the query says of the audio. Raises BadEncoding, BadMessage."""
    channels = as_number(query, "channels", 1, 1, 3)
    name = query.get("encoding", "").lower()
    if not name:
        return None
    if name not in ENCODINGS:
        raise BadEncoding(f"encoding: {name[:40]!r} is not taken: {', '.join(ENCODINGS)}, or a WAV without it")
    encoding = ENCODINGS[name]
    rate_hz = as_number(query, "sample_rate", 0 if encoding == "l16" else 8_000, LEAST_RATE_HZ, 192_000)
    if not rate_hz:
        raise BadMessage("sample_rate: it must be named where encoding is")
    return Form(encoding, rate_hz, channels)
