"""Both indexes keep one contract; the larger one steps in by itself, or says what it lacks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from assist import index
from assist.errors import KnowledgeError
from assist.index import Index
from tests.contracts.index import IndexContract, articles


@pytest.fixture(scope="module")
def plain() -> Index:
    return index.Plain(*articles())


@pytest.fixture(scope="module")
def vast() -> Index:
    return index.Vast(*articles())


class TestPlain(IndexContract):
    @pytest.fixture
    def made(self, plain: Index) -> Index:
        return plain


class TestVast(IndexContract):
    @pytest.fixture
    def made(self, vast: Index) -> Index:
        return vast


def test_the_number_of_articles_decides() -> None:
    rows, texts = articles()
    assert isinstance(index.build(rows[: index.MOST], texts[: index.MOST]), index.Plain)
    assert isinstance(index.build(rows[: index.MOST + 1], texts[: index.MOST + 1]), index.Vast)


@pytest.mark.parametrize("library", ["faiss", "tantivy"])
def test_a_missing_library_is_named_with_a_way_out(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    rows, texts = articles()
    with pytest.raises(KnowledgeError, match=rf"{library} is not installed: .*\[large\]"):
        index.build(rows, texts)


def test_the_best_are_in_order() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.9], dtype=np.float32)
    assert index.best(scores, 3).tolist()[2] == 2
    assert set(index.best(scores, 2).tolist()) == {1, 3}
    assert index.best(scores, 9).tolist() == [1, 3, 2, 0]
