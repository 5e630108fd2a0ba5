"""Each condition of a rule holds when it should, once a call, with evidence that can be played."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.audio import Party
from assist.conversation import Conversation, Flag
from assist.flag import Watch
from assist.knowledge import Knowledge
from tests import guidance
from tests.guidance import heard, talk, turn

CHECKED: tuple[Party, str] = ("agent", "could I have your account number")


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    return guidance.small(tmp_path_factory.mktemp("small"))


def flags(knowledge: Knowledge, *said: guidance.Said) -> list[list[str]]:
    """Rules that flag after each turn."""
    watch = Watch(knowledge)
    return [[flag.rule for flag in watch.after(state, state.turns[-1].transcript.end_ms)] for state in talk(*said)]


def test_a_phrase_flags_once_with_the_words_and_the_time(knowledge: Knowledge) -> None:
    states = talk(CHECKED, ("customer", "I want to speak to the manager, now"), ("customer", "your supervisor please"))
    watch = Watch(knowledge)
    assert watch.after(states[0], 4000) == []
    (flag,) = watch.after(states[1], 9000)
    assert (flag.rule, flag.severity, flag.reason) == ("asks_for_manager", "medium", "Customer asks for a manager")
    evidence = flag.evidence
    assert (evidence.utterance, evidence.start_ms, evidence.end_ms) == ("u1", 5000, 9000)
    assert evidence.quote == "speak to the manager"
    assert states[1].turns[1].transcript.text[evidence.start_char : evidence.end_char] == evidence.quote
    assert evidence.source == "rule:asks_for_manager"
    assert watch.after(states[2], 14000) == []


def test_the_other_party_saying_it_is_nothing(knowledge: Knowledge) -> None:
    assert flags(knowledge, CHECKED, ("agent", "would you like to speak to a manager")) == [[], []]


def test_sentiment_of_the_call_flags_when_it_falls_below(knowledge: Knowledge) -> None:
    said: list[guidance.Said] = [CHECKED, *(("customer", "bad", heard(call=call)) for call in (-0.2, -0.5, -0.6, -0.9))]
    assert flags(knowledge, *said) == [[], [], [], ["very_negative"], []]


def test_stress_must_last(knowledge: Knowledge) -> None:
    def stress(*scores: float | None) -> list[str]:
        said: list[guidance.Said] = [CHECKED, *(("customer", "hm", heard(stress=score)) for score in scores)]
        return [rule for rules in flags(knowledge, *said) for rule in rules]

    assert stress(0.7, 0.7) == ["stress_rising"]
    assert stress(0.7, None, 0.7) == ["stress_rising"]  # a turn too short to judge does not break the row
    assert stress(0.7, 0.3, 0.7) == []
    assert stress(0.9) == []
    assert stress(0.7, 0.7, None) == ["stress_rising"]


def test_a_mandatory_phrase_is_missed_at_its_time_and_not_before(knowledge: Knowledge) -> None:
    conversation = talk(("agent", "hello"), ("customer", "hi"))[-1]
    watch = Watch(knowledge)
    assert watch.after(conversation, 59_999) == []
    later = conversation.with_turn(turn(2, "customer", "well", start_ms=9500))
    (flag,) = watch.after(later, 60_000)
    assert flag.rule == "no_identity"
    assert flag.evidence.utterance == "u2"
    said = later.with_turn(turn(3, *CHECKED))
    assert Watch(knowledge).after(said, 70_000) == []


def test_nothing_understood_of_the_agent_misses_nothing(knowledge: Knowledge) -> None:
    conversation = talk(("customer", "hello"), ("agent", ""))[-1]
    assert Watch(knowledge).after(conversation, 70_000) == []
    assert Watch(knowledge).ended(conversation, 10_000) == []


def test_the_end_of_the_call_tells_what_was_never_said(knowledge: Knowledge) -> None:
    conversation = talk(CHECKED, ("customer", "no thanks"))[-1]
    watch = Watch(knowledge)
    assert watch.after(conversation, 9000) == []
    assert [flag.rule for flag in watch.ended(conversation, 29_999)] == ["silence"]
    assert [flag.rule for flag in Watch(knowledge).ended(conversation, 30_000)] == ["no_closing", "silence"]
    closed = conversation.with_turn(turn(2, "agent", "is there anything else I can do"))
    assert Watch(knowledge).ended(closed, 30_000) == []


def test_a_rule_of_a_topic_is_silent_about_others(knowledge: Knowledge) -> None:
    camera = talk(CHECKED, ("customer", "my camera", heard("camera_fault")))[-1]
    abroad = talk(CHECKED, ("customer", "going to spain", heard("roaming")))[-1]
    assert Watch(knowledge).ended(camera, 10_000) == []
    assert [flag.rule for flag in Watch(knowledge).ended(abroad, 10_000)] == ["prices_abroad"]


def test_silence_is_what_nobody_spoke_in(knowledge: Knowledge) -> None:
    conversation = Conversation("call").with_turn(turn(0, *CHECKED)).with_turn(turn(1, "customer", "ok", start_ms=5000))
    after = conversation.with_turn(turn(2, "agent", "still there?", start_ms=29_000))
    (flag,) = Watch(knowledge).after(after, 33_000)
    assert (flag.rule, flag.evidence.start_ms, flag.evidence.end_ms) == ("silence", 9000, 29_000)
    busy = conversation.with_turn(turn(2, "agent", "still there?", start_ms=28_000))
    assert Watch(knowledge).after(busy, 32_000) == []


def test_an_empty_call_ends_without_a_crash(knowledge: Knowledge) -> None:
    assert [flag.rule for flag in Watch(knowledge).ended(Conversation("call"), 90_000)] == ["silence"]
    assert Watch(knowledge).after(Conversation("call"), 0) == []


def test_a_rule_that_must_not_flag_does_not(knowledge: Knowledge) -> None:
    quiet = {name: msgspec.structs.replace(rule, flag=False) for name, rule in knowledge.rules.items()}
    silent = Knowledge(knowledge.articles, knowledge.topics, knowledge.actions, knowledge.playbooks, quiet)
    assert flags(silent, ("customer", "speak to a manager")) == [[]]


WORDS = st.sampled_from(["speak to a manager", "your account number", "anything else", "hm", ""])
TURNS = st.lists(st.tuples(st.sampled_from(["agent", "customer"]), WORDS, st.integers(0, 40_000)), max_size=12)


@given(TURNS)
def test_a_rule_flags_at_most_once_whatever_is_said(said: list[tuple[Party, str, int]]) -> None:
    watch, conversation, at_ms = Watch(SHIPPED), Conversation("call"), 0
    raised: list[Flag] = []
    for number, (party, text, gap_ms) in enumerate(said):
        conversation = conversation.with_turn(turn(number, party, text, start_ms=at_ms + gap_ms))
        at_ms += gap_ms + 4000
        raised += watch.after(conversation, at_ms)
    raised += watch.ended(conversation, at_ms + 1000)
    names = [flag.rule for flag in raised]
    assert len(names) == len(set(names))
    known = {one.transcript.utterance for one in conversation.turns} | {""}
    assert all(flag.evidence.utterance in known for flag in raised)
    assert all(0 <= flag.evidence.start_ms <= flag.evidence.end_ms for flag in raised)


SHIPPED = Knowledge.load(guidance.SHIPPED)

EVERYDAY = [
    "my name is Maria Lopez and I bought it last week",
    "someone charged my card twice last month",
    "the reset email never arrives",
    "how do I change my plan",
    "can I keep my old number",
    "the line is down since this morning",
    "I called my sister and she could not hear me",
    "I put it on the charger and it got a bit warm",
]


@pytest.mark.parametrize("text", EVERYDAY)
def test_shipped_rules_leave_everyday_words_alone(text: str) -> None:
    assert Watch(SHIPPED).after(talk(("customer", text))[-1], 4000) == []


ALARMING = {
    "device_dangerous": "the battery has swollen up and it's really hot",
    "legal_or_ombudsman": "you'll be hearing from my solicitor",
    "vulnerable_customer": "my husband died in may and I can't cope with this",
    "fraud_reported": "my account has been hacked",
    "asks_for_manager": "put me through to your supervisor",
    "threatens_to_leave": "then I'm taking my business elsewhere",
    "complaint_made": "I'd like to make a formal complaint",
    "never_again": "I will never buy anything from you again",
    "called_before": "this is the third time I've called about it",
    "goes_public": "I'm going to put this all over social media",
}


@pytest.mark.parametrize(("rule", "text"), ALARMING.items())
def test_shipped_rules_hear_what_matters(rule: str, text: str) -> None:
    assert rule in [flag.rule for flag in Watch(SHIPPED).after(talk(("customer", text))[-1], 4000)]
