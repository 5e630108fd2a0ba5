"""The loader names file, key and remedy for whatever is wrong, and takes the shipped knowledge base whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.errors import KnowledgeError
from assist.knowledge import SHIPPED_MINIMUM, Knowledge, inspect, main, parse_article
from assist.material import Article
from tests import guidance

GOOD = guidance.article("a-b", "A title", "roaming", ["abroad"], "The answer is short.")


def test_small_knowledge_base_is_loaded_in_full(tmp_path: Path) -> None:
    knowledge = guidance.small(tmp_path)
    assert knowledge.counts() == {"articles": 3, "topics": 2, "actions": 2, "playbooks": 2, "rules": 7}
    assert knowledge.articles["roaming-costs"].body.startswith("In Europe the plan works")
    assert knowledge.playbooks["camera"].step[2].done.customer == ("restarted it already",)
    assert knowledge.rules["silence"].when.silence_ms == 20000


def test_what_lies_beyond_may_be_said_or_not(tmp_path: Path) -> None:
    path = guidance.write(tmp_path / "kb")
    assert Knowledge.load(path).beyond == ()
    (path / "beyond.toml").write_text('phrases = ["do you sell fridges"]', encoding="utf-8")
    assert Knowledge.load(path).beyond == ("do you sell fridges",)
    for text, names in (('phrase = ["x"]', "did you mean 'phrases'"), ("phrases = [7]", "beyond.toml: phrases")):
        (path / "beyond.toml").write_text(text, encoding="utf-8")
        with pytest.raises(KnowledgeError, match=names):
            Knowledge.load(path)


def test_values_cannot_be_changed(tmp_path: Path) -> None:
    knowledge = guidance.small(tmp_path)
    with pytest.raises(TypeError):
        knowledge.articles["x"] = knowledge.articles["roaming-costs"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        knowledge.articles["roaming-costs"].title = "Other"  # type: ignore[misc]


# file, what to replace, with what, and what the message must name
BROKEN = [
    ("articles/camera-blurry.md", "+++\nid", "id", ["camera-blurry.md", "no front matter", "+++"]),
    ("articles/camera-blurry.md", "title =", "titel =", ["camera-blurry.md", "'titel'", "did you mean 'title'"]),
    ("articles/camera-blurry.md", 'title = "Photos are blurred"', "", ["camera-blurry.md", "title: missing"]),
    ("articles/camera-blurry.md", '"Photos are blurred"', "7", ["camera-blurry.md", "title", "expected `str`"]),
    ("articles/camera-blurry.md", "2026-03-01", '"spring"', ["camera-blurry.md", "updated", "date"]),
    ("articles/camera-blurry.md", "2026-03-01", "2026-13-01", ["camera-blurry.md", "not TOML"]),
    ("articles/camera-blurry.md", "camera_fault", "camera_falt", ["topics", "'camera_falt'", "'camera_fault'"]),
    ("articles/camera-blurry.md", '["camera_fault"]', "[]", ["camera-blurry.md", "topics", "length"]),
    ("articles/camera-blurry.md", 'id = "camera-blurry"', 'id = "camera-blury"', ["id", "not the file's name"]),
    ("articles/camera-blurry.md", guidance._FILLING, "", ["camera-blurry.md", "body", "words"]),
    ("articles/camera-blurry.md", "updated", 'body = "x"\nupdated', ["camera-blurry.md", "body: not a key"]),
    (
        "articles/camera-blurry.md",
        "updated",
        'asked = "why"\nupdated',
        ["camera-blurry.md", "asked", "expected `array`"],
    ),
    ("articles/camera-blurry.md", "updated", 'asked = ["?"]\nupdated', ["camera-blurry.md", "asked", "length"]),
    ("topics.toml", "[[topic]]", "[[topics]]", ["topics.toml", "'topics'", "[[topic]]"]),
    ("topics.toml", 'id = "roaming"', 'id = "camera_fault"', ["topics.toml", "'camera_fault'", "twice"]),
    ("topics.toml", 'label = "Use abroad"', 'label = "U"', ["topic 'roaming'", "label", "length"]),
    ("actions.toml", "Offer a supervisor", "Offer to put the customer through to some supervisor", ["title", "length"]),
    ("actions.toml", 'topics = ["camera_fault"]', 'topics = ["cam"]', ["action 'offer_replacement'", "no topic 'cam'"]),
    ("playbooks/camera.toml", 'next = ["verify"]', 'next = ["verfy"]', ["step 'greet'", "'verfy'", "'verify'"]),
    ("playbooks/camera.toml", 'next = ["fix"]', 'next = ["close"]', ["step 'fix'", "no step leads here"]),
    ("playbooks/camera.toml", "next = []", 'next = ["greet"]', ["camera.toml", "no step ends"]),
    ("playbooks/camera.toml", "offer_replacement", "offer_replacment", ["step 'replace'", "did you mean"]),
    (
        "playbooks/camera.toml",
        'done.agent = ["restart',
        'done.agnet = ["restart',
        ["step 3: done", "'agnet'", "'agent'"],
    ),
    ("playbooks/camera.toml", '["get an email"]', '["you are"]', ["'you are'", "no telling word"]),
    ("playbooks/camera.toml", 'id = "confirm"', 'id = "fix"', ["camera.toml", "two steps share an id"]),
    ("playbooks/camera.toml", 'topics = ["camera_fault"]', "topics = []", ["no topic", "already belongs"]),
    ("rules.toml", 'severity = "high"', 'severity = "awful"', ["rule 'very_negative'", "severity"]),
    ("rules.toml", "when.silence_ms", "when.silence", ["rule 'silence'", "'silence'", "'silence_ms'"]),
    ("rules.toml", "when.silence_ms = 20000", "when.lasted_ms = 5", ["rule 'silence'", "no condition"]),
    ("rules.toml", "call_below = -0.5", "call_below = -5", ["rule 'very_negative'", "sentiment_call_below"]),
    ("rules.toml", "when.silence_ms = 20000", "when.silence_ms = 20000\nflag = false", ["does nothing"]),
    ("rules.toml", "[[rule]]", "[rule", ["rules.toml", "not TOML"]),
    ("rules.toml", 'suggest = "offer_supervisor"', 'suggest = "offer_supervisr"', ["suggest", "'offer_supervisor'"]),
    ("rules.toml", "when.silence_ms", "when.by_ms = 5000\nwhen.silence_ms", ["when.by_ms", "missing"]),
]


@pytest.mark.parametrize(("file", "old", "new", "names"), BROKEN)
def test_what_is_wrong_is_named(tmp_path: Path, file: str, old: str, new: str, names: list[str]) -> None:
    path = guidance.write(tmp_path / "kb") / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(KnowledgeError) as caught:
        Knowledge.load(tmp_path / "kb")
    told = "\n".join(inspect(tmp_path / "kb")[1])
    assert str(caught.value).split(" (and")[0] in told
    for name in names:
        assert name in told


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = guidance.write(tmp_path / "kb")
    (path / "rules.toml").unlink()
    (path / "articles" / "bad.md").write_bytes(b"+++\nid = \xff\n+++\n")
    (path / "articles" / "big.md").write_bytes(b"x" * 300_000)
    told = "\n".join(inspect(path)[1])
    assert "rules.toml: cannot be read (No such file" in told
    assert "articles/bad.md: not UTF-8 at byte 9" in told
    assert "articles/big.md: 300000 bytes" in told
    with pytest.raises(KnowledgeError, match="no such folder"):
        Knowledge.load(tmp_path / "nowhere")


@given(st.text())
def test_any_text_gives_an_article_or_a_named_error(text: str) -> None:
    try:
        assert isinstance(parse_article(text, "articles/a-b.md"), Article)
    except KnowledgeError as error:
        assert str(error).startswith("articles/a-b.md")


@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.text(max_size=40))
def test_any_damage_to_an_article_gives_an_article_or_a_named_error(at: int, cut: int, put: str) -> None:
    try:
        assert parse_article(GOOD[:at] + put + GOOD[at + cut :], "articles/a-b.md").id == "a-b"
    except KnowledgeError as error:
        assert str(error).startswith("articles/a-b.md")


def test_check_prints_every_problem_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = guidance.write(tmp_path / "kb")
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr()
    assert "3 articles  (the shipped knowledge base has at least 80)" in printed.out
    assert "0 problems" in printed.out
    for file in ("topics.toml", "actions.toml"):
        text = (path / file).read_text(encoding="utf-8")
        (path / file).write_text(text + "\n[[other]]\nx = 1\n", encoding="utf-8")
    (path / "articles" / "camera-blurry.md").write_text("nothing", encoding="utf-8")
    assert main(["check", str(path)]) == 1
    printed = capsys.readouterr()
    assert "2 articles" in printed.out
    assert "3 problems" in printed.out
    assert len(printed.err.splitlines()) == 3
    assert main(["list"]) == 2


def test_load_says_how_many_problems_there_are(tmp_path: Path) -> None:
    path = guidance.write(tmp_path / "kb")
    for article in (path / "articles").glob("*.md"):
        article.write_text("nothing", encoding="utf-8")
    with pytest.raises(KnowledgeError, match=r"and 2 more: python -m assist\.knowledge check"):
        Knowledge.load(path)


def test_shipped_knowledge_base_is_whole() -> None:
    counts = Knowledge.load(guidance.SHIPPED).counts()
    for name, least in SHIPPED_MINIMUM.items():
        assert counts[name] >= least, name


def test_every_shipped_topic_has_an_article_and_a_playbook() -> None:
    knowledge = Knowledge.load(guidance.SHIPPED)
    written = {topic for article in knowledge.articles.values() for topic in article.topics}
    followed = {topic for playbook in knowledge.playbooks.values() for topic in playbook.topics}
    assert written == set(knowledge.topics)
    assert followed == set(knowledge.topics)
