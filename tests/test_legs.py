"""Two sockets, one call: who is here and who is missed, when it ends, and that both parties' clocks agree."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.audio import Party
from assist.config import Ingest, Server, Settings
from assist.errors import BadEncoding, Busy, Draining, DuplicateCall
from assist.events import AnyEvent, CallEnded, LegJoined, LegLeft, LegMissing, Missing, Transcribed
from assist.house import House
from assist.legs import KEPT_S, MOST_ANNOUNCED, Announced
from assist.protocols import Opened
from assist.protocols.audiosocket import AudioSocket
from assist.stores.memory import Memory
from assist.tcp import bind, listen
from tests.pbx import Stream
from tests.scene import BOTH, Clock, Pattern, Scene, balanced, open_house, scene
from tests.voice import mulaw

GRACE_S, MISSING_S = 0.3, 0.4


def leg(party: Party, call: str = "c") -> Opened:
    return Opened(call, "asterisk", BOTH, "mulaw", 8_000, {"queue": "sales"}, leg=party)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    limits = Ingest(leg_grace_s=GRACE_S, leg_missing_s=MISSING_S)
    async with open_house(Settings(server=Server(data_dir=str(tmp_path)), ingest=limits), Memory()) as made:
        yield made


async def told(house: House, call: str = "c") -> list[AnyEvent]:
    return [line.entry.event for line in (await house.hub.log(call)).lines]


async def ended(house: House, call: str = "c") -> CallEnded:
    await asyncio.wait_for(house.empty(), 5)
    last = (await told(house, call))[-1]
    assert isinstance(last, CallEnded)
    assert (house.calls, house.joints) == ({}, {})
    for party in BOTH:
        balanced(last.ledger[party])
    return last


# ---- who is here


async def test_two_legs_are_one_call_that_ends_when_the_last_has_left(house: House) -> None:
    agent = await house.open_leg(leg("agent"))
    customer = await house.open_leg(leg("customer"))
    assert agent is customer and len(house.calls) == 1
    agent.call.hear("agent", mulaw([(True, 400)]))
    agent.call.hear("customer", mulaw([(False, 200), (True, 400)]))
    agent.leave("agent", "closed")
    await asyncio.sleep(2 * GRACE_S)
    assert not agent.call.ending, "one leg is here"
    agent.leave("customer", "lost")
    await asyncio.sleep(GRACE_S / 3)
    assert not agent.call.ending, "it may come back"
    last = await ended(house)
    assert last.reason == "lost"
    assert {party: last.ledger[party].received_ms for party in BOTH} == {"agent": 400, "customer": 600}
    came = [event for event in await told(house) if isinstance(event, LegJoined | LegLeft)]
    assert came == [
        LegJoined("agent", {"queue": "sales"}), LegJoined("customer", {"queue": "sales"}),
        LegLeft("agent", "closed"), LegLeft("customer", "lost"),
    ]  # fmt: skip


async def test_what_was_being_said_when_a_leg_left_is_finished_at_once(house: House) -> None:
    joint = await house.open_leg(leg("agent"))
    await house.open_leg(leg("customer"))
    joint.call.hear("agent", mulaw([(True, 700)]))
    joint.leave("agent", "closed")
    for _ in range(100):
        finals = [e.transcript for e in await told(house) if isinstance(e, Transcribed)]
        if any(each.stage == "final" for each in finals):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("no final")
    joint.leave("customer", "bye")
    await ended(house)


async def test_a_leg_comes_back_within_the_grace_and_half_a_sample_does_not_shift_it(house: House) -> None:
    linear = {party: replace(leg(party), encoding="l16", rate_hz=16_000) for party in BOTH}
    joint = await house.open_leg(linear["customer"])
    joint.call.hear("customer", bytes(641))
    joint.leave("customer", "lost")
    await asyncio.sleep(GRACE_S / 3)
    assert await house.open_leg(linear["customer"]) is joint
    joint.call.hear("customer", bytes(640))
    joint.leave("customer", "bye")
    last = await ended(house)
    assert last.reason == "bye"
    assert last.ledger["customer"].skipped_ms == {"fragment": pytest.approx(1 / 32)}
    assert last.ledger["customer"].received_ms == pytest.approx(1281 / 32, abs=0.001)


async def test_who_says_goodbye_last_is_not_waited_for(house: House) -> None:
    joint = await house.open_leg(leg("customer"))
    joint.grace_s = 600.0
    joint.leave("customer", "bye")
    assert (await ended(house)).reason == "bye"


async def test_an_agent_without_a_customer_raises_one_alert(house: House) -> None:
    joint = await house.open_leg(leg("agent"))
    await asyncio.sleep(3 * MISSING_S)
    missed = [event for event in await told(house) if isinstance(event, LegMissing)]
    assert missed == [LegMissing("customer", 400)]
    await house.open_leg(leg("customer"))
    joint.leave("customer", "closed")
    await asyncio.sleep(2 * MISSING_S)
    assert (await told(house)).count(LegMissing("customer", 400)) == 2, "they came and are gone again"
    joint.leave("agent", "closed")
    await ended(house)


async def test_a_customer_may_wait_for_an_agent(house: House) -> None:
    joint = await house.open_leg(leg("customer"))
    await asyncio.sleep(2 * MISSING_S)
    assert not [event for event in await told(house) if isinstance(event, LegMissing)]
    joint.leave("customer", "closed")
    await ended(house)


async def test_legs_that_come_at_once_are_one_call(house: House) -> None:
    first, second = await asyncio.gather(house.open_leg(leg("agent")), house.open_leg(leg("customer")))
    assert first is second
    for party in BOTH:
        first.leave(party, "bye")
    await ended(house)


async def test_who_is_here_already_or_comes_from_elsewhere_is_refused(house: House) -> None:
    joint = await house.open_leg(leg("agent"))
    with pytest.raises(DuplicateCall, match="its agent is here"):
        await house.open_leg(leg("agent"))
    with pytest.raises(DuplicateCall):
        await house.open_leg(replace(leg("customer"), platform="audiosocket"))
    with pytest.raises(DuplicateCall):
        await house.open_call(Opened("c", "plain", BOTH, "mulaw", 8_000))
    with pytest.raises(BadEncoding, match="l16 at 16000 Hz: the call's other leg came as mulaw at 8000"):
        await house.open_leg(replace(leg("customer"), encoding="l16", rate_hz=16_000))
    assert joint.present.keys() == {"agent"}
    joint.leave("agent", "bye")
    await ended(house)
    with pytest.raises(DuplicateCall):
        await house.open_leg(leg("agent"))
    other = await house.open_call(Opened("d", "asterisk", BOTH, "mulaw", 8_000))
    with pytest.raises(DuplicateCall):
        await house.open_leg(leg("customer", "d"))
    other.end("bye")
    await other.run()
    house.leave(other)


async def test_a_full_or_leaving_house_takes_the_second_leg_and_no_new_call(house: House) -> None:
    joint = await house.open_leg(leg("agent"))
    house.settings = Settings(server=house.settings.server, ingest=Ingest(max_calls=1, leg_grace_s=GRACE_S))
    with pytest.raises(Busy):
        await house.open_leg(leg("customer", "other"))
    house.draining.set()
    with pytest.raises(Draining):
        await house.open_leg(leg("customer", "other"))
    assert await house.open_leg(leg("customer")) is joint
    for party in BOTH:
        joint.leave(party, "closed")
    await ended(house)


async def test_a_second_leg_comes_while_the_server_leaves_and_is_waited_for_no_longer_than_the_first(
    tmp_path: Path,
) -> None:
    settings = Settings(server=Server(data_dir=str(tmp_path), drain_s=2.0))
    async with open_house(settings, Memory()) as made:
        port = bind("127.0.0.1", 0)
        door = await listen(made, partial(AudioSocket, made.announced.of), port)
        streams = [Stream(port.getsockname()[1]) for _ in BOTH]
        names = [str(uuid.uuid4()) for _ in BOTH]
        for name, party in zip(names, BOTH, strict=True):
            made.announced.add(name, "c", party)
        await streams[0].open(names[0])
        await streams[0].send(0x10, bytes(320))
        async with asyncio.timeout(20):
            while not made.joints:
                await asyncio.sleep(0.01)
            made.draining.set()
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(1.2)
            await streams[1].open(names[1])
            await streams[1].send(0x10, bytes(640))
            while len(made.joints["c"].present) < 2:
                await asyncio.sleep(0.01)
            assert [await stream.rest() for stream in streams] == [b"\x00\x00\x00"] * 2
        assert asyncio.get_running_loop().time() - began < 3.0, "it had two seconds of its own"
        door.close()
        last = await ended(made)
    assert last.reason == "drained"
    assert {party: last.ledger[party].received_ms for party in BOTH} == {"agent": 20, "customer": 40}


async def test_the_server_closes_under_a_call(tmp_path: Path) -> None:
    async with open_house(Settings(server=Server(data_dir=str(tmp_path))), Memory()) as made:
        joint = await made.open_leg(leg("agent"))
        await made.open_leg(leg("customer"))
        joint.call.hear("agent", mulaw([(True, 400)]))
    last = joint.call.log.lines[-1].entry.event
    assert isinstance(last, CallEnded) and last.reason == "drained"
    assert (made.calls, made.joints) == ({}, {})
    joint.leave("agent", "closed")
    assert joint.call.log.lines[-1].entry.event is last, "nothing is said after the end"


# ---- by time of arrival

Arrivals = list[tuple[float, Party, bytes]]
"""When it comes, in ms; whose; what."""
FRAME_MS = 20


def sent(party: Party, pieces: list[tuple[int, Pattern]], late_ms: Iterator[float] | None = None) -> Arrivals:
    """20 ms messages of pieces that begin at these times, nothing sent between; each may be late, none overtakes."""
    late_ms = late_ms or repeat(0.0)
    arrivals: Arrivals = []
    last = 0.0
    for start_ms, pattern in pieces:
        data = mulaw(pattern)
        for n in range(0, len(data), 8 * FRAME_MS):
            last = max(last, start_ms + n // 8 + FRAME_MS + next(late_ms))
            arrivals.append((last, party, data[n : n + 8 * FRAME_MS]))
    return arrivals


async def play(made: Scene, *legs: Arrivals) -> CallEnded:
    """All legs' messages at their times, then the end."""
    began = made.clock.now
    for at_ms, party, data in sorted(chain(*legs), key=lambda each: each[0]):
        made.clock.now = began + at_ms / 1000
        made.call.hear(party, data)
        await asyncio.sleep(0)
    made.given = {party: b"".join(data for _, whose, data in chain(*legs) if whose == party) for party in BOTH}
    return await made.end()


