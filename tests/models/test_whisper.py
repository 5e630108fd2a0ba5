"""The Whisper path end to end on random weights: windows, caps, guard, words. No accuracy can be shown with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given
from hypothesis import strategies as st

from assist.audio import RATE_HZ, Samples
from assist.conversation import Transcript
from assist.errors import ConfigError, ModelMissing, RecogniserFailed
from assist.transcribe import Recogniser
from benchmarks.make_weights import make
from models import fetch, whisper
from models.guard import Decoded, compression, fault, loop
from models.keywords import Hint
from models.mel import filters, log_mel
from models.whisper import Stretch, Whisper
from models.window import BUCKETS_S, LONGEST_S, MARGIN_S, fitted_s, pieces
from tests.contracts.recogniser import RecogniserContract, babble, fits, utterance


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("micro", tmp_path_factory.mktemp("weights") / "random-micro")


@pytest.fixture(scope="module")
def plain(weights: Path) -> Whisper:
    return whisper.load(str(weights), workers=2)


def stretch(samples: Samples) -> Stretch:
    """All of a final utterance."""
    return Stretch(utterance(samples), 0, samples, fitted_s(len(samples) / RATE_HZ), "en")


class Windows:
    """The real model, and a note of every window it was given to encode, in frames."""

    def __init__(self, model: Any) -> None:
        self.frames: list[int] = []
        self._model = model

    def encode(self, features: Any) -> Any:
        self.frames.append(features.shape[2])
        return self._model.encode(features)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def watched(weights: Path, **options: Any) -> tuple[Whisper, list[int]]:
    """A Whisper and the windows it encodes, in order."""
    loaded = whisper.load(str(weights), workers=1, **options)
    watch = Windows(loaded._model)
    loaded._model = watch
    return loaded, watch.frames


@pytest.fixture(scope="module")
def everything(weights: Path) -> Whisper:
    return whisper.load(str(weights), workers=2, window="full", language=None, word_times=True)


@pytest.fixture(scope="module")
def forced(weights: Path) -> Whisper:
    return whisper.load(str(weights), workers=2, word_times=True, random_tokens_per_s=3.4)


class TestWhisper(RecogniserContract):
    @pytest.fixture
    def recogniser(self, plain: Whisper) -> Recogniser:
        return plain


class TestWhisperWithEverything(RecogniserContract):
    @pytest.fixture
    def recogniser(self, everything: Whisper) -> Recogniser:
        return everything


class TestWhisperForBenchmarks(RecogniserContract):
    @pytest.fixture
    def recogniser(self, forced: Whisper) -> Recogniser:
        return forced


# Windows


@given(st.floats(0.001, 28))
def test_a_window_is_the_smallest_that_leaves_two_seconds(seconds: float) -> None:
    window_s = fitted_s(seconds)
    assert window_s in BUCKETS_S
    assert window_s - seconds >= MARGIN_S
    assert all(bucket - seconds < MARGIN_S for bucket in BUCKETS_S if bucket < window_s)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(3, [1000, 3000]), (8, [1000, 3000]), (10, [1200, 3000]), (11, [1500, 3000]), (20, [3000])]
)
def test_a_rejected_final_is_decoded_once_more_at_30_s(weights: Path, seconds: int, windows: list[int]) -> None:
    recogniser, encoded = watched(weights)
    said = recogniser.transcribe(utterance(babble(seconds * 1000)))
    assert encoded == windows  # random weights always ramble, so the guard always objects
    assert said.probability is not None and said.probability <= whisper.DOUBTED


def test_a_rejected_partial_is_not_decoded_again(weights: Path) -> None:
    recogniser, encoded = watched(weights, word_times=True)
    said = recogniser.transcribe(utterance(babble(3_000), stage="partial"))
    assert encoded == [1000]
    assert said.words == ()


def test_the_full_window_is_30_s_once(weights: Path) -> None:
    recogniser, encoded = watched(weights, window="full")
    recogniser.transcribe(utterance(babble(3_000)))
    assert encoded == [3000]


@pytest.mark.parametrize("seconds", [0.01, 1.0, 3.217, 7.99, 9.5, 18.0, 28.0])
def test_silence_is_added_to_the_audio_not_to_the_spectrogram(seconds: float) -> None:
    sound = utterance(babble(int(seconds * 1000))).samples
    window_s = fitted_s(len(sound) / RATE_HZ)
    padded = np.zeros(window_s * RATE_HZ, dtype=np.float32)
    padded[: len(sound)] = sound / np.float32(32768)
    for mels in (80, 128):
        ours = log_mel(sound, window_s, filters(mels))
        assert ours.shape == (mels, window_s * 100)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, FeatureExtractor(feature_size=mels)(padded, padding=0), atol=1e-4)


def test_the_window_that_looks_encoded_is_refused(plain: Whisper) -> None:
    with pytest.raises(ValueError, match="mistaken for encoded"):
        plain._encode(np.zeros((80, 160), dtype=np.float32))
    for mels in (80, 128):
        assert all(seconds * 100 != 2 * mels for seconds in BUCKETS_S)


# Long utterances


@pytest.mark.parametrize("seconds", [28.5, 61, 130])
def test_a_long_utterance_is_cut_where_it_is_quiet_and_none_of_it_lost(seconds: float) -> None:
    sound = babble(int(seconds * 1000)) + 20 * np.random.default_rng(1).standard_normal(int(seconds * RATE_HZ))
    samples = utterance(sound).samples
    cut = list(pieces(samples))
    assert len(cut) > 1
    assert all(len(piece) <= LONGEST_S * RATE_HZ for _, piece in cut)
    assert np.array_equal(np.concatenate([piece for _, piece in cut]), samples)
    starts = [start for start, _ in cut]
    assert starts == sorted(starts)
    level = np.abs(sound).mean()
    for start in starts[1:]:
        assert np.abs(sound[start - 800 : start + 800]).mean() < level / 2


def test_a_long_utterance_is_heard_to_its_end(weights: Path) -> None:
    recogniser = whisper.load(str(weights), workers=1, word_times=True, random_tokens_per_s=3.4)
    sound = np.concatenate((np.zeros(30 * RATE_HZ), babble(2_000), np.zeros(30 * RATE_HZ), babble(20_000)))
    heard = utterance(sound)
    said = recogniser.transcribe(heard)
    fits(said, heard)
    assert said.words[-1].end_ms > heard.end_ms - 5_000


# Batches


class Small(Windows):
    """The real model on a device whose memory takes `most` utterances at once; it notes how many it was given."""

    def __init__(self, model: Any, most: int) -> None:
        super().__init__(model)
        self.most = most
        self.given: list[int] = []

    def encode(self, features: Any) -> Any:
        self.given.append(features.shape[0])
        if features.shape[0] > self.most:
            raise RuntimeError("CUDA failed with error out of memory")
        return super().encode(features)


class Card(Windows):
    """The real model, taken for one on a graphics card."""

    device = "cuda"


def same(one: Transcript | RecogniserFailed, other: Transcript) -> None:
    """The same but for the last digits of probabilities: a batch adds in another order."""
    assert isinstance(one, Transcript)
    assert one.probability == pytest.approx(other.probability, rel=0.01)
    assert [word.text for word in one.words] == [word.text for word in other.words]
    plain = [msgspec.structs.replace(each, words=(), probability=None) for each in (one, other)]
    assert plain[0] == plain[1]


def narrow(weights: Path, most: int) -> tuple[Whisper, Small]:
    loaded = whisper.load(str(weights), workers=1, random_tokens_per_s=3.4)
    watch = Small(loaded._model, most)
    loaded._model = watch
    return loaded, watch


def test_a_batch_too_large_for_the_memory_is_halved(weights: Path) -> None:
    recogniser, watch = narrow(weights, 2)
    heard = [utterance(babble(1_500, seed=n), id=f"u{n}") for n in range(4)]
    said = recogniser.transcribe_many(heard)
    assert watch.given == [4, 2, 2]
    for one, transcript in zip(heard, said, strict=True):
        same(transcript, recogniser.transcribe(one))


def test_where_there_is_no_memory_at_all_each_fails_by_name(weights: Path) -> None:
    recogniser, watch = narrow(weights, 0)
    said = recogniser.transcribe_many([utterance(babble(1_000), id=f"u{n}") for n in range(3)])
    for n, failed in enumerate(said):
        assert isinstance(failed, RecogniserFailed)
        assert f"u{n}: CUDA failed with error out of memory" in str(failed)
    watch.most = 4
    fits(recogniser.transcribe(heard := utterance(babble(1_000))), heard)


def test_one_that_cannot_be_heard_takes_no_other_with_it(forced: Whisper) -> None:
    heard = [utterance(babble(1_000, seed=n), id=f"u{n}") for n in range(3)]
    heard[1] = replace(heard[1], sound=np.ones((16_000, 2), dtype=np.int16))  # two channels
    said = forced.transcribe_many(heard)
    assert isinstance(said[1], RecogniserFailed)
    for n in (0, 2):
        transcript = said[n]
        assert isinstance(transcript, Transcript) and transcript.text


def test_a_long_utterance_among_short_ones_is_heard_to_its_end(weights: Path) -> None:
    recogniser, watch = narrow(weights, 4)
    heard = [utterance(babble(1_000)), utterance(babble(31_000), id="long"), utterance(babble(2_000), id="u9")]
    said = recogniser.transcribe_many(heard)
    assert watch.given == [2, 2]  # two of 10 s, and the two halves of the long one
    for one, transcript in zip(heard, said, strict=True):
        same(transcript, recogniser.transcribe(one))


def test_each_of_a_batch_has_its_own_language_and_cap(weights: Path) -> None:
    recogniser = whisper.load(str(weights), workers=1, language="auto", random_tokens_per_s=3.4)
    lengths = (1_000, 2_000, 6_000, 7_500)
    heard = [replace(utterance(babble(ms, seed=ms), id=f"u{ms}"), call=f"c{ms}") for ms in lengths]
    stretches = [stretch(one.samples)._replace(utterance=one, language=None) for one in heard]
    decoded = recogniser._hear(stretches)
    assert all(each.decoded.capped for each in decoded)
    counts = [len(each.decoded.chances) for each in decoded]
    assert counts == sorted(counts) and counts[0] <= 3 and 20 < counts[3] <= 26
    alone = whisper.load(str(weights), workers=1, language="auto", random_tokens_per_s=3.4)
    for one, each in zip(heard, decoded, strict=True):
        assert each.language == alone.transcribe(one).language


def test_costs_are_known_once_warm(weights: Path) -> None:
    recogniser = whisper.load(str(weights), workers=1)
    short, long = utterance(babble(1_000)), utterance(babble(27_000))
    assert recogniser.cost_ms(short) == 0
    recogniser.warm()
    assert 0 < recogniser.cost_ms(short) < recogniser.cost_ms(long)
    assert (recogniser.bucket(short), recogniser.bucket(long)) == (10, 30)


def test_a_graphics_card_takes_more_at_once_and_waits_for_it(plain: Whisper) -> None:
    card = Whisper(Card(plain._model), plain._tokenizer, plain._options, name="card", rough=True)
    assert card.together > plain.together > 1
    assert card.linger_ms > plain.linger_ms == 0


def test_logits_are_fetched_from_the_card() -> None:
    class View:
        """Two logits in the memory of a card, where numpy cannot read them."""

        device = "cuda"

        def to(self, kind: Any) -> View:
            return self

        def to_device(self, device: Any) -> Any:
            return np.log(np.array([[0.25, 0.75]], dtype=np.float32))

    assert whisper._chance(View(), 1) == pytest.approx(0.75)


# Tokens


@pytest.mark.parametrize("seconds", [0.1, 1, 3, 8, 28])
def test_forced_random_decoding_says_as_much_as_speech_would(weights: Path, seconds: float) -> None:
    recogniser = whisper.load(str(weights), workers=1, random_tokens_per_s=3.4)
    sound = utterance(babble(int(seconds * 1000))).samples
    heard = recogniser._hear([stretch(sound)])[0].decoded
    wanted = max(1, round(3.4 * seconds))
    assert heard.capped  # the decoder stopped because it had said them all
    assert wanted * 0.8 <= len(heard.tokens) <= wanted  # a few may be no text: random weights say anything


@pytest.mark.parametrize("seconds", [0.05, 1, 5, 27])
def test_tokens_are_capped_by_the_length_of_the_sound(plain: Whisper, seconds: float) -> None:
    samples = utterance(babble(int(seconds * 1000))).samples
    encoded = plain._encode(log_mel(samples, fitted_s(seconds), plain._bands))
    (said,) = plain._decode(encoded, [stretch(samples)], [plain._speaking("en")])
    assert said.capped  # random weights do not stop by themselves
    assert len(said.tokens) <= min(224, 4 + 8 * seconds + 1)


def test_nothing_unspeakable_is_said(plain: Whisper) -> None:
    speaking = plain._speaking("en")
    assert set(speaking.non_speech_tokens) <= set(plain._suppressed)
    assert {speaking.sot, speaking.transcribe, speaking.translate, speaking.no_speech} <= set(plain._suppressed)
    assert speaking.eot not in plain._suppressed


# The guard

GOOD = Decoded("I would like to cancel", (1, 2, 3, 4, 5), -0.2, 0.01, False, 2.0)


def test_good_text_passes() -> None:
    assert fault(GOOD) is None


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replace(GOOD, capped=True), "cap"),
        (replace(GOOD, tokens=tuple(range(25))), "rate"),
        (replace(GOOD, no_speech=0.7, logprob=-1.1), "no_speech"),
        (replace(GOOD, tokens=(7, 8, 9) * 4, seconds=10), "repeats"),
        (replace(GOOD, text="thank you very much " * 12, seconds=30), "compression"),
    ],
)
def test_each_fault_has_its_name(bad: Decoded, why: str) -> None:
    assert fault(bad) == why


@pytest.mark.parametrize(
    "fine",
    [
        replace(GOOD, no_speech=0.9),  # sure of its words
        replace(GOOD, logprob=-1.5),  # unsure, yet there is speech
        replace(GOOD, tokens=(5, 6), seconds=0.1),  # "Yes."
        replace(GOOD, tokens=(7,) * 7),  # "no no no no no no no"
        replace(GOOD, text="", tokens=()),
    ],
)
def test_what_people_do_say_passes(fine: Decoded) -> None:
    assert fault(fine) is None


@given(st.lists(st.integers(0, 3), max_size=60))
def test_a_loop_is_where_it_says(tokens: list[int]) -> None:
    found = loop(tokens)
    if found:
        start, length, times = found
        assert tokens[start : start + length * times] == tokens[start : start + length] * times
        assert times >= 4


@given(st.lists(st.integers(0, 1000), max_size=20), st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_a_phrase_said_eight_times_is_always_found(before: list[int], phrase: list[int]) -> None:
    assert loop(before + phrase * 8)


@given(st.text())
def test_compression_of_any_text_is_a_number(text: str) -> None:
    assert compression(text) >= 0


def test_a_loop_is_cut_to_its_first_turn(plain: Whisper) -> None:
    speaking = plain._speaking("en")
    phrase = tuple(range(300, 304))
    looped = Decoded("", (*range(260, 265), *phrase * 6), -0.1, 0.0, False, 20.0)
    doubted = plain._doubted(looped, "repeats", speaking)
    assert doubted.tokens == (*range(260, 265), *phrase)
    assert doubted.text == speaking.decode([*range(260, 265), *phrase]).strip()
    assert np.exp(doubted.logprob) <= whisper.DOUBTED + 1e-9


def test_text_over_silence_is_dropped(plain: Whisper) -> None:
    doubted = plain._doubted(replace(GOOD, no_speech=0.9, logprob=-2.0), "no_speech", plain._speaking("en"))
    assert doubted.text == ""


# Loading


def test_the_name_says_that_the_weights_are_random(plain: Whisper) -> None:
    assert plain.name == "whisper-micro RANDOM WEIGHTS int8 window=fit"
    assert plain.rough


def test_workers_default_to_the_cores(weights: Path) -> None:
    loaded = whisper.load(str(weights))
    assert loaded.workers >= 1
    assert loaded._model.num_workers == loaded.workers


def test_language_is_detected_when_none_is_given(weights: Path) -> None:
    said = whisper.load(str(weights), workers=1, language="auto").transcribe(utterance(babble(2_000)))
    assert 2 <= len(said.language) <= 3


def test_a_closed_recogniser_fails_by_name(weights: Path) -> None:
    loaded = whisper.load(str(weights), workers=1)
    loaded.close()
    with pytest.raises(RecogniserFailed, match="closed"):
        loaded.transcribe(utterance(babble(500)))


def test_a_fault_of_the_library_is_named(weights: Path) -> None:
    loaded = whisper.load(str(weights), workers=1)
    loaded._model.unload_model()
    with pytest.raises(RecogniserFailed, match="u7"):
        loaded.transcribe(utterance(babble(500)))


def test_missing_weights_give_three_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WEIGHTS", tmp_path)
    for asked in ("whisper-tiny", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(ModelMissing) as caught:
            fetch.find(asked, within=tmp_path)
        text = str(caught.value)
        for way in ("python -m models fetch whisper-", "recogniser.weights", 'recogniser.kind = "pocketsphinx"'):
            assert way in text


def test_damaged_weights_are_named(weights: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    (tmp_path / "model.bin").write_bytes((weights / "model.bin").read_bytes()[:5_000])
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        whisper.load(str(tmp_path), workers=1)


def test_options_that_make_no_sense_are_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="klingon"):
        whisper.load(str(weights), language="klingon")
    for file in weights.iterdir():
        if file.name != "random.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="random"):
        whisper.load(str(tmp_path), random_tokens_per_s=3.4)


def test_a_missing_device_is_named(weights: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ModelMissing, match="cuda"):
        whisper.load(str(weights), device="cuda")
    with pytest.raises(ModelMissing, match="cuda-int8"):
        whisper.load(str(weights), device="cuda-int8")
    assert whisper.load(str(weights), device="auto", workers=1).name.split()[3] == "int8"


def test_a_device_that_loads_but_cannot_run_is_named(weights: Path) -> None:
    loaded = whisper.load(str(weights), workers=1)
    loaded._model.unload_model()  # as where CUDA is there and cuBLAS is not: the first run raises
    with pytest.raises(ModelMissing, match=r'recogniser\.device = "cpu"'):
        loaded.warm()


def test_made_weights_have_whispers_shape(weights: Path) -> None:
    vocabulary = json.loads((weights / "vocabulary.json").read_text())
    text, special = 1_024, 1_608
    assert len(vocabulary) == text + special
    assert vocabulary[text : text + 2] == ["<|endoftext|>", "<|startoftranscript|>"]
    assert vocabulary[-1] == "<|30.00|>"


# Words, hints and languages


def test_words_have_the_probability_of_their_tokens(weights: Path) -> None:
    recogniser = whisper.load(str(weights), workers=1, random_tokens_per_s=3.4)
    heard = utterance(babble(4_000))
    said = recogniser.transcribe(heard)
    assert said.words and all(word.probability is not None and 0 < word.probability < 1 for word in said.words)
    assert {(word.start_ms, word.end_ms) for word in said.words} == {(heard.start_ms, heard.end_ms)}
    assert recogniser.transcribe(replace(heard, stage="partial")).words == ()


def test_probabilities_of_tokens_add_up_to_the_decoders_own_score(plain: Whisper) -> None:
    samples = utterance(babble(2_000)).samples
    encoded = plain._encode(log_mel(samples, 10, plain._bands))
    (decoded,) = plain._decode(encoded, [stretch(samples)], [plain._speaking("en")])
    assert len(decoded.chances) == len(decoded.tokens)
    # The end of text counts in the score and has no word; with random weights every token is as likely as it.
    assert np.mean(np.log(decoded.chances)) == pytest.approx(decoded.logprob, rel=0.1)


def test_words_of_doubted_text_claim_no_more_than_it_does(plain: Whisper) -> None:
    sure = Decoded("", tuple(range(300, 304)) * 6, -0.1, 0.0, False, 20.0, (0.9,) * 24)
    doubted = plain._doubted(sure, "repeats", plain._speaking("en"))
    assert doubted.chances == (whisper.DOUBTED,) * 4


class Prompts(Windows):
    """The real model, a note of every prompt, and how often it was asked for the language."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.prompts: list[list[int]] = []
        self.asked = 0

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> Any:
        self.prompts += prompts
        return self._model.generate(encoded, prompts, **options)

    def detect_language(self, encoded: Any) -> Any:
        self.asked += 1
        return self._model.detect_language(encoded)


