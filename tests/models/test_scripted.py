"""The scripted recogniser says its file, shares entries out once, and fails and waits when told to."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.audio import SAMPLES_PER_MS, Party, Utterance
from assist.errors import ConfigError, RecogniserFailed
from assist.transcribe import Recogniser
from benchmarks.make_weights import make
from models import scripted, whisper
from models.scripted import Say, Script, Scripted
from tests.contracts.recogniser import RecogniserContract, fits

FILE = """
delay_ms = 1

[[say]]
party = "agent"
start_ms = 0
end_ms = 2000
text = "thank you for calling Northgate"

[[say]]
party = "customer"
start_ms = 2500
end_ms = 6000
text = "my camera shows a black screen"

[[say]]
party = "customer"
start_ms = 6400
end_ms = 7000
text = "it is new"
"""


def at(
    start_ms: int, end_ms: int, party: Party = "customer", stage: Literal["partial", "speculative", "final"] = "final"
) -> Utterance:
    return Utterance(
        "u1", party, start_ms, end_ms, end_ms, np.zeros((end_ms - start_ms) * SAMPLES_PER_MS, np.int16), stage
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "call.toml"
    path.write_text(FILE)
    return path


class TestScripted(RecogniserContract):
    @pytest.fixture
    def recogniser(self, script: Path) -> Recogniser:
        return scripted.load(script)

    # A script has no ear: it says its words whatever the sound.
    test_silence_is_empty_or_hardly_believed = None  # type: ignore[assignment]


def test_an_utterance_has_the_words_of_its_time_and_party(script: Path) -> None:
    recogniser = scripted.load(script)
    assert recogniser.name == "scripted call.toml"
    assert recogniser.transcribe(at(100, 2_200, "agent")).text == "thank you for calling Northgate"
    assert recogniser.transcribe(at(2_300, 7_100)).text == "my camera shows a black screen it is new"
    assert recogniser.transcribe(at(100, 2_200)).text == ""
    assert recogniser.transcribe(at(8_000, 9_000)).text == ""


def test_a_late_start_and_an_early_end_lose_no_word(script: Path) -> None:
    said = scripted.load(script).transcribe(at(2_750, 5_800))
    assert said.text == "my camera shows a black screen"
    fits(said, at(2_750, 5_800))


def test_partials_grow_word_by_word(script: Path) -> None:
    recogniser = scripted.load(script)
    texts = [recogniser.transcribe(at(2_400, end, stage="partial")).text for end in range(2_500, 6_300, 100)]
    assert texts[0] == ""
    assert texts[-1] == "my camera shows a black screen"
    assert all(later.startswith(sooner) for sooner, later in pairwise(texts))
    assert len(set(texts)) == 7


@given(st.integers(1, 60), st.integers(100, 9_000), st.data())
def test_two_utterances_share_an_entry_without_gain_or_loss(words: int, span: int, data: st.DataObject) -> None:
    say = Say("agent", 1_000, 1_000 + span, " ".join(f"w{i}" for i in range(words)))
    cut = data.draw(st.integers(0, span))
    recogniser = Scripted(Script((say,)))
    heard = [at(900, 1_000 + cut, "agent"), at(1_000 + cut, 1_200 + span, "agent")]
    said = [recogniser.transcribe(one) for one in heard]
    assert " ".join(s.text for s in said if s.text) == say.text
    for one, transcript in zip(heard, said, strict=True):
        fits(transcript, one)


def test_the_transcription_named_fails_and_the_next_does_not(script: Path) -> None:
    recogniser = Scripted(Script(say=(), fail=frozenset({2})))
    recogniser.transcribe(at(0, 100))
    with pytest.raises(RecogniserFailed, match="2"):
        recogniser.transcribe(at(0, 100))
    recogniser.transcribe(at(0, 100))
    assert recogniser.calls == 3


def test_delays_and_hangs_take_their_time() -> None:
    recogniser = Scripted(Script(say=(), delay_ms=10, hang_ms={2: 60}))
    took = []
    for _ in range(2):
        began = time.perf_counter()
        recogniser.transcribe(at(0, 100))
        took.append((time.perf_counter() - began) * 1000)
    assert took[0] >= 10
    assert took[1] >= 70


def test_json_and_toml_say_the_same(script: Path, tmp_path: Path) -> None:
    toml = scripted.load(script)
    other = tmp_path / "call.json"
    other.write_bytes(msgspec.json.encode(toml._script))
    assert scripted.load(other)._script == toml._script


def test_numbers_may_key_a_toml_table(tmp_path: Path) -> None:
    path = tmp_path / "call.toml"
    path.write_text("say = []\nfail = [3]\nhang_ms = { 5 = 2000 }\n")
    loaded = scripted.load(path)._script
    assert (loaded.fail, loaded.hang_ms) == (frozenset({3}), {5: 2000})


def test_words_at_the_cost_of_listening(script: Path, tmp_path: Path) -> None:
    """Whisper does its work on the sound beside it; the words stay the script's and the name tells both."""
    weights = make("micro", tmp_path / "random-micro")
    script.write_text(f'[effort]\nweights = "{weights}"\ntokens_per_s = 3.4\n{FILE}'.replace("delay_ms = 1", ""))
    recogniser = scripted.load(script)
    recogniser.warm()
    assert "scripted call.toml at the cost of whisper-micro RANDOM WEIGHTS" in recogniser.name
    assert recogniser.transcribe(at(2_500, 6_000)).text == "my camera shows a black screen"
    recogniser.close()
    with pytest.raises(RecogniserFailed, match="closed"):
        recogniser.transcribe(at(2_500, 6_000))


def test_a_batch_fails_where_the_script_says_and_waits_once(tmp_path: Path) -> None:
    recogniser = Scripted(Script(say=(), delay_ms=30, fail=frozenset({2}), together=4))
    began = time.perf_counter()
    said = recogniser.transcribe_many([at(0, 100)] * 4)
    assert 0.03 <= time.perf_counter() - began < 0.12, "each waited by itself"
    assert [isinstance(one, RecogniserFailed) for one in said] == [False, True, False, False]
    assert recogniser.calls == 4
    assert recogniser.cost_ms(at(0, 100)) == 30


def test_batches_are_those_of_what_works_beside_it(script: Path, tmp_path: Path) -> None:
    beside = whisper.load(str(make("micro", tmp_path / "random-micro")), random_tokens_per_s=3.4)
    recogniser = Scripted(Script(say=()), beside=beside)
    recogniser.warm()
    assert recogniser.together == beside.together > 1
    for heard in (at(0, 3_000), at(0, 20_000)):
        assert recogniser.bucket(heard) == beside.bucket(heard)
        assert recogniser.cost_ms(heard) == beside.cost_ms(heard) > 0
    beside.close()
    assert all(isinstance(one, RecogniserFailed) for one in recogniser.transcribe_many([at(0, 100)] * 2))


@pytest.mark.parametrize(
    "text",
    [
        "say = 3",
        "nonsense",
        'say = [{party = "nobody", start_ms = 0, end_ms = 1, text = ""}]',
        'say = [{party = "agent", start_ms = 9, end_ms = 9, text = "x"}]',
        "say = []\nsurprise = 1",
    ],
)
def test_a_wrong_script_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "call.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"call\.toml"):
        scripted.load(path)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        scripted.load(tmp_path / "none.toml")
