"""Whose voice is never judged: the agent's, anybody's on a channel that is mixed, and whoever's role is a guess.

Told over real sockets where the platform can say it, else of the dialects and the call.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assist import replay
from assist.analyse import Analyser
from assist.audio import Party, encode_mulaw
from assist.config import Mind, Settings
from assist.conversation import Conversation, Finding, Heard, Transcript
from assist.errors import BadMessage, ConfigError
from assist.events import CallEnded, Noticed, Transcribed
from assist.knowledge import Knowledge
from assist.protocols import Opened, Protocol
from assist.protocols.plain import Plain
from assist.protocols.twilio import Twilio
from benchmarks import door
from benchmarks.accuracy import sounds
from benchmarks.calls import SHIPPED
from models import stress
from server import judgements
from tests.models.test_stress import heard
from tests.scene import BOTH, scene
from tests.wire import follow, new_id, open_ingest, rest

SECONDS = 16
"""Of the shipped call: both have spoken by then."""


async def voices_judged(server: door.Door, dialect: str, **said: Any) -> dict[str, set[str]]:
    """Party → labels of stress in a call whose opening message also says `said`; every party's words must be there."""
    call = new_id()
    async with open_ingest(server.ws, dialect) as socket:
        for at_ms, messages in replay.frames(replay.read(SHIPPED), dialect, call, {}):
            for message in messages if at_ms <= SECONDS * 1000 else ():
                await socket.send(_with(message, said) if not at_ms else message)
            if at_ms % 1000 == 0:
                await asyncio.sleep(0.02)
        await socket.send(json.dumps({"type": "bye"} if dialect == "plain" else {"event": "stop", "streamSid": "MZ"}))
        await rest(socket)
    entries, _, _ = await follow(server.ws, call)
    assert isinstance(entries[-1].event, CallEnded)
    assert {e.event.transcript.party for e in entries if isinstance(e.event, Transcribed)} == {"agent", "customer"}
    judged: dict[str, set[str]] = {}
    for entry in entries:
        if isinstance(entry.event, Noticed):
            labels = {f.label for f in entry.event.findings if f.analyser == "stress"}
            judged[entry.event.party] = judged.get(entry.event.party, set()) | labels
    return {party: labels for party, labels in judged.items() if labels}


def _with(message: str | bytes, said: dict[str, Any]) -> str:
    opening: dict[str, Any] = json.loads(message)
    (opening["start"]["customParameters"] if "start" in opening else opening).update(
        said if opening.get("event") != "connected" else {}
    )
    return json.dumps(opening)


@pytest.mark.parametrize(
    ("dialect", "said", "judged"),
    [
        ("plain", {}, {"customer"}),
        ("plain", {"mixed": ["agent"]}, {"customer"}),
        ("plain", {"mixed": ["customer"]}, set()),
        ("twilio", {}, {"customer"}),
        ("twilio", {"inbound_party": "whoever rang"}, set()),
    ],
)
async def test_over_a_real_socket(server: door.Door, dialect: str, said: dict[str, Any], judged: set[str]) -> None:
    assert set(await voices_judged(server, dialect, **said)) == judged


def opened(protocol: Protocol, message: dict[str, Any]) -> Opened:
    (said,) = protocol.receive(json.dumps(message))
    assert isinstance(said, Opened)
    return said


@pytest.mark.parametrize(
    ("channels", "said", "mixed"),
    [
        (["customer"], {}, ("customer",)),
        (["agent"], {}, ("agent",)),
        (["customer"], {"mixed": []}, ()),
        (["customer"], {"mixed": None}, ("customer",)),
        (["agent", "customer"], {}, ()),
        (["agent", "customer", "system"], {"mixed": ["system", "agent"]}, ("system", "agent")),
    ],
)
def test_an_only_channel_is_mixed_unless_said_otherwise(
    channels: list[str], said: dict[str, Any], mixed: tuple[Party, ...]
) -> None:
    assert opened(Plain(), {"type": "hello", "call": "c-1", "channels": channels, **said}).mixed == mixed


