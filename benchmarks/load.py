"""A server under calls that come and go, for as long as asked: python -m benchmarks.load --minutes 60 --calls 8

A real server in its own process, a generator in another (benchmarks/pace.py). Calls arrive as a Poisson process, so
that they do not wait for one another (`--calls` is how many are live on average), hold for a random time of
`--hold_s` on average and hang up: with a goodbye, with a clean close, or with a reset, in the shares of ENDINGS. Every
call has a subscriber that reads; SLOW and DEAF are the shares of calls that have one more, which reads a message a
second, or never.

What must hold is in `failed`, empty where all of it does: no final lost (a turn of the script that was sent whole, or
speech that the server told of, without its final at the subscriber), no gap in any call's books, nothing refused.
Every `--sample_s` the server is looked at (benchmarks/vitals.py). Growth is counted after a warm-up of a third of the
run, 10 minutes at most, twice: the last tenth's median against that of the tenth after the warm-up, and by least
squares over time beside the number of live calls, so that a busier end is no leak. It is judged where the run went on
for 20 minutes after the warm-up: before, a server still grows into its work (models that load at the first turn that
needs them, the past calls whose logs it remembers). Descriptors and tasks are judged always: when all calls have
gone they must be as many as before the first one came.

`--overload 2` asks whether a server that is offered more than its door lets in keeps its word: half the calls for
`--calm_s`, then X times `--calls` for `--minutes`, then half the calls again. The door lets in `--calls`
(`--max_calls 0`: as many as the server's own judgement of its load admits). The rest must be refused by name, no
accepted final lost, and the wait for finals be back to normal within BACK_S of the load's end: it is back after the
last five seconds of speech whose median wait lies above the 95th percentile of the time before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket as sockets
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from assist import replay
from assist.audio import FRAME_MS
from assist.errors import BadMessage
from assist.events import CallEnded, Entry, Faltered, Missing, Skipped, SpeechStarted, Transcribed
from benchmarks import door
from benchmarks.calls import SHIPPED, Script, Turn, for_scripted, script_of
from benchmarks.capacity import whole_cpu_s
from benchmarks.follow import Received, follow, last_of, looped
from benchmarks.latency import is_random
from benchmarks.make_weights import TOKENS_PER_S
from benchmarks.make_weights import found as made
from benchmarks.pace import LATE_MS, Ending, due_s, tape
from benchmarks.report import RESULTS, ROOT, Machine, finish, percentile, table
from benchmarks.vitals import Vitals, drift, lag_p99_ms, look, named, percent, tenths

ENDINGS: Final[dict[Ending, float]] = {"bye": 0.6, "close": 0.2, "reset": 0.2}
SLOW, DEAF = 0.15, 0.15
SHORTEST_S, LONGEST = 5.0, 4.0
"""No call is shorter, none longer than so many times the mean."""
HUNG_UP_MS: Final = 360
"""Speech that ends so shortly before its call is final at once, without the silence that others wait for."""
RESET_MS: Final = 1_000
"""What was sent in the last moments before a reset may never have reached the server."""
JUDGED_S: Final = 1_200.0
"""Shorter runs say nothing about growth."""
BACK_S: Final = 10.0
WINDOW_S: Final = 5.0
LEAST: Final = 3
"""Finals in a window from which a median is taken."""
LATE_SHARE: Final = 0.05  # of the looks at the sender
GROWTH_PERCENT: Final = 2.0
END_S: Final = 150.0
RESUMES: Final = 5


@dataclass(frozen=True)
class Asked:
    """The command line."""

    minutes: float
    calls: int
    weights: str
    scripted: bool
    call: Path
    hold_s: float
    overload: float
    calm_s: float
    max_calls: int
    sample_s: float
    seed: int


@dataclass(frozen=True)
class Phase:
    """So many seconds in which `calls` are offered on average."""

    name: str
    length_s: float
    calls: float


@dataclass(frozen=True)
class Waited:
    """A final at the subscriber: when its speech was due, and what it waited."""

    due_s: float
    wait_ms: float
    queue_ms: float
    asr_ms: float


@dataclass
class Guest:
    """One call as we know it. `due_s`: when it arrives; `began`: when its first frame was due, 0 until let in."""

    call: str
    due_s: float
    first: int
    count: int
    ending: Ending
    began: float = 0.0
    audio_ms: int = 0
    refused: str = ""
    received: list[Received] = field(default_factory=list)
    followed: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Books:
    """What all calls came to."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    finals: list[Waited] = field(default_factory=list)
    turns: int = 0
    lost: list[str] = field(default_factory=list)
    """Call and end in ms of turns without a final."""
    faltered: int = 0
    gap_ms: float = 0.0
    unreceived_ms: float = 0.0
    """Sent and not in the books; resets, whose last frames nobody may have seen, left out."""
    without_books: list[str] = field(default_factory=list)
    arrivals: list[tuple[float, bool]] = field(default_factory=list)
    """When each call arrived, and whether it was let in."""


