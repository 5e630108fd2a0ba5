"""What every index promises: subclass `IndexContract` and give it a `made` fixture. It knows neither kind."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from assist.index import Fields, Floats, Index

COUNT = 12_000
WIDTH = 16


def articles() -> tuple[Floats, list[Fields]]:
    """Vectors and words of made-up articles; article n alone holds the word n<n>."""
    rows = np.random.default_rng(0).standard_normal((COUNT, WIDTH)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, [([f"n{number}", "router"], ["lamp"] if number < 3 else [], ["text"]) for number in range(COUNT)]


class IndexContract:
    """Subclass with a `made` fixture: the index over `articles()`."""

    def test_the_nearest_comes_first(self, made: Index) -> None:
        rows, _ = articles()
        for number in (0, 77, COUNT - 1):
            assert made.near(rows[number], 5)[0] == number

    def test_most_of_the_nearest_are_found(self, made: Index) -> None:
        rows, _ = articles()
        queries = rows[::600] + 0.1 * rows[1::600]
        found = [set(made.near(query / np.linalg.norm(query), 10).tolist()) for query in queries]
        exact = [set(np.argsort(-(rows @ query))[:10].tolist()) for query in queries]
        assert np.mean([len(some & all_) / 10 for some, all_ in zip(found, exact, strict=True)]) > 0.6

    def test_words_find_their_article(self, made: Index) -> None:
        assert made.wordy(["n77"], 5) == [77]
        assert made.wordy(["n77", "router"], 5)[0] == 77
        assert set(made.wordy(["lamp"], 5)) == {0, 1, 2}
        assert len(made.wordy(["router"], 5)) == 5
        assert made.wordy(["boat"], 5) == []
        assert made.wordy([], 5) == []

    @pytest.mark.parametrize(
        "term", ['"', "NEAR(", "head:n7", "n7*", "-n7", "a AND (", "'; DROP TABLE", "\0", "é ü", "😀"]
    )
    def test_any_words_are_only_words(self, made: Index, term: str) -> None:
        assert all(0 <= number < COUNT for number in made.wordy([term, "lamp"], 5))

    def test_many_threads_get_the_same_answer(self, made: Index) -> None:
        rows, _ = articles()
        wanted = (made.near(rows[5], 5).tolist(), made.wordy(["n5", "lamp"], 5))
        answers: list[tuple[list[int], list[int]]] = []

        def ask() -> None:
            for _ in range(20):
                answers.append((made.near(rows[5], 5).tolist(), made.wordy(["n5", "lamp"], 5)))  # noqa: PERF401

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [wanted] * 80