async def test_a_leg_that_sends_nothing_while_it_is_silent_keeps_the_others_time() -> None:
    says: dict[Party, list[int]] = {"agent": [1_000, 6_000, 15_000], "customer": [2_500, 8_000, 17_000]}
    silent = sent("agent", [(at, [(True, 1_000), (False, 160)]) for at in says["agent"]])
    steady = sent("customer", [(0, [(False, 2_500), (True, 1_000), (False, 4_500), (True, 1_000), (False, 8_000),
                                    (True, 1_000), (False, 600)])])  # fmt: skip
    async with scene() as made:
        last = await play(made, silent, steady)
    for party, starts in says.items():
        heard = [final.start_ms for final in made.finals(party)]
        lead = [240 if party == "customer" else 0] * 3  # silence before speech belongs to it, where it came
        assert heard == pytest.approx([at - ms for at, ms in zip(starts, lead, strict=True)], abs=40)
    assert {each.party for each in made.events(Missing)} == {"agent"}
    holes = [edge for each in made.events(Missing) for edge in (each.start_ms, each.end_ms)]
    assert holes == pytest.approx([2_160, 6_000, 7_160, 15_000], abs=40)
    assert last.ledger["agent"].received_ms == 3_480
    assert last.ledger["agent"].missing_ms == pytest.approx(11_680, abs=80)
    assert last.duration_ms == 18_600


