"""What the check of the channels says of the shipped call as it is and spoilt, of tones, and of who greets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assist import replay
from assist.audio import FRAME_MS, Leg, Party, encode_mulaw
from assist.channel import APART_MS, Channels, Told
from assist.conversation import Transcript
from assist.events import ChannelFaulted, ChannelMended, RolesSwapped
from benchmarks.calls import SHIPPED
from tests.voice import tone

PARTIES: tuple[Party, ...] = ("agent", "customer")
Sound = Sequence[NDArray[np.int16]]


def shipped(seconds: int = 30) -> list[NDArray[np.int16]]:
    recording = replay.read(SHIPPED)
    return [recording.agent[: seconds * 8_000], recording.customer[: seconds * 8_000]]


def listened(sound: Sound, channels: Channels | None = None, extra_ms: int = 0) -> list[tuple[int, Told]]:
    """What is told, and when, ms; a channel without samples sends nothing."""
    channels = channels or Channels(PARTIES)
    frames = [[pcm for pcm, _ in Leg("mulaw", 8_000).push(encode_mulaw(each))] for each in sound]
    told: list[tuple[int, Told]] = []
    for at_ms in range(0, max(map(len, frames)) * FRAME_MS + extra_ms, FRAME_MS):
        for party, mine in zip(PARTIES, frames, strict=True):
            if at_ms // FRAME_MS < len(mine):
                channels.push(party, at_ms, mine[at_ms // FRAME_MS])
        told += [(at_ms, each) for each in channels.look(at_ms + FRAME_MS)]
    return told


def faults(told: list[tuple[int, Told]]) -> list[tuple[str, tuple[Party, ...]]]:
    return [(each.kind, each.parties) for _, each in told if isinstance(each, ChannelFaulted)]


def test_a_good_call_alarms_nobody_and_both_channels_are_cleared() -> None:
    channels = Channels(PARTIES)
    assert channels.doubted("agent")
    assert channels.doubted("customer"), "nothing has been compared"
    assert listened(shipped(), channels) == []
    assert not channels.doubted("agent")
    assert not channels.doubted("customer")


@pytest.mark.parametrize("db", [-6, -20, -30])
@pytest.mark.parametrize("ms", [0, 40, 300])
def test_an_echo_puts_the_channel_that_repeats_in_doubt_and_no_other(db: float, ms: int) -> None:
    agent, customer = shipped()
    late = np.concatenate([np.zeros(ms * 8, np.int16), agent])[: len(agent)]
    crossed = np.clip(customer + 10 ** (db / 20) * late, -32_768, 32_767).astype(np.int16)
    channels = Channels(PARTIES)
    told = listened([agent, crossed], channels)
    assert faults(told) == [("crossed", ("customer",))]
    at_ms, fault = told[0]
    assert at_ms < 5_000
    assert isinstance(fault, ChannelFaulted)
    assert fault.detail["delay_ms"] == pytest.approx(ms, abs=1)
    assert fault.detail["gain_db"] == pytest.approx(db, abs=3)
    assert not channels.doubted("agent")


def test_an_echo_that_has_gone_is_forgotten() -> None:
    agent, customer = shipped(90)
    crossed = customer.copy()
    crossed[: 6 * 8_000] += agent[: 6 * 8_000] // 8
    channels = Channels(PARTIES, every=1)
    told = [each for _, each in listened([agent, crossed], channels)]
    assert [type(each) for each in told] == [ChannelFaulted, ChannelMended]
    assert not channels.doubted("customer")


def test_one_source_on_both_channels_clears_neither() -> None:
    both = np.sum(shipped(), axis=0).astype(np.int16)
    channels = Channels(PARTIES)
    assert faults(listened([both, both], channels)) == [("duplicated", PARTIES)]
    assert channels.doubted("agent")
    assert channels.doubted("customer")


def test_the_same_tone_on_both_is_no_voice_on_both() -> None:
    assert faults(listened([tone(8_000), tone(8_000)])) == []


def test_a_dead_channel_and_that_it_lives_again() -> None:
    agent, customer = shipped()
    dead = customer.copy()
    dead[: 20 * 8_000] = 0
    talk = np.concatenate([agent[: 7 * 8_000]] * 5)[: len(agent)]
    told = listened([talk, dead])
    assert faults(told) == [("dead", ("customer",))]
    assert told[0][0] < 10_000
    assert [type(each) for _, each in told] == [ChannelFaulted, ChannelMended]
    assert 20_000 < told[1][0] < 40_000


@pytest.mark.parametrize("silence", [np.zeros(0, np.int16), np.zeros(20 * 8_000, np.int16)])
def test_no_audio_is_told_within_five_seconds(silence: NDArray[np.int16]) -> None:
    told = listened([silence, silence[:0]], extra_ms=6_000)
    assert faults(told)[0] == ("no_audio", PARTIES)
    assert told[0][0] < 5_000
    paused = Channels(PARTIES)
    paused.pause(True)
    assert paused.look(9_000) == []


def test_clipped() -> None:
    agent, customer = shipped()
    loud = np.clip(agent.astype(np.int32) * 12, -32_000, 32_000).astype(np.int16)
    assert faults(listened([loud, customer])) == [("clipped", ("agent",))]


def test_what_is_doubted_does_not_depend_on_how_often_one_looks() -> None:
    """Sound that comes faster than it is looked at, after a stall or from a file, is caught up with before judging."""
    agent, customer = shipped(12)
    often, late = Channels(PARTIES), Channels(PARTIES)
    crossed = np.concatenate([customer[:24_000], agent[24_000:] // 8])
    told = [each for _, each in listened([agent, crossed], often)]
    for party, sound in zip(PARTIES, (agent, crossed), strict=True):
        for number, (pcm, _) in enumerate(Leg("mulaw", 8_000).push(encode_mulaw(sound))):
            late.push(party, number * FRAME_MS, pcm)
    assert late.doubted("agent"), "nothing was looked at"
    assert late.catch_up(1_000) == told
    assert [type(each) for each in told] == [ChannelFaulted]
    assert [late.doubted(p) for p in PARTIES] == [often.doubted(p) for p in PARTIES] == [False, True]
    assert late.catch_up(12_000) == [], "once"


@given(later_ms=st.integers(0, APART_MS))
@settings(max_examples=5, deadline=None)
def test_a_call_that_looks_later_finds_the_same(later_ms: int) -> None:
    agent, customer = shipped(12)
    sound = [agent, np.concatenate([customer[:24_000], agent[24_000:] // 8])]
    at_once, later = listened(sound), listened(sound, Channels(PARTIES, later_ms=later_ms), extra_ms=APART_MS)
    assert at_once and [each for _, each in later] == [each for _, each in at_once]
    assert [at_ms for at_ms, _ in later] == [at_ms - at_ms % -FRAME_MS for at_ms in (t + later_ms for t, _ in at_once)]


def test_an_only_channel_is_compared_with_nothing() -> None:
    assert not Channels(("customer",)).doubted("customer")


def said(channels: Channels, *turns: tuple[Party, str]) -> list[Told]:
    told: list[Told] = []
    for number, (party, text) in enumerate(turns):
        start_ms = number * 3_000
        told += channels.said(Transcript(f"{party}-{number}", party, start_ms, start_ms + 2_000, text))
    return told


GREETING = "Good morning, thank you for calling Northgate, how can I help you?"
WANTS = "Hello, my camera only shows a black screen."


def test_who_greets_on_the_customers_channel_and_is_answered_is_the_agent() -> None:
    channels = Channels(PARTIES)
    assert channels.doubted("customer", GREETING)
    assert said(channels, ("customer", GREETING), ("agent", "Yes."), ("agent", WANTS)) == [
        RolesSwapped("customer-0", GREETING, ("customer-0", "agent-1"))
    ]


@pytest.mark.parametrize(
    ("turns", "outbound", "kinds"),
    [
        ([("agent", GREETING), ("customer", WANTS)], False, []),
        ([("customer", "Hello?"), ("agent", GREETING), ("customer", "How can I help you? No, you me.")], False, []),
        ([("agent", WANTS), ("customer", GREETING)], False, [ChannelFaulted]),  # who spoke first says otherwise
        ([("customer", GREETING), ("agent", WANTS)], True, [ChannelFaulted]),  # a shop that we called says so too
        ([("agent", WANTS), ("customer", GREETING), ("agent", GREETING)], False, [ChannelFaulted, ChannelMended]),
        ([("customer", "How can you help me?"), ("agent", "Tell me more about it.")], False, []),
        ([("customer", "Yes hello.")] * 12 + [("customer", GREETING), ("agent", WANTS)], False, []),  # too late
    ],
)
def test_who_greets(turns: list[tuple[Party, str]], outbound: bool, kinds: list[type]) -> None:
    assert [type(each) for each in said(Channels(PARTIES, outbound=outbound), *turns)] == kinds


def test_the_house_greets_in_its_own_words() -> None:
    turns: list[tuple[Party, str]] = [
        ("customer", "Guten Tag, Sie sprechen mit Anna."),
        ("agent", "Ich habe ein Problem."),
    ]
    assert said(Channels(PARTIES), *turns) == []
    assert len(said(Channels(PARTIES, ["Sie sprechen mit"]), *turns)) == 1


@given(
    st.lists(st.tuples(st.sampled_from(PARTIES), st.integers(0, 12_000), st.sampled_from([0, 3, 9_000])), max_size=60),
    st.lists(st.integers(0, 20_000), max_size=40),
)
def test_whatever_comes_every_alarm_is_lifted_at_most_once_and_none_is_raised_twice(
    frames: list[tuple[Party, int, int]], looks: list[int]
) -> None:
    channels = Channels(PARTIES)
    rng = np.random.default_rng(1)
    last: dict[Party, int] = {"agent": 0, "customer": 0}
    for party, at_ms, loud in sorted(frames, key=lambda each: each[1]):
        last[party] = max(last[party], at_ms)
        channels.push(party, last[party], rng.integers(-loud, loud + 1, 320).astype(np.int16).tobytes())
        last[party] += FRAME_MS
    open_now: set[tuple[str, tuple[Party, ...]]] = set()
    for now_ms in sorted(looks):
        for each in channels.look(now_ms):
            assert isinstance(each, ChannelFaulted | ChannelMended)
            key = (each.kind, each.parties)
            assert (key in open_now) == isinstance(each, ChannelMended)
            open_now ^= {key}