def prompted(weights: Path, **options: Any) -> tuple[Whisper, Prompts]:
    loaded = whisper.load(str(weights), workers=1, random_tokens_per_s=3.4, **options)
    watch = Prompts(loaded._model)
    loaded._model = watch
    return loaded, watch


def test_keywords_go_before_every_prompt_and_stay_within_their_tokens(weights: Path) -> None:
    hint = Hint(("eSIM", "Northgate", "instalments"), 20)
    recogniser, watch = prompted(weights, hint=hint)
    said = recogniser.transcribe(utterance(babble(2_000)))
    speaking = recogniser._speaking("en")
    (prompt,) = watch.prompts
    told = prompt[1 : prompt.index(speaking.sot)]
    assert prompt[0] == speaking.sot_prev
    assert speaking.decode(told) == " eSIM, Northgate"  # a byte is a token here: the third would not fit
    assert len(told) <= hint.tokens
    assert said.text and said.probability


def test_without_tokens_there_is_no_hint(weights: Path) -> None:
    recogniser, watch = prompted(weights, hint=Hint(("eSIM",), 0))
    recogniser.transcribe(utterance(babble(1_000)))
    assert watch.prompts[0][0] == recogniser._speaking("en").sot


def test_a_hint_and_the_longest_text_fit_into_the_decoder(weights: Path) -> None:
    hint = Hint(("x" * (whisper.MOST_HINT_TOKENS - 1),), whisper.MOST_HINT_TOKENS)
    recogniser = whisper.load(str(weights), workers=1, hint=hint)
    sound = utterance(babble(28_000)).samples
    encoded = recogniser._encode(log_mel(sound, 30, recogniser._bands))
    (said,) = recogniser._decode(encoded, [stretch(sound)], [recogniser._speaking("en")])
    assert said.capped  # it said as much as it may, and the decoder's positions sufficed
    with pytest.raises(ConfigError, match="keyword_tokens"):
        whisper.load(str(weights), hint=Hint((), whisper.MOST_HINT_TOKENS + 1))


def test_the_language_is_asked_for_until_it_is_settled_and_for_each_party(weights: Path) -> None:
    recogniser, watch = prompted(weights, language="auto")
    heard = [replace(utterance(babble(6_000, seed=n)), call="c1", id=f"u{n}") for n in range(6)]
    said = [recogniser.transcribe(one).language for one in heard]
    assert watch.asked == 4  # random weights are never sure: settled after 20 s of sound
    assert len(set(said[3:])) == 1
    recogniser.transcribe(replace(heard[0], party="agent"))
    recogniser.transcribe(replace(heard[0], call="c2"))
    assert watch.asked == 6