async def test_a_leg_that_comes_late_begins_when_it_came() -> None:
    async with scene() as made:
        await play(
            made,
            sent("customer", [(0, [(False, 6_000)])]),
            sent("agent", [(4_000, [(True, 1_000), (False, 600)])]),
        )
    assert [final.start_ms for final in made.finals("agent")] == [pytest.approx(4_000, abs=20)]
    assert made.events(Missing) == []


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), worst_ms=st.integers(0, 400), stall_ms=st.integers(0, 3_000), at=st.integers(20, 90))
def test_jitter_and_bursts_stretch_nothing(seed: int, worst_ms: int, stall_ms: int, at: int) -> None:
    dice = random.Random(seed)
    late = chain(
        (dice.uniform(0, worst_ms) for _ in range(at)), [float(stall_ms)], iter(lambda: dice.uniform(0, 20), 99)
    )
    pattern: Pattern = [(False, 500), (True, 1_200), (False, 900), (True, 800), (False, 1_600)]

    async def both() -> None:
        async with scene() as made:
            last = await play(made, sent("agent", [(0, pattern)], late), sent("customer", [(0, pattern)]))
        assert made.events(Missing) == []
        times = {party: [(t.start_ms, t.end_ms) for t in made.finals(party)] for party in BOTH}
        assert [start for start, _ in times["agent"]] == [start for start, _ in times["customer"]]
        assert last.ledger["agent"].received_ms == 5_000
        assert last.duration_ms == 5_000

    asyncio.run(both())


