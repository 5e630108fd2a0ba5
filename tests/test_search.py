"""Search finds by words and by meaning, says nothing under its floor, and takes any text for a query."""

from __future__ import annotations

import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.conversation import Conversation
from assist.knowledge import Encoder, Knowledge
from assist.search import Said, Search, SearchSettings, paragraphs
from assist.suggest import Guide
from models import encoder
from tests import guidance

QUERIES = Path(__file__).with_name("queries.toml")
OPEN = SearchSettings(floor=-1.0, newest=-1.0)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    return Search(guidance.small(tmp_path_factory.mktemp("small")), guidance.trigrams, OPEN)


@pytest.fixture(scope="module")
def encode() -> Encoder:
    return encoder.load()


@pytest.fixture(scope="module")
def shipped(encode: Encoder) -> Search:
    return Search(Knowledge.load(guidance.SHIPPED), encode)


def test_the_answer_comes_first_with_its_sentence_and_shared_words(search: Search) -> None:
    hits = search([Said("the camera is just a black screen")])
    assert hits[0].article.id == "camera-black-screen"
    assert hits[0].passage.startswith("A black camera picture is nearly always")
    assert {"camera", "black", "screen"} <= set(hits[0].terms)
    assert hits[0].fused == pytest.approx(1.0)
    assert [hit.fused for hit in hits] == sorted((hit.fused for hit in hits), reverse=True)


def test_the_newest_words_weigh_most(search: Search) -> None:
    earlier, newer = "what does it cost abroad in spain", "all my photos are blurry and will not focus"
    assert search([Said(newer, 1.0), Said(earlier, 0.3)])[0].article.id == "camera-blurry"
    assert search([Said(newer, 0.3), Said(earlier, 1.0)])[0].article.id == "roaming-costs"


def test_context_decides_where_the_newest_words_are_vague(search: Search) -> None:
    vague = Said("and what does that cost me then")
    with_context = search([vague, Said("we are going to spain on holiday", 0.6)])
    assert with_context[0].article.id == "roaming-costs"


def test_nothing_is_found_under_either_floor(search: Search, tmp_path: Path) -> None:
    knowledge = Knowledge.load(guidance.write(tmp_path / "kb"))
    asked = [Said("the camera is just a black screen"), Said("will it work in spain", 0.6)]
    assert Search(knowledge, guidance.trigrams, SearchSettings(floor=0.2, newest=0.2))(asked)
    assert Search(knowledge, guidance.trigrams, SearchSettings(floor=0.99))(asked) == []
    assert Search(knowledge, guidance.trigrams, SearchSettings(newest=0.99))(asked) == []
    assert search([]) == []
    assert search([Said("   ")]) == []


def test_an_empty_knowledge_base_answers_nothing() -> None:
    assert Search(Knowledge({}, {}, {}, {}, {}), guidance.trigrams)([Said("camera")]) == []


SYNTAX = [
    '"',
    "NEAR(camera screen)",
    "title: camera",
    "camera* OR",
    "-camera",
    "(",
    "camera AND NOT (",
    "'; DROP TABLE",
]


@pytest.mark.parametrize("text", SYNTAX)
def test_fts_syntax_in_speech_is_only_words(search: Search, text: str) -> None:
    assert isinstance(search([Said(text)]), list)


@given(st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_query(search: Search, said: list[tuple[str, float]]) -> None:
    for hit in search([Said(text, weight) for text, weight in said]):
        assert 0.0 < hit.fused <= 1.0 + 1e-9


def test_words_alone_rank_by_title_keywords_and_body(search: Search) -> None:
    assert search.lexical([Said("blurry")]) == [1]  # ids are in the order of the files
    assert search.lexical([Said("the a of and so")]) == []
    assert search.lexical([Said("camera's")])[0] in (0, 1)


def test_many_threads_get_the_same_answer(search: Search) -> None:
    query = [Said("the camera is just a black screen")]
    alone = [hit.article.id for hit in search(query)]
    answers: list[list[str]] = []

    def ask() -> None:
        for _ in range(20):
            answers.append([hit.article.id for hit in search(query)])  # noqa: PERF401

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert all(answer == alone for answer in answers)


def test_paragraphs_keep_their_heading_and_lists_their_items() -> None:
    body = "One. Two, e.g. this.\n\n1. First\n2. Second\n\n## Later\n\n- A thing\n- Another\n\n## Empty"
    assert list(paragraphs(body)) == [
        ("", ("One.", "Two, e.g. this.")),
        ("", ("First", "Second")),
        ("Later", ("A thing", "Another")),
    ]


def _asked() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(QUERIES.read_text(encoding="utf-8"))["query"]
    return found


def _conversation(lines: list[str]) -> Conversation:
    said: list[guidance.Said] = [
        ("agent" if line.startswith("A: ") else "customer", line.removeprefix("A: ").removeprefix("C: "))
        for line in lines
    ]
    return guidance.talk(*said)[-1]


def test_queries_name_articles_that_are_there(shipped: Search) -> None:
    known = Knowledge.load(guidance.SHIPPED).articles
    for query in _asked():
        assert set(query["articles"]) <= set(known)


def measured(search: Search, guide: Guide, use: str) -> tuple[float, float, float]:
    """Recall at 1 and at 3 (floors included) and the share of off-topic queries that show nothing."""
    first, third, silent = [], [], []
    for query in _asked():
        if query["use"] != use:
            continue
        ids = [hit.article.id for hit in search(guide.query(_conversation(query["said"])), 3)]
        if query["articles"]:
            first.append(bool(ids) and ids[0] in query["articles"])
            third.append(bool(set(ids) & set(query["articles"])))
        else:
            silent.append(not ids)
    return float(np.mean(first)), float(np.mean(third)), float(np.mean(silent))


@pytest.mark.parametrize("use", ["tune", "hold"])
def test_measured_level_is_held(shipped: Search, use: str) -> None:
    # Measured: R@1 0.615 and 0.641, R@3 0.769 and 0.795, silent 1.000 and 0.917 (tune and hold, 39 + 12 queries each).
    # Without floors R@3 is 0.897 and 0.872; words alone give 0.564 and 0.538, meaning alone 0.923 and 0.872.
    at_1, at_3, silent = measured(shipped, Guide(Knowledge.load(guidance.SHIPPED), shipped), use)
    assert at_1 >= 0.56
    assert at_3 >= 0.71
    assert silent >= 0.85


def test_exact_names_are_among_the_two_cards(shipped: Search) -> None:
    for said, article in {
        "how do I set up an eSIM": "esim-setup",
        "I forgot my password": "reset-account-password",
        "what does roaming cost": "roaming-costs",
        "I want a replacement": "replacement-within-30-days",
    }.items():
        assert article in [hit.article.id for hit in shipped([Said(said)], 2)]


def test_a_search_costs_little(shipped: Search) -> None:
    queries = [
        [Said(line.removeprefix("C: ").removeprefix("A: "), 0.6**age) for age, line in enumerate(query["said"][::-1])]
        for query in _asked()
    ]
    for query in queries:
        shipped(query)  # encodes each turn once
    times = []
    for query in queries * 3:
        begun = time.thread_time()  # not the wall: whoever else runs on this machine is not measured here
        shipped(query)
        times.append((time.thread_time() - begun) * 1000)
    assert np.percentile(times, 95) < 10.0
