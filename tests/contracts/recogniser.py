"""What every recogniser promises: subclass `RecogniserContract` and give it a `recogniser` fixture.

It knows no recogniser and judges no accuracy: only that what goes in comes back as a fit transcript.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from assist.audio import RATE_HZ, SAMPLES_PER_MS, Party, Samples, Utterance
from assist.conversation import Transcript
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


class RecogniserContract:
    """Subclass with a `recogniser` fixture."""

    def test_it_says_what_it_is(self, recogniser: Recogniser) -> None:
        assert recogniser.name
        assert isinstance(recogniser.rough, bool)
        assert recogniser.workers >= 1

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
