"""Trigram models sum to one, mix, prune and keep. It knows no recogniser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ngram import END, START, Ngrams, count, estimate, mix, prune, read_arpa, write_arpa

WORDS = ("a", "b", "c", "d")
sentences = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=8)
FLOOR = {**dict.fromkeys(WORDS, 1.0), END: 1.0}


def histories(model: Ngrams) -> set[tuple[str, ...]]:
    return {gram[:-1] for gram in model.probs} | {("d", "d"), (START, "d")}


def sums_to_one(model: Ngrams) -> None:
    for history in histories(model):
        assert sum(model.prob((*history, word)) for word in FLOOR) == pytest.approx(1.0, abs=1e-3)


@given(sentences)
def test_every_history_sums_to_one(said: list[list[str]]) -> None:
    sums_to_one(estimate(count(said), FLOOR))


@given(sentences, sentences, st.floats(0, 1))
def test_a_mixture_is_a_mixture_and_sums_to_one(first: list[list[str]], second: list[list[str]], share: float) -> None:
    one, two = estimate(count(first), FLOOR), estimate(count(second), FLOOR)
    both = mix(one, two, share)
    sums_to_one(both)
    for gram in both.probs:
        assert both.prob(gram) == pytest.approx(share * one.prob(gram) + (1 - share) * two.prob(gram))


@given(sentences, st.integers(0, 20))
def test_a_pruned_model_still_sums_to_one(said: list[list[str]], grams: int) -> None:
    pruned = prune(estimate(count(said), FLOOR), grams)
    sums_to_one(pruned)
    # Histories of kept trigrams come on top of the limit.
    assert sum(len(gram) > 1 for gram in pruned.probs) <= 2 * grams


@given(sentences)
def test_what_was_said_is_likelier_than_what_was_not(said: list[list[str]]) -> None:
    model = estimate(count(said * 5), FLOOR)
    assert model.perplexity(said) < len(FLOOR) + 1e-9


def test_weights_count() -> None:
    counts = count([["a"]], count([["b"]]), weight=3.0)
    assert estimate(counts, FLOOR).prob(("a",)) > estimate(counts, FLOOR).prob(("b",))


@given(sentences)
def test_arpa_round_trip(tmp_path_factory: pytest.TempPathFactory, said: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("arpa") / "model.arpa.gz"
    model = estimate(count(said), FLOOR)
    write_arpa(model, path)
    again = read_arpa(path)
    for history in histories(model):
        for word in FLOOR:
            assert again.prob((*history, word)) == pytest.approx(model.prob((*history, word)), rel=2e-3)
    kept = path.read_bytes()
    write_arpa(model, path)
    assert path.read_bytes() == kept


def test_an_empty_arpa_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.arpa.gz"
    write_arpa(Ngrams(), path)
    with pytest.raises(ValueError, match="no n-grams"):
        read_arpa(path)
