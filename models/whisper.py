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

ALIGN_MS: Final = 20  # one encoder position
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


class Whisper:
    """A Recogniser. `transcribe` may be called from any number of threads; `workers` of them run at once."""

    def __init__(
        self, model: Any, tokenizer: tokenizers.Tokenizer, options: Options, *, name: str, rough: bool
    ) -> None:
        self.name = name
        self.rough = rough
        self.workers = options.workers
        self._model = model
        self._tokenizer = tokenizer
        self._options = options
        self._language = options.language if model.is_multilingual else "en"
        self._tongues = Tongues()
        self._random_tokens_per_s = options.random_tokens_per_s
        self._bands = filters(model.n_mels)
        english = self._speaking("en")
        self._suppressed = [*get_suppressed_tokens(english, [-1])]
        if self._random_tokens_per_s is not None:
            self._suppressed.append(english.eot)
        hint = options.hint.spent(english.encode)
        self._before = [english.sot_prev, *hint] if hint else []
        self._open = True

    def transcribe(self, utterance: Utterance) -> Transcript:
        """The transcript of `utterance`. `probability` is the exponential of the mean log probability of its tokens.

        Text that the guard rejects twice comes with a probability of at most 0.1, cut before it repeats itself; text
        over silence comes empty. A partial is not decoded again: the next one will be.
        Words come with their probability, and not in partials; their times are those of the stretch decoded at once
        (at most 28 s) unless `word_times` asks for more. Raises RecogniserFailed.
        """
        if not self._open:
            raise RecogniserFailed("whisper is closed")
        parts: list[Heard] = []
        try:
            for start, samples in pieces(utterance.samples):
                part = self._hear(samples, utterance.stage != "partial", (utterance.call, utterance.party))
                parts.append(part._replace(words=placed(part.words, start, utterance)))
        except (RuntimeError, ValueError, MemoryError) as error:
            raise RecogniserFailed(f"whisper failed on {utterance.id}: {error}") from error
        spoken = [p for p in parts if p.decoded.text]
        tokens = sum(len(p.decoded.tokens) + 1 for p in spoken)
        logprob = sum(p.decoded.logprob * (len(p.decoded.tokens) + 1) for p in spoken) / max(tokens, 1)
        language = next((p.language for p in spoken or parts), self._language or "en")
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

    def warm(self) -> None:
        """One utterance of noise for every window on every worker. Raises ModelMissing where the device cannot run."""
        noise = np.random.default_rng(0).normal(0, 300, LONGEST_S * RATE_HZ).astype(np.int16)
        buckets = BUCKETS_S if self._options.window == "fit" else BUCKETS_S[-1:]

        def once(seconds: int) -> None:
            features = log_mel(noise[: (seconds - MARGIN_S) * RATE_HZ], seconds, self._bands)
            self._decode(self._encode(features), self._speaking("en"), seconds=1)

        try:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(once, [seconds for seconds in buckets for _ in range(self.workers)]))
        except RuntimeError as error:  # CUDA's own libraries are looked for only now
            raise ModelMissing(f'{self.name} cannot run: {error}; recogniser.device = "cpu" always can') from error

    def close(self) -> None:
        """Unload the model; later calls of `transcribe` raise RecogniserFailed."""
        self._open = False
        self._model.unload_model()

    def _hear(self, samples: Samples, firm: bool, speaker: tuple[str, str] = ("", "")) -> Heard:
        seconds = len(samples) / RATE_HZ
        window_s = BUCKETS_S[-1] if self._options.window == "full" else fitted_s(seconds)
        encoded = self._encode(log_mel(samples, window_s, self._bands))
        language = self._language or self._tongues.fixed(speaker)
        if language is None:
            chances = _chances(self._model.detect_language(encoded))
            language = self._tongues.hear(speaker, chances, seconds, firm=firm)
        speaking = self._speaking(language)
        decoded = self._decode(encoded, speaking, seconds, firm)
        if self._random_tokens_per_s is None and (why := fault(decoded)):
            # At 30 s already, greedy decoding would only say the same again.
            if firm and window_s < BUCKETS_S[-1]:
                encoded = self._encode(log_mel(samples, BUCKETS_S[-1], self._bands))
                decoded = self._decode(encoded, speaking, seconds, firm)
                why = fault(decoded)
            if why:
                decoded = self._doubted(decoded, why, speaking)
        words = self._words(encoded, decoded, speaking) if firm else ()
        return Heard(decoded, language, words)

    def _encode(self, features: NDArray[np.float32]) -> Any:
        # CTranslate2 takes (1, n_mels, frames) for encoded already where frames / 2 == n_mels, and encodes it twice.
        if features.shape[1] == 2 * self._model.n_mels:
            raise ValueError(f"a window of {features.shape[1]} frames would be mistaken for encoded input")
        return self._model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None])))

    def _decode(self, encoded: Any, speaking: Tokenizer, seconds: float, firm: bool = False) -> Decoded:
        """Greedy text. With `firm`, the probability of each token is read off its logits."""
        if self._random_tokens_per_s is None:
            cap = min(MAX_TOKENS, math.ceil(4 + 8 * seconds))
        else:
            cap = min(MAX_TOKENS, max(1, round(self._random_tokens_per_s * seconds)))
        prompt = [*self._before, *speaking.sot_sequence, speaking.no_timestamps]
        result = self._model.generate(
            encoded,
            [prompt],
            beam_size=1,
            # CTranslate2 stops at half of max_length, or at max_length less all but the last token of the prompt.
            max_length=max(2 * cap, len(prompt) - 1 + cap),
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=firm,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
        )[0]
        said = result.sequences_ids[0]
        tokens = tuple(token for token in said if token < speaking.eot)
        logits = result.logits[0] if firm else ()
        chances = tuple(_chance(row, token) for row, token in zip(logits, said, strict=False) if token < speaking.eot)
        return Decoded(
            text=speaking.decode(tokens).replace("\ufffd", "").strip(),
            tokens=tokens,
            logprob=result.scores[0] * len(said) / (len(said) + 1),  # the end of text counts as one token
            no_speech=result.no_speech_prob,
            capped=len(said) >= cap,
            seconds=seconds,
            chances=chances,
        )

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