def phases(asked: Asked) -> list[Phase]:
    """What is offered, in order."""
    load_s = asked.minutes * 60
    if not asked.overload:
        return [Phase("steady", load_s, asked.calls)]
    calm = asked.calls / 2
    return [
        Phase("before", asked.calm_s, calm),
        Phase("overload", load_s, asked.calls * asked.overload),
        Phase("after", asked.calm_s, calm),
    ]


def arrivals(plan: Sequence[Phase], hold_s: float, frames: int, dice: random.Random) -> list[Guest]:
    """All calls of a run, earliest first; `due_s` counts from its start. `frames`: 0 where all begin at the first."""
    guests: list[Guest] = []
    phase_s = 0.0
    for phase in plan:
        at_s = phase_s + dice.expovariate(phase.calls / hold_s)
        while at_s < phase_s + phase.length_s:
            held_s = min(max(dice.expovariate(1 / hold_s), SHORTEST_S), LONGEST * hold_s)
            ending = dice.choices(list(ENDINGS), list(ENDINGS.values()))[0]
            first = dice.randrange(frames) if frames else 0
            guests.append(Guest(f"load-{len(guests) + 1}", at_s, first, int(held_s * 1000 / FRAME_MS), ending))
            at_s += dice.expovariate(phase.calls / hold_s)
        phase_s += phase.length_s
    return guests


