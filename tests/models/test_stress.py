"""Vocal stress on made voices: relative to one's own first speech, deaf to gain, silent about others, unbreakable."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from assist.audio import Party, Samples, Utterance, decode, encode_mulaw
from assist.conversation import Conversation, Finding, Heard, Transcript, Turn
from models import stress

ANALYSE = stress.load()


def voice(pitch_hz: float, seconds: float, brightness: float = 1.4, level: float = 0.1, seed: int = 0) -> Samples:
    """A buzzing voice with four syllables a second; harmonics fall off as 1 / n**brightness."""
    rng = np.random.default_rng(seed)
    at = np.arange(int(seconds * 8000)) / 8000
    glide = pitch_hz * (1 + 0.05 * np.sin(2 * np.pi * 0.7 * at))
    phase = 2 * np.pi * np.cumsum(glide) / 8000
    sound = sum(np.sin(n * phase) / n**brightness for n in range(1, int(3400 // pitch_hz) + 1))
    sound = sound * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * at)) * level + rng.standard_normal(len(at)) * 0.001
    narrow = decode(encode_mulaw((np.clip(sound, -1, 1) * 32767).astype(np.int16)), "mulaw")
    return np.repeat(narrow, 2)


def heard(samples: Samples, party: Party = "customer", start_ms: int = 0) -> Heard:
    end_ms = start_ms + len(samples) // 16
    name = f"u{start_ms}"
    return Heard(
        Utterance(name, party, start_ms, end_ms, end_ms, samples), Transcript(name, party, start_ms, end_ms, "")
    )


def talk(*sounds: Samples) -> list[Finding]:
    so_far = Conversation("c")
    found = []
    for number, sound in enumerate(sounds):
        now = heard(sound, start_ms=number * 10_000)
        (finding,) = ANALYSE(now, so_far)
        found.append(finding)
        so_far = so_far.with_turn(Turn(now.transcript, (finding,)))
    return found


CALM = [voice(120, 3, seed=n) for n in range(3)]


def test_pitch_is_heard() -> None:
    for pitch_hz in (90.0, 120.0, 210.0, 330.0):
        assert stress.features(voice(pitch_hz, 2))["f0_hz"] == pytest.approx(pitch_hz, rel=0.03)


def test_none_until_there_is_a_baseline() -> None:
    found = talk(*CALM, voice(120, 3, seed=9))
    assert found[0].label == "none"
    assert found[0].detail["f0_hz"] == pytest.approx(120, rel=0.05)
    assert found[-1].label == "calm"


def test_higher_brighter_louder_is_tense() -> None:
    calm, tense = talk(*CALM, voice(122, 3, seed=9))[-1], talk(*CALM, voice(175, 3, brightness=0.9, level=0.25))[-1]
    assert calm.label == "calm" and tense.label == "tense"
    assert tense.score > calm.score + 0.4


def test_a_high_voice_is_not_tense_by_itself() -> None:
    assert talk(*[voice(230, 3, seed=n) for n in range(4)])[-1].label == "calm"


def test_gain_cancels_out() -> None:
    quiet = [(sound.astype(np.int32) // 4).astype(np.int16) for sound in [*CALM, voice(160, 3)]]
    assert talk(*quiet)[-1].score == pytest.approx(talk(*CALM, voice(160, 3))[-1].score, abs=0.03)


def test_evidence_is_the_utterance() -> None:
    last = talk(*CALM, voice(160, 3))[-1]
    assert (last.evidence.start_ms, last.evidence.end_ms) == (30_000, 33_000)
    assert last.evidence.source == stress.NAME


def test_the_agent_is_never_heard_by_default() -> None:
    shouted = voice(200, 3, brightness=0.5, level=0.5)
    assert ANALYSE(heard(shouted, "agent"), Conversation("c")) == ()
    assert ANALYSE(heard(shouted, "system"), Conversation("c")) == ()
    assert len(stress.load(("customer", "agent"))(heard(shouted, "agent"), Conversation("c"))) == 1


def test_the_other_party_is_no_baseline() -> None:
    analyse = stress.load(("customer", "agent"))
    so_far = Conversation("c")
    for number, sound in enumerate(CALM):
        now = heard(sound, "agent", number * 10_000)
        so_far = so_far.with_turn(Turn(now.transcript, tuple(analyse(now, so_far))))
    (finding,) = analyse(heard(voice(120, 3), "customer", 90_000), so_far)
    assert finding.label == "none"


def test_the_baseline_stands_still_after_ten_seconds() -> None:
    steady = [voice(120, 3, seed=n) for n in range(5)]
    loud = voice(170, 3, brightness=0.9, level=0.25)
    assert talk(*steady, loud, loud)[-1].score == pytest.approx(talk(*steady, loud)[-1].score, abs=1e-6)


def strange() -> dict[str, Samples]:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(48_000)
    speech = voice(120, 3).astype(np.int32)
    return {
        "nothing": np.zeros(0, np.int16),
        "one sample": np.ones(1, np.int16),
        "50 ms": voice(120, 0.05),
        "silence": np.zeros(48_000, np.int16),
        "dc": np.full(48_000, 12_000, np.int16),
        "noise": (noise * 3000).astype(np.int16),
        "faint noise": (noise * 2).astype(np.int16),
        "clipped": np.clip(speech * 40, -32768, 32767).astype(np.int16),
        "square": np.where(np.arange(48_000) % 160 < 80, 32767, -32768).astype(np.int16),
        "click": np.eye(1, 48_000, 24_000, dtype=np.int16)[0] * 32767,
        "long": np.tile(voice(120, 3), 40),
    }


@pytest.mark.parametrize("name", strange())
def test_strange_sound_gets_a_finding(name: str) -> None:
    for finding in talk(*CALM, strange()[name]):
        assert finding.label in {"calm", "tense", "none"}
        assert 0 <= finding.score <= 1
        assert all(np.isfinite(value) for value in finding.detail.values())


@pytest.mark.parametrize("name", ["nothing", "one sample", "50 ms", "silence", "dc", "noise", "faint noise", "click"])
def test_where_no_voice_is_nothing_is_said(name: str) -> None:
    assert talk(*CALM, strange()[name])[-1].label == "none"


def test_an_offset_changes_little() -> None:
    shifted = (voice(150, 3).astype(np.int32) + 3000).astype(np.int16)
    assert talk(*CALM, shifted)[-1].score == pytest.approx(talk(*CALM, voice(150, 3))[-1].score, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(stn.arrays(np.int16, st.integers(0, 20_000)))
def test_any_samples_have_features(samples: Samples) -> None:
    assert all(np.isfinite(value) for value in stress.features(samples).values())


def test_three_seconds_take_little_time() -> None:
    sound = voice(120, 3)
    spent = []
    for _ in range(20):
        began = time.process_time()
        stress.features(sound)
        spent.append(time.process_time() - began)
    assert np.median(spent) < 0.015