@pytest.mark.parametrize("mixed", [["agent"], ["both"], "customer", 1])
def test_mixed_names_channels_of_the_call(mixed: object) -> None:
    with pytest.raises(BadMessage):
        Plain().receive(json.dumps({"type": "hello", "call": "c-1", "channels": ["customer"], "mixed": mixed}))


@pytest.mark.parametrize(
    ("parameters", "mixed"),
    [
        ({}, ()),
        ({"inbound_party": "customer"}, ()),
        ({"inbound_party": " AGENT "}, ()),
        ({"inbound_party": ""}, ("agent", "customer")),
        ({"inbound_party": "system"}, ("agent", "customer")),
        ({"inbound_party": "agnet"}, ("agent", "customer")),
    ],
)
def test_twilio_with_a_role_it_does_not_know(parameters: dict[str, str], mixed: tuple[Party, ...]) -> None:
    start = {"callSid": "CA0", "streamSid": "MZ0", "customParameters": parameters}
    assert opened(Twilio(), {"event": "start", "sequenceNumber": "1", "start": start}).mixed == mixed


@pytest.mark.parametrize("mixed", [(), ("customer",), ("agent",)])
async def test_a_call_tells_its_analysers(mixed: tuple[Party, ...]) -> None:
    alone: dict[str, bool] = {}

    def note(heard: Heard, so_far: Conversation) -> list[Finding]:
        alone[heard.utterance.party] = heard.alone
        return []

    analysers: dict[str, Analyser] = {"note": note}
    async with scene(analysers=analysers, mixed=mixed) as made:
        # A tone proves nothing of a channel, and nobody is judged on one of which nothing is proven.
        voice = encode_mulaw(np.random.default_rng(7).normal(0, 3_000, 12_000).astype(np.int16)) + b"\xff" * 12_000
        for party in BOTH:
            for at in range(0, len(voice), 160):
                made.clock.now += 0.02
                for each in BOTH:
                    made.hear(each, voice[at : at + 160] if each == party else b"\xff" * 160)
                await asyncio.sleep(0.004)  # channels are compared by a timer
        await made.end()
    assert alone == {party: party not in mixed for party in ("agent", "customer")}


@pytest.mark.parametrize(
    ("party", "alone", "counted"),
    [("customer", True, 1), ("customer", False, 0), ("agent", True, 0), ("agent", False, 0), ("system", True, 0)],
)
def test_the_analyser_looks_at_nobody_elses_sound(party: Party, alone: bool, counted: int) -> None:
    shouted = sounds.voice(200, 3, tilt=0.5, level=0.3)
    assert len(stress.load()(heard(shouted, party, alone=alone), Conversation("c"))) == counted


def test_a_mixed_channel_is_judged_of_nobody_whatever_the_reason() -> None:
    analyse = stress.load(("agent", "customer"), "a reason")
    for party in ("agent", "customer"):
        now = heard(sounds.voice(120, 3), party, alone=False)
        assert analyse(now, Conversation("c")) == ()


def test_settings_do_not_let_the_agent_in_without_a_reason() -> None:
    knowledge = Knowledge.load("knowledge_base")

    def analysers(**mind: Any) -> dict[str, Analyser]:
        return judgements(Settings(mind=Mind(analysers=("stress",), **mind)), knowledge, None, [])

    now = heard(sounds.voice(120, 3), "agent")
    assert analysers()["stress"](now, Conversation("c")) == ()
    with pytest.raises(ConfigError, match="stress_reason"):
        analysers(stress_parties=("customer", "agent"))
    reasoned = analysers(stress_parties=("customer", "agent"), stress_reason="not at work: an actors' exercise")
    assert len(reasoned["stress"](now, Conversation("c"))) == 1


def test_the_golden_files_say_who_is_mixed() -> None:
    golden = Path(__file__).parents[1] / "golden"
    openings = [json.loads(path.read_text("utf-8").splitlines()[0]) for path in golden.glob("plain*.jsonl")]
    assert all("mixed" in said for line in openings for said in line.get("out", ()) if said["said"] == "Opened")


def test_words_alone_are_no_voice() -> None:
    nothing = heard(sounds.voice(120, 3)[:0])
    (finding,) = stress.load()(nothing, Conversation("c"))
    assert finding.label == "none"
    assert isinstance(nothing.transcript, Transcript)
