"""Whoever is to be told is told: in order, at least once, whatever the receiver or this process does meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assist import config, replay
from assist.audio import Party
from assist.conversation import Transcript
from assist.errors import ConfigError, StoreFailed
from assist.events import AnyEvent, CallEnded, CallStarted, Entry, Line, Reviewed, Transcribed, line
from assist.metrics import Metrics
from assist.stores.memory import Memory
from assist.stores.outbox import Outbox
from assist.webhooks import MOST_CALLS, Pace, Webhooks, off
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests import outage
from tests.receiver import SECRET, Receiver
from tests.wire import hello, say, until

PACE = Pace(try_s=10, first_s=0.05, longest_s=0.2, look_s=0.2)
IMPATIENT = Pace(try_s=0.5, first_s=0.05, longest_s=0.2, look_s=0.2)
STARTED = CallStarted("2026-11-25T10:00:00.000+00:00", "plain", ("agent", "customer"), "mulaw", 8_000, "scripted")
ENDED = CallEnded("bye", 1000, {}, {})


def said(number: int, stage: Any = "final") -> Transcribed:
    party: Party = "agent" if number % 2 else "customer"
    return Transcribed(Transcript(f"u{number}", party, number, number + 1, "so", stage=stage))


def call_of(call: str, finals: int) -> list[Line]:
    """A call with a partial before each final: only every other entry is told."""
    events: list[AnyEvent] = [STARTED]
    for number in range(finals):
        events += [said(number, "partial"), said(number)]
    return [line(Entry(call, seq, seq, event)) for seq, event in enumerate([*events, ENDED], 1)]


def wanted(lines: list[Line]) -> list[int]:
    """The seqs that are told: finals and the end."""
    return [made.entry.seq for made in lines[2::2]] + [lines[-1].entry.seq]


def wait(ready: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Until it is so, or the test fails."""
    end = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def telling(
    receiver: Receiver, store: Memory, folder: Path, pace: Pace = PACE, give_up_h: float = 72.0
) -> Iterator[Webhooks]:
    """The thread at work, on an outbox that may be there already."""
    settings = config.Webhooks(url=receiver.url, secret=SECRET, give_up_h=give_up_h)
    webhooks = Webhooks(settings, store, Outbox(folder / "webhooks.db"), Metrics(), pace)
    webhooks.open()
    try:
        yield webhooks
    finally:
        webhooks.close()


def keep(webhooks: Webhooks, store: Memory, *lines: Line) -> None:
    store.append(lines)
    for made in lines:
        webhooks.kept(made.entry)


def mixed(calls: list[list[Line]], seed: int) -> list[Line]:
    """Their lines as they would come: each call's in order, the calls in any."""
    dice = random.Random(seed)
    left = [list(lines) for lines in calls]
    found = []
    while left:
        chosen = dice.choice(left)
        found.append(chosen.pop(0))
        left = [lines for lines in left if lines]
    return found


def test_calls_are_told_in_order_signed_and_once_while_all_is_well(tmp_path: Path) -> None:
    calls = [call_of(f"c{n}", 12) for n in range(10)]
    receiver, store = Receiver(), Memory()
    with receiver.up(), telling(receiver, store, tmp_path) as webhooks:
        for made in mixed(calls, 1):
            keep(webhooks, store, made)
        wait(lambda: len(receiver.taken) >= sum(len(wanted(lines)) for lines in calls))
    for lines in calls:
        seqs = [e["data"]["seq"] for e in receiver.taken if e["subject"] == lines[0].entry.call]
        assert seqs == wanted(lines)
    assert receiver.forged == 0
    assert len({event["id"] for event in receiver.taken}) == len(receiver.taken)


@pytest.mark.parametrize("status", [500, 302, 404, 429])
def test_what_is_refused_is_sent_again_and_nothing_overtakes_it(tmp_path: Path, status: int) -> None:
    """A redirect is a refusal too: who is told was named in the settings."""
    dice = random.Random(status)
    calls = [call_of(f"c{n}", 6) for n in range(4)]
    receiver, store = Receiver(lambda event: status if dice.random() < 0.4 else 200), Memory()
    with receiver.up(), telling(receiver, store, tmp_path) as webhooks:
        for made in mixed(calls, 2):
            keep(webhooks, store, made)
        wait(lambda: len(receiver.taken) >= sum(len(wanted(lines)) for lines in calls))
    for lines in calls:
        assert receiver.seqs(lines[0].entry.call) == wanted(lines)
    assert len(receiver.asked) > len(receiver.taken) == len({event["id"] for event in receiver.taken})
    text = webhooks._metrics.text().decode()
    assert f'assist_webhooks_failed_total{{why="{status}"}}' in text
    assert 'assist_webhooks_delivered_total{type="call.ended"} 4.0' in text