class Phones:
    """The other process, and the subscribers of its calls."""

    def __init__(self, process: Process, url: str, script: Script | None, duration_ms: int, seed: int) -> None:
        self.books = Books()
        self.late_ms: list[float] = []
        self._process = process
        self._url = url
        self._turns = script.turn if script else []
        self._duration_ms = duration_ms
        self._dice = random.Random(seed + 1)
        self._guests: dict[str, Guest] = {}
        self._left = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def begin(cls, url: str, recording: Path, script: Script | None, duration_ms: int, seed: int) -> Phones:
        """Start the process."""
        command = [sys.executable, "-m", "benchmarks.pace", str(recording), url]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=2**26)
        return cls(process, url, script, duration_ms, seed)

    def ring(self, guest: Guest) -> None:
        """This call arrives now."""
        self._guests[guest.call] = guest
        order = {"call": guest.call, "first": guest.first, "delay_s": 0, "count": guest.count, "ending": guest.ending}
        self._tell(order)

    def ask_lateness(self) -> None:
        """Its p99 since the last time, for `late_ms`."""
        self._tell({"lateness": True})

    async def end(self, within_s: float) -> float:
        """Every call hangs up by itself; the processor time that the generator took."""
        await self._until_empty(within_s)
        self._tell({"end": True})
        used = float((await asyncio.wait_for(self._ended, END_S))["cpu_s"])
        await self._until_empty(END_S)
        self.books.without_books += sorted(self._guests)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._process.wait()
        await self._reading
        return used

    async def _until_empty(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._guests:
                    self._left.clear()
                    await self._left.wait()

    def _leave(self, guest: Guest) -> None:
        del self._guests[guest.call]
        self._left.set()

    def kill(self) -> None:
        """At the end, whatever happened."""
        if self._process.returncode is None:
            self._process.kill()

    def _tell(self, order: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout
        async for raw in self._process.stdout:
            said = json.loads(raw)
            if "opened" in said:
                guest = self._guests[said["opened"]]
                guest.began = said["began"]
                self._spawn(self._attend(guest))
            elif "refused" in said:
                self._turned_away(self._guests[said["refused"]], said["why"].get("code", "unnamed"))
            elif "hung_up" in said:
                guest = self._guests[said["hung_up"]]
                guest.audio_ms = said["audio_ms"]
                guest.over.set()
            elif "ended" in said:
                self._ended.set_result(said)
            elif said["lateness_p99_ms"] is not None:
                self.late_ms.append(said["lateness_p99_ms"])

    def _turned_away(self, guest: Guest, why: str) -> None:
        self.books.refused[why] += 1
        if guest.began:  # let in, and cut off: what was accepted must still be heard to the end
            guest.refused = why
            guest.over.set()
        else:
            self.books.arrivals.append((guest.due_s, False))
            self._leave(guest)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _attend(self, guest: Guest) -> None:
        """Its subscribers, and its books when it is over."""
        self.books.accepted += 1
        self.books.arrivals.append((guest.due_s, True))
        die = self._dice.random()
        if die < SLOW + DEAF:
            self._spawn(linger(self._url, guest.call, pause_s=1.0 if die < SLOW else None))
        for _ in range(RESUMES):  # a page that is cut off resumes
            await follow(self._url, guest.call, guest.received)
            if guest.received and isinstance(guest.received[-1].entry.event, CallEnded):
                break
            guest.received.clear()
            await asyncio.sleep(0.5)
        await guest.over.wait()
        enter(self.books, guest, looped(self._turns, self._duration_ms, guest.first, guest.audio_ms))
        self._leave(guest)


async def linger(url: str, call: str, pause_s: float | None) -> None:
    """A subscriber with a small window that reads one message in `pause_s`, or (None) none at all, until it is cut."""
    line = sockets.socket()
    line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    line.setblocking(False)
    host, port = url.removeprefix("ws://").split(":")
    try:
        await asyncio.get_running_loop().sock_connect(line, (host, int(port)))
        async with connect(
            f"{url}/calls/{call}/events?after=0",
            sock=line, compression=None, max_queue=1, ping_interval=None, close_timeout=1, max_size=2**22,
        ) as socket:  # fmt: skip
            if pause_s is None:
                await socket.wait_closed()
            while True:
                await socket.recv()
                await asyncio.sleep(pause_s or 0.0)
    except (OSError, TimeoutError, WebSocketException):
        pass  # cut off, as it deserves
    finally:
        line.close()


def enter(books: Books, guest: Guest, turns: Sequence[Turn]) -> None:
    """One call's log into the books. `turns`: what the script says was sent of it."""
    entries = [got.entry for got in guest.received]
    ended = entries[-1].event if entries else None
    if not isinstance(ended, CallEnded):
        books.without_books.append(guest.call)
        return
    books.ended[ended.reason] += 1
    books.gap_ms += sum(abs(each.gap_ms) for each in ended.ledger.values())
    if guest.ending != "reset" and not guest.refused:
        books.unreceived_ms += sum(abs(guest.audio_ms - each.received_ms) for each in ended.ledger.values())
    finals = [(got, said) for got in guest.received if (said := got.said("final"))]
    begins = {(said.party, said.start_ms) for _, said in finals}
    for got, said in finals:
        # What was cut for its length or by hanging up has no end to wait from.
        if (said.party, said.end_ms) not in begins and said.end_ms < guest.audio_ms - HUNG_UP_MS:
            due, latency = due_s(guest.began, said.end_ms), got.entry.latency_ms
            books.finals.append(Waited(due, (got.at_s - due) * 1000, latency["queue"], latency["asr"]))
    sure_ms = guest.audio_ms - (RESET_MS if guest.ending == "reset" or guest.refused else 0)
    whole = moved([turn for turn in turns if turn.end_ms <= sure_ms], entries)
    books.turns += len(whole)
    books.lost += [f"{guest.call} {turn.party} {turn.end_ms}" for turn in whole if last_of(turn, finals) is None]
    books.lost += [f"{guest.call} {party} {start_ms}" for party, start_ms in unanswered(entries)]
    books.faltered += sum(isinstance(entry.event, Faltered) for entry in entries)


def moved(turns: Sequence[Turn], entries: Sequence[Entry]) -> list[Turn]:
    """The turns on the server's clock, which steps over what it thinks was never sent (a stall may look like it)."""
    holes = sorted((e.event for e in entries if isinstance(e.event, Missing)), key=lambda hole: hole.start_ms)
    found = []
    for turn in turns:
        start_ms, end_ms = turn.start_ms, turn.end_ms
        for hole in holes:
            if hole.party == turn.party:
                length_ms = hole.end_ms - hole.start_ms
                start_ms += length_ms if hole.start_ms <= start_ms else 0
                end_ms += length_ms if hole.start_ms <= end_ms else 0
        found.append(Turn(turn.party, start_ms, end_ms, turn.text))
    return found


def unanswered(entries: Sequence[Entry]) -> set[tuple[str, int]]:
    """Speech the server told of (party, start in ms) that has neither its final nor a stated reason for none."""
    told: set[tuple[str, int]] = set()
    answered: set[tuple[str, int]] = set()
    for entry in entries:
        match entry.event:
            case SpeechStarted(party, start_ms):
                told.add((party, start_ms))
            case Transcribed(transcript) if transcript.stage == "final":
                answered.add((transcript.party, transcript.start_ms))
            case Skipped(party, start_ms, _, "too_short"):
                answered.add((party, start_ms))
    return told - answered


def back_s(finals: Sequence[Waited], from_s: float, to_s: float, normal_ms: float | None) -> float | None:
    """Seconds after `from_s` until waits were normal for good: 0 where they never were not; None where unknown, as
    where most windows hold too few finals to tell."""
    windows = range(int((to_s - from_s) / WINDOW_S))
    last, told = 0.0, 0
    for n in windows:
        opens = from_s + n * WINDOW_S
        waits = [each.wait_ms for each in finals if opens <= each.due_s < opens + WINDOW_S]
        told += len(waits) >= LEAST
        if normal_ms is not None and len(waits) >= LEAST and (percentile(waits, 0.5) or 0.0) > normal_ms:
            last = (n + 1) * WINDOW_S
    return last if normal_ms is not None and 2 * told > len(windows) else None


def spans(finals: Sequence[Waited], looks: Sequence[Vitals], began: float, length_s: float) -> list[dict[str, Any]]:
    """The run in ten parts: waits of finals and what the server took."""
    found = []
    for n in range(10):
        low, high = n * length_s / 10, (n + 1) * length_s / 10
        seen = [each for each in looks if low <= each.at_s < high]
        waits = [each.wait_ms for each in finals if low <= each.due_s - began < high]
        row: dict[str, Any] = {"from_s": round(low), "finals": len(waits)}
        for share in (0.5, 0.95, 0.99):
            value = percentile(waits, share)
            row[f"vad_final_p{share * 100:.0f}_ms"] = None if value is None else round(value)
        for name in ("calls", "level", "rss_mb", "fds", "threads", "tasks"):
            row[name] = max((getattr(each, name) for each in seen), default=None)
        last_before = next((each for each in reversed(looks) if each.at_s < low), None)
        row["lag_p99_ms"] = lag_p99_ms(last_before.counts if last_before else {}, seen[-1].counts) if seen else None
        found.append(row)
    return found


def growth(looks: Sequence[Vitals], warm_s: float) -> dict[str, Any]:
    """What rose after the warm-up, by tenths and by least squares."""
    warm = [each for each in looks if each.at_s >= warm_s] or looks[-1:]
    at_s, calls = [each.at_s for each in warm], [each.calls for each in warm]
    found: dict[str, Any] = {"looks_after_warm_up": len(warm)}
    for name in ("rss_mb", "fds", "tasks", "threads"):
        values = [float(getattr(each, name)) for each in warm]
        first, last = tenths(values)
        found[f"{name}_first"], found[f"{name}_last"] = round(first, 1), round(last, 1)
        risen = drift(values, at_s, calls)
        found[f"{name}_drift"] = round(risen, 2)
        found[f"{name}_growth_percent"] = percent(last - first, first)
        found[f"{name}_drift_percent"] = percent(risen, first)
    return found


class Run:
    """One run: the arrivals, the looks, the document."""

    def __init__(self, server: door.Door, asked: Asked) -> None:
        self.asked = asked
        self.looks: list[Vitals] = []
        self.missed_looks = 0
        self._server = server
        self._began = 0.0

    async def __call__(self, script: Script | None) -> dict[str, Any]:
        asked, server = self.asked, self._server
        played = tape(replay.read(asked.call))
        plan = phases(asked)
        guests = arrivals(plan, asked.hold_s, 0 if asked.scripted else len(played.frames), random.Random(asked.seed))
        phones = await Phones.begin(server.ws, asked.call, script, played.duration_ms, asked.seed)
        try:
            self._began = time.monotonic()
            idle = await self._look()
            looking = asyncio.create_task(self._keep_looking(phones))
            used = whole_cpu_s(server)
            for guest in guests:
                await asyncio.sleep(max(0.0, self._began + guest.due_s - time.monotonic()))
                phones.ring(guest)
            length_s = sum(phase.length_s for phase in plan)
            await asyncio.sleep(max(0.0, self._began + length_s - time.monotonic()))
            used = (whole_cpu_s(server) - used) / length_s
            generator_s = await phones.end(LONGEST * asked.hold_s + END_S)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            after = await self._settle(idle)
        finally:
            phones.kill()
        facts = {"server_cores": round(used, 2), "generator_cores": round(generator_s / length_s, 3)}
        return {**facts, **self._document(phones, plan, idle, after)}

    async def _look(self) -> Vitals:
        pid, at_s = self._server.process.pid, time.monotonic() - self._began
        return await asyncio.to_thread(look, pid, self._server.url, at_s)

    async def _keep_looking(self, phones: Phones) -> None:
        while True:
            await asyncio.sleep(self.asked.sample_s)
            phones.ask_lateness()
            try:
                self.looks.append(await self._look())
            except (OSError, URLError):
                self.missed_looks += 1
            if len(self.looks) % max(1, int(60 / self.asked.sample_s)) == 1:
                self._tell(phones.books)

    def _tell(self, books: Books) -> None:
        seen = self.looks[-1]
        print(
            f"  {seen.at_s / 60:.1f} min: {seen.calls} live, {books.accepted} accepted, "
            f"{sum(books.refused.values())} refused, {len(books.finals)} finals, {len(books.lost)} lost, "
            f"{seen.rss_mb:.0f} MB, {seen.fds} descriptors, {seen.tasks} tasks",
            file=sys.stderr,
        )

    async def _settle(self, idle: Vitals) -> Vitals:
        """The server when all have gone; connections that nobody reads linger until their ping runs out."""
        for _ in range(60):
            seen = await self._look()
            if not seen.calls and not seen.subscribers and seen.tasks <= idle.tasks:
                break
            await asyncio.sleep(1)
        return seen

    def _document(self, phones: Phones, plan: Sequence[Phase], idle: Vitals, after: Vitals) -> dict[str, Any]:
        asked, books, looks = self.asked, phones.books, self.looks
        length_s = sum(phase.length_s for phase in plan)
        warm_s = min(600.0, length_s / 3)
        waits = [each.wait_ms for each in books.finals]
        live = [each for each in looks if each.at_s <= length_s]
        found: dict[str, Any] = {
            "accepted": books.accepted,
            "refused": dict(books.refused),
            "ended": dict(books.ended),
            "finals": len(books.finals),  # with an end to wait from
            "turns": books.turns,
            "finals_lost": len(books.lost),
            "lost": books.lost[:20],
            "faltered": books.faltered,
            "missing": named(after.counts.items(), "assist_anomalies_total").get("missing", 0),
            "gap_ms": round(books.gap_ms, 3),
            "unreceived_ms": round(books.unreceived_ms, 3),
            "calls_without_books": books.without_books,
            **{f"vad_final_p{s * 100:.0f}_ms": _rounded(percentile(waits, s)) for s in (0.5, 0.95, 0.99)},
            "lag_p99_ms": lag_p99_ms(idle.counts, live[-1].counts) if live else None,
            "slow_subscribers_cut": int(after.counts.get("assist_slow_subscribers_total", 0)),
            "errors": named(after.counts.items(), "assist_errors_total"),
            "sender_late_share": _share_late(phones.late_ms),
            "sender_late_worst_ms": _rounded(max(phones.late_ms, default=None)),
            "missed_looks": self.missed_looks,
            "warm_up_s": round(warm_s),
            "growth_judged": length_s - warm_s >= JUDGED_S,
            **growth(live, warm_s),
            "idle_before": _still(idle),
            "idle_after": _still(after),
            "spans": spans(books.finals, looks, self._began, length_s),
        }
        if asked.overload:
            found.update(self._overloaded(books, plan))
        found["failed"] = failed(found, asked)
        return found

    def _overloaded(self, books: Books, plan: Sequence[Phase]) -> dict[str, Any]:
        before, load, _ = plan
        opens, closes = before.length_s, before.length_s + load.length_s
        during = [let_in for due, let_in in books.arrivals if opens <= due < closes]
        at = self._began
        by_phase = {
            "before": [f.wait_ms for f in books.finals if f.due_s - at < opens],
            "during": [f.wait_ms for f in books.finals if opens <= f.due_s - at < closes],
            "after": [f.wait_ms for f in books.finals if f.due_s - at >= closes],
        }
        normal_ms = percentile(by_phase["before"], 0.95)
        return {
            **{f"vad_final_p95_{name}_ms": _rounded(percentile(waits, 0.95)) for name, waits in by_phase.items()},
            "refused_share": round(1 - sum(during) / len(during), 3) if during else None,
            "arrivals_in_overload": len(during),
            "back_to_normal_s": back_s(books.finals, at + closes, at + closes + self.asked.calm_s, normal_ms),
        }


def failed(found: dict[str, Any], asked: Asked) -> list[str]:
    """What must hold and does not, in words."""
    allowed = {"busy"} if asked.overload else set()
    unnamed = sorted(set(found["refused"]) - allowed)
    back = found.get("back_to_normal_s", 0.0)
    checks = (
        (found["finals_lost"], f"{found['finals_lost']} finals lost"),
        (found["gap_ms"] or found["unreceived_ms"], "books with a gap"),
        (found["calls_without_books"], "calls without books"),
        (found["faltered"], f"{found['faltered']} parts faltered"),
        (unnamed, f"calls refused or cut off: {', '.join(unnamed)}"),
        (not found["finals"], "nothing heard"),
        (found["rss_mb_growth_percent"] > GROWTH_PERCENT and _risen(found, "rss_mb"), "memory grows"),
        (_risen(found, "fds") or _more(found, "fds"), "descriptors grow"),
        (_risen(found, "tasks") or _more(found, "tasks"), "tasks grow"),
        (back is None or back > BACK_S, f"waits back to normal after {back} s"),
        (found["sender_late_share"] > LATE_SHARE, "the sender was late: not the server's figures"),
    )
    return [why for broke, why in checks if broke]


def _share_late(p99s_ms: Sequence[float]) -> float:
    """In which share of the looks at the sender one frame in a hundred was late."""
    return round(sum(each > LATE_MS for each in p99s_ms) / max(len(p99s_ms), 1), 3)


def _risen(found: dict[str, Any], name: str) -> bool:
    """More than live calls explain, by more than a few percent and more than the odd one."""
    drifted: float = found[f"{name}_drift"]
    return bool(found["growth_judged"]) and drifted > 3 and found[f"{name}_drift_percent"] > GROWTH_PERCENT


def _more(found: dict[str, Any], name: str) -> bool:
    """More after all calls have gone than before the first; two are left for what opens when first needed."""
    return bool(found["idle_after"][name] > found["idle_before"][name] + 2)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _still(seen: Vitals) -> dict[str, Any]:
    names = ("rss_mb", "fds", "threads", "tasks", "calls", "subscribers")
    return {name: getattr(seen, name) for name in names}


def settings(asked: Asked, script: Script | None, folder: Path) -> dict[str, str]:
    """What the server is told."""
    told: dict[str, str] = {}
    if asked.max_calls:
        told["ASSIST_INGEST_MAX_CALLS"] = str(asked.max_calls)
    if asked.scripted:
        assert script, "a scripted recogniser needs a script beside the recording"
        longest_ms = int(LONGEST * asked.hold_s * 1000)
        said = looped(script.turn, tape(replay.read(asked.call)).duration_ms, 0, longest_ms)
        words = for_scripted(Script(turn=said), folder / "words.json", delay_ms=100)
        return {**told, "ASSIST_RECOGNISER_KIND": "scripted", "ASSIST_RECOGNISER_SCRIPT": str(words)}
    told |= {"ASSIST_RECOGNISER_KIND": "whisper", "ASSIST_RECOGNISER_WEIGHTS": asked.weights}
    if is_random(asked.weights):
        told["ASSIST_RECOGNISER_TOKENS_PER_S"] = str(TOKENS_PER_S)
    return told


def run(asked: Asked, data_dir: Path) -> dict[str, Any]:
    """The whole of it against a server of its own. The document, without the machine."""
    script = script_of(asked.call)
    with door.running(data_dir, settings(asked, script, data_dir)) as server:
        engine = str(server.get("/readyz")["recogniser"])
        found = asyncio.run(Run(server, asked)(script))
        status = server.stop()
    given = {name: getattr(asked, name) for name in ("minutes", "calls", "hold_s", "overload", "max_calls", "seed")}
    return {"call": asked.call.name, "engine": engine, **given, "endings": ENDINGS, "exit_status": status, **found}


def show(document: dict[str, Any]) -> None:
    """The table for people."""
    keys = ("from_s", "calls", "finals", "vad_final_p50_ms", "vad_final_p95_ms", "vad_final_p99_ms", "level",
            "lag_p99_ms", "rss_mb", "fds", "threads", "tasks")  # fmt: skip
    head = ("from s", "calls", "finals", "p50", "p95", "p99", "level", "lag p99", "MB", "descr.", "threads", "tasks")
    print(f"{document['engine']}; {document['calls']} calls, end of speech to final in ms; the highest of each part\n")
    print(table(head, [[span[key] for key in keys] for span in document["spans"]]))
    print(
        f"\n{document['accepted']} calls accepted, refused {document['refused'] or 0}; {document['finals']} finals, "
        f"{document['finals_lost']} lost of {document['turns']} turns; gaps {document['gap_ms']} ms; "
        f"memory {document.get('rss_mb_growth_percent')} % after {document['warm_up_s']} s of warm-up "
        f"({document.get('rss_mb_drift_percent')} % by least squares)"
    )
    if document["overload"]:
        print(
            f"overload: {document['refused_share']} of {document['arrivals_in_overload']} refused; p95 before, during, "
            f"after {document['vad_final_p95_before_ms']}, {document['vad_final_p95_during_ms']}, "
            f"{document['vad_final_p95_after_ms']} ms; back to normal after {document['back_to_normal_s']} s"
        )
    print(f"FAILED: {'; '.join(document['failed'])}" if document["failed"] else "all that must hold held")


def asked_for() -> tuple[Asked, Path]:
    """The command line, and the folder for the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--calls", type=int, default=8, help="live on average; with --overload: the door's limit")
    parser.add_argument("--weights", default="weights/random-tiny", help="a name or a directory")
    parser.add_argument("--scripted", action="store_true", help="no model: the recogniser reads the script")
    parser.add_argument("--call", type=Path, default=SHIPPED, help="a two-channel recording; default: the shipped call")
    parser.add_argument("--hold_s", type=float, default=60.0, help="mean length of a call")
    parser.add_argument("--overload", type=float, default=0.0, metavar="X", help="offer X times --calls")
    parser.add_argument("--calm_s", type=float, default=60.0, help="before and after the overload")
    parser.add_argument("--max_calls", type=int, default=-1, help="the door's limit; 0: the server's default")
    parser.add_argument("--sample_s", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    given = vars(parser.parse_args())
    out: Path = given.pop("out")
    if given["max_calls"] < 0:
        given["max_calls"] = given["calls"] if given["overload"] else 0
    if not given["scripted"]:
        given["weights"] = made(given["weights"])
    given["call"] = given["call"].resolve()
    return Asked(**given), out


def main() -> int:
    asked, out = asked_for()
    machine = Machine()
    try:
        with tempfile.TemporaryDirectory() as folder:
            document = run(asked, Path(folder))
    except (BadMessage, RuntimeError, TimeoutError, OSError) as error:
        print(f"load: {error or 'no answer in time'}", file=sys.stderr)
        return 2
    show(document)
    finish("overload" if asked.overload else "load", document, machine, out)
    return 1 if document["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
