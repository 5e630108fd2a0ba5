"""`python -m models judge`, as a real process: a finding a line, an error a line, and the rest goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given as drawn
from hypothesis import strategies as st

import models
from assist.conversation import Finding, Transcript
from assist.errors import AssistError, BadMessage, ConfigError, KnowledgeError, ModelMissing
from benchmarks import synthetic
from models import finder, given, judge

ROOT = Path(__file__).resolve().parents[2]
TOPICS = """
[[topic]]
id = "camera"
examples = ["my camera is black on video calls", "every picture I take is blurry", "the camera app keeps closing"]
[[topic]]
id = "delivery"
examples = ["my parcel has not arrived", "where is my order", "the delivery was meant to come on Monday"]
"""


def judged(task: str, lines: list[Any] | bytes, *options: str, folder: Path = ROOT) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and answers for lines through stdin. Lines that are not text are written as JSON."""
    raw = lines if isinstance(lines, bytes) else b"".join(_line(each) for each in lines)
    command = [sys.executable, "-m", "models", "judge", task, "-", *options]
    done = subprocess.run(command, cwd=ROOT, input=raw, capture_output=True, timeout=100)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def _line(each: Any) -> bytes:
    return (each if isinstance(each, str) else json.dumps(each)).encode() + b"\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three seconds of a hum on the left, silence on the right, 8 kHz."""
    time_s = np.arange(3 * 8_000) / 8_000
    hum = sum(np.sin(2 * np.pi * 140 * n * time_s) / n for n in range(1, 12)) * 0.1
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([hum, 0 * hum], axis=1), 8_000)
    return path


def test_topic_takes_a_text_or_turns_and_topics_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "topics.toml").write_text(TOPICS)
    lines = [
        {"text": "the camera of my phone shows nothing but black", "id": "a"},
        {"turns": ["hello there", {"party": "agent", "text": "your camera?"}, "my parcel never came"], "label": "x"},
        {"turns": []},
    ]
    status, answers = judged("topic", lines, "--topics", str(tmp_path / "topics.toml"))
    assert status == 0
    assert [each["line"] for each in answers] == [1, 2, 3]
    assert answers[0]["id"] == "a" and answers[0]["label"] == "camera" and answers[1]["label"] == "delivery"
    assert answers[2]["label"] == "none"
    for each in answers:
        assert each["ms"] >= 0 and isinstance(each["detail"], dict) and "source" in each["evidence"]


def test_sentiment_of_lines_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text('{"text": "this is the fourth time I call and nobody helps me"}\n\n{"text": "great, thank you"}\n')
    command = [sys.executable, "-m", "models", "judge", "sentiment", str(file)]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=100)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [(each["line"], each["label"]) for each in answers] == [(1, "negative"), (3, "positive")]


def test_a_bad_line_is_named_and_the_others_go_on() -> None:
    lines: list[Any] = [
        "no json at all",
        "[1, 2]",
        {"txt": "misspelt"},
        {"text": 5},
        {"text": "a", "turns": []},
        {"turns": [{"party": "nobody", "text": "hi"}]},
        {"turns": [{"text": "hi", "start_ms": 9, "end_ms": 3}]},
        {"turns": [7]},
        {"wav": "nowhere.wav"},
        {"text": "x" * judge.LONGEST},
        {"text": "I am very disappointed with the service"},
    ]
    status, answers = judged("sentiment", lines)
    assert status == 1
    assert [each["line"] for each in answers] == list(range(1, 12))
    assert [each.get("error") for each in answers] == ["bad_message"] * 9 + ["oversize", None]
    assert all(each["message"] for each in answers[:-1])
    assert answers[-1]["label"] == "negative"


def test_bytes_that_are_no_text_and_half_characters_are_lines_too() -> None:
    raw = b'\xff\xfe{"text"\n{"text": "\\ud83d my bill is wrong"}\n' + b"[" * 100_000 + b'\n{"text": "thank you"}'
    status, answers = judged("sentiment", raw)
    assert status == 1
    assert [each.get("error", "") for each in answers] == ["bad_message", "", "bad_message", ""]


