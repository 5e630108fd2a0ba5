"""The segmenter accounts for every frame, whatever the voice, the gaps and the platform do."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import FRAME_MS, Samples
from assist.segment import Began, Blip, Ended, Endpointing, Outlook, Paused, Segmenter, Signal, WentOn
from tests.voice import is_loud, is_marked_voiced, marked, marks, tone

SHORT = Endpointing(
    onset_ms=40, pre_roll_ms=120, tail_ms=60, speculate_ms=60, commit_ms=160, hold_ms=300, starve_ms=200,
    soft_cut_ms=1_000, cut_from_ms=600, min_voiced_ms=80,
)  # fmt: skip


@dataclass
class Ear:
    """A segmenter with a record of what was pushed and what came out."""

    segmenter: Segmenter
    at_ms: int = 0
    signals: list[Signal] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    voiced: list[bool] = field(default_factory=list)
    followed: set[int] = field(default_factory=set)
    """Voiced frames that were pushed in the course of speech: they must come out."""

    def push(self, voiced: bool, count: int = 1) -> list[Signal]:
        made: list[Signal] = []
        for _ in range(count):
            number = len(self.times)
            self.times.append(self.at_ms)
            self.voiced.append(voiced)
            made += self.note(self.segmenter.push(self.at_ms, marked(number, voiced)))
            if voiced and self.segmenter.state != "quiet":
                self.followed.add(number)
            self.at_ms += FRAME_MS
        return made

    def note(self, signals: list[Signal]) -> list[Signal]:
        self.signals += signals
        tally = self.segmenter.tally
        assert tally.gap() == 0
        assert tally.received == len(self.times)
        assert min(tally.silence, tally.uttered, tally.blip, tally.open) >= 0
        return signals

    def starve(self, since_ms: int) -> list[Signal]:
        return self.note(self.segmenter.starve(since_ms))

    def finish(self) -> list[Signal]:
        signals = self.note(self.segmenter.finish())
        assert self.segmenter.tally.open == 0
        assert self.segmenter.state == "quiet"
        return signals

    def ended(self) -> list[Ended]:
        return [s for s in self.signals if isinstance(s, Ended)]


def ear(endpointing: Endpointing = SHORT, speech_left: float | None = None) -> Ear:
    opinion = None if speech_left is None else (lambda samples: float(speech_left))
    return Ear(Segmenter("customer", is_marked_voiced, opinion, endpointing))


def kinds(signals: list[Signal]) -> list[type[Signal]]:
    return [type(each) for each in signals]


def check(heard: Ear) -> None:
    """What must hold of any finished ear."""
    ended = heard.ended()
    # In order, without overlap, each frame in one utterance at most, and that utterance where the frames were.
    out = [number for each in ended for number in marks(each.utterance.samples)]
    assert out == sorted(set(out))
    for each in ended:
        utterance = each.utterance
        numbers = marks(utterance.samples)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert utterance.start_ms == heard.times[numbers[0]]
        assert utterance.end_ms == heard.times[numbers[-1]] + FRAME_MS
        assert utterance.start_ms < utterance.speech_end_ms <= utterance.end_ms
        assert utterance.stage == "final"
    blips = [s for s in heard.signals if isinstance(s, Blip)]
    skipped = {n for n, at in enumerate(heard.times) if any(b.start_ms <= at < b.end_ms for b in blips)}
    assert not skipped & set(out)
    assert len(skipped) == heard.segmenter.tally.blip
    assert len(out) == heard.segmenter.tally.uttered
    assert heard.followed <= skipped | set(out), "a voiced frame was lost"
    ids = [each.utterance.id for each in ended] + [b.utterance for b in blips]
    assert len(ids) == len(set(ids))
    check_order(heard)


def check_order(heard: Ear) -> None:
    """Began, Paused, WentOn and Ended of each utterance come in that order and agree."""
    paused: Paused | None = None
    began: Began | None = None
    previous_end = -1
    for signal in heard.signals:
        match signal:
            case Began():
                assert began is None
                began = signal
            case Paused():
                assert began and not paused
                assert signal.utterance.stage == "speculative"
                paused = signal
            case WentOn():
                assert paused and paused.utterance.id == signal.utterance
                paused = None
            case Blip():
                assert began is None, "announced as speech, then called a blip"
                assert paused is None
            case Ended(utterance, confirmed):
                assert began
                assert utterance.start_ms in (began.start_ms, previous_end)
                assert confirmed == (paused is not None)
                if paused:
                    assert paused.utterance.id == utterance.id
                    assert paused.utterance.samples.tobytes() == utterance.samples.tobytes()
                    assert paused.utterance.speech_end_ms == utterance.speech_end_ms
                # A cut leaves the speech going on in the next utterance, which is not announced again.
                previous_end = utterance.end_ms
                paused = None
                if not is_cut(heard, utterance.end_ms, utterance.id):
                    began = None


def is_cut(heard: Ear, end_ms: int, utterance: str) -> bool:
    mine = [isinstance(s, Ended) and s.utterance.id == utterance for s in heard.signals].index(True)
    following = next((s for s in heard.signals[mine + 1 :] if isinstance(s, Began | Ended)), None)
    return isinstance(following, Ended) and following.utterance.start_ms == end_ms


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("voice"), st.integers(1, 70)),
        st.tuples(st.just("silence"), st.integers(1, 30)),
        st.tuples(st.just("mixed"), st.integers(0, 2**16)),
        st.tuples(st.just("jump"), st.integers(1, 50)),
        st.tuples(st.just("starve"), st.integers(0, 250)),
        st.tuples(st.just("finish"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=250, deadline=None)
@given(steps=STEPS, speech_left=st.sampled_from([None, 0.0, 1.0]))
def test_every_frame_has_one_fate(steps: list[tuple[str, int]], speech_left: float | None) -> None:
    heard = ear(speech_left=speech_left)
    for kind, much in steps:
        match kind:
            case "voice" | "silence":
                heard.push(kind == "voice", much)
            case "mixed":
                for bit in range(16):
                    heard.push(bool(much >> bit & 1))
            case "jump":
                heard.at_ms += much * FRAME_MS
            case "starve":
                heard.starve(much)
                heard.at_ms += much // FRAME_MS * FRAME_MS
            case "finish":
                heard.finish()
        longest = SHORT.soft_cut_ms + SHORT.hold_ms
        assert heard.segmenter.tally.open * FRAME_MS <= longest
    heard.finish()
    assert heard.finish() == []
    check(heard)


ENDPOINTING = st.builds(
    lambda onset, roll, tail, pause, commit, hold, cut_from, cut, voiced: Endpointing(
        onset * 20, roll * 20, tail * 20, (tail + pause) * 20, (tail + pause + commit) * 20,
        (tail + pause + commit + hold) * 20, 500, (cut_from + 10 + cut) * 20, cut_from * 20, voiced * 20,
    ),
    st.integers(1, 5), st.integers(0, 15), st.integers(1, 8), st.integers(0, 8), st.integers(0, 20), st.integers(0, 20),
    st.integers(0, 60), st.integers(0, 60), st.integers(1, 8),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(endpointing=ENDPOINTING, runs=st.lists(st.integers(1, 60), max_size=14), speech_left=st.sampled_from([0.0, 1.0]))
def test_any_settings_keep_the_books(endpointing: Endpointing, runs: list[int], speech_left: float) -> None:
    heard = ear(endpointing, speech_left)
    for number, run in enumerate(runs):
        heard.push(number % 2 == 0, run)
    heard.finish()
    check(heard)


@settings(max_examples=200, deadline=None)
@given(runs=st.lists(st.integers(1, 20), max_size=30), idle=st.lists(st.booleans(), min_size=1, max_size=30))
def test_how_busy_the_server_was_moves_no_end_and_changes_no_samples(runs: list[int], idle: list[bool]) -> None:
    patient = msgspec.structs.replace(SHORT, speculate_ms=140)
    usual, lucky = ear(patient), ear(patient)
    turn = itertools.cycle(idle)
    lucky.segmenter.is_idle = lambda: next(turn)
    for number, run in enumerate(runs):
        usual.push(number % 2 == 0, run)
        lucky.push(number % 2 == 0, run)
    usual.finish()
    lucky.finish()
    check(lucky)
    ends = [
        [(end.utterance.end_ms, end.utterance.samples.tobytes()) for end in heard.ended()] for heard in (usual, lucky)
    ]
    assert ends[0] == ends[1]


def test_an_idle_recogniser_is_asked_as_soon_as_the_tail_is_there() -> None:
    heard = ear(Endpointing())
    idle = False
    heard.segmenter.is_idle = lambda: idle
    heard.push(True, 50)
    assert heard.push(False, 6) == [], "busy"
    idle = True
    (paused,) = heard.push(False)
    assert isinstance(paused, Paused)
    assert paused.utterance.end_ms == 50 * FRAME_MS + 100
    (end,) = heard.push(False, 11)
    assert isinstance(end, Ended)
    assert end.confirmed
    check(heard)


def test_speech_is_announced_paused_and_committed() -> None:
    heard = ear(Endpointing())
    assert heard.push(False, 50) == []
    assert kinds(heard.push(True, 50)) == [Began]
    pause = heard.push(False, 8)
    assert kinds(pause) == [Paused]
    assert kinds(heard.push(False, 9)) == []
    (end,) = heard.push(False, 1)
    assert isinstance(end, Ended)
    assert end.confirmed
    assert end.utterance.start_ms == 1_060 - 260  # the pre-roll ends where the third voiced frame made the onset
    assert end.utterance.speech_end_ms == 2_000
    assert end.utterance.end_ms == 2_100
    heard.finish()
    check(heard)


def test_speech_that_goes_on_withdraws_and_pauses_anew() -> None:
    heard = ear(Endpointing())
    heard.push(True, 20)
    assert kinds(heard.push(False, 15)) == [Paused]
    assert kinds(heard.push(True, 10)) == [WentOn]
    assert kinds(heard.push(False, 18)) == [Paused, Ended]
    (end,) = heard.ended()
    assert end.utterance.speech_end_ms == 45 * 20
    check(heard)


def until_end(outlook: Outlook, *, told_after: int, speech_left: float = 0.0) -> int:
    """How many silent frames it takes to an end whose words were told after so many of them."""
    heard = ear(Endpointing(), speech_left)
    heard.push(True, 50)
    heard.push(False, told_after)
    heard.segmenter.expect("customer-1", outlook)
    for count in range(told_after + 1, 60):
        if Ended in kinds(heard.push(False)):
            check_order(heard)
            return count
    raise AssertionError("it never ended")


def test_words_that_sound_finished_end_early_and_unfinished_ones_late() -> None:
    early, usual, late, held = 240 // FRAME_MS, 360 // FRAME_MS, 600 // FRAME_MS, 800 // FRAME_MS
    assert until_end("ended", told_after=9) == early
    assert until_end("ended", told_after=16) == 17, "words that came late end at the next frame"
    assert until_end("unknown", told_after=9) == usual
    assert until_end("open", told_after=9) == late
    # The second opinion holds back even what sounds finished, though never for longer than `hold_ms`.
    assert until_end("ended", told_after=9, speech_left=0.9) == held
    assert until_end("open", told_after=9, speech_left=0.9) == held


def test_what_words_said_of_an_end_is_forgotten_when_speech_goes_on() -> None:
    heard = ear(Endpointing(), 0.0)
    heard.push(True, 50)
    heard.push(False, 9)
    heard.segmenter.expect("customer-1", "ended")
    heard.segmenter.expect("customer-9", "open")  # of another utterance: not heeded
    assert kinds(heard.push(True, 10)) == [WentOn]
    heard.segmenter.expect("customer-1", "ended")  # too late: its pause is over
    assert kinds(heard.push(False, 17)) == [Paused]
    assert kinds(heard.push(False)) == [Ended]
    check(heard)


def test_a_click_is_skipped_and_never_announced() -> None:
    heard = ear(Endpointing())
    heard.push(False, 20)
    heard.push(True, 4)
    heard.push(False, 40)
    assert kinds(heard.signals) == [Blip]
    assert heard.segmenter.partial() is None
    heard.finish()
    check(heard)


def test_nobody_asks_for_a_partial_of_what_may_have_ended() -> None:
    heard = ear()
    heard.push(True, 20)
    heard.push(False, 1)  # one weak frame is none of that
    assert heard.segmenter.partial() is not None
    heard.push(False, 1)
    assert heard.segmenter.partial() is None
    heard.push(True, 1)
    assert heard.segmenter.partial() is not None


def test_a_click_gives_no_partial_while_it_lasts() -> None:
    heard = ear(Endpointing())
    heard.push(True, 4)
    assert heard.segmenter.state == "speech"
    assert heard.segmenter.partial() is None
    heard.push(True, 1)
    partial = heard.segmenter.partial()
    assert partial is not None
    assert (partial.stage, partial.start_ms, partial.end_ms) == ("partial", 0, 100)


def test_long_speech_is_cut_in_its_quietest_gap() -> None:
    heard = ear(Endpointing())
    heard.push(True, 370)
    heard.push(False, 7)  # too short to be a pause, but the quietest there is
    heard.push(True, 123)
    (cut,) = heard.ended()
    assert not cut.confirmed
    assert 370 * 20 <= cut.utterance.end_ms <= 377 * 20
    heard.push(True, 100)
    heard.push(False, 30)
    assert [e.utterance.id for e in heard.ended()] == ["customer-1", "customer-2"]
    assert heard.ended()[1].utterance.start_ms == cut.utterance.end_ms
    heard.finish()
    check(heard)


def test_unbroken_speech_never_grows_beyond_ten_seconds() -> None:
    heard = ear(Endpointing())
    heard.push(True, 3_000)
    heard.finish()
    check(heard)
    lengths = [e.utterance.end_ms - e.utterance.start_ms for e in heard.ended()]
    assert len(lengths) >= 6
    assert max(lengths) <= 10_000
    assert sum(lengths) == 60_000


def test_a_cut_falls_where_it_does_on_a_busy_server() -> None:
    ends = []
    for idle in (False, True):
        heard = ear(Endpointing())
        heard.segmenter.is_idle = lambda idle=idle: idle
        heard.push(True, 494)
        heard.push(False, 7)  # the time is up within it
        heard.push(True, 100)
        heard.push(False, 40)
        heard.finish()
        check(heard)
        ends.append([each.utterance.end_ms for each in heard.ended()])
    assert ends[0] == ends[1]
    assert len(ends[0]) == 2


def test_what_a_cut_leaves_of_silence_is_silence() -> None:
    heard = ear(Endpointing(tail_ms=160))
    heard.push(True, 493)
    heard.push(False, 7)  # not yet a pause when the time is up
    assert heard.ended()[0].utterance.end_ms == 495 * 20
    heard.push(False, 40)
    assert heard.segmenter.partial() is None
    heard.finish()
    check(heard)
    assert heard.segmenter.tally.silence == 45
    assert not any(isinstance(s, Blip) for s in heard.signals)


def test_a_jump_forgets_the_voice_before_it() -> None:
    heard = ear(Endpointing())
    heard.push(True, 2)
    heard.at_ms += 1_000
    heard.push(True, 1)
    assert heard.segmenter.state == "quiet", "two frames before the hole and one after it are no onset"


@pytest.mark.parametrize(("since_ms", "wanted"), [(100, []), (160, [Paused]), (499, [Paused]), (500, [Ended])])
def test_frames_that_stop_coming_count_as_silence(since_ms: int, wanted: list[type[Signal]]) -> None:
    heard = ear(Endpointing())
    heard.push(True, 30)
    assert kinds(heard.starve(since_ms)) == wanted
    heard.finish()
    check(heard)


def test_silence_heard_and_silence_unsent_add_up() -> None:
    heard = ear(Endpointing())
    heard.push(True, 30)
    heard.push(False, 10)  # 200 ms, of which the pause was told
    assert kinds(heard.starve(299)) == []
    (end,) = heard.starve(300)
    assert isinstance(end, Ended)
    assert end.confirmed
    assert heard.starve(5_000) == []
    check(heard)


def test_a_second_opinion_holds_the_end_back_but_not_for_ever() -> None:
    asked: list[int] = []

    def speech_left(samples: Samples) -> float:
        asked.append(len(samples))
        return 0.9

    heard = Ear(Segmenter("agent", is_marked_voiced, speech_left, Endpointing()))
    heard.push(True, 50)
    assert kinds(heard.push(False, 39)) == [Paused]
    assert asked == [8_000] * 5  # at 360, 460, 560, 660, 760 ms; half a second each
    assert kinds(heard.push(False, 1)) == [Ended]
    check(heard)


@pytest.mark.parametrize(("level", "asks"), [(0.0, 0), (0.02, 0), (0.05, 5), (0.08, 5)])
def test_nobody_is_asked_whether_speech_goes_on_in_a_hush(level: float, asks: int) -> None:
    asked: list[int] = []

    def speech_left(samples: Samples) -> float:
        asked.append(len(samples))
        return 0.9

    segmenter = Segmenter("agent", is_loud, speech_left, Endpointing(), rate_hz=8_000)
    sound = np.concatenate([tone(400), (tone(800) * level).astype(np.int16)])
    frames = sound.reshape(-1, 8 * FRAME_MS)
    told = [signal for n, frame in enumerate(frames) for signal in segmenter.push(n * FRAME_MS, frame.tobytes())]
    assert kinds(told) == [Began, Paused, Ended]
    assert len(asked) == asks


@pytest.mark.parametrize(
    "wrong",
    [
        {"cut_from_ms": 9_900},
        {"soft_cut_ms": 500},
        {"speculate_ms": 500},
        {"speculate_ms": 80},
        {"tail_ms": 0},
        {"commit_ms": 900},
        {"onset_ms": 0},
        {"min_voiced_ms": -20},
        {"pre_roll_ms": -1},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Endpointing)