@settings(max_examples=15, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(300, 1_500), st.integers(0, 4_000)), min_size=1, max_size=6),
    seed=st.integers(0, 10**6),
)
def test_the_clocks_agree_within_what_may_be_jitter(pieces: list[tuple[int, int]], seed: int) -> None:
    """A hole of less than 600 ms may be the network's; it is made up for as soon as more than that is missing."""
    dice = random.Random(seed)
    at_ms, spoken = 500, []
    for length_ms, pause_ms in pieces:
        spoken.append((at_ms, length_ms // 20 * 20))
        at_ms += length_ms // 20 * 20 + pause_ms
    late = iter(lambda: dice.uniform(0, 60), 99)

    async def listen() -> None:
        async with scene() as made:
            first: Arrivals = [(20, "customer", mulaw([(False, 20)]))]
            last = await play(made, first, sent("agent", [(start, [(True, ms)]) for start, ms in spoken], late))
        assert last.ledger["agent"].received_ms == sum(ms for _, ms in spoken)
        edges = [(start, start + ms) for start, ms in spoken]
        for final in made.finals("agent"):
            assert any(start - 700 <= final.start_ms <= end + 100 for start, end in edges)
            assert any(start - 700 <= final.end_ms <= end + 100 for start, end in edges)
        for hole in made.events(Missing):
            assert hole.end_ms - hole.start_ms > 300
        position = made.call._sides["agent"].timeline.position_ms
        assert position is not None and -700 <= position - edges[-1][1] <= 100

    asyncio.run(listen())


# ---- announced


def test_a_stream_is_who_it_was_announced_as_for_a_day() -> None:
    clock = Clock()
    announced = Announced(clock)
    announced.add("u1", "c-1", "agent")
    announced.add("u1", "c-2", "customer")
    assert announced.of("u1") == ("c-2", "customer") == announced.of("u1")
    assert announced.of("u2") is None
    clock.now += KEPT_S + 1
    assert announced.of("u1") is None
    announced.add("u3", "c-3", "agent")
    assert list(announced._legs) == ["u3"]


def test_of_many_announced_only_the_newest_are_kept() -> None:
    announced = Announced(Clock())
    for n in range(MOST_ANNOUNCED + 5):
        announced.add(f"u{n}", "c", "agent")
    assert len(announced._legs) == MOST_ANNOUNCED
    assert announced.of("u4") is None and announced.of("u5")
