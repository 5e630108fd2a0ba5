"""Playbooks follow the call: topics choose them and keep them, phrases tick steps when their turn has come."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.audio import Party
from assist.conversation import Conversation, Finding
from assist.events import PlaybookMoved
from assist.knowledge import Knowledge
from assist.playbook import Place, Route, advance, call_topics, draw, now
from tests import guidance
from tests.guidance import heard, talk, turn

SHIPPED = Knowledge.load(guidance.SHIPPED)

ABROAD = """
id = "abroad"
title = "Use abroad"
topics = ["roaming"]

[[step]]
id = "greet"
title = "Greet"
say = "Thank you for calling Northgate."
next = ["verify"]
done.agent = ["thank you for calling"]

[[step]]
id = "verify"
title = "Verify"
say = "Could I have your account number?"
next = ["costs"]
done.agent = ["your account number"]

[[step]]
id = "costs"
title = "Costs"
say = "It costs five pounds a day."
next = []
done.agent = ["pounds a day"]
"""


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    path = guidance.write(tmp_path_factory.mktemp("kb") / "kb")
    (path / "playbooks" / "abroad.toml").write_text(ABROAD, encoding="utf-8")
    return Knowledge.load(path)


def follow(knowledge: Knowledge, *said: guidance.Said) -> tuple[Route, list[PlaybookMoved | None]]:
    route = Route(knowledge)
    return route, [route.after(state) for state in talk(*said)]


def states(moved: PlaybookMoved | None) -> str:
    assert moved is not None
    return " ".join(f"{step.id}:{step.state}" for step in moved.steps)


CAMERA = heard("camera_fault")


def test_a_call_goes_through_its_playbook(knowledge: Knowledge) -> None:
    route, moved = follow(
        knowledge,
        ("agent", "Thank you for calling Northgate, how can I help?"),
        ("customer", "my camera is black", CAMERA),
        ("agent", "could I take your, erm, account number"),
        ("customer", "four seven two", CAMERA),
        ("agent", "could you please restart that phone"),
        ("customer", "still black", CAMERA),
        ("agent", "then we will replace it, free of charge"),
        ("agent", "you will get an email, is there anything else?"),
    )
    assert states(moved[0]) == "greet:done verify:now close:next"
    assert states(moved[1]) == "greet:done verify:now fix:next replace:next confirm:next close:next"
    assert states(moved[2]) == "greet:done verify:done fix:now replace:next confirm:next close:next"
    assert moved[3] is None
    assert states(moved[4]) == "greet:done verify:done fix:done replace:now confirm:next close:next"
    assert moved[5] is None
    assert states(moved[6]) == "greet:done verify:done fix:done replace:done confirm:now close:next"
    assert states(moved[7]) == "greet:done verify:done fix:done replace:done confirm:done close:done"
    assert route.step is None


def test_a_fault_told_first_does_not_skip_the_identity_check(knowledge: Knowledge) -> None:
    route, moved = follow(
        knowledge,
        ("agent", "thank you for calling"),
        ("customer", "camera is black and I restarted it already", CAMERA),
        ("agent", "your account number please"),
    )
    assert states(moved[1]).startswith("greet:done verify:now fix:next")
    # What was said early counts as soon as its turn comes.
    assert states(moved[2]) == "greet:done verify:done fix:done replace:now confirm:next close:next"
    assert route.step is not None
    assert route.step.action == "offer_replacement"


def test_the_branch_that_was_not_taken_is_not_drawn(knowledge: Knowledge) -> None:
    _, moved = follow(
        knowledge,
        ("agent", "thank you for calling, your account number please"),
        ("customer", "my camera is black", CAMERA),
        ("agent", "please restart the phone"),
        ("customer", "oh the camera works now", CAMERA),
    )
    assert states(moved[3]) == "greet:done verify:done fix:done confirm:done close:now"


def test_a_step_passed_over_stays_open_and_can_be_ticked_later(knowledge: Knowledge) -> None:
    _, moved = follow(
        knowledge,
        ("customer", "my camera is black", CAMERA),
        ("agent", "thank you for calling"),
        ("agent", "please restart the phone"),
        ("agent", "and could I have your account number"),
    )
    assert states(moved[2]) == "greet:done verify:next fix:done replace:now confirm:next close:next"
    assert states(moved[3]) == "greet:done verify:done fix:done replace:now confirm:next close:next"


def test_words_of_a_far_step_do_not_jump_there(knowledge: Knowledge) -> None:
    _, moved = follow(
        knowledge,
        ("customer", "my camera is black", CAMERA),
        ("agent", "before anything else thank you for calling"),
    )
    assert states(moved[1]) == "greet:done verify:now fix:next replace:next confirm:next close:next"


def test_one_stray_topic_does_not_move_the_playbook_and_two_do(knowledge: Knowledge) -> None:
    route = Route(knowledge)
    said: list[guidance.Said] = [("customer", "my camera is black", CAMERA)] * 3
    said += [("customer", "and what does it cost in spain", heard("roaming"))] * 2
    for state in talk(*said)[:4]:
        route.after(state)
    assert route.topic == "camera_fault"
    route.after(talk(*said)[4])
    assert route.topic == "roaming"


def test_no_topic_moves_nothing(knowledge: Knowledge) -> None:
    route, moved = follow(knowledge, ("customer", "lovely weather", heard("none")), ("customer", "hm", []))
    assert moved == [None, None]
    assert route.playbook is not None
    assert route.playbook.id == "general"


def test_a_second_topic_keeps_the_opening_and_the_first_is_taken_up_again(knowledge: Knowledge) -> None:
    route = Route(knowledge)
    abroad = heard("roaming")
    said: list[guidance.Said] = [
        ("agent", "thank you for calling, your account number please"),
        ("customer", "my camera is black", CAMERA),
        ("agent", "please restart the phone"),
        ("customer", "what will it cost in spain", abroad),
        ("customer", "I mean to call from spain", abroad),
        ("customer", "but first the camera", CAMERA),
        ("customer", "it is still black", CAMERA),
    ]
    moved = [route.after(state) for state in talk(*said)]
    assert states(moved[3]) == "greet:done verify:done costs:now"
    assert states(moved[5]) == "greet:done verify:done fix:done replace:now confirm:next close:next"


def test_turns_that_were_missed_are_caught_up(knowledge: Knowledge) -> None:
    said = talk(
        ("agent", "thank you for calling"),
        ("customer", "my camera is black", CAMERA),
        ("agent", "your account number please"),
    )
    route = Route(knowledge)
    route.after(said[0])
    assert states(route.after(said[2])).startswith("greet:done verify:done fix:now")
    assert route.after(Conversation("call")) is None


def test_without_any_playbook_there_is_nothing_to_tell(knowledge: Knowledge) -> None:
    bare = Knowledge(knowledge.articles, knowledge.topics, knowledge.actions, {}, {})
    route, moved = follow(bare, ("customer", "my camera is black", CAMERA))
    assert moved == [None]
    assert route.step is None


def test_topics_fade_and_unsure_turns_count_for_nothing() -> None:
    said = talk(
        ("customer", "a", heard("roaming")),
        ("customer", "b", heard("none")),
        ("agent", "c"),
        ("customer", "d", heard("camera_fault")),
    )
    assert call_topics(said[-1].turns, fade=0.5) == pytest.approx({"camera_fault": 0.8, "roaming": 0.4})
    assert call_topics(said[1].turns) == pytest.approx({"roaming": 0.8})


PHRASES = ["thank you for calling", "your account number", "restart the phone", "restarted it already",
           "replace it free of charge", "get an email", "camera works now", "anything else", "hm", ""]  # fmt: skip
TURNS = st.lists(st.tuples(st.sampled_from(["agent", "customer"]), st.lists(st.sampled_from(PHRASES), max_size=3)))


@given(TURNS)
def test_ticks_are_never_taken_back_and_one_step_is_now(said: Sequence[tuple[Party, list[str]]]) -> None:
    playbook = SHIPPED.playbooks["camera_fault"]
    place = Place()
    for number, (party, phrases) in enumerate(said):
        later = advance(playbook, place, turn(number, party, ". ".join(phrases)))
        assert place.done <= later.done
        place = later
        steps = draw(playbook, place)
        current = now(playbook, place)
        assert [step.id for step in steps if step.state == "now"] == ([current.id] if current else [])
        assert {step.id for step in steps if step.state == "done"} == place.done


def test_every_shipped_playbook_can_be_walked_by_reading_it_out() -> None:
    """Each `say` line ticks its own step: an agent who reads the screen is followed."""
    knowledge = SHIPPED
    silent: list[str] = []
    for playbook in knowledge.playbooks.values():
        findings: list[Finding] = heard(playbook.topics[0]) if playbook.topics else []
        said: list[guidance.Said] = [("customer", "hello there", findings)]
        route = Route(knowledge)
        state = talk(*said)[-1]
        route.after(state)
        for _ in playbook.step:
            step = route.step
            if step is None:
                break
            state = state.with_turn(turn(len(state.turns), "agent", step.say))
            route.after(state)
            if step.id not in route.place.done:
                silent.append(f"{playbook.id}/{step.id}")
                route.place = advance(playbook, route.place, turn(0, "agent", step.done.agent[0]))
    assert silent == []
