"""Trimmed weights say what the whole ones say with those tokens, and can spell anything. No accuracy is shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from assist.errors import ModelMissing
from benchmarks.make_weights import make
from models import trim, whisper
from tests.contracts.recogniser import babble, fits, utterance

FIRST = 500


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("micro", tmp_path_factory.mktemp("weights") / "random-micro")


@pytest.fixture(scope="module")
def less(whole: Path) -> Path:
    to = whole.parent / "less"
    before, after = trim.trim(whole, to, ["barn"], FIRST)
    assert before == 2_632 and FIRST + 1_608 <= after < before
    return to


def test_it_says_what_the_whole_says_when_the_rest_is_forbidden(whole: Path, less: Path) -> None:
    all_of_it, part = (whisper.load(str(each), workers=1, random_tokens_per_s=3.4) for each in (whole, less))
    kept = set(trim.vocabulary(less))
    all_of_it._suppressed += [n for n, token in enumerate(trim.vocabulary(whole)) if token not in kept]
    words = 0
    for seed in range(1, 9):  # random weights say nothing of some sounds; of which, hangs on the processor
        sound = utterance(babble(4_000, seed=seed)).samples
        one, other = (
            each._hear([whisper.Stretch(utterance(sound), 0, sound, 10, "en")])[0].decoded for each in (all_of_it, part)
        )
        assert one.text == other.text
        assert one.no_speech == pytest.approx(other.no_speech, rel=0.5)  # of fewer tokens in all
        np.testing.assert_allclose(one.chances, other.chances, rtol=0.05)
        words += len(one.text)
    assert words


def test_it_is_a_recogniser_like_any_other(less: Path) -> None:
    recogniser = whisper.load(str(less), workers=1, language="auto", word_times=True)
    assert recogniser._model.is_multilingual
    assert "RANDOM" in recogniser.name  # the mark of random weights goes along
    heard = utterance(babble(3_000))
    fits(recogniser.transcribe(heard), heard)


def test_special_tokens_keep_their_order(less: Path) -> None:
    tokens = trim.vocabulary(less)
    raw = json.loads((less / "tokenizer.json").read_text())
    config = json.loads((less / "config.json").read_text())
    assert all(tokens[each["id"]] == each["content"] for each in raw["added_tokens"])
    assert all(tokens[number] == token for token, number in raw["model"]["vocab"].items())
    languages = [tokens[number] for number in config["lang_ids"]]
    assert "<|en|>" in languages and len(languages) == 99
    assert tokens[-1] == "<|30.00|>"


@given(text=st.text(max_size=40))
def test_any_text_can_still_be_spelled(less: Path, text: str) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(less / "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_what_a_token_is_merged_from_stays() -> None:
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("x", "y")]
    assert trim._closed({"hello"}, merges) == {"hello", "hell", "he", "ll", "h", "e", "l", "o"}


def test_a_damaged_or_unknown_file_is_named(whole: Path, tmp_path: Path) -> None:
    data = (whole / "model.bin").read_bytes()
    for number, bad in enumerate((data[:1_000], b"\x07\0\0\0" + data[4:], b"")):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(bad)
        with pytest.raises(ModelMissing, match="be trimmed"):
            trim.read_binary(path)


def test_nothing_is_written_over(whole: Path, less: Path) -> None:
    with pytest.raises(FileExistsError):
        trim.trim(whole, less, [])


def test_the_recognisers_words_are_the_words_kept() -> None:
    words = trim.english()
    assert {"postcode", "hello", "refund"} <= set(words)
    assert len(set(words)) == len(words)
