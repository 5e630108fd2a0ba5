"""Whisper through CTranslate2: one utterance in, one transcript out, in a window fitted to the utterance.

It knows no call, no queue and no network: weights lie on this machine or `load` says how to get them.

Whisper is trained on windows of 30 s and faster-whisper always pads to that. The encoder takes less, at a fraction
of the cost, but short windows without trailing silence make stock weights ramble; hence buckets of at least 10 s,
at least 2 s of silence after the speech, and a guard that decodes once more at 30 s. Silence is added to the
audio, not to the spectrogram, where zero is not silence.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens
from numpy.typing import NDArray

from assist.audio import RATE_HZ, Samples, Utterance
from assist.conversation import Transcript, Word
from assist.errors import ConfigError, ModelMissing, RecogniserFailed
from models.fetch import SOURCES, find
from models.guard import Decoded, fault, loop
from models.keywords import NO_HINT, Hint
from models.mel import FRAMES_PER_S, filters, log_mel
from models.tongue import Tongues
from models.window import BUCKETS_S, LONGEST_S, MARGIN_S, fitted_s, pieces, placed

Window = Literal["fit", "full"]
Device = Literal["auto", "cpu", "cuda", "cuda-int8"]

ALIGN_MS: Final = 20  # one encoder position
COMPUTE: Final = {"cpu": "int8", "cuda": "float16", "cuda-int8": "int8_float16"}
TOGETHER: Final = {"cpu": 4, "cuda": 16}
LINGER_MS: Final = {"cpu": 0.0, "cuda": 5.0}
TOKENS_PER_S: Final = 3.4  # of English speech
WARMING_TOKENS: Final = 8
MAX_TOKENS: Final = 224  # CTranslate2 gives text half of the decoder's 448 positions
MOST_HINT_TOKENS: Final = 150  # hint, prompt and MAX_TOKENS must fit into the decoder's 448 positions
DOUBTED: Final = 0.1  # the most that text may claim after the guard has rejected it twice


class Options(NamedTuple):
    """What `load` was asked for; see there."""

    window: Window
    workers: int
    language: str | None
    word_times: bool
    random_tokens_per_s: float | None
    hint: Hint


class Heard(NamedTuple):
    """One stretch of at most 28 s: what was decoded, its language, and words timed from its start."""

    decoded: Decoded
    language: str
    words: tuple[Word, ...]


class Stretch(NamedTuple):
    """A piece of an utterance, from its sample `start`, and what is settled about it before it is decoded."""

    utterance: Utterance
    start: int
    samples: Samples
    window_s: int
    language: str | None

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE_HZ

    @property
    def firm(self) -> bool:
        return self.utterance.stage != "partial"


class Cost(NamedTuple):
    """What one worker needs in a window, in ms: before the first token, and for each token."""

    fixed_ms: float
    token_ms: float


class Whisper:
    """A Recogniser. Any number of threads may call it; `workers` of them run at once."""

    def __init__(
        self, model: Any, tokenizer: tokenizers.Tokenizer, options: Options, *, name: str, rough: bool
    ) -> None:
        self.name = name
        self.rough = rough
        self.workers = options.workers
        # Words are timed one utterance at a time.
        self.together = 1 if options.word_times else TOGETHER[model.device]
        self.linger_ms = LINGER_MS[model.device]
        self._model = model
        self._tokenizer = tokenizer
        self._options = options
        self._language = options.language if model.is_multilingual else "en"
        self._tongues = Tongues()
        self._random_tokens_per_s = options.random_tokens_per_s
        self._bands = filters(model.n_mels)
        english = self._speaking("en")
        self._suppressed = [*get_suppressed_tokens(english, [-1])]
        self._end = english.eot
        if self._random_tokens_per_s is not None:
            self._suppressed.append(english.eot)
        hint = options.hint.spent(english.encode)
        self._before = [english.sot_prev, *hint] if hint else []
        self._costs: dict[int, Cost] = {}
        self._open = True

    def transcribe(self, utterance: Utterance) -> Transcript:
        """The transcript of `utterance`. `probability` is the exponential of the mean log probability of its tokens.

        Text that the guard rejects twice comes with a probability of at most 0.1, cut before it repeats itself; text
        over silence comes empty. A partial is not decoded again: the next one will be.
        Words come with their probability, and not in partials; their times are those of the stretch decoded at once
        (at most 28 s) unless `word_times` asks for more. Raises RecogniserFailed.
        """
        (said,) = self.transcribe_many([utterance])
        if isinstance(said, RecogniserFailed):
            raise said
        return said

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | RecogniserFailed]:
        """What `transcribe` says of each. Those of one window are encoded and decoded together, `together` at most."""
        if not self._open:
            return [RecogniserFailed("whisper is closed") for _ in utterances]
        parts: list[list[Heard | Exception]] = [[] for _ in utterances]
        by_window: dict[int, list[tuple[int, Stretch]]] = {}
        for number, utterance in enumerate(utterances):
            for start, samples in pieces(utterance.samples):
                stretch = Stretch(utterance, start, samples, self._window_s(len(samples)), self._language)
                by_window.setdefault(stretch.window_s, []).append((number, stretch))
        for stretches in by_window.values():
            for first in range(0, len(stretches), self.together):
                batch = stretches[first : first + self.together]
                for (number, _), heard in zip(batch, self._tried([s for _, s in batch]), strict=True):
                    parts[number].append(heard)
        return [self._answer(utterance, heard) for utterance, heard in zip(utterances, parts, strict=True)]

    def bucket(self, utterance: Utterance) -> int:
        """The window in s that its longest stretch needs. Hints are of one length and part no utterances."""
        return self._window_s(round(utterance.length_s * RATE_HZ))

    def cost_ms(self, utterance: Utterance) -> float:
        """From what `warm` measured, for as many tokens as English speech of that length has."""
        cost = self._costs.get(self.bucket(utterance))
        if cost is None:
            return 0.0
        seconds = utterance.length_s
        stretches = max(1, math.ceil(seconds / LONGEST_S))
        return stretches * cost.fixed_ms + cost.token_ms * seconds * (self._random_tokens_per_s or TOKENS_PER_S)

    def warm(self) -> None:
        """Noise in every window on every worker, and then once more on one of them to learn what it costs.

        Raises ModelMissing where the device cannot run.
        """
        noise = np.random.default_rng(0).normal(0, 300, LONGEST_S * RATE_HZ).astype(np.int16)
        buckets = BUCKETS_S if self._options.window == "fit" else BUCKETS_S[-1:]
        # Of a processor its own time, so that whatever else it does now is not taken for the cost.
        clock = time.process_time if self._model.device == "cpu" else time.perf_counter

        def timed(window_s: int, *tokens: int) -> list[float]:
            """When it was encoded and when so many tokens each were said, in ms since it began."""
            began = clock()
            encoded = self._encode(log_mel(noise[: (window_s - MARGIN_S) * RATE_HZ], window_s, self._bands))
            at = [clock()]
            for count in tokens:
                self._generate(encoded, [self._speaking("en")], count, endless=True)
                at.append(clock())
            return [(each - began) * 1000 for each in at]

        cost = Cost(0.0, 0.0)
        try:
            with ThreadPoolExecutor(self.workers) as pool:
                list(
                    pool.map(
                        lambda window_s: timed(window_s, 1), [each for each in buckets for _ in range(self.workers)]
                    )
                )
            for window_s in buckets:
                encoded_ms, one_ms, more_ms = timed(window_s, 1, 1 + WARMING_TOKENS)
                token_ms = (more_ms - one_ms - (one_ms - encoded_ms)) / WARMING_TOKENS
                # A longer window is never cheaper, whatever the clock says.
                cost = Cost(max(cost.fixed_ms, one_ms), max(cost.token_ms, token_ms))
                self._costs[window_s] = cost
        except RuntimeError as error:  # CUDA's own libraries are looked for only now
            raise ModelMissing(f'{self.name} cannot run: {error}; recogniser.device = "cpu" always can') from error

    def close(self) -> None:
        """Unload the model; later calls of `transcribe` raise RecogniserFailed."""
        self._open = False
        self._model.unload_model()

    def _window_s(self, samples: int) -> int:
        return BUCKETS_S[-1] if self._options.window == "full" else fitted_s(samples / RATE_HZ)

    def _answer(self, utterance: Utterance, parts: list[Heard | Exception]) -> Transcript | RecogniserFailed:
        """The stretches of one utterance put together."""
        heard: list[Heard] = []
        for part in parts:
            if isinstance(part, Exception):
                failed = RecogniserFailed(f"whisper failed on {utterance.id}: {part}")
                failed.__cause__ = part
                return failed
            heard.append(part)
        spoken = [p for p in heard if p.decoded.text]
        tokens = sum(len(p.decoded.tokens) + 1 for p in spoken)
        logprob = sum(p.decoded.logprob * (len(p.decoded.tokens) + 1) for p in spoken) / max(tokens, 1)
        language = next((p.language for p in spoken or heard), self._language or "en")
        return Transcript(
            utterance=utterance.id,
            party=utterance.party,
            start_ms=utterance.start_ms,
            end_ms=utterance.end_ms,
            text=" ".join(p.decoded.text for p in spoken),
            words=tuple(word for p in spoken for word in p.words),
            language=language,
            stage=utterance.stage,
            probability=min(1.0, math.exp(logprob)) if spoken else None,
        )

    def _tried(self, batch: list[Stretch]) -> list[Heard | Exception]:
        """The batch; where it fails each half, and so on: memory may suffice for less, or one is at fault."""
        try:
            return list(self._hear(batch))
        except (RuntimeError, ValueError, MemoryError) as error:
            if len(batch) == 1:
                return [error]
        half = (len(batch) + 1) // 2
        return [*self._tried(batch[:half]), *self._tried(batch[half:])]

    def _hear(self, batch: list[Stretch]) -> list[Heard]:
        """Stretches of one window."""
        window_s = batch[0].window_s
        encoded = self._encode(*(log_mel(stretch.samples, window_s, self._bands) for stretch in batch))
        languages = self._languages(encoded, batch)
        speaking = [self._speaking(language) for language in languages]
        heard = []
        for stretch, language, speaks, said in zip(
            batch, languages, speaking, self._decode(encoded, batch, speaking), strict=True
        ):
            decoded = said
            if self._random_tokens_per_s is None and (why := fault(decoded)):
                # At 30 s already, greedy decoding would only say the same again.
                if stretch.firm and window_s < BUCKETS_S[-1]:
                    heard += self._hear([stretch._replace(window_s=BUCKETS_S[-1], language=language)])
                    continue
                decoded = self._doubted(decoded, why, speaks)
            words = self._words(encoded, decoded, speaks) if stretch.firm else ()
            heard.append(Heard(decoded, language, placed(words, stretch.start, stretch.utterance)))
        return heard

    def _languages(self, encoded: Any, batch: list[Stretch]) -> list[str]:
        """Of each stretch; the recogniser is asked, for all at once, where one of them is not settled."""
        speakers = [(stretch.utterance.call, stretch.utterance.party) for stretch in batch]
        known = [s.language or self._tongues.fixed(speaker) for s, speaker in zip(batch, speakers, strict=True)]
        found = self._model.detect_language(encoded) if None in known else ()
        return [
            language or self._tongues.hear(speaker, _chances(found[n]), stretch.seconds, firm=stretch.firm)
            for n, (stretch, speaker, language) in enumerate(zip(batch, speakers, known, strict=True))
        ]

    def _encode(self, *features: NDArray[np.float32]) -> Any:
        stacked = np.stack(features)
        # CTranslate2 takes (n, n_mels, frames) for encoded already where frames / 2 == n_mels, and encodes it twice.
        if stacked.shape[2] == 2 * self._model.n_mels:
            raise ValueError(f"a window of {stacked.shape[2]} frames would be mistaken for encoded input")
        return self._model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(stacked)))

    def _cap(self, seconds: float) -> int:
        """The most tokens that so much sound may have."""
        if self._random_tokens_per_s is None:
            return min(MAX_TOKENS, math.ceil(4 + 8 * seconds))
        return min(MAX_TOKENS, max(1, round(self._random_tokens_per_s * seconds)))

    def _generate(
        self, encoded: Any, speaking: list[Tokenizer], cap: int, *, firm: bool = False, endless: bool = False
    ) -> list[Any]:
        """Greedy decoding of a batch, `cap` tokens of each at most, or exactly where it is `endless`."""
        prompts = [[*self._before, *speaks.sot_sequence, speaks.no_timestamps] for speaks in speaking]
        result: list[Any] = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            # CTranslate2 stops at half of max_length, or at max_length less all but the last token of the prompt.
            max_length=max(2 * cap, len(prompts[0]) - 1 + cap),
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=firm,
            suppress_blank=True,
            suppress_tokens=[*self._suppressed, self._end] if endless else self._suppressed,
        )
        return result

    def _decode(self, encoded: Any, batch: list[Stretch], speaking: list[Tokenizer]) -> list[Decoded]:
        """Greedy text. Where one is firm, the probability of each token is read off its logits."""
        caps = [self._cap(stretch.seconds) for stretch in batch]
        results = self._generate(encoded, speaking, max(caps), firm=any(stretch.firm for stretch in batch))
        return [
            _decoded(result, speaks, stretch.seconds, cap)
            for result, speaks, stretch, cap in zip(results, speaking, batch, caps, strict=True)
        ]

    def _doubted(self, decoded: Decoded, why: str, speaking: Tokenizer) -> Decoded:
        if why == "no_speech":
            return replace(decoded, text="", tokens=())
        around = loop(decoded.tokens)
        tokens = decoded.tokens[: around.start + around.length] if around else decoded.tokens
        text = speaking.decode(tokens).replace("\ufffd", "").strip()
        chances = tuple(min(chance, DOUBTED) for chance in decoded.chances[: len(tokens)])
        logprob = min(decoded.logprob, math.log(DOUBTED))
        return replace(decoded, text=text, tokens=tokens, logprob=logprob, chances=chances)

    def _words(self, encoded: Any, decoded: Decoded, speaking: Tokenizer) -> tuple[Word, ...]:
        """Words of a stretch, each with the mean probability of its tokens, as OpenAI's Whisper has it."""
        if not decoded.tokens:
            return ()
        end_ms = round(decoded.seconds * 1000)
        began = self._began(encoded, decoded, speaking) if self._options.word_times else None
        texts, groups = speaking.split_to_word_tokens([*decoded.tokens, speaking.eot])
        words, at = [], 0
        for text, group in zip(texts[:-1], groups[:-1], strict=True):
            start, end = (0, end_ms) if began is None else (began.get(at, 0), began.get(at + len(group), end_ms))
            chances = decoded.chances[at : at + len(group)]
            at += len(group)
            if clean := text.replace("\ufffd", "").strip():
                words.append(Word(clean, start, max(start, end), min(1.0, float(np.mean(chances)))))
        return tuple(words)

    def _began(self, encoded: Any, decoded: Decoded, speaking: Tokenizer) -> dict[int, int]:
        """When each token begins, in ms, from the decoder's attention (dynamic time warping, as OpenAI's Whisper)."""
        frames = max(1, round(decoded.seconds * FRAMES_PER_S))
        found = self._model.align(encoded, speaking.sot_sequence, [list(decoded.tokens)], frames)[0]
        began: dict[int, int] = {}
        for token, position in found.alignments:
            began.setdefault(token, position * ALIGN_MS)
        return began

    def _speaking(self, language: str) -> Tokenizer:
        return Tokenizer(self._tokenizer, self._model.is_multilingual, task="transcribe", language=language)


