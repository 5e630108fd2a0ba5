"""Bytes to frames and frames to times: G.711 against its definition, any chunking, stalls and unsent silence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import FRAME_MS, Encoding, Leg, Timeline, decode, double, encode_mulaw
from assist.errors import BadEncoding


def middles(widths: list[int]) -> list[int]:
    """Middles of intervals that follow each other from 0, doubled."""
    edges = list(itertools.accumulate(widths, initial=0))
    return [low + high for low, high in itertools.pairwise(edges)]


def mulaw_values() -> dict[int, int]:
    """Code to value from the decision values of ITU-T G.711 (11/88), table 2a: 0, 1, 3, ... 31, 35, ... 8159."""
    magnitudes = middles([1] + [2] * 15 + [2 << chord for chord in range(1, 8) for _ in range(16)])
    magnitudes[0] = 0  # the first interval is quantised to nothing
    return {0xFF - n: 2 * m for n, m in enumerate(magnitudes)} | {0x7F - n: -2 * m for n, m in enumerate(magnitudes)}


def alaw_values() -> dict[int, int]:
    """Code to value from the decision values of ITU-T G.711 (11/88), table 1a: 0, 2, ... 64, 68, ... 4096."""
    magnitudes = middles([2] * 16 + [2 << chord for chord in range(7) for _ in range(16)])
    positive = {(0x80 | n) ^ 0x55: 4 * m for n, m in enumerate(magnitudes)}
    return positive | {n ^ 0x55: -4 * m for n, m in enumerate(magnitudes)}


def test_g711_tables_follow_the_definition() -> None:
    every = bytes(range(256))
    assert decode(every, "mulaw").tolist() == [mulaw_values()[code] for code in every]
    assert decode(every, "alaw").tolist() == [alaw_values()[code] for code in every]


@pytest.mark.parametrize(
    ("encoding", "known"),
    [
        ("mulaw", {0x00: -32124, 0x80: 32124, 0xFF: 0, 0x7F: 0, 0xFE: 8, 0x7E: -8, 0x8F: 16764, 0x0F: -16764}),
        ("alaw", {0x55: -8, 0xD5: 8, 0x2A: -32256, 0xAA: 32256, 0x54: -24, 0xD4: 24}),
    ],
)
def test_g711_at_values_everybody_knows(encoding: Encoding, known: dict[int, int]) -> None:
    assert decode(bytes(known), encoding).tolist() == list(known.values())


@given(st.lists(st.integers(-32_768, 32_767), max_size=300))
def test_mulaw_round_trips_within_its_quantisation(values: list[int]) -> None:
    samples = np.array(values, dtype=np.int16)
    back = decode(encode_mulaw(samples), "mulaw").astype(np.int32)
    clipped = np.clip(samples.astype(np.int32), -32_635, 32_635)
    # Half a step, which is 2**(exponent + 3) wide where the biased magnitude has `exponent`.
    step = 2.0 ** (np.floor(np.log2(np.abs(clipped) + 0x84)) - 4)
    assert np.all(np.abs(back - clipped) <= step / 2)


def test_every_mulaw_code_survives_decoding_and_encoding() -> None:
    codes = bytes(code for code in range(256) if code != 0x7F)  # 0x7F is a second name of zero
    assert encode_mulaw(decode(codes, "mulaw")) == codes


FORMATS: list[tuple[Encoding, int]] = [
    (encoding, rate_hz) for encoding in ("mulaw", "alaw", "l16") for rate_hz in (8_000, 16_000)
]


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(FORMATS),
    data=st.binary(max_size=4_000),
    repeat=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 16_000), max_size=20),
)
def test_any_chunking_gives_the_same_frames(
    form: tuple[Encoding, int], data: bytes, repeat: int, cuts: list[int]
) -> None:
    encoding, rate_hz = form
    data *= repeat
    whole, pieces = Leg(encoding, rate_hz), Leg(encoding, rate_hz)
    wanted = whole.push(data)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [frame for start, end in itertools.pairwise(edges) for frame in pieces.push(data[start:end])]
    assert got == wanted
    assert all(pcm == decode(raw, encoding).tobytes() for pcm, raw in got)
    assert all(len(pcm) == 2 * rate_hz * FRAME_MS // 1000 for pcm, _ in got)
    assert b"".join(raw for _, raw in got) == data[: len(got) * whole.frame_bytes]
    kept_back = len(data) - len(got) * whole.frame_bytes
    assert kept_back < whole.frame_bytes
    assert whole.rest_ms == pieces.rest_ms == kept_back * 1000 / whole.width / rate_hz


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_linear_pcm_is_left_as_it_is(rate_hz: int) -> None:
    samples = np.arange(-320, 320, dtype=np.int16)
    assert b"".join(pcm for pcm, _ in Leg("l16", rate_hz).push(samples.tobytes())) == samples.tobytes()


@pytest.mark.parametrize("frequency_hz", [100, 440, 1_000, 3_000])
def test_doubling_keeps_length_level_and_time(frequency_hz: int) -> None:
    at = np.arange(8_000) / 8_000
    sound = (np.sin(2 * np.pi * frequency_hz * at) * 10_000).astype(np.int16)
    out = double(sound)
    assert len(out) == 16_000
    wanted = np.sin(2 * np.pi * frequency_hz * (np.arange(16_000) / 16_000)) * 10_000
    error = out[400:-400] - wanted[400:-400]
    assert np.sqrt(np.mean(error**2)) < 0.02 * 10_000 / np.sqrt(2)


def test_doubling_loud_noise_clips_instead_of_wrapping() -> None:
    rng = np.random.default_rng(3)
    sound = rng.choice(np.array([-32_768, 32_767], dtype=np.int16), 1_600)
    out = double(sound)
    assert np.array_equal(out[0::2], sound)
    high = np.flatnonzero((sound[:-1] == 32_767) & (sound[1:] == 32_767))
    assert out[1::2][high].min() > 0, "between two loud samples is no other sign"


@given(st.lists(st.integers(-32_768, 32_767), max_size=200), st.integers(0, 200))
def test_what_is_doubled_does_not_change_when_more_is_said(values: list[int], length: int) -> None:
    samples = np.array(values, dtype=np.int16)
    beginning = double(samples[:length])
    assert len(beginning) == 2 * len(samples[:length])
    sure = max(0, len(beginning) - 16)  # the last millisecond had silence to its right
    assert np.array_equal(beginning[:sure], double(samples)[:sure])


@pytest.mark.parametrize(("encoding", "rate_hz"), [("mulaw", 44_100), ("l16", 0), ("opus", 8_000)])
def test_other_formats_are_refused_by_name(encoding: Encoding, rate_hz: int) -> None:
    with pytest.raises(BadEncoding, match=str(rate_hz)):
        Leg(encoding, rate_hz)


# ---- the timeline

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("frames"), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.integers(0, 1_500)),
        st.tuples(st.just("tick"), st.just(0)),
        st.tuples(st.just("lose"), st.integers(-20, 400)),
        st.tuples(st.just("skip"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(events=EVENTS)
def test_frames_come_out_once_in_order_and_never_go_back(events: list[tuple[str, int]]) -> None:
    timeline: Timeline[int] = Timeline()
    now_ms = pushed = 0
    placed: list[tuple[int, int]] = []
    missing: list[tuple[int, int]] = []
    for kind, much in [*events, ("flush", 0)]:
        match kind:
            case "frames":
                placed += timeline.push(list(range(pushed, pushed + much)), now_ms)
                pushed += much
            case "wait":
                now_ms += much
            case "tick":
                placed += timeline.tick(now_ms)
            case "lose":
                timeline.lose(much)
            case "skip":
                placed += timeline.flush(now_ms)  # a call does this before it pauses
                timeline.skip_to(now_ms)
            case _:
                placed += timeline.flush(now_ms)
        missing += timeline.missing
        timeline.missing.clear()
        assert len(placed) + timeline.held_ms // FRAME_MS == pushed
    assert [frame for _, frame in placed] == list(range(pushed))
    times = [at_ms for at_ms, _ in placed]
    assert all(later - earlier >= FRAME_MS for earlier, later in itertools.pairwise(times))
    assert all(at_ms >= 0 for at_ms in times)
    assert timeline.held_ms == 0
    # Holes lie between the frames, never under one.
    assert all(start < end for start, end in missing)
    assert not any(start < at + FRAME_MS and at < end for start, end in missing for at in times)


def push_paced(timeline: Timeline[int], start_ms: int, end_ms: int) -> list[int]:
    """20 ms frames, each arriving when it ends; their times."""
    out = []
    for now_ms in range(start_ms + FRAME_MS, end_ms + 1, FRAME_MS):
        out += [at_ms for at_ms, _ in timeline.push([0], now_ms)]
    return out


def test_paced_frames_stand_where_they_were_said() -> None:
    timeline: Timeline[int] = Timeline()
    assert push_paced(timeline, 0, 5_000) == list(range(0, 5_000, 20))
    assert not timeline.missing


def test_a_party_that_starts_late_starts_late() -> None:
    timeline: Timeline[int] = Timeline()
    assert push_paced(timeline, 4_000, 5_000) == list(range(4_000, 5_000, 20))
    assert not timeline.missing, "before its first frame nothing of it is missing"


def test_a_stall_is_told_from_silence_that_was_not_sent() -> None:
    stalled: Timeline[int] = Timeline()
    push_paced(stalled, 0, 1_000)
    assert stalled.push([0], 3_000) == []
    placed = stalled.push([0] * 99, 3_020)  # the backlog of two seconds arrives at once
    assert [at for at, _ in placed] == list(range(1_000, 3_000, 20))
    assert stalled.missing == []

    silent: Timeline[int] = Timeline()
    push_paced(silent, 0, 1_000)
    placed_at = push_paced(silent, 3_000, 4_000)
    assert len(placed_at) == 50
    assert abs(placed_at[0] - 3_000) <= 200
    assert placed_at == list(range(placed_at[0], placed_at[0] + 1_000, 20))
    ((start, end),) = silent.missing
    assert (start, end) == (1_000, placed_at[0])


def test_one_late_frame_alone_is_let_go_by_the_clock() -> None:
    timeline: Timeline[int] = Timeline()
    push_paced(timeline, 0, 1_000)
    assert timeline.push([7], 5_000) == []
    assert timeline.tick(5_100) == []
    ((at_ms, frame),) = timeline.tick(5_200)
    assert frame == 7
    assert abs(at_ms - 5_000) <= 200


def test_a_clock_that_drifts_is_no_hole() -> None:
    timeline: Timeline[int] = Timeline()
    # 100 parts in a million, an hour long: the sender's 20 ms last 20.002.
    placed = [at for n in range(180_000 // 20) for at, _ in timeline.push([0] * 20, int((n + 1) * 400.04))]
    assert placed[-1] == 180_000 * FRAME_MS - FRAME_MS
    assert not timeline.missing


def test_after_a_pause_nothing_is_missing() -> None:
    timeline: Timeline[int] = Timeline()
    push_paced(timeline, 0, 1_000)
    timeline.skip_to(60_000)
    assert push_paced(timeline, 60_000, 60_100) == list(range(60_000, 60_100, 20))
    assert not timeline.missing


def test_what_the_platform_lost_is_missing_where_it_was() -> None:
    timeline: Timeline[int] = Timeline()
    timeline.lose(100)  # before the first frame there is no place for it
    push_paced(timeline, 0, 1_000)
    timeline.lose(60)
    assert timeline.missing == [(1_000, 1_060)]
    assert [at for at, _ in timeline.push([0], 1_080)] == [1_060]