def test_stress_takes_recordings_by_channel_and_a_baseline(recording: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mono.wav", np.zeros(400), 16_000)
    (tmp_path / "text.wav").write_text("no sound")
    lines = [
        {"wav": str(recording), "channel": 0, "baseline": [str(recording)]},
        {"wav": str(recording)},
        {"wav": str(recording), "channel": 2},
        {"wav": str(tmp_path / "nowhere.wav")},
        {"wav": str(tmp_path / "text.wav")},
        {"wav": "a\0b"},
        {"wav": str(recording), "channel": 0, "baseline": [str(tmp_path / "mono.wav")]},
        {"wav": str(recording), "channel": 0, "baseline": "x"},
        {"wav": str(recording), "channel": "left"},
        {"wav": str(tmp_path / "mono.wav")},
    ]
    status, answers = judged("stress", lines)
    bad, encoding = "bad_message", "bad_encoding"
    assert status == 1
    assert [each.get("error") for each in answers] == [
        None,
        encoding,
        encoding,
        bad,
        encoding,
        bad,
        bad,
        bad,
        bad,
        None,
    ]
    assert answers[-1]["label"] == "none", "25 ms of nothing"
    status, answers = judged("stress", lines[1:2], "--channel", "1")
    assert status == 0 and answers[0]["label"] == "none", "silence"


def test_search_ranks_articles_of_ones_own(tmp_path: Path) -> None:
    poles = "Lay the ground sheet out, then raise the poles."
    articles = [{"id": "tent", "title": "Putting up a tent", "text": poles}]
    made = (synthetic.article(number) for number in range(12))
    articles += [{"id": each.id, "title": each.title, "text": each.body} for each in made]
    file = tmp_path / "articles.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in articles))
    lines = [{"text": "how do I put up my tent, where do the poles go"}, {"text": "who won the football on Sunday"}]
    status, answers = judged("search", lines, "--knowledge", str(file), "--limit", "2")
    assert status == 0
    assert answers[0]["label"] == "tent" == answers[0]["ranked"][0]["label"]
    assert answers[1]["label"] == "none" and answers[1]["ranked"] == []


def test_what_cannot_begin_is_one_line_on_stderr(tmp_path: Path) -> None:
    for argv, says in (
        (["weather", "-"], "there are topic, sentiment"),
        (["stress", "-", "--topics", "x"], "no option 'topics'"),
        (["sentiment", str(tmp_path / "no.jsonl")], "no.jsonl"),
        (["sentiment", "-", "--weights", str(tmp_path)], "model_missing"),
        (["topic", "-", "--topics", str(tmp_path / "no.toml")], "no.toml"),
    ):
        command = [sys.executable, "-m", "models", "judge", *argv]
        done = subprocess.run(command, cwd=ROOT, input=b"", capture_output=True, text=False, timeout=100)
        said = done.stderr.decode()
        assert done.returncode == 1 and done.stdout == b""
        assert said.startswith("error (") and says in said and said.count("\n") == 1


def test_next_action_takes_what_was_said_as_it_takes_events() -> None:
    said = ["hello", {"party": "agent", "text": "how can I help you"}, "I want to book a room in a hotel"]
    events = [{"party": "customer", "text": "hello"}, said[1], {"party": "customer", "text": said[2]}]
    status, (by_turns, by_events, by_text, neither) = judged(
        "next_action", [{"turns": said}, {"events": events}, {"text": said[2]}, {"wav": "a.wav"}]
    )
    assert status == 1
    assert by_turns["ranked"] == by_events["ranked"]
    assert by_turns["label"] not in ("", "none")
    assert by_text["ranked"] and by_text["ranked"] != by_turns["ranked"]
    assert neither["error"] == "bad_message"


def test_one_line_of_python_for_each() -> None:
    finding = models.load("sentiment")("I am very disappointed with the service")
    assert isinstance(finding, Finding) and finding.label == "negative"
    assert models.load("topic")("the camera is black in video calls").label != ""
    assert [found.analyser for found in models.load("search", limit=1)("my camera is black in video calls")] == [
        "search"
    ]
    assert set(models.tasks()) >= {
        "topic",
        "sentiment",
        "satisfaction",
        "stress",
        "next_action",
        "search",
        "transcribe",
    }
    assert models.takes("stress") == ()


@pytest.mark.parametrize(
    ("task", "options", "error", "says"),
    [
        ("wether", {}, ConfigError, "topic, sentiment"),
        ("stress", {"loud": 1}, ConfigError, "'loud'"),
        ("topic", {"topics": []}, ConfigError, "there is none"),
        ("topic", {"encode": 3}, ConfigError, "encode"),
        ("search", {"limit": 0}, ConfigError, "limit"),
        ("search", {"limit": "3"}, ConfigError, "limit is '3'"),
        ("search", {"knowledge": 5}, ConfigError, "knowledge is a int"),
        ("topic", {"topics": 5}, ConfigError, "a int is no path"),
        ("topic", {"topics": {"a": "text"}}, ConfigError, "a: needs examples, a list"),
        ("topic", {"topics": {"a": [None]}}, ConfigError, "a: needs examples, a list"),
        ("topic", {"topics": {"a": []}}, ConfigError, "none with a word"),
        ("topic", {"topics": {5: ["a b"]}}, ConfigError, "topic 1: needs an id"),
        ("topic", {"topics": ["a", "b"]}, ConfigError, "topic 1: needs an id"),
        ("topic", {"topics": {"none": ["my bill is wrong"]}}, ConfigError, "give it another id"),
        ("topic", {"others": 5}, ConfigError, "others: a int"),
        ("topic", {"others": [5]}, ConfigError, "a list of sentences"),
        ("next_action", {"head": 5}, ConfigError, "head is a int"),
        ("search", {"knowledge": "/nowhere"}, KnowledgeError, "/nowhere"),
        ("transcribe", {"kind": "parrot"}, ConfigError, "pocketsphinx, whisper"),
        ("transcribe", {"kind": "whisper", "weights": "/nowhere"}, ModelMissing, "nowhere"),
    ],
)
def test_what_load_refuses_has_a_name(task: str, options: dict[str, Any], error: type[AssistError], says: str) -> None:
    with pytest.raises(error, match=says):
        models.load(task, **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[topic]]\nid = 3", "needs an id"),
        ('[[topic]]\nid = "a"', "needs examples"),
        ('[[topic]]\nid = "a"\nexamples = [1]', "needs examples"),
        ('[[topic]]\nid="a"\nexamples=["x"]\n[[topic]]\nid="a"\nexamples=["x"]', "used twice"),
        ("no toml", "topics"),
        ("", "there is none"),
        ("topic = 5", r"write \[\[topic\]\]"),
        ('topic = "x"', r"write \[\[topic\]\]"),
        ('[topic]\nid = "a"\nexamples = ["x"]', r"write \[\[topic\]\]"),
        ('[[topics]]\nid = "a"\nexamples = ["x"]', r"write \[\[topic\]\]"),
        ('[[topic]]\nid = "a"\nexamples = ["", " "]', "none with a word"),
        ('[[topic]]\nid = "none"\nexamples = ["x"]', "another id"),
    ],
)
def test_a_wrong_topics_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        given.topics(file)


