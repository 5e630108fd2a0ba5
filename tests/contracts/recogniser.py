"""What every recogniser promises: subclass `RecogniserContract` and give it a `recogniser` fixture.

It knows no recogniser and judges no accuracy: only that what goes in comes back as a fit transcript.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from assist.audio import RATE_HZ, SAMPLES_PER_MS, Party, Samples, Utterance
from assist.conversation import Transcript
from assist.errors import RecogniserFailed
from assist.transcribe import Recogniser

LOW = 0.2
"""Text over silence must claim no more probability than this."""


def babble(ms: int, *, seed: int = 1, peak: float = 8000) -> NDArray[np.float64]:
    """Something with the rhythm and the spectrum of speech: pulses at 120 Hz, four syllables a second, some hiss."""
    rng = np.random.default_rng(seed)
    at = np.arange(ms * SAMPLES_PER_MS) / RATE_HZ
    voice = sum(np.sin(2 * np.pi * 120 * k * at + k) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 2 * at + seed) ** 2 - 0.1, 0, None)
    sound = (voice + 0.1 * rng.standard_normal(len(at))) * syllables
    return np.asarray(sound * peak / max(1e-9, np.abs(sound).max()))


def utterance(
    sound: NDArray[np.float64] | Samples,
    *,
    start_ms: int = 4_000,
    party: Party = "customer",
    stage: Literal["partial", "speculative", "final"] = "final",
    id: str = "u7",
) -> Utterance:
    """An utterance that holds `sound`, clipped to 16 bits."""
    samples = np.clip(sound, -32768, 32767).astype(np.int16)
    end_ms = start_ms + len(samples) // SAMPLES_PER_MS
    return Utterance(id, party, start_ms, end_ms, max(start_ms, end_ms - 150), samples, stage)


def fits(said: Transcript, heard: Utterance) -> None:
    """Assert that `said` answers `heard` and is well formed."""
    assert (said.utterance, said.party, said.stage) == (heard.id, heard.party, heard.stage)
    assert (said.start_ms, said.end_ms) == (heard.start_ms, heard.end_ms)
    assert said.text == said.text.strip()
    assert "\ufffd" not in said.text
    said.text.encode("utf-8")
    assert said.language
    assert said.probability is None or 0 <= said.probability <= 1
    before = heard.start_ms
    for word in said.words:
        assert word.text
        assert before <= word.start_ms <= word.end_ms <= heard.end_ms
        assert word.probability is None or 0 <= word.probability <= 1
        before = word.start_ms


class OneByOne:
    """What a stand-in with a `transcribe` answers where batches are not its subject."""

    together = 1
    linger_ms = 0.0

    def transcribe(self, utterance: Utterance) -> Transcript:
        raise NotImplementedError

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        said: list[Transcript | RecogniserFailed] = []
        for one in utterances:
            try:
                said.append(self.transcribe(one))
            except RecogniserFailed as failed:
                said.append(failed)
        return said

    def bucket(self, utterance: Utterance) -> int:
        return 0

    def cost_ms(self, utterance: Utterance) -> float:
        return 0.0


class RecogniserContract:
    """Subclass with a `recogniser` fixture."""

    def test_it_says_what_it_is(self, recogniser: Recogniser) -> None:
        assert recogniser.name
        assert isinstance(recogniser.rough, bool)
        assert recogniser.workers >= 1
        assert recogniser.together >= 1
        assert recogniser.linger_ms >= 0

    def test_warming_may_be_repeated(self, recogniser: Recogniser) -> None:
        recogniser.warm()
        recogniser.warm()

    @pytest.mark.parametrize("stage", ["partial", "speculative", "final"])
    @pytest.mark.parametrize("party", ["agent", "customer"])
    def test_the_transcript_answers_the_utterance(
        self, recogniser: Recogniser, party: Party, stage: Literal["partial", "speculative", "final"]
    ) -> None:
        heard = utterance(babble(2_500), party=party, stage=stage, start_ms=61_240, id=f"{party}-3")
        fits(recogniser.transcribe(heard), heard)

    @pytest.mark.parametrize("ms", [0, 20, 50, 1_000, 6_000])
    def test_silence_is_empty_or_hardly_believed(self, recogniser: Recogniser, ms: int) -> None:
        heard = utterance(np.zeros(ms * SAMPLES_PER_MS, dtype=np.int16))
        said = recogniser.transcribe(heard)
        fits(said, heard)
        assert not said.text or (said.probability is not None and said.probability <= LOW)

    @pytest.mark.parametrize("ms", [1, 20, 50, 333, 29_990, 30_000])
    def test_any_length_is_handled(self, recogniser: Recogniser, ms: int) -> None:
        heard = utterance(babble(ms))
        fits(recogniser.transcribe(heard), heard)

    def test_a_clipped_sound_is_handled(self, recogniser: Recogniser) -> None:
        heard = utterance(babble(2_000, peak=400_000))
        fits(recogniser.transcribe(heard), heard)

    def test_an_offset_is_handled(self, recogniser: Recogniser) -> None:
        heard = utterance(babble(2_000, peak=3_000) + 12_000)
        fits(recogniser.transcribe(heard), heard)

    def test_noise_is_handled(self, recogniser: Recogniser) -> None:
        heard = utterance(np.random.default_rng(3).normal(0, 3_000, 3 * RATE_HZ))
        fits(recogniser.transcribe(heard), heard)

    def test_the_samples_are_left_alone(self, recogniser: Recogniser) -> None:
        heard = utterance(babble(1_000))
        heard.samples.flags.writeable = False
        kept = heard.samples.copy()
        recogniser.transcribe(heard)
        assert np.array_equal(heard.samples, kept)

    def test_four_threads_each_get_their_own(self, recogniser: Recogniser) -> None:
        heard = [utterance(babble(800 + 150 * i, seed=i), id=f"u{i}", start_ms=1_000 * i) for i in range(8)]
        alone = [recogniser.transcribe(one) for one in heard]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(recogniser.transcribe, heard * 2))
        for one, said in zip(heard * 2, together, strict=True):
            fits(said, one)
        assert [said.text for said in together] == [said.text for said in alone] * 2

    def test_a_batch_says_what_each_says_alone(self, recogniser: Recogniser) -> None:
        heard = [utterance(babble(900 + 250 * i, seed=i), id=f"u{i}", start_ms=1_000 * i) for i in range(6)]
        heard[3] = utterance(np.zeros(16_000, dtype=np.int16), id="u3", start_ms=3_000)
        for batch in batches(recogniser, heard):
            said = recogniser.transcribe_many(batch)
            assert len(said) == len(batch)
            for one, transcript in zip(batch, said, strict=True):
                assert isinstance(transcript, Transcript)
                fits(transcript, one)
                assert transcript.text == recogniser.transcribe(one).text

    def test_stages_may_share_a_batch(self, recogniser: Recogniser) -> None:
        heard = [
            utterance(babble(2_000, seed=1), id="u1", stage="partial"),
            utterance(babble(2_000, seed=2), id="u2", stage="speculative"),
            utterance(babble(2_000, seed=3), id="u3"),
        ]
        for batch in batches(recogniser, heard):
            for one, transcript in zip(batch, recogniser.transcribe_many(batch), strict=True):
                assert isinstance(transcript, Transcript)
                fits(transcript, one)

    def test_no_utterances_are_no_transcripts(self, recogniser: Recogniser) -> None:
        assert list(recogniser.transcribe_many([])) == []

    def test_a_longer_utterance_costs_no_less(self, recogniser: Recogniser) -> None:
        recogniser.warm()
        costs = [recogniser.cost_ms(utterance(babble(ms))) for ms in (20, 500, 5_000, 12_000, 29_000)]
        assert costs == sorted(costs)
        assert costs[0] >= 0

    def test_the_bucket_follows_from_the_length_alone(self, recogniser: Recogniser) -> None:
        for ms in (20, 100, 7_900, 8_100, 29_000):
            heard = utterance(babble(ms))
            silent = replace(heard, sound=np.zeros_like(heard.sound), stage="partial", party="agent")
            assert recogniser.bucket(heard) == recogniser.bucket(silent)


def batches(recogniser: Recogniser, heard: Sequence[Utterance]) -> list[list[Utterance]]:
    """`heard` as a gate would hand them over: of one bucket, at most `together` at once."""
    found: list[list[Utterance]] = []
    for one in heard:
        if found and len(found[-1]) < recogniser.together and recogniser.bucket(found[-1][0]) == recogniser.bucket(one):
            found[-1].append(one)
        else:
            found.append([one])
    return found
