"""One call from bytes to entries: its books add up whatever happens, and nobody's failure is anybody else's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.analyse import Analyser
from assist.audio import Party, Utterance
from assist.conversation import Conversation, Evidence, Finding, Heard, Transcript
from assist.errors import AssistError, RecogniserFailed, StoreFailed, TooFast, TooLong
from assist.events import (
    CallEnded,
    ChannelFaulted,
    ChannelMended,
    Degraded,
    Dtmf,
    Faltered,
    Flagged,
    Missing,
    Noticed,
    Paused,
    Resumed,
    RolesSwapped,
    Skipped,
    SpeechStarted,
    Suggested,
    Transcribed,
    Withdrawn,
)
from assist.journal import read
from assist.ticker import TICK_S
from assist.transcribe import Load
from models.scripted import Say, Script, Scripted
from tests.scene import BOTH, Echo, Pattern, Scene, scene
from tests.voice import mulaw

# ---- the books

OPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["agent", "customer"]), st.booleans(), st.integers(1, 1_500)),
        st.tuples(st.sampled_from(["pause", "resume", "cut", "tick"]), st.just(False), st.just(0)),
        st.tuples(st.sampled_from(["wait", "lost", "dropped"]), st.just(False), st.integers(1, 1_200)),
    ),
    max_size=14,
)


@settings(max_examples=30, deadline=None)
@given(ops=OPS, chunks=st.lists(st.integers(1, 3_000), min_size=1, max_size=6), failing=st.sets(st.integers(0, 12)))
def test_the_ledger_adds_up_to_the_frame(
    ops: list[tuple[str, bool, int]], chunks: list[int], failing: set[int]
) -> None:
    def fate(utterance: Utterance, count: int) -> None:
        if count in failing:
            raise RecogniserFailed("as asked")

    async def play() -> None:
        async with scene(Echo(fate=fate), burst_s=1e6) as made:
            sizes = itertools.cycle(chunks)
            received = dict.fromkeys(BOTH, 0.0)
            for what, loud, much in ops:
                if party := next((each for each in BOTH if each == what), None):
                    received[party] += much
                    await made.pour(party, mulaw([(loud, much)]), sizes)
                elif what == "dropped":
                    received["customer"] += much / 8
                    made.call.dropped("customer", much, "duplicate")
                else:
                    await happens(made, what, much)
            last = await made.end()
            assert {party: last.ledger[party].received_ms for party in BOTH} == received
            lost_ms = {party: 0 for party in BOTH}
            for missing in made.events(Missing):
                lost_ms[missing.party] += missing.end_ms - missing.start_ms
            assert {party: last.ledger[party].missing_ms for party in BOTH} == lost_ms
            check_skips(made, last)

    asyncio.run(play())


async def happens(made: Scene, what: str, much: int) -> None:
    """What may happen to a call besides sound."""
    match what:
        case "pause":
            made.call.pause("card")
        case "resume":
            made.call.resume("")
        case "cut":
            made.call.cut()
        case "lost":
            made.call.lost("agent", much)
        case "wait":
            made.clock.now += much / 1_000
        case "tick":
            await asyncio.sleep(0.06)


def check_skips(made: Scene, last: CallEnded) -> None:
    """What was skipped of speech is told where it stood, with its reason."""
    told: dict[tuple[str, str], float] = {}
    for skipped in made.events(Skipped):
        key = (skipped.party, skipped.reason)
        told[key] = told.get(key, 0.0) + skipped.end_ms - skipped.start_ms
    for party, ledger in last.ledger.items():
        for reason in ("too_short", "recogniser_failed"):
            assert told.get((party, reason), 0.0) == ledger.skipped_ms.get(reason, 0.0)


@pytest.mark.parametrize("room", range(12))
async def test_the_ledger_adds_up_where_the_store_takes_no_more(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assist.keep.MOST_LINES", 1 + room)  # nothing is written before the end: all lines wait
    data = mulaw([(True, 600), (False, 700), (True, 40), (False, 660)])
    async with scene(partials=False) as made:
        with contextlib.suppress(StoreFailed):
            for party in 3 * BOTH:
                if not made.call.ending:  # by itself, where a final finds no room
                    made.clock.now += 2
                    made.given[party] += data
                    made.call.hear(party, data[:7_000], data[7_000:])
                    made.call.lost(party, 700)
                    await asyncio.sleep(0.02)
            made.call.left("agent", "closed")
        made.call.end("error:store_failed")
        await asyncio.gather(made.life, return_exceptions=True)
        last = made.check()
    for party in BOTH:
        assert last.ledger[party].received_ms == len(made.given[party]) / 8
        assert last.ledger[party].received_ms + last.ledger[party].missing_ms <= last.duration_ms, "a hole counts once"


@pytest.mark.parametrize("paused", [False, True])
async def test_first_audio_after_a_day_is_too_long(paused: bool) -> None:
    async with scene() as made:
        if paused:
            made.call.pause("hold")
        made.clock.now += 24 * 3_600 + 60
        if paused:
            made.call.resume("")
        with pytest.raises(TooLong):
            made.call.hear("customer", bytes(160))
        await made.keeper.flush()
        assert made.keeper.failing == ""
        await made.end("error:too_long")


@pytest.mark.parametrize("chunk_ms", [1, 16, 20, 33, 400])
async def test_any_chunk_size_hears_the_same(chunk_ms: int) -> None:
    async with scene() as made:
        await made.speak("customer", [(False, 500), (True, 1_000), (False, 800), (True, 700), (False, 600)], chunk_ms)
        last = await made.end()
    heard = [(t.start_ms, t.end_ms) for t in made.finals("customer")]
    assert heard == [(300, 1_500), (2_100, 3_000)]
    assert last.ledger["customer"].transcribed_ms == 1_300 + 1_000
    assert last.ledger["agent"].silence_ms == last.ledger["agent"].received_ms == 3_600
    assert last.duration_ms == 3_600


async def test_nothing_at_all_is_a_call_too() -> None:
    async with scene() as made:
        last = await made.end("closed")
    assert last.reason == "closed"
    assert last.ledger["agent"].received_ms == 0


async def test_the_first_reason_stands_and_no_audio_is_taken_after_it() -> None:
    async with scene() as made:
        await made.speak("agent", [(True, 500)])
        made.call.end("bye")
        made.call.end("lost")
        with pytest.raises(AssistError, match="ended already: bye"):
            made.call.hear("agent", bytes(160))
        assert (await made.end()).reason == "bye"
        assert [t.party for t in made.finals()] == ["agent"], "what was being said is finished first"


async def test_audio_faster_than_speech_is_refused_and_what_came_before_counts() -> None:
    async with scene(burst_s=2.0) as made:
        for _ in range(100):
            made.hear("agent", b"\xff" * 160)
        with pytest.raises(TooFast, match="agent"):
            for _ in range(100):
                made.hear("agent", b"\xff" * 160)
        last = await made.end("error:too_fast")
    assert last.ledger["agent"].received_ms == len(made.given["agent"]) / 8
    assert 2_000 <= last.ledger["agent"].received_ms <= 2_060


async def test_of_several_messages_at_once_those_before_the_one_too_much_count() -> None:
    async with scene(burst_s=2.0) as made:
        with pytest.raises(TooFast, match="agent"):
            made.call.hear("agent", *[b"\xff" * 160] * 200)
        made.given["agent"] += b"\xff" * int(made.call._sides["agent"].taken_ms * 8)
        last = await made.end("error:too_fast")
    assert 2_000 <= last.ledger["agent"].received_ms <= 2_060


async def test_each_of_several_messages_that_is_no_whole_sample_is_counted() -> None:
    async with scene(encoding="l16") as made:
        made.hear("agent", bytes(641), bytes(639), bytes(640))
        last = await made.end()
    assert last.anomalies == {"odd_size": 2}
    assert last.ledger["agent"].received_ms == 120


async def test_odd_things_are_counted() -> None:
    async with scene(encoding="l16") as made:
        made.hear("agent", bytes(641))
        made.hear("agent", bytes(639))
        made.call.note("reordered")
        made.call.key("customer")
        made.call.resume("")
        made.call.dropped("agent", 320, "late")
        last = await made.end()
    assert last.anomalies == {"odd_size": 2, "reordered": 1, "resume_without_pause": 1}
    assert made.events(Dtmf) == [Dtmf("customer")]
    assert last.ledger["agent"].skipped_ms == {"late": 20.0}


# ---- what is told


async def test_a_pause_is_spoken_speculated_and_confirmed() -> None:
    async with scene(partials=False) as made:
        await made.speak("customer", [(False, 300), (True, 1_000), (False, 200)])
        (first,) = await made.until(Transcribed)
        assert first.transcript.stage == "speculative"
        await made.speak("customer", [(False, 400)])
        _, second = await made.until(Transcribed, 2)
        assert second.transcript.stage == "final"
        assert second.transcript.utterance == first.transcript.utterance
        assert made.events(Withdrawn) == []
        assert made.events(SpeechStarted) == [SpeechStarted("customer", 100)]
        await made.end()
    latency = next(line.entry.latency_ms for line in made.log.lines if line.entry.event is second)
    assert set(latency) == {"queue", "asr", "final"}
    assert latency["final"] == 360.0, (
        "from the arrival of the last voiced frame to the end of the silence that proved it"
    )


async def test_speech_that_goes_on_withdraws_what_was_shown() -> None:
    async with scene(partials=False) as made:
        await made.speak("customer", [(True, 1_000), (False, 200)])
        await made.until(Transcribed)
        await made.speak("customer", [(True, 600)])
        (withdrawn,) = made.events(Withdrawn)
        await made.speak("customer", [(False, 600)])
        await made.end()
    (final,) = made.finals()
    assert withdrawn.utterance == final.utterance
    assert final.end_ms == 1_800
    stages = [each.transcript.stage for each in made.events(Transcribed)]
    assert stages[0] == "speculative"
    assert stages[-1] == "final"


async def test_a_speculation_that_was_not_shown_yet_needs_no_withdrawal() -> None:
    went_on = threading.Event()

    def slow(utterance: Utterance, count: int) -> None:
        if utterance.stage == "speculative":
            went_on.wait(60)

    async with scene(Echo(fate=slow)) as made:
        await made.speak("customer", [(True, 1_000), (False, 200), (True, 400)])
        went_on.set()
        await made.speak("customer", [(False, 600)])
        await made.end()
    assert made.events(Withdrawn) == []
    assert len(made.finals()) == 1


async def test_a_speculation_that_fails_is_heard_again_as_a_final() -> None:
    def fate(utterance: Utterance, count: int) -> None:
        if utterance.stage == "speculative":
            raise RecogniserFailed("too early")

    async with scene(Echo(fate=fate)) as made:
        await made.speak("customer", [(True, 1_000), (False, 200)])
        job = made.call._sides["customer"].speculative
        assert job
        await asyncio.wait([job.done], timeout=20)
        await made.speak("customer", [(False, 400)])
        last = await made.end()
    assert len(made.finals()) == 1
    assert last.ledger["customer"].skipped_ms == {}


async def test_partials_come_while_somebody_speaks() -> None:
    async with scene() as made:
        await made.speak("customer", [(True, 1_000)])
        (partial,) = await made.until(Transcribed)
        assert partial.transcript.stage == "partial"
        await made.speak("customer", [(False, 600)])
        await made.end()
    stages = [each.transcript.stage for each in made.events(Transcribed)]
    assert stages[-1] == "final"


async def test_a_click_is_skipped_without_a_word() -> None:
    async with scene() as made:
        await made.speak("customer", [(True, 1_000), (False, 2_000), (True, 60), (False, 20)])
        await asyncio.sleep(0.12)  # time for a partial of the click, if there were one
        await made.speak("customer", [(False, 600)])
        last = await made.end()
    (skipped,) = made.events(Skipped)
    assert skipped.reason == "too_short"
    assert last.ledger["customer"].skipped_ms == {"too_short": skipped.end_ms - skipped.start_ms}
    assert {each.transcript.utterance for each in made.events(Transcribed)} == {"customer-1"}


async def test_finals_come_in_the_order_of_their_ends_however_long_each_takes() -> None:
    def fate(utterance: Utterance, count: int) -> None:
        time.sleep(0.15 if utterance.id == "agent-1" else 0.0)

    async with scene(Echo(fate=fate, workers=4)) as made:
        order: tuple[Party, ...] = ("agent", "customer", "agent")
        for party in order:
            await made.speak(party, [(True, 500), (False, 600)])
        await made.end()
    assert [t.utterance for t in made.finals()] == ["agent-1", "customer-1", "agent-2"]


async def test_words_of_the_script_bring_guidance_and_flags() -> None:
    script = Script(
        (
            Say("customer", 0, 1_500, "my camera shows a black screen in every video call"),
            Say("customer", 2_500, 4_000, "let me speak to a manager"),
        )
    )
    async with scene(Scripted(script)) as made:
        await made.speak("customer", [(True, 1_500), (False, 1_000), (True, 1_500), (False, 600)])
        await made.end()
    assert [t.text for t in made.finals()] == [say.text for say in script.say]
    shown = [s.ref for each in made.events(Suggested) for s in each.suggestions]
    assert "camera-black-screen" in shown
    assert "offer_supervisor" in shown
    assert "asks_for_manager" in [each.flag.rule for each in made.events(Flagged)]


CAMERA = "my camera shows a black screen in every video call"


async def test_cards_stand_on_the_screen_before_the_final_and_are_not_shown_again() -> None:
    seen: list[str] = []

    def judge(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        seen.append(heard.transcript.stage)
        return [Finding("mood", "fine", 0.5, Evidence(heard.transcript.utterance))]

    async with scene(Scripted(Script((Say("customer", 0, 1_500, CAMERA),))), analysers={"mood": judge}) as made:
        await made.speak("customer", [(True, 1_500), (False, 200)])
        await made.until(Suggested)
        assert made.finals() == [] and made.events(Noticed) == []
        await made.speak("customer", [(False, 400)])
        await made.end()
    (shown,) = made.events(Suggested)
    assert shown.suggestions[0].evidence.utterance == shown.utterance == made.finals()[0].utterance
    assert len(made.events(Noticed)) == 1
    assert seen == ["final"], "the same words were thought through twice"
    told = next(made.entry for made in made.log.lines if made.entry.event is shown)
    assert set(told.latency_ms) == {"eager"}


async def test_cards_of_an_eager_final_that_was_none_may_come_again() -> None:
    async with scene(Scripted(Script((Say("customer", 0, 1_500, CAMERA),)))) as made:
        await made.speak("customer", [(True, 1_500), (False, 200)])
        (first,) = await made.until(Suggested)
        await made.speak("customer", [(True, 300)])
        assert made.events(Withdrawn)[0].utterance == first.utterance
        await made.speak("customer", [(False, 600)])
        await made.end()
    again = made.events(Suggested)[-1]
    assert again is not first
    assert [s.ref for s in again.suggestions] == [s.ref for s in first.suggestions]
    ids = [s.id for each in made.events(Suggested) for s in each.suggestions]
    assert len(ids) == len(set(ids)), "two cards have one name"


async def test_what_the_other_party_says_in_between_is_thought_of_before_the_final() -> None:
    script = Script((Say("customer", 0, 1_200, CAMERA), Say("agent", 0, 1_100, "hello this is northgate")))
    before: list[int] = []

    def judge(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        if heard.transcript.party == "customer":
            before.append(len(so_far.turns))
        return [Finding("mood", "fine", 0.5, Evidence(heard.transcript.utterance))]

    async with scene(Scripted(script), analysers={"mood": judge}) as made:
        agent, customer = mulaw([(True, 1_100), (False, 900)]), mulaw([(True, 1_200), (False, 800)])
        for at in range(0, len(agent), 160):
            made.clock.now += 0.02
            made.hear("agent", agent[at : at + 160])
            made.hear("customer", customer[at : at + 160])
            await asyncio.sleep(0.002 if at > 1_100 * 8 else 0)
            while at == 1_400 * 8 and not before:  # the customer's eager final is there, the agent's is not confirmed
                await asyncio.sleep(0.002)
        await made.end()
    assert [t.party for t in made.finals()] == ["agent", "customer"]
    assert before[0] == 0 and before[-1] == 1, "the eager thought knew nothing of what the agent had said"
    refs = [s.ref for each in made.events(Suggested) for s in each.suggestions]
    assert "camera-black-screen" in refs
    assert len(refs) == len(set(refs)), "a card was shown twice"


def said(name: str, start_ms: int, text: str) -> Heard:
    utterance = Utterance(name, "customer", start_ms, start_ms + 500, start_ms + 400, np.zeros(8_000, np.int16))
    return Heard(utterance, Transcript(name, "customer", start_ms, start_ms + 400, text))


async def test_a_late_final_leaves_the_eager_thought_of_the_next_utterance_alone() -> None:
    ready: list[str] = []
    async with scene() as made:
        mind = made.call._mind
        mind.hear(said("customer-1", 0, "good morning to you"), {"final": 0.0})
        mind.consider(said("customer-2", 1_000, CAMERA), show=True, ready=lambda: ready.append("2"))
        first, shown = await made.until(Suggested, 2)
        assert (first.utterance, shown.utterance) == ("customer-1", "customer-2") and ready
        mind.withdraw("customer-2")
        mind.hear(said("customer-2", 1_000, CAMERA), {"final": 0.0})
        *_, again = await made.until(Suggested, 3)
        assert [s.ref for s in again.suggestions] == [s.ref for s in shown.suggestions]
        assert not {s.id for s in again.suggestions} & {s.id for s in shown.suggestions}
        await made.end()


async def test_words_that_sound_finished_are_final_sooner_and_unfinished_ones_later() -> None:
    waits: dict[str, float] = {}
    for text in ("My camera shows a black screen.", "My camera shows a black screen", "My number is four seven"):
        script = Script((Say("customer", 0, 1_500, text),), probability=0.9)
        async with scene(Scripted(script), partials=False) as made:
            await made.speak("customer", [(True, 1_500), (False, 180)])
            await made.until(Transcribed)
            if thought := made.call._mind._eager["customer"].thought:
                await thought.advice
            for _ in range(30):
                await made.speak("customer", [(False, 20)])
                if made.finals():
                    break
                await asyncio.sleep(0.005)
            await made.end()
        final = next(
            x.entry
            for x in made.log.lines
            if x.entry.latency_ms.get("final") and x.entry.event == Transcribed(made.finals()[0])
        )
        waits[text] = final.latency_ms["final"]
    ended, unknown, going_on = waits.values()
    assert 240 <= ended <= 340, "as soon as it has been thought through"
    assert 360 <= unknown <= 420
    assert 600 <= going_on <= 660


async def test_roles_the_wrong_way_round_are_put_right_in_everything_said_from_then_on() -> None:
    judged: list[tuple[str, Party, Party, bool, list[Party]]] = []

    def judge(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        said = heard.transcript
        before = [turn.transcript.party for turn in so_far.turns]
        judged.append((said.text, said.party, heard.utterance.party, heard.alone, before))
        return (Finding("stress", "calm", 0.1, Evidence()),)

    script = Script(
        (
            Say("customer", 0, 1_500, "thank you for calling northgate how can i help you"),
            Say("agent", 2_500, 4_000, "my camera only shows a black screen"),
            Say("customer", 5_000, 6_500, "when did that begin"),
        )
    )
    async with scene(Scripted(script), analysers={"stress": judge}) as made:
        for number, party in enumerate(("customer", "agent", "customer"), 1):
            await made.speak(party, [(True, 1_500), (False, 1_000)])  # type: ignore[arg-type]
            await made.until(Noticed, number)
        (swapped,) = made.events(RolesSwapped)
        assert [t.party for t in made.finals()] == ["customer", "customer", "agent"]
        assert swapped.utterances == ("customer-1",)
        assert [turn.transcript.party for turn in made.call._mind.conversation.turns] == ["agent", "customer", "agent"]
        assert not made.call._mind.conversation.turns[0].findings, "what was judged by its sound is void"
        made.call.end("bye")
        await made.life
    finals = {text: (who, of, before) for text, who, of, _, before in judged}
    assert finals["my camera only shows a black screen"] == ("customer", "customer", ["agent"])
    assert finals["when did that begin"] == ("agent", "agent", ["agent", "customer"])
    assert not any(alone for _, _, _, alone, _ in judged), "no voice is judged while it may be somebody else's"


async def test_a_call_without_sound_raises_an_alarm_within_five_seconds_and_sound_lifts_it() -> None:
    async with scene() as made:
        made.clock.now += 4.5
        (fault,) = await made.until(ChannelFaulted)
        assert fault == ChannelFaulted("no_audio", BOTH)
        await made.speak("agent", [(True, 3_000)])
        assert await made.until(ChannelMended) == [ChannelMended("no_audio", BOTH)]
        await made.end()


async def test_silence_of_the_recogniser_moves_nothing() -> None:
    async with scene(Scripted(Script(()))) as made:
        await made.speak("customer", [(True, 1_000), (False, 600)])
        last = await made.end()
    assert [t.text for t in made.finals()] == [""]
    assert not made.events(Noticed)
    assert last.ledger["customer"].transcribed_ms == 1_100


# ---- failures


def fixed(label: str) -> Analyser:
    def judge(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        return [Finding(label, f"{len(so_far.turns)} before", 0.5, Evidence(heard.transcript.utterance))]

    return judge


def broken(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
    raise KeyError("lost")


def not_a_number(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
    return [Finding("odd", "odd", float("nan"), Evidence())]


async def test_an_analyser_that_raises_falters_and_the_others_go_on() -> None:
    analysers = {"first": fixed("first"), "broken": broken, "odd": not_a_number, "last": fixed("last")}
    async with scene(analysers=analysers) as made:
        await made.speak("customer", [(True, 500), (False, 600)] * 2)
        await made.end()
    found = [[(f.analyser, f.label) for f in each.findings] for each in made.events(Noticed)]
    assert found == [[("first", f"{n} before"), ("last", f"{n} before")] for n in range(2)]
    faltered = [(each.part, each.code, each.utterance) for each in made.events(Faltered)]
    assert faltered == [(p, "analyser_failed", f"customer-{n}") for n in (1, 2) for p in ("broken", "odd")]


async def test_an_analyser_that_hangs_is_given_up_and_the_call_goes_on() -> None:
    done = threading.Event()

    def hangs(heard: Heard, so_far: Conversation) -> Sequence[Finding]:
        if heard.transcript.utterance == "customer-1":
            done.wait(60)
        return []

    try:
        async with scene(analysers={"slow": hangs}, patience_s=1.0) as made:
            await made.speak("customer", [(True, 500), (False, 600)] * 2)
            await made.end()
    finally:
        done.set()
    assert [(each.part, each.code) for each in made.events(Faltered)] == [("mind", "timeout")]
    assert len(made.finals()) == 2


async def test_a_recogniser_that_fails_costs_one_utterance() -> None:
    def fate(utterance: Utterance, count: int) -> None:
        if utterance.id == "customer-2":
            raise ValueError("no idea")

    async with scene(Echo(fate=fate)) as made:
        await made.speak("customer", [(True, 500), (False, 600)] * 3)
        last = await made.end()
    assert [t.utterance for t in made.finals()] == ["customer-1", "customer-3"]
    (faltered,) = made.events(Faltered)
    assert (faltered.part, faltered.code, faltered.utterance) == ("recogniser", "recogniser_failed", "customer-2")
    (skipped,) = made.events(Skipped)
    assert last.ledger["customer"].skipped_ms == {"recogniser_failed": skipped.end_ms - skipped.start_ms}


async def test_a_call_given_up_with_finals_under_way_says_what_it_owes() -> None:
    done = threading.Event()
    try:
        async with scene(Echo(fate=lambda utterance, count: done.wait(60))) as made:
            await made.speak("customer", [(True, 500), (False, 600)] * 4)
            made.call.end("lost")
            made.life.cancel()
            async with asyncio.timeout(20):  # giving up must not wait for the recogniser
                await asyncio.gather(made.life, return_exceptions=True)
            last = made.check()
    finally:
        done.set()
    assert last.ledger["customer"].skipped_ms["abandoned"] > 1_000


async def test_a_call_cut_off_without_a_word_still_closes_its_books() -> None:
    async with scene() as made:
        await made.speak("customer", [(True, 500), (False, 600), (True, 300)])
        made.life.cancel()
        await asyncio.gather(made.life, return_exceptions=True)
        last = made.check()
    assert last.reason == "error:internal"


async def test_a_gate_that_closes_leaves_no_call_hanging() -> None:
    done = threading.Event()
    try:
        async with scene(Echo(fate=lambda utterance, count: done.wait(60))) as made:
            await made.speak("customer", [(True, 500), (False, 600)] * 3)
            await made.gate.close()
            last = await made.end("drained")
    finally:
        done.set()
    assert last.ledger["customer"].skipped_ms["cancelled"] > 0
    assert made.events(Faltered)


# ---- pauses, holes, load


async def test_nothing_said_in_a_pause_is_kept_or_transcribed() -> None:
    async with scene() as made:
        await made.speak("customer", [(True, 600)])
        made.call.pause("card")
        made.call.pause("again")
        await made.speak("customer", [(True, 2_000)])
        made.call.resume("")
        await made.speak("customer", [(True, 600), (False, 600)])
        last = await made.end()
        await made.keeper.flush()
        kept = sum(len(record.payload) for record in read(made.sound.path)[1] if record.party == "customer")
    assert kept == 1_800 * 8
    assert [(t.start_ms, t.end_ms) for t in made.finals()] == [(0, 600), (2_600, 3_200)]
    assert last.ledger["customer"].skipped_ms == {"paused": 2_000}
    assert last.anomalies == {"second_pause": 1}
    assert (made.events(Paused), made.events(Resumed)) == ([Paused("card")], [Resumed("")])
    assert made.events(Missing) == [], "the pause is not missing"


@pytest.mark.parametrize("unheard", [0, 1, 639, 640, 1_279])
async def test_half_a_sample_at_a_pause_makes_no_noise_of_what_follows(unheard: int) -> None:
    stream = np.arange(8_000, dtype="<i2").tobytes()
    async with scene(encoding="l16") as made:
        made.hear("customer", stream[:661])
        made.call.pause("card")
        at = 661 + unheard
        if unheard:
            made.hear("customer", stream[661:at])
        made.call.resume("")
        made.clock.now += 1
        before = len(made.sound.pending)
        made.hear("customer", stream[at : at + 6_400])
        heard = b"".join(payload for _, _, payload, _ in made.sound.pending[before:])
        assert heard == stream[at // 2 * 2 :][: len(heard)] and len(heard) >= 6_080
        last = await made.end()
    assert last.ledger["customer"].received_ms == pytest.approx((at + 6_400) / 16, abs=1e-3)
    assert last.ledger["customer"].skipped_ms["fragment"] >= 1.25, "what did not fill a frame at the pause"


async def test_what_the_platform_lost_is_told_and_stands_outside_the_sum() -> None:
    async with scene() as made:
        await made.speak("customer", [(True, 600)])
        made.call.lost("customer", 400)
        await made.speak("customer", [(True, 600), (False, 600)])
        last = await made.end()
    assert made.events(Missing) == [Missing("customer", 600, 1_000)]
    assert last.ledger["customer"].missing_ms == 400
    assert last.ledger["customer"].received_ms == 1_800
    assert [t.start_ms for t in made.finals()] == [0, 1_000], "a hole ends what was being said"


async def test_overload_is_told() -> None:
    async with scene() as made:
        made.gate.load = Load(2, None, ("partials off",))
        assert await made.until(Degraded) == [Degraded(2, ("partials off",))]
        await made.speak("customer", [(True, 1_000)])
        await asyncio.sleep(0.12)
        assert made.events(Transcribed) == []
        made.gate.load = Load(0, 700, ())
        assert (await made.until(Degraded, 2))[1] == Degraded(0, ())
        await made.end()


async def paced(made: Scene, pattern: Pattern, chunk_ms: int) -> None:
    """At the pace of speech, by the real clock: each chunk when it ends."""
    began = time.monotonic()
    data = mulaw(pattern)
    for n, at in enumerate(range(0, len(data), chunk_ms * 8), 1):
        await asyncio.sleep(max(0.0, began + n * chunk_ms / 1_000 - time.monotonic()))
        made.hear("customer", data[at : at + chunk_ms * 8])


async def test_a_platform_that_stops_sending_in_silence_ends_the_utterance() -> None:
    async with scene(real_time=time.monotonic) as made:
        await paced(made, [(True, 600)], 20)
        await made.until(Transcribed)
        for _ in range(100):
            if made.finals():
                break
            await asyncio.sleep(0.02)
        assert [t.end_ms for t in made.finals()] == [600]
        last = await made.end()
    assert last.duration_ms == 600


async def test_large_chunks_at_the_pace_of_speech_are_no_silence() -> None:
    async with scene(real_time=time.monotonic) as made:
        await paced(made, [(True, 2_400)], 600)
        await made.end()
    assert [(t.start_ms, t.end_ms) for t in made.finals()] == [(0, 2_400)]


async def test_every_line_is_an_entry_in_order() -> None:
    async with scene() as made:
        await made.speak("agent", [(True, 700), (False, 500)])
        await made.speak("customer", [(True, 700), (False, 500)])
        await made.end()
    entries = [line.entry for line in made.log.lines]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    times = [entry.at_ms for entry in entries]
    assert times == sorted(times)
    events = made.told()
    began = {e.party: n for n, e in enumerate(events) if isinstance(e, SpeechStarted)}
    for n, event in enumerate(events):
        if isinstance(event, Transcribed):
            assert began[event.transcript.party] < n


async def test_a_cut_ends_what_is_being_said_and_says_what_is_to_come() -> None:
    async with scene(partials=False) as play:
        assert play.call.cut() == {}
        await play.speak("agent", [(True, 1_000)])
        assert play.call.cut() == {"agent-1": "agent"}
        assert play.call.cut() == {"agent-1": "agent"}, "nothing new, and the final is still to come"
        (first,) = [event.transcript for event in await play.until(Transcribed)]
        assert (first.utterance, first.stage) == ("agent-1", "final") and first.end_ms <= 1_000
        await play.speak("agent", [(True, 1_000), (False, 1_000)])
        last = await play.end()
        assert [said.utterance for said in play.finals()] == ["agent-1", "agent-2"]
        assert last.ledger["agent"].skipped_ms == {}


async def test_what_is_early_is_told_by_how_much() -> None:
    async with scene(burst_s=2.0) as play:
        second = b"\xff" * 8_000
        assert play.call.early_s("agent", second * 30) == 0.0, "the first audio sets the clock"
        for _ in range(3):
            assert play.call.early_s("agent", second) == 0.0
            play.hear("agent", second)
        early_s = play.call.early_s("agent", second)
        assert 0.0 < early_s < 2.0
        with pytest.raises(TooFast):
            play.call.hear("agent", second)
        play.clock.now += early_s
        play.hear("agent", second)


@pytest.mark.parametrize("round_s", [0.0, 0.06, 0.12])
async def test_a_party_that_sends_no_more_is_finished_however_late_the_loop_is(round_s: float) -> None:
    async def keep_the_loop() -> None:
        while True:
            time.sleep(round_s)
            await asyncio.sleep(0)

    async with scene(Echo(), partials=False, real_time=time.monotonic) as made:
        loud = mulaw([(True, 600)])
        for at in range(0, len(loud), 160):
            made.hear("customer", loud[at : at + 160])
            await asyncio.sleep(0.02)
        others = asyncio.create_task(keep_the_loop())
        await made.until(Transcribed)
        while not made.finals("customer"):  # until the test's own time limit
            await asyncio.sleep(0.05)
        others.cancel()
        await made.end()


async def test_messages_that_come_together_are_waited_for_together() -> None:
    """120 ms of each party at once, in two pieces; the next ones 80 ms late."""
    async with scene(Echo(), partials=False) as made:
        loud = mulaw([(True, 120)])
        for _ in range(4):
            made.clock.now += 0.12
            for piece in (loud[:800], loud[800:]):
                for party in BOTH:
                    made.hear(party, piece if party == "customer" else b"\xff" * len(piece))
            await asyncio.sleep(0)
        for _ in range(4):
            made.clock.now += 0.05
            await asyncio.sleep(1.2 * TICK_S)
        assert [each.transcript.stage for each in made.events(Transcribed)] == []
        assert made.events(SpeechStarted)
        await made.end()
