"""From marks to cards: calls that the hub keeps, what the command learns of them, and a guide that goes by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assist.config import Mind, Settings
from assist.conversation import Conversation, Suggestion, Transcript, Turn
from assist.errors import ModelMissing
from assist.events import AnyEvent, CallEnded, Marked, Suggested, Transcribed
from assist.hub import Hub
from assist.knowledge import Knowledge
from assist.search import Search
from assist.stores.sqlite import Sqlite
from assist.suggest import Guide, Taste
from models import encoder, next_action
from models.train import house_log
from models.train import next_action as training
from server import taste as served
from tests import guidance
from tests.guidance import heard, trigrams

CAMERA = heard("camera_fault")
TRIED = (
    "I restarted it twice and nothing helps",
    "restarted already, the picture is still black",
    "restarting did not help",
)
ANGRY = ("I want to speak to a manager", "give me your supervisor please", "let me speak to a manager now")
HELLO: guidance.Said = ("agent", "thank you for calling, your account number please")
RESTART: guidance.Said = ("agent", "please restart the phone")


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    return guidance.small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def search(knowledge: Knowledge) -> Search:
    return Search(knowledge, trigrams)


Decide = Callable[[Suggestion], str]


def played(call: str, said: Sequence[guidance.Said], guide: Guide, decide: Decide) -> list[AnyEvent]:
    """What the hub is told of a call in which an agent marks every next action that is shown."""
    events: list[AnyEvent] = []
    conversation = Conversation(call)
    for state in guidance.talk(*said):
        turn = state.turns[-1]
        conversation = conversation.with_turn(turn)
        events.append(Transcribed(turn.transcript))
        cards = guide.after(conversation).suggestions
        if cards:
            events.append(Suggested(turn.transcript.utterance, cards))
        for card in cards:
            if card.kind in house_log.KINDS:
                mark = decide(card)
                guide.marked(card.ref, mark)  # type: ignore[arg-type]
                events.append(Marked(card.id, card.ref, mark))  # type: ignore[arg-type]
    return events


def scenes(number: int) -> list[guidance.Said]:
    """A camera that does not work; in every other call the customer also asks for a manager."""
    said: list[guidance.Said] = [HELLO, ("customer", f"my camera is black since {number} days", CAMERA)]
    said += [RESTART, ("customer", TRIED[number % 3], CAMERA)]
    return [*said, ("customer", ANGRY[number % 3], CAMERA)] if number % 2 else said


def agent(card: Suggestion) -> str:
    """Takes replacements up and settles complaints without a supervisor."""
    return "used" if card.ref == "offer_replacement" else "not_useful" if card.ref == "offer_supervisor" else "opened"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, knowledge: Knowledge, search: Search) -> Path:
    """Forty calls in the server's store, written through its hub."""
    path = tmp_path_factory.mktemp("store") / "assist.db"

    async def write() -> None:
        store = Sqlite(path)
        hub = Hub(store, lambda made: store.append([made]))
        for number in range(40):
            log = await hub.open(f"call-{number}")
            for event in played(log.call, scenes(number), Guide(knowledge, search), agent):
                hub.publish(log, event, 0)
            hub.publish(log, CallEnded("bye", 30_000, {}, {}), 30_000)
        store.close()

    asyncio.run(write())
    return path


