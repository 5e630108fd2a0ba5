"""Search finds by words and by meaning, says nothing where nothing answers, and takes any text for a query."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.knowledge import Encoder, Knowledge
from assist.rank import Weights
from assist.search import Said, Search, SearchSettings, beyond, paragraphs
from assist.suggest import Guide
from models import encoder
from models.train.queries import read
from tests import guidance

OPEN = SearchSettings(floor=0.0, each=0.0)


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
    for each in ("fused", "score"):
        values = [getattr(hit, each) for hit in hits]
        assert values == sorted(values, reverse=True)


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
    score = search(asked)[0].score
    for floors, some in (((0.0, score), True), ((1.0, 0.0), False), ((0.0, score + 1e-4), False)):
        found = Search(knowledge, guidance.trigrams, SearchSettings(*floors))(asked)
        assert bool(found) is some
    assert search([]) == []
    assert search([Said("   ")]) == []
    assert search([Said("camera", 0.0)]) == []


def test_an_empty_knowledge_base_answers_nothing() -> None:
    assert Search(Knowledge({}, {}, {}, {}, {}), guidance.trigrams)([Said("camera")]) == []


def test_articles_without_topics_ways_of_asking_or_text_are_found(search: Search, tmp_path: Path) -> None:
    whole = guidance.small(tmp_path)
    bare = {
        key: msgspec.structs.replace(article, topics=(), keywords=(), asked=(), body="# Only a heading")
        for key, article in whole.articles.items()
    }
    hits = Search(Knowledge(bare, {}, {}, {}, {}), guidance.trigrams, OPEN)([Said("photos are blurred")])
    assert hits[0].article.id == "camera-blurry"
    assert hits[0].passage == "Photos are blurred"


def test_a_way_of_asking_finds_its_article(tmp_path: Path) -> None:
    whole = guidance.small(tmp_path)
    said = [Said("granny sits in the dark when we ring")]
    asked = dict(whole.articles)
    asked["camera-blurry"] = msgspec.structs.replace(asked["camera-blurry"], asked=("granny sits in the dark",))
    told = Knowledge(asked, whole.topics, whole.actions, whole.playbooks, whole.rules)
    assert Search(told, guidance.trigrams, OPEN)(said)[0].article.id == "camera-blurry"
    assert Search(whole, guidance.trigrams, OPEN)(said)[0].article.id != "camera-blurry"


def test_what_lies_beyond_is_less_likely_to_be_answered(tmp_path: Path) -> None:
    whole = guidance.small(tmp_path)
    said = [Said("can you repair the camera of my drone")]
    told = Knowledge(
        whole.articles, whole.topics, whole.actions, whole.playbooks, whole.rules, ("can you repair my drone",)
    )
    scores = [Search(each, guidance.trigrams, OPEN)(said)[0].score for each in (told, whole)]
    assert scores[0] < scores[1]


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
        assert 0.0 <= hit.fused <= 1.0 + 1e-6
        assert 0.0 <= hit.score <= 1.0


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


def _plain(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z']+", text.lower()))


def test_queries_are_named_well_and_leak_into_nothing_the_search_learns_from() -> None:
    """Queries measure the search; none may stand in what it is built from, word for word."""
    knowledge = Knowledge.load(guidance.SHIPPED)
    said = {_plain(query.said[-1][1]) for query in read() if len(query.said[-1][1].split()) > 3}
    for query in read():
        assert query.articles <= set(knowledge.articles)
    articles = [text for article in knowledge.articles.values() for text in (article.title, *article.asked)]
    topics = [text for topic in knowledge.topics.values() for text in topic.examples]
    for text in (*articles, *topics, *knowledge.beyond, *beyond()):
        assert _plain(text) not in said, text


def test_the_weights_are_of_the_shipped_encoder(encode: Encoder) -> None:
    assert Weights.read().encoder == encode.name, "run `python -m models.train search`"  # type: ignore[attr-defined]


def test_small_talk_shows_nothing(shipped: Search) -> None:
    for text in ("yes please do", "it's a lovely day here", "hold on let me get a pen", "thank you so much goodbye"):
        assert shipped([Said(text)]) == [], text


def test_exact_names_are_among_the_two_cards(shipped: Search) -> None:
    for said, article in {
        "how do I set up an eSIM": "esim-setup",
        "I forgot my password": "reset-account-password",
        "what does roaming cost": "roaming-costs",
        "I want a replacement for my broken phone": "replacement-within-30-days",
    }.items():
        assert article in [hit.article.id for hit in shipped([Said(said)], 2)]


def test_a_search_costs_little(shipped: Search) -> None:
    guide = Guide(Knowledge.load(guidance.SHIPPED), shipped)
    queries = [guide.query(query.conversation()) for query in read()[::10]]
    for query in queries:
        shipped(query)  # encodes each turn once
    times = []
    for query in queries * 3:
        begun = time.thread_time()  # not the wall: whoever else runs on this machine is not measured here
        shipped(query)
        times.append((time.thread_time() - begun) * 1000)
    # Against a search that became slower by its nature: on a busy machine caches are cold and 17 ms were seen. What is
    # promised, `python -m benchmarks.accuracy mind` measures.
    assert np.percentile(times, 95) < 40.0
