"""What no model was made for: every one answers or abstains, in time, and raises nothing into a call."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import models
from assist.audio import RATE_HZ, Utterance
from assist.conversation import Conversation, Finding, Heard, Transcript, Turn
from assist.knowledge import Knowledge
from models import satisfaction, sentiment, stress, topic

BUDGET_S = 2.0
"""Processor time of one judgement, which neighbours must not fail. 0.39 s were seen of 5,000 different words."""

TEXTS = {
    "empty": "",
    "blank": " \t\n ",
    "one word": "hello",
    "one letter": "k",
    "5,000 words": " ".join(["my bill is wrong and nobody calls me back"] * 556),
    "5,000 different words": " ".join(f"word{n}" for n in range(5_000)),
    "one word without end": "x" * 200_000,
    "marks": "?!... --- ;;; ((( ###",
    "numbers": "07700 900123 42 1e309 -0",
    "German": "Meine Rechnung stimmt nicht und niemand ruft mich zurück",
    "Chinese": "我的账单有错误,没有人给我回电话",
    "Arabic": "فاتورتي خاطئة ولا أحد يعاود الاتصال بي",
    "Russian": "мой счёт неверен, и никто мне не перезванивает",
    "Thai": "บิลของฉันผิดและไม่มีใครโทรกลับ",
    "emoji": "😡😡😡 👨‍👩‍👧‍👦 🇬🇧 ❤️‍🔥",
    "control characters": "\x00\x01\x1b[31m my \x07bill\x08 is\x7f wrong\u200b\ufeff\u202e",
    "lone surrogates": "\ud83d my bill \udc00 is wrong \ud800",
    "marks upon marks": "e" + "\u0301" * 5_000,
    "markup": "<script>alert(1)</script> '; DROP TABLE article; -- \" OR NEAR(",
}


def tone(seconds: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A voice-like hum of 140 Hz."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    hum = np.stack([np.sin(2 * np.pi * 140 * n * time_s) / n for n in range(1, 12)]).sum(axis=0)
    return np.asarray(hum * 0.1, np.float32)


def music(seconds: float) -> NDArray[np.float32]:
    """Chords that change each half second, as a queue plays them."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    roots = 220 * 2 ** (np.array([0, 5, 7, 3])[(time_s * 2).astype(int) % 4] / 12)
    phase = 2 * np.pi * np.cumsum(roots) / RATE_HZ
    chord = np.stack([np.sin(phase * ratio) for ratio in (1, 1.25, 1.5, 2)]).sum(axis=0)
    return np.asarray(chord * 0.15, np.float32)


NOISE = np.random.default_rng(1)
SOUNDS = {
    "nothing": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
    "50 ms": tone(0.05),
    "silence": np.zeros(3 * RATE_HZ, np.float32),
    "clipping": np.clip(tone(3) * 100, -1, 1),
    "DC offset": tone(3) + np.float32(0.6),
    "nothing but DC": np.full(3 * RATE_HZ, 0.5, np.float32),
    "noise": NOISE.normal(0, 0.2, 3 * RATE_HZ).astype(np.float32),
    "hold music": music(5),
    "one click": np.eye(1, 3 * RATE_HZ, 1_000, dtype=np.float32)[0],
    "far above full scale": tone(1) * 1e6,
    "not numbers": np.full(RATE_HZ, np.nan, np.float32),
    "five minutes": np.tile(tone(3), 100),
}


def sound_judgement(finding: Finding) -> None:
    """It can be told: names, finite figures, and JSON."""
    assert finding.analyser and finding.label
    assert math.isfinite(finding.score)
    assert all(math.isfinite(value) for value in finding.detail.values()), finding.detail
    json.dumps(msgspec.to_builtins(finding))


def in_time(judge: Callable[..., Any], *given: Any) -> list[Finding]:
    """What `judge` finds, as a list; it must not take longer than the budget."""
    began = time.thread_time()
    found = judge(*given)
    spent_s = time.thread_time() - began
    assert spent_s < BUDGET_S, f"{spent_s:.2f} s of processor time"
    listed = [found] if isinstance(found, Finding) else list(found)
    for each in listed:
        sound_judgement(each)
    return listed


def pcm(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.nan_to_num(sound) * 32767, -32768, 32767).astype(np.int16)