def _decoded(result: Any, speaking: Tokenizer, seconds: float, cap: int) -> Decoded:
    """One result of a batch, cut at its own `cap`: the batch went on for as long as its longest might."""
    whole = result.sequences_ids[0]
    said = whole[:cap]
    steps = result.logits[0] if result.logits else ()
    chances = [_chance(row, token) for row, token in zip(steps, said, strict=False)]
    cut = chances and len(said) < len(whole)
    total = sum(map(math.log, chances)) if cut else result.scores[0] * len(said)
    tokens = tuple(token for token in said if token < speaking.eot)
    return Decoded(
        text=speaking.decode(tokens).replace("\ufffd", "").strip(),
        tokens=tokens,
        logprob=total / (len(said) + 1),  # the end of text counts as one token
        no_speech=result.no_speech_prob,
        capped=len(said) >= cap,
        seconds=seconds,
        chances=tuple(chance for chance, token in zip(chances, said, strict=False) if token < speaking.eot),
    )


def _chance(logits: Any, token: int) -> float:
    """P(token) of one step: softmax over the vocabulary."""
    if logits.device != "cpu":  # CTranslate2 leaves them where they were made, at its own precision
        logits = logits.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu)
    row = np.asarray(logits).ravel()
    highest = row.max()
    return float(np.exp(row[token] - highest) / np.exp(row - highest).sum())


