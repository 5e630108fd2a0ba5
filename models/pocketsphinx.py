"""The embedded recogniser: PocketSphinx with the package's acoustic model and the knowledge base's own words.

The package holds Python's lock while it decodes, so each worker is a process of its own, fed through pipes; a stuck
or dead one is replaced. It knows no call, no socket and no other recogniser.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from assist.audio import Samples, Utterance
from assist.conversation import Transcript, Word
from assist.errors import ModelMissing, RecogniserFailed
from models.narrowband import FILTERS, HEARD_FILTERS, Narrowband, is_wide, log_energies, narrow

LANGUAGE: Final = Path(__file__).parent / "weights" / "language"
TRIGRAMS, DICTIONARY = "language.arpa.gz", "words.dict"
FRAME_MS: Final = 10
LIMIT_S: Final = 8.0
LIMIT_PER_S: Final = 2.0  # more time for longer speech

Said = list[tuple[str, int, int, float]]
"""Words with their first and last frame and their posterior probability."""


class Ear:
    """Decoders for telephone and wideband speech; not thread-safe. Lives in a worker process, or in a benchmark.

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


class _Worker:
    """A process with one decoder. Requests: a 32-bit count, then that many samples; answers: one JSON line."""

    def __init__(self, language_dir: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "models.pocketsphinx", str(language_dir.resolve())],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # One thread: the cores are for other utterances.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def hear(self, samples: Samples) -> Said:
        """Raises RecogniserFailed where the process died, failed or took too long; it is of no use then."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        limit_s = LIMIT_S + LIMIT_PER_S * len(samples) / 16_000
        timer = threading.Timer(limit_s, self._process.kill)
        timer.start()
        try:
            stdin.write(struct.pack("<I", len(samples)) + samples.astype("<i2").tobytes())
            stdin.flush()
            answer = json.loads(stdout.readline() or "null")
        except (OSError, ValueError) as error:
            raise RecogniserFailed(f"PocketSphinx's process broke off: {error}") from error
        finally:
            timer.cancel()
        if not isinstance(answer, list):
            raise RecogniserFailed(f"PocketSphinx gave no answer within {limit_s:.0f} s or died: {answer}")
        return [(str(text), int(first), int(last), float(p)) for text, first, last, p in answer]

    def stop(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass  # what was still to be written to a dead process
        self._process.wait()


class PocketSphinx:
    """A `Recogniser`. Up to `workers` threads are served at once; others wait for a free process."""

    rough = True
    together = 1
    linger_ms = 0.0

    def __init__(self, language_dir: Path, workers: int) -> None:
        self.name = "pocketsphinx en-us + knowledge base"
        self.workers = workers
        self._language_dir = language_dir
        self._closed = False
        self._lock = threading.Lock()
        self._all = {_Worker(language_dir) for _ in range(workers)}
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._all:
            self._idle.put(worker)

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
        """One after the other: its processes share nothing that a batch would save."""
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
        worker = self._idle.get()
        try:
            return worker.hear(samples)
        except RecogniserFailed:
            with self._lock:
                self._all.discard(worker)
                worker.stop()
                if not self._closed:
                    worker = _Worker(self._language_dir)
                    self._all.add(worker)
            raise
        finally:
            self._idle.put(worker)

    def warm(self) -> None:
        """Wait until every process has loaded its models and has decoded a second of hiss."""
        hiss = np.random.default_rng(0).normal(0, 100, 16_000).astype(np.int16)
        workers = [self._idle.get() for _ in range(self.workers)]
        try:
            for worker in workers:
                worker.hear(hiss)
        finally:
            for worker in workers:
                self._idle.put(worker)

    def close(self) -> None:
        """End the processes; what they were decoding raises RecogniserFailed."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.stop()


def load(language_dir: Path | None = None, workers: int = 0) -> PocketSphinx:
    """The embedded recogniser with `workers` processes, 0 for one per core. Raises ModelMissing.

    `language_dir` holds what `python -m models.language` writes.
    """
    folder = LANGUAGE if language_dir is None else language_dir
    for name in (TRIGRAMS, DICTIONARY):
        if not (folder / name).is_file():
            raise ModelMissing(f"{folder / name} is not there: build it with `python -m models.language`")
    return PocketSphinx(folder, workers or len(os.sched_getaffinity(0)))


def _serve(ear: Ear, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until their end, which is also the end of the process that asked."""
    while len(head := requests.read(4)) == 4:
        samples = np.frombuffer(requests.read(2 * struct.unpack("<I", head)[0]), "<i2")
        try:
            answer: Said | str = ear.hear(samples)
        except RuntimeError as error:
            answer = str(error)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the server ends us
    _serve(Ear(Path(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)