def test_a_receiver_that_is_down_or_hangs_costs_nothing_but_time(tmp_path: Path) -> None:
    lines = call_of("c", 20)
    hang = threading.Event()
    receiver, store = Receiver(lambda event: 200 if hang.wait(1.0) else 500), Memory()
    with telling(receiver, store, tmp_path, IMPATIENT) as webhooks:
        keep(webhooks, store, *lines[:15])
        wait(lambda: 'why="connection"' in webhooks._metrics.text().decode())  # nobody listens
        with receiver.up():
            keep(webhooks, store, *lines[15:30])
            wait(lambda: len(receiver.asked) >= 2)  # it hangs beyond `try_s`
            assert not receiver.taken
        with receiver.up():
            hang.set()
            keep(webhooks, store, *lines[30:])
            wait(lambda: receiver.seqs("c") == wanted(lines))
    text = webhooks._metrics.text().decode()
    assert 'why="timeout"' in text and 'why="connection"' in text


def test_a_restart_goes_on_where_the_last_one_stopped_and_tells_no_past(tmp_path: Path) -> None:
    past, lines = call_of("past", 5), call_of("c", 10)
    receiver, store = Receiver(), Memory()
    store.append(past)
    with receiver.up():
        with telling(receiver, store, tmp_path) as webhooks:
            keep(webhooks, store, *lines[:10])
            wait(lambda: len(receiver.taken) >= 4)
        store.append(lines[10:])  # kept while nobody was there to tell
        with telling(receiver, store, tmp_path):
            wait(lambda: receiver.seqs("c") == wanted(lines))
        assert not receiver.seqs("past"), "what was there before is not told"
        assert len(receiver.taken) == len(wanted(lines)), "and nothing twice"
        with telling(receiver, store, tmp_path) as webhooks:
            late = line(Entry("past", len(past) + 1, 0, Reviewed("confirmed", "", "ann")))
            keep(webhooks, store, late)
            time.sleep(0.5)
    assert len(receiver.taken) == len(wanted(lines)), "reviews were not asked for"


@pytest.mark.parametrize("switched_off", [False, True])
def test_a_new_receiver_is_not_sent_the_past(tmp_path: Path, switched_off: bool) -> None:
    """Another address is new; so is the same one after a start without webhooks."""
    before, meanwhile, after = call_of("before", 2), call_of("meanwhile", 2), call_of("after", 2)
    first, store = Receiver(lambda event: 500), Memory()
    with first.up(), telling(first, store, tmp_path) as webhooks:
        keep(webhooks, store, *before)
        wait(lambda: first.asked)  # and it takes nothing
    store.append(meanwhile)
    if switched_off:
        off(tmp_path / "webhooks.db")
        first.answer = lambda event: 200
    second = first if switched_off else Receiver()
    with second.up(), telling(second, store, tmp_path) as webhooks:
        keep(webhooks, store, *after)
        wait(lambda: second.seqs("after") == wanted(after))
        assert {event["subject"] for event in second.taken} == {"after"}
    store.append(call_of("outage", 2))
    with second.up(), telling(second, store, tmp_path):
        wait(lambda: second.seqs("outage"))  # an outage is not an end


def test_what_can_be_told_at_once_is_told_before_the_end(tmp_path: Path) -> None:
    lines = call_of("c", 3)
    receiver, store = Receiver(), Memory()
    with receiver.up():
        with telling(receiver, store, tmp_path) as webhooks:
            keep(webhooks, store, *lines)
        assert receiver.seqs("c") == wanted(lines)
    began = time.monotonic()
    with telling(receiver, store, tmp_path) as webhooks:  # and where nobody listens, the end does not wait
        keep(webhooks, store, *call_of("d", 3))
        time.sleep(0.3)
    assert time.monotonic() - began < 3.0


class Damaged(Memory):
    """A store that cannot read one call's log the first few times."""

    def __init__(self, call: str, error: Exception) -> None:
        super().__init__()
        self.call_at_fault, self.errors = call, [error] * 3

    def read(self, call: str, after: int = 0, limit: int | None = None) -> list[Line]:
        if call == self.call_at_fault and self.errors:
            raise self.errors.pop()
        return super().read(call, after, limit)