def _chances(result: Any) -> list[tuple[str, float]]:
    return [(str(token).strip("<|>"), float(p)) for token, p in result]


def load(
    weights: str,
    *,
    window: Window = "fit",
    device: Device = "cpu",
    workers: int = 0,
    language: str | None = "en",
    word_times: bool = False,
    random_tokens_per_s: float | None = None,
    hint: Hint = NO_HINT,
) -> Whisper:
    """A Whisper from `weights`: a name ("whisper-base", see models/fetch.py) or a CTranslate2 directory.

    int8 on the CPU, float16 on CUDA; "cuda-int8" keeps the weights there in half the memory. `workers` 0 means one
    per core, or two on CUDA (one copies while one computes).
    `language` None or "auto" detects it once for each party of a call (models/tongue.py). `hint`: words that the
    decoder is told were said before; its tokens (150 at most) are part of the cost of every utterance.
    `random_tokens_per_s` is for weights made by benchmarks/make_weights.py alone: it makes the decoder say that many
    tokens per second and turns the guard off.
    Raises ModelMissing (no weights, damaged, no such device), ConfigError (language, random_tokens_per_s).
    """
    path = find(weights)
    if language == "auto":
        language = None
    if language is not None and language not in _LANGUAGE_CODES:
        raise ConfigError(f"recogniser.language = {language!r}: Whisper knows {', '.join(_LANGUAGE_CODES)}, or auto")
    if not 0 <= hint.tokens <= MOST_HINT_TOKENS:
        raise ConfigError(f"recogniser.keyword_tokens = {hint.tokens}: 0 to {MOST_HINT_TOKENS} are possible")
    made = path / "random.json"
    size = str(json.loads(made.read_text(encoding="utf-8"))["size"]) if made.is_file() else ""
    if random_tokens_per_s is not None and not size:
        raise ConfigError(f"random_tokens_per_s is for random weights, and {path} holds none")
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    compute = COMPUTE[device]
    workers = workers or (len(os.sched_getaffinity(0)) if device == "cpu" else 2)
    try:
        model = ctranslate2.models.Whisper(
            str(path), device=device.removesuffix("-int8"), compute_type=compute, inter_threads=workers, intra_threads=1
        )
        tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelMissing(f"the Whisper weights in {path} cannot be loaded on {device}: {error}") from error
    if not model.is_multilingual and language not in ("en", None):
        raise ConfigError(f"recogniser.language = {language!r}: the weights in {path} know English only")
    label = f"whisper-{size} RANDOM WEIGHTS" if size else weights if weights in SOURCES else path.name
    options = Options(window, workers, language, word_times, random_tokens_per_s, hint)
    return Whisper(model, tokenizer, options, name=f"{label} {compute} window={window}", rough=bool(size))