def test_transcribe_is_a_callable(recording: Path) -> None:
    hears: Any = models.load("transcribe", kind="pocketsphinx")
    try:
        said = hears(given.at_16k(*given.sound(recording, 0)))
        assert isinstance(said, Transcript) and said.end_ms == 3_000
    finally:
        hears.close()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    soundfile.write(tmp_path / "a.wav", np.sin(2 * np.pi * 440 * time_s) * 0.5, rate_hz)
    samples = given.at_16k(*given.sound(tmp_path / "a.wav"))
    assert len(samples) == 16_000
    assert int(np.abs(np.fft.rfft(samples)).argmax()) == 440
    assert np.abs(samples).max() == pytest.approx(16_384, rel=0.05)


def test_a_float_file_with_holes_is_made_whole(tmp_path: Path) -> None:
    holes = np.array([0.0, np.nan, np.inf, -np.inf, 3.0] * 2_000, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", holes, 8_000, subtype="FLOAT")
    samples, _ = given.sound(tmp_path / "a.wav")
    assert np.isfinite(samples).all() and np.abs(samples).max() <= 1.0


def test_files_may_begin_with_a_mark_of_their_encoding(tmp_path: Path) -> None:
    (tmp_path / "topics.toml").write_text(TOPICS, "utf-8-sig")
    (tmp_path / "others.txt").write_text("play a song\n# no sentence\n", "utf-8-sig")
    (tmp_path / "articles.jsonl").write_text('{"id": "a", "title": "b", "text": "c"}', "utf-8-sig")
    assert [each.id for each in given.topics(tmp_path / "topics.toml")] == ["camera", "delivery"]
    assert given.sentences(tmp_path / "others.txt") == ("play a song",)
    assert list(finder.articles(tmp_path / "articles.jsonl").articles) == ["a"]


def test_a_file_without_sentences_is_no_list_of_others(tmp_path: Path) -> None:
    (tmp_path / "others.txt").write_text("\n# nothing\n")
    with pytest.raises(ConfigError, match="no sentence in it"):
        given.sentences(tmp_path / "others.txt")
    assert given.sentences(()) == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a", "title": "b", "text": "c", "keywords": 5}', "line 1: keywords"),
        ('{"id": "a", "title": "b", "text": "c", "keywords": "bill"}', "line 1: keywords"),
        ('{"id": "a", "title": "b", "text": "c", "keywords": [1]}', "line 1: keywords"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_wrong_article_is_named(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "articles.jsonl").write_text(line)
    with pytest.raises(KnowledgeError, match=says):
        finder.articles(tmp_path / "articles.jsonl")


def test_an_article_may_hold_any_character_of_json_and_no_keywords(tmp_path: Path) -> None:
    line = '{"id": "a", "title": "b", "text": "one\u2028two\x85three", "keywords": null}\r\n'
    (tmp_path / "articles.jsonl").write_bytes(line.encode())
    article = finder.articles(tmp_path / "articles.jsonl").articles["a"]
    assert article.body == "one\u2028two\x85three" and article.keywords == ()


def test_where_answers_cannot_be_written_one_line_says_so() -> None:
    command = [sys.executable, "-m", "models", "judge", "sentiment", "-"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, cwd=ROOT, input=b'{"text": "hello"}\n', stdout=full, stderr=subprocess.PIPE, timeout=100
        )
    said = done.stderr.decode()
    assert done.returncode == 1
    assert said.startswith("error (store_failed): answers cannot be written") and said.count("\n") == 1


def test_the_file_is_opened_before_the_models_are_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match="nofile"):
        judge.judged("search", tmp_path / "nofile.jsonl", {}, None, sys.stdout)


def test_what_is_no_path_no_time_and_no_utf_8_is_named() -> None:
    with pytest.raises(BadMessage, match=r"wav: .*too long"):
        given.sound(Path("a" * 5_000))
    for times in ({"start_ms": True}, {"start_ms": 10**400}, {"start_ms": 1, "end_ms": False}, {"end_ms": 1.5}):
        with pytest.raises(BadMessage, match="start_ms and end_ms"):
            given.said([{"text": "hello", **times}])
    with pytest.raises(BadMessage, match="UTF-16"):
        judge._parsed('{"text": "hello"}'.encode("utf-16"))


def test_events_and_words_at_once_are_refused() -> None:
    ask = judge._askers(lambda events: events, Path(), None)["next_action"]
    with pytest.raises(BadMessage, match="one of them"):
        ask({"events": [], "text": "hello"})


TURNS: tuple[Any, ...] = (
    "my bill is wrong",
    ("my bill is wrong",),
    iter(["my bill is wrong"]),
    np.array(["my bill is wrong"]),
    {"text": "my bill is wrong"},
    [{"party": "customer", "text": "my bill is wrong"}],
    [Transcript("u1", "customer", 0, 5_000, "my bill is wrong")],
)


def test_turns_may_come_as_in_json_or_as_python_has_them() -> None:
    for turns in TURNS:
        assert [(each.party, each.text) for each in given.said(turns)] == [("customer", "my bill is wrong")]
    mixed = ["hello", {"party": "agent", "text": "how can I help"}, "my parcel never came"]
    for task, turns in (("topic", mixed), ("sentiment", mixed), ("satisfaction", mixed), ("search", mixed)):
        assert models.load(task)(turns) is not None
    assert models.load("sentiment")([*mixed, {"party": "agent", "text": "oh no, how dreadful, I am so sorry"}]) == (
        models.load("sentiment")(["hello", "my parcel never came"])
    )


@pytest.mark.parametrize("task", ["topic", "sentiment", "satisfaction", "search"])
def test_what_is_no_text_and_no_turn_is_refused_by_name(task: str) -> None:
    judges = models.load(task)
    for nothing in (None, 5, 5.5, b"bytes", [None], [5], ["a", None], {"a": 1}, [["x"]], [{"x": 1}], [b"x"]):
        with pytest.raises(BadMessage):
            judges(nothing)
    judges(())
    judges(iter([]))


SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@drawn(SCALARS | st.lists(SCALARS | st.lists(SCALARS, max_size=3), max_size=4))
def test_any_turns_are_read_or_named(turns: Any) -> None:
    try:
        said = judge._said({"turns": turns})
    except BadMessage as error:
        assert str(error).startswith("turns")
    else:
        assert isinstance(said, list) and all(isinstance(each, Transcript) for each in said)