@pytest.mark.parametrize("error", [StoreFailed("a damaged entry"), ValueError("nobody thought of this")])
def test_a_log_that_cannot_be_read_holds_up_no_other(tmp_path: Path, error: Exception) -> None:
    good, bad = call_of("good", 5), call_of("bad", 5)
    receiver, store = Receiver(), Damaged("bad", error)
    with receiver.up(), telling(receiver, store, tmp_path) as webhooks:
        keep(webhooks, store, *bad, *good)
        wait(lambda: receiver.seqs("good") == wanted(good) and receiver.seqs("bad") == wanted(bad))
    assert not store.errors


def test_410_is_the_end_until_a_replay(tmp_path: Path) -> None:
    lines = call_of("c", 4)
    receiver, store = Receiver(lambda event: 410), Memory()
    with receiver.up(), telling(receiver, store, tmp_path) as webhooks:
        keep(webhooks, store, *lines[:6])
        wait(lambda: webhooks.notice)
        keep(webhooks, store, *lines[6:])
        time.sleep(0.6)
        assert len(receiver.asked) == 1 and "127.0.0.1 wants no more" in webhooks.notice
        receiver.answer = lambda event: 200
        assert command(tmp_path, receiver) == (0, "0 dead letters were taken")
        wait(lambda: receiver.seqs("c") == wanted(lines))
        assert not webhooks.notice
    with receiver.up(), telling(receiver, store, tmp_path):
        time.sleep(0.4)
    assert len(receiver.taken) == len(wanted(lines))


def test_410_outlives_a_restart(tmp_path: Path) -> None:
    receiver, store = Receiver(lambda event: 410), Memory()
    with receiver.up():
        with telling(receiver, store, tmp_path) as webhooks:
            keep(webhooks, store, *call_of("c", 2))
            wait(lambda: webhooks.notice)
        with telling(receiver, store, tmp_path) as webhooks:
            wait(lambda: webhooks.notice)
            time.sleep(0.4)
    assert len(receiver.asked) == 1