@pytest.fixture(scope="module")
def learnt(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of that store."""
    file = tmp_path_factory.mktemp("taste") / "house.npz"
    training.main(["--from-log", str(database), "--to", str(file)])
    return file


def test_marks_are_read_with_what_went_before(database: Path) -> None:
    marked = house_log.choices(database)
    assert {choice.ref: choice.used for choice in marked} == {"offer_replacement": True, "offer_supervisor": False}
    assert len({choice.call for choice in marked}) == 40
    first = marked[0]
    assert (first.call, first.used, first.text) == ("call-0", True, "We will replace it free of charge.")
    assert [event["text"] for event in first.events] == [text for _, text, *_ in scenes(0)]
    angry = next(choice for choice in marked if not choice.used)
    assert {"action": "offer_replacement"} in angry.events
    assert angry.events[-1] == {"party": "customer", "text": ANGRY[1]}


def test_what_is_taken_up_rises_and_what_is_refused_sinks(learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encode = encoder.load()
    liked = next_action.load(encode, learnt)
    before = [{"party": party, "text": text} for party, text, *_ in scenes(0)]
    used, refused, unknown = liked(before, ["offer_replacement", "offer_supervisor", "general/close"])
    assert used > unknown > refused
    assert refused < liked.least < used
    first = next_action.judge(encode, learnt)(before)
    assert first[0].label == "offer_replacement"
    assert first[0].score == pytest.approx(used, abs=1e-4)


def test_the_guide_goes_by_it(learnt: Path, knowledge: Knowledge, search: Search) -> None:
    liked = next_action.load(encoder.load(), learnt)
    said: list[guidance.Said] = [
        HELLO,
        RESTART,
        ("customer", "restarted it, still black, I want to speak to a manager", CAMERA),
    ]

    def offered(guide: Guide) -> list[str]:
        return [
            card.ref
            for state in guidance.talk(*said)
            for card in guide.after(state).suggestions
            if card.kind == "action"
        ]

    assert offered(Guide(knowledge, search))[0] == "offer_supervisor"  # the rule speaks first
    assert "offer_supervisor" not in offered(Guide(knowledge, search, taste=liked))


class Fixed:
    """A taste that is what it is."""

    least = 0.2

    def __init__(self, worth: Mapping[str, float]) -> None:
        self.worth = worth
        self.asked: list[list[Mapping[str, str]]] = []

    def __call__(self, events: Sequence[Mapping[str, str]], refs: Sequence[str]) -> list[float]:
        self.asked.append(list(events))
        return [self.worth.get(ref, 0.5) for ref in refs]


def after(guide: Guide, *said: guidance.Said) -> list[list[tuple[str, str]]]:
    return [[(c.kind, c.ref) for c in guide.after(state).suggestions] for state in guidance.talk(*said)]


BOTH: list[guidance.Said] = [
    HELLO,
    ("customer", "my camera is black", CAMERA),
    RESTART,
    ("customer", "I restarted it, nothing, I want to speak to a manager", CAMERA),
]


@pytest.mark.parametrize(
    ("worth", "first"),
    [
        ({}, "offer_supervisor"),  # of equals, the first in the order of rules
        ({"offer_replacement": 0.9}, "offer_replacement"),
        ({"offer_supervisor": 0.1}, "offer_replacement"),
        ({"offer_supervisor": 0.1, "offer_replacement": 0.1}, None),
    ],
)
def test_the_likeliest_candidate_is_shown(
    worth: dict[str, float], first: str | None, knowledge: Knowledge, search: Search
) -> None:
    shown = after(Guide(knowledge, search, taste=Fixed(worth)), *BOTH)[-1]
    assert [ref for kind, ref in shown if kind in ("action", "step")] == ([first] if first else [])


def test_an_alert_is_no_matter_of_taste(knowledge: Knowledge, search: Search) -> None:
    nothing = Fixed(dict.fromkeys(("offer_supervisor", "offer_replacement", "general/verify", "camera/check"), 0.0))
    guide = Guide(knowledge, search, taste=nothing)
    conversation = Conversation("call")
    alerts = []
    for number in range(16):
        said = Transcript(
            f"u{number}", "customer" if number else "agent", number * 10_000, number * 10_000 + 4000, "hello"
        )
        conversation = conversation.with_turn(Turn(said))
        alerts += [card.ref for card in guide.after(conversation).suggestions if card.kind == "alert"]
    assert alerts == ["no_identity"]


def test_what_was_used_is_part_of_what_happened(knowledge: Knowledge, search: Search) -> None:
    fixed = Fixed({})
    guide = Guide(knowledge, search, taste=fixed)
    states = guidance.talk(*BOTH)
    for state in states[:2]:
        guide.after(state)
    guide.marked("camera/check", "used")
    guide.marked("offer_supervisor", "opened")
    for state in states[2:]:
        guide.after(state)
    texts = [event.get("action") or event["text"] for event in fixed.asked[-1]]
    assert texts == [BOTH[0][1], BOTH[1][1], "camera/check", BOTH[2][1], BOTH[3][1]]


def test_too_little_teaches_nothing(database: Path, tmp_path: Path) -> None:
    marked = house_log.choices(database)
    encode = encoder.load()
    trunk, _ = next_action.opened(encode, next_action.WEIGHTS)
    for few in (marked[:10], [choice for choice in marked if choice.used], [marked[0], marked[3]] * 30):
        with pytest.raises(SystemExit, match="this takes"):
            house_log.learn(encode, trunk, few)
    with pytest.raises(SystemExit, match=r"assist\.db"):
        house_log.choices(tmp_path / "none.db")
    assert not list(tmp_path.iterdir())


def test_marks_without_reason_teach_nothing(database: Path) -> None:
    """Marks drawn by lot, the same for like calls: what is learnt does not hold in calls left out."""
    encode = encoder.load()
    trunk, _ = next_action.opened(encode, next_action.WEIGHTS)
    lots = np.random.default_rng(3).random(60) < 0.5
    marked = [replace(choice, used=bool(lot)) for choice, lot in zip(house_log.choices(database), lots, strict=True)]
    with pytest.raises(SystemExit, match="nothing is written"):
        house_log.learn(encode, trunk, marked)


def test_the_server_runs_on_without_it(tmp_path: Path) -> None:
    encode = encoder.load()
    notices: list[str] = []
    assert served(Settings(), encode, notices) is None
    assert notices == []
    asked = Settings(mind=Mind(next_action=str(tmp_path / "none.npz")))
    assert served(asked, encode, notices) is None
    assert served(Settings(mind=Mind(next_action=str(next_action.WEIGHTS))), encode, notices) is None
    assert ["cannot be read" in notices[0], "not this house's" in notices[1]] == [True, True]
    with pytest.raises(ModelMissing):
        next_action.load(encode, next_action.WEIGHTS)


def test_the_server_takes_what_was_learnt(learnt: Path) -> None:
    found: Taste | None = served(Settings(mind=Mind(next_action=str(learnt))), encoder.load(), [])
    assert found is not None
    assert 0 < found.least <= house_log.LEAST


def test_the_command_tells_what_it_learnt(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training.main(["--from-log", str(database), "--to", str(tmp_path / "deep" / "house.npz")])
    lines = capsys.readouterr().out.splitlines()
    assert "mind.next_action" in lines[0]
    figures = json.loads(lines[-1])
    assert figures["n"] == 60
    assert figures["loss"] < figures["loss_rate"]
