"""What the dialects of speech services promise beside what every dialect does: a call opens with its first audio."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.conversation import Transcript, Word
from assist.events import AnyEvent, Entry, Missing, Transcribed
from assist.protocols import Opened, Protocol, Said, Sound
from tests.contracts.protocol import ProtocolContract


def final(text: str, start_ms: int, end_ms: int, utterance: str = "customer-1", stage: str = "final") -> Transcribed:
    """One said by the customer, each word as long as the other and sure to 0.9."""
    words = text.split()
    each = (end_ms - start_ms) // max(1, len(words))
    told = [Word(word, start_ms + n * each, start_ms + (n + 1) * each, 0.9) for n, word in enumerate(words)]
    party = utterance.split("-")[0]
    return Transcribed(
        Transcript(utterance, party, start_ms, end_ms, text, tuple(told), "en", stage, 0.8)  # type: ignore[arg-type]
    )


def entries(*events: AnyEvent) -> Iterator[Entry]:
    """As the log of a call gives them."""
    return (Entry("c", seq, 0, event) for seq, event in enumerate(events, 1))


class SpeechClientContract(ProtocolContract):
    parties: tuple[str, ...] = ("customer",)

    def audio(self, data: bytes) -> str | bytes:
        """A message with these bytes of audio."""
        return data

    def test_nothing_else_comes_first(self) -> None:
        """Here it may, and opens nothing."""
        for message in self.messages():
            said = self.protocol().receive(json.dumps(message))
            assert not [each for each in said if isinstance(each, Opened | Sound)]

    def test_a_second_opening_is_refused(self) -> None:
        """Here it is more of the same call."""
        protocol = self.opened()
        said = [said for message in self.opens() for said in protocol.receive(message)]
        assert not [each for each in said if isinstance(each, Opened)]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.binary(min_size=2, max_size=3_000), cuts=st.lists(st.integers(0, 3_000), max_size=8))
    def test_audio_is_the_same_however_it_is_cut(self, data: bytes, cuts: list[int]) -> None:
        assert self.heard([data]) == self.heard([data[a:b] for a, b in pieces(len(data), cuts)])

    def heard(self, parts: list[bytes]) -> dict[str, bytes]:
        protocol: Protocol = self.protocol()
        said: list[Said] = [said for part in parts if part for said in protocol.receive(self.audio(part))]
        said += protocol.flush()
        sound: dict[str, bytes] = {}
        for each in said:
            if isinstance(each, Sound):
                sound[each.party] = sound.get(each.party, b"") + each.payload
        return sound


def pieces(length: int, cuts: list[int]) -> list[tuple[int, int]]:
    """Neighbouring spans of it."""
    at = [0, *sorted(cut for cut in cuts if cut < length), length]
    return list(itertools.pairwise(at))


HOLE = Missing("customer", 1_000, 3_000)
"""Two seconds of the call that nobody sent."""
