"""The embedded recogniser: PocketSphinx with the package's acoustic model and the knowledge base's own words.

The package holds Python's lock while it decodes, so a server puts each worker in a process of its own
(models/apart.py). It knows no call, no socket and no other recogniser.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from assist.audio import Samples, Utterance
from assist.conversation import Transcript, Word
from assist.errors import ModelMissing, RecogniserFailed
from models.narrowband import FILTERS, HEARD_FILTERS, Narrowband, is_wide, log_energies, narrow

LANGUAGE: Final = Path(__file__).parent / "weights" / "language"
TRIGRAMS, DICTIONARY = "language.arpa.gz", "words.dict"
FRAME_MS: Final = 10

Said = list[tuple[str, int, int, float]]
"""Words with their first and last frame and their posterior probability."""


class Ear:
    """Decoders for telephone and wideband speech; not thread-safe.

    The wideband one takes half a second and 60 MB, and is made when the first utterance needs it.
    """

    def __init__(self, language_dir: Path = LANGUAGE, **settings: Any) -> None:
        self._files = {"lm": str(language_dir / TRIGRAMS), "dict": str(language_dir / DICTIONARY)}
        self._settings = settings
        self._decoders = {HEARD_FILTERS: self._decoder(HEARD_FILTERS)}

    def _decoder(self, filters: int) -> tuple[Narrowband, Any]:
        import pocketsphinx

        package = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"
        acoustic = narrow(package, filters)
        # The decoder reads its model when it is made and keeps nothing open that lies in this folder.
        with tempfile.TemporaryDirectory(prefix="assist-acoustic-") as folder:
            acoustic.write(package, Path(folder))
            given = {"hmm": folder, **self._files, "loglevel": "FATAL", **self._settings}
            return acoustic, pocketsphinx.Decoder(**given)

    def hear(self, samples: Samples) -> Said:
        """The words in `samples`: int16, shape (n,), 16 kHz. Raises RuntimeError."""
        energies = log_energies(samples)
        if len(energies) == 0:
            return []
        filters = FILTERS if is_wide(energies) else HEARD_FILTERS
        if filters not in self._decoders:
            self._decoders[filters] = self._decoder(filters)
        acoustic, decoder = self._decoders[filters]
        decoder.start_utt()
        decoder.process_cep(acoustic.features(energies).tobytes(), False, True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return []
        return [
            (segment.word.partition("(")[0], segment.start_frame, segment.end_frame, min(1.0, segment.prob))
            for segment in decoder.seg()
            if segment.word[0] not in "<["
        ]


class PocketSphinx:
    """A `Recogniser`. One thread is served at a time."""

    rough = True
    workers = 1
    together = 1
    linger_ms = 0.0

    def __init__(self, ear: Ear) -> None:
        self.name = "pocketsphinx en-us + knowledge base"
        self._lock = threading.Lock()
        self._ear: Ear | None = ear

    def transcribe(self, utterance: Utterance) -> Transcript:
        """The transcript of `utterance`; its probability is the mean of its words'. Raises RecogniserFailed."""
        said = self._hear(utterance.samples)
        words = tuple(
            Word(
                text,
                min(utterance.start_ms + first * FRAME_MS, utterance.end_ms),
                min(utterance.start_ms + (last + 1) * FRAME_MS, utterance.end_ms),
                round(probability, 4),
            )
            for text, first, last, probability in said
        )
        return Transcript(
            utterance=utterance.id,
            party=utterance.party,
            start_ms=utterance.start_ms,
            end_ms=utterance.end_ms,
            text=" ".join(word.text for word in words),
            words=words,
            stage=utterance.stage,
            probability=sum(said[3] for said in said) / len(said) if said else None,
        )

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        """One after the other: a batch would save nothing."""
        said: list[Transcript | RecogniserFailed] = []
        for utterance in utterances:
            try:
                said.append(self.transcribe(utterance))
            except RecogniserFailed as failed:
                said.append(failed)
        return said

    def bucket(self, utterance: Utterance) -> int:
        """All alike: there are no batches."""
        return 0

    def cost_ms(self, utterance: Utterance) -> float:
        """Not known."""
        return 0.0

    def _hear(self, samples: Samples) -> Said:
        with self._lock:
            if self._ear is None:
                raise RecogniserFailed("PocketSphinx is closed")
            try:
                return self._ear.hear(samples)
            except RuntimeError as error:
                raise RecogniserFailed(f"PocketSphinx failed: {error}") from error

    def warm(self) -> None:
        """Decode a second of hiss."""
        self._hear(np.random.default_rng(0).normal(0, 100, 16_000).astype(np.int16))

    def close(self) -> None:
        """Let the decoders go; later calls of `transcribe` raise RecogniserFailed."""
        with self._lock:
            self._ear = None


def load(language_dir: Path = LANGUAGE) -> PocketSphinx:
    """The embedded recogniser. Raises ModelMissing.

    `language_dir` holds what `python -m models.language` writes.
    """
    for name in (TRIGRAMS, DICTIONARY):
        if not (language_dir / name).is_file():
            raise ModelMissing(f"{language_dir / name} is not there: build it with `python -m models.language`")
    return PocketSphinx(Ear(language_dir))