def _chance(logits: Any, token: int) -> float:
    """P(token) of one step: softmax over the vocabulary."""
    row = np.asarray(logits).ravel()
    highest = row.max()
    return float(np.exp(row[token] - highest) / np.exp(row - highest).sum())


def _chances(result: Any) -> list[tuple[str, float]]:
    return [(str(token).strip("<|>"), float(p)) for token, p in result[0]]


def load(
    weights: str,
    *,
    window: Window = "fit",
    device: Literal["cpu", "cuda", "auto"] = "cpu",
    workers: int = 0,
    language: str | None = "en",
    word_times: bool = False,
    random_tokens_per_s: float | None = None,
    hint: Hint = NO_HINT,
) -> Whisper:
    """A Whisper from `weights`: a name ("whisper-base", see models/fetch.py) or a CTranslate2 directory.

    int8 on the CPU, float16 on CUDA. `workers` 0 means one per core, or two on CUDA (one copies while one computes).
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
    compute = "int8" if device == "cpu" else "float16"
    workers = workers or (len(os.sched_getaffinity(0)) if device == "cpu" else 2)
    try:
        model = ctranslate2.models.Whisper(
            str(path), device=device, compute_type=compute, inter_threads=workers, intra_threads=1
        )
        tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelMissing(f"the Whisper weights in {path} cannot be loaded on {device}: {error}") from error
    if not model.is_multilingual and language not in ("en", None):
        raise ConfigError(f"recogniser.language = {language!r}: the weights in {path} know English only")
    label = f"whisper-{size} RANDOM WEIGHTS" if size else weights if weights in SOURCES else path.name
    options = Options(window, workers, language, word_times, random_tokens_per_s, hint)
    return Whisper(model, tokenizer, options, name=f"{label} {compute} window={window}", rough=bool(size))
