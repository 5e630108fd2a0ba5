"""Word errors are counted alike on both sides, clips are sorted by what is said, noise is as loud as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.audio import RATE_HZ
from benchmarks.accuracy import words
from benchmarks.accuracy.words import Clip, errors, group, noisy, plain, through

DICTATED = "commands/spelled"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("THE HEART, OF “that” ex-convict!", "the heart of that ex convict"),
        ("It's OK: 56 of them, £10.", "it's okay fifty six of them ten pounds"),
        ("…", ""),
    ],
)
def test_text_is_compared_without_case_marks_and_figures(text: str, said: str) -> None:
    assert plain(text) == said


@given(st.text())
def test_what_is_plain_stays_so(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    ("kind", "said", "name"),
    [
        ("read", "a b c", "read"),
        ("two-speaker partly overlapped read speech", "he said so", "overlapped"),
        (DICTATED, "g i b s o n i a", "spelled"),
        (DICTATED, "n l n s one seventy five", "spelled"),
        ("isolated letter/digit/command", "b", "letters"),
        ("isolated letter/digit/command", "eight", "digits"),
        (DICTATED, "fifty one fifty six", "digits"),
        (DICTATED, "rubout", "commands"),
        ("commands", "ten of clubs", "commands"),
        ("oratory", "and so my fellow americans", ""),
    ],
)
def test_clips_are_sorted_by_what_is_said(kind: str, said: str, name: str) -> None:
    assert group(kind, said) == name


text = st.lists(st.sampled_from(["one", "two", "three", "four"]), min_size=1, max_size=8).map(" ".join)


@given(text, text)
def test_errors_are_none_only_for_the_same_words(said: str, heard: str) -> None:
    wrong = errors(said, heard)
    assert (wrong == 0) == (said == heard)
    assert wrong <= max(len(said.split()), len(heard.split()))


def test_nothing_heard_is_every_word_lost() -> None:
    assert errors("thank you very much", "") == 4


def test_errors_of_all_clips_over_words_of_all() -> None:
    found = words.figure([0, 3], [6, 4], "two clips")
    assert found.value == pytest.approx(0.3)
    assert found.low <= 0.3 <= found.high and found.n == 2


@pytest.mark.parametrize("snr_db", [10.0, 20.0])
def test_noise_is_as_far_under_the_speech_as_it_says(snr_db: float) -> None:
    sound = 0.1 * np.sin(np.arange(RATE_HZ) / 10)
    noise = noisy(sound, snr_db, 1) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.2)


def test_the_telephone_has_no_top_and_the_call_has_been_through_it() -> None:
    hiss = np.random.default_rng(2).normal(0, 0.05, RATE_HZ)

    def top(clip: Clip, line: str) -> float:
        power = np.abs(np.fft.rfft(through(clip, line, 1).astype(float))) ** 2
        return float(power[len(power) * 3 // 4 :].sum() / power.sum())

    assert top(Clip("read", "", hiss), "clean") > 0.2
    assert top(Clip("read", "", hiss), "mulaw") < 0.001
    assert np.array_equal(through(Clip("call", "", hiss), "mulaw", 1), through(Clip("call", "", hiss), "clean", 1))


def test_missing_data_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--data"):
        words.clips(tmp_path)