def command(folder: Path, receiver: Receiver) -> tuple[int, str]:
    """`python -m assist.webhooks replay` on this folder."""
    ours = {
        "ASSIST_SERVER_DATA_DIR": str(folder),
        "ASSIST_WEBHOOKS_URL": receiver.url,
        "ASSIST_WEBHOOKS_SECRET": SECRET,
    }
    done = subprocess.run(
        [sys.executable, "-m", "assist.webhooks", "replay"],
        env={**os.environ, **ours},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, (done.stdout or done.stderr).strip()


def test_what_is_given_up_is_kept_and_can_be_sent_again(tmp_path: Path) -> None:
    lines = call_of("c", 6)
    bad = {wanted(lines)[1], wanted(lines)[3]}
    receiver, store = Receiver(lambda event: 500 if event["data"]["seq"] in bad else 200), Memory()
    with receiver.up(), telling(receiver, store, tmp_path, give_up_h=0.3 / 3600) as webhooks:
        keep(webhooks, store, *lines)
        wait(lambda: receiver.seqs("c") == [seq for seq in wanted(lines) if seq not in bad])
        assert b"assist_webhooks_dead_total 2.0" in webhooks._metrics.text()
        assert command(tmp_path, receiver) == (1, "0 dead letters were taken; the next was refused: 500")
        receiver.answer = lambda event: 200
        assert command(tmp_path, receiver) == (0, "2 dead letters were taken")
        assert command(tmp_path, receiver) == (0, "0 dead letters were taken")
    assert receiver.seqs("c")[-2:] == sorted(bad)
    asked = [event["id"] for event in receiver.asked if event["data"]["seq"] in bad]
    assert len(set(asked)) == 2, "one event keeps one id"
    assert receiver.forged == 0


def test_more_calls_than_are_held_in_memory_are_told_all_the_same(tmp_path: Path) -> None:
    calls = [call_of(f"c{n}", 0) for n in range(MOST_CALLS + 300)]
    receiver, store = Receiver(), Memory()
    with telling(receiver, store, tmp_path) as webhooks:
        for lines in calls:
            keep(webhooks, store, *lines)
        assert len(webhooks._fresh) <= MOST_CALLS
        time.sleep(0.5)
        assert len(webhooks._tasks) <= MOST_CALLS
        with receiver.up():
            wait(lambda: len({event["subject"] for event in receiver.taken}) == len(calls), 60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "http://example.com/hook"}, "https, or http on this machine"),
        ({"url": "ftp://127.0.0.1/"}, "https, or http on this machine"),
        ({"url": "https://"}, "https, or http on this machine"),
        ({"url": "http://[::"}, "webhooks.url"),
        ({"url": "http://127.0.0.1.example.com/"}, "https, or http on this machine"),
        ({"secret": ""}, "webhooks.secret"),
        ({"events": ("call.ended", "everything")}, "unknown everything"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    good = {"url": "http://127.0.0.1:9/", "secret": SECRET}
    outbox = Outbox(tmp_path / "webhooks.db")
    with pytest.raises(ConfigError, match=message):
        Webhooks(config.Webhooks(**{**good, **change}), Memory(), outbox, Metrics())
    outbox.close()


async def test_a_start_without_webhooks_makes_its_receiver_new(tmp_path: Path, scripted: dict[str, str]) -> None:
    receiver = Receiver()
    without = {**scripted, "ASSIST_MIND_ANALYSERS": "[]"}
    told = {**without, "ASSIST_WEBHOOKS_URL": receiver.url, "ASSIST_WEBHOOKS_SECRET": SECRET}
    with receiver.up():
        for call, settings in (("c-1", told), ("c-2", without), ("c-3", told)):
            server = await asyncio.to_thread(door.start, tmp_path, settings)
            try:
                await say(server.ws, [hello(call), {"type": "bye"}])
            finally:
                await asyncio.to_thread(server.stop)
    assert [event["subject"] for event in receiver.taken] == ["c-1", "c-3"]


@pytest.mark.timeout(240)
async def test_no_event_is_lost_or_overtaken_though_server_and_receiver_are_killed(
    tmp_path: Path, scripted: dict[str, str]
) -> None:
    """Two calls over a real server: it is killed twice, and the receiver is down, failing, and then well."""
    dice = random.Random(20261125)
    receiver = Receiver(lambda event: 200 if dice.random() < 0.7 else 503)
    settings = {
        **scripted,
        "ASSIST_MIND_ANALYSERS": '["topic"]',
        "ASSIST_WEBHOOKS_URL": receiver.url,
        "ASSIST_WEBHOOKS_SECRET": SECRET,
        "ASSIST_WEBHOOKS_EVENTS": '["transcript.final", "suggestions.shown", "call.ended"]',
    }
    names = {"Transcribed", "Suggested", "CallEnded"}
    recording = replay.read(SHIPPED)

    async def killed(server: door.Door, call: str, events: int) -> None:
        """Play until so many of the call's entries are in the log, then SIGKILL: it takes those not yet on disk."""
        playing = asyncio.create_task(replay.play(recording, server.ws, call=call, speed=15))
        await until(lambda: len(told(server, call)) >= events, 60)
        server.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(server.process.wait, 10)
        await asyncio.gather(playing, return_exceptions=True)

    def told(server: door.Door, call: str) -> list[int]:
        """What the log says should have been told."""
        if not any(each["call"] == call for each in server.get("/calls")["calls"]):
            return []
        return [
            e["seq"]
            for e in server.get(f"/calls/{call}/log")["entries"]
            if e["event"]["type"] in names and e["event"].get("transcript", {}).get("stage", "final") == "final"
        ]

    server = await asyncio.to_thread(door.start, tmp_path, settings)
    try:
        await killed(server, "one", 9)  # nobody listens yet
        assert not receiver.asked
        with receiver.up():
            server = await asyncio.to_thread(door.start, tmp_path, settings)
            await killed(server, "two", 11)
        server = await asyncio.to_thread(door.start, tmp_path, settings)
        with receiver.up():
            wholes = {call: told(server, call) for call in ("one", "two")}
            await until(lambda: all(len(receiver.seqs(call)) >= len(seqs) for call, seqs in wholes.items()), 90)
        assert {call: receiver.seqs(call) for call in wholes} == wholes
        assert all(len(seqs) >= 5 for seqs in wholes.values()) and receiver.forged == 0
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()


def test_a_receiver_that_is_away_over_a_restart_misses_nothing(tmp_path: Path) -> None:
    """`python -m tests.outage` does it for ten minutes."""
    found = outage.run(tmp_path, 0.1, every_s=0.5)
    assert found["restarted"] and found["calls"] > 1 and found["events"] > found["calls"]
    assert (found["lost"], found["calls_out_of_order"], found["forged"]) == (0, 0, 0)