def heard(text: str, samples: NDArray[np.int16] | None = None) -> Heard:
    sound = np.zeros(0, np.int16) if samples is None else samples
    end_ms = len(sound) * 1000 // RATE_HZ
    return Heard(Utterance("u", "customer", 0, end_ms, end_ms, sound), Transcript("u", "customer", 0, end_ms, text))


@cache
def judge_of(task: str) -> Any:
    """What reads words, warm."""
    judge = models.load(task)
    judge(["my bill is wrong"])
    return judge


@cache
def analyser(name: str) -> Any:
    """What a call asks."""
    if name == "stress":
        return stress.load()
    encode = models.shared_encoder()
    if name == "topic":
        return topic.load(encode, tuple(Knowledge.load(models.KNOWLEDGE).topics.values()))
    return {"sentiment": sentiment, "satisfaction": satisfaction}[name].load(encode)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("task", ["topic", "sentiment", "search"])
def test_any_text_is_judged_or_abstained_on(task: str, text: str) -> None:
    in_time(judge_of(task), text)
    in_time(judge_of(task), ["hello, my bill is wrong", text])


@pytest.mark.parametrize("task", ["topic", "sentiment"])
@pytest.mark.parametrize("name", ["empty", "blank", "marks"])
def test_where_there_is_nothing_to_judge_they_abstain(task: str, name: str) -> None:
    (finding,) = in_time(judge_of(task), TEXTS[name])
    assert finding.label == "none"
    (finding,) = in_time(judge_of(task), [])
    assert finding.label == "none"


def test_search_shows_nothing_for_nothing() -> None:
    nothing: tuple[Any, ...] = (TEXTS["empty"], TEXTS["blank"], TEXTS["marks"], [])
    for said in nothing:
        assert in_time(judge_of("search"), said) == []


def test_a_call_of_nothing_but_odd_turns_has_a_satisfaction_or_none() -> None:
    for turns in ([], [""], list(TEXTS.values())):
        in_time(judge_of("satisfaction"), turns)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["sentiment", "topic", "satisfaction"])
def test_any_text_in_a_call_is_heard(name: str, text: str) -> None:
    so_far = Conversation("c")
    for said in ("my bill is wrong", text, "thank you"):
        now = heard(said)
        found = in_time(analyser(name), now, so_far)
        so_far = so_far.with_turn(Turn(now.transcript, tuple(found)))


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
def test_any_sound_is_judged_or_abstained_on(sound: NDArray[np.float32]) -> None:
    judge = models.load("stress")
    voice = [tone(5), tone(5)]
    judge(tone(1), RATE_HZ, voice)
    for rate_hz in (8_000, RATE_HZ):
        for samples in (sound, pcm(sound)):
            in_time(judge, samples, rate_hz)
            in_time(judge, samples, rate_hz, voice)
            in_time(judge, tone(2), rate_hz, [samples])


@pytest.mark.parametrize("name", ["nothing", "one sample", "50 ms", "silence", "nothing but DC", "one click"])
def test_where_nobody_speaks_nobody_is_tense(name: str) -> None:
    judge = models.load("stress")
    (finding,) = in_time(judge, SOUNDS[name], RATE_HZ, [tone(5), tone(5)])
    assert finding.label == "none"


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
def test_any_sound_in_a_call_is_heard(sound: NDArray[np.float32]) -> None:
    so_far = Conversation("c")
    for samples in (tone(6), sound, tone(2)):
        now = heard("words", pcm(samples))
        found = in_time(analyser("stress"), now, so_far)
        so_far = so_far.with_turn(Turn(now.transcript, tuple(found)))


EVENTS: tuple[Sequence[Any], ...] = (
    [],
    [None],
    [{}],
    ["text"],
    [{"party": "customer", "text": text} for text in TEXTS.values()],
    [{"party": "customer"}, {"action": "no such action"}, {"text": 5}, {"action": ["a"]}, 7],
    [{"party": "customer", "text": "my bill is wrong"}] * 5_000,
)


@pytest.mark.parametrize("events", EVENTS, ids=range(len(EVENTS)))
def test_any_events_are_ranked_or_abstained_on(events: Sequence[Any]) -> None:
    judge = models.load("next_action")
    judge([{"party": "customer", "text": "hello"}])
    in_time(judge, events)


@drawn(text=st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_whatever_is_said(text: str) -> None:
    for task in ("topic", "sentiment", "search"):
        found = judge_of(task)(text)
        for each in [found] if isinstance(found, Finding) else found:
            sound_judgement(each)
