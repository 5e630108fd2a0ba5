"""How many calls at once: python -m benchmarks.capacity --weights weights/random-tiny

A real server in its own process, a generator in another (benchmarks/pace.py), and a ramp of two-channel calls that go
on at the pace of speech: `--start`, then `--step` more each time, each step held for `--hold_s` after a few seconds to
settle. Every call loops the recording from its own frame and starts at its own moment (seeded), so that they do not
speak in step. Finals only, unless `--partials`.

A step holds where the p95 of queue + compute of its finals (`p95_ms`) is at most a second, no call was refused, no
transcription failed and the generator's own p99 lateness is at most 10 ms. Speech belongs to the step in which it
ended; three seconds are waited for finals that are due, and a turn without one by then counts as three seconds. Beside
it stand what a person waits: `final_p95_ms` from the true end of speech (`vad_final_p95_ms` from where the server heard
it) to the final at a subscriber. `unaccounted_ms` compares the books of every call with what was sent.

With random weights the text is noise: the mind reads and searches it at full cost but suggests nothing. Generator and
subscriber share the cores with the server; what the generator took is `generator_cores`, and where the system lets it
it goes first (`generator_first`), because a phone platform would not compete with the server for its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assist import replay
from assist.errors import BadMessage
from assist.events import Faltered
from benchmarks import door
from benchmarks.calls import SHIPPED, Script, script_of
from benchmarks.follow import Received, Span, Waits, follow, looped, measure, unaccounted_ms
from benchmarks.latency import is_random
from benchmarks.make_weights import TOKENS_PER_S
from benchmarks.make_weights import found as made
from benchmarks.pace import LATE_MS, Tape, tape
from benchmarks.report import RESULTS, ROOT, Machine, finish, percentile, table

LIMIT_MS: Final = 1_000.0
GRACE_S: Final = 3.0
END_S: Final = 90.0


@dataclass(frozen=True)
class Asked:
    """The command line."""

    weights: str
    call: Path
    start: int
    step: int
    most: int
    hold_s: float
    settle_s: float
    partials: bool
    seed: int


@dataclass
class Line:
    """One call of the ramp, as its subscriber sees it."""

    first: int
    began: float = 0.0
    received: list[Received] = field(default_factory=list)


class Generator:
    """The other process: starts calls, says how late it was, ends them."""

    def __init__(self, process: Process, server: door.Door) -> None:
        self.lines: dict[str, Line] = {}
        self.refused: list[dict[str, Any]] = []
        self._process = process
        self._server = server
        self._following: list[asyncio.Task[None]] = []
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def begin(cls, server: door.Door, recording: Path) -> Generator:
        """Start the process."""
        command = [sys.executable, "-m", "benchmarks.pace", str(recording), server.ws]
        # Lines may be long: the goodbyes of all calls come as one.
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=2**24)
        return cls(process, server)

    async def _read(self) -> None:
        assert self._process.stdout
        async for raw in self._process.stdout:
            said = json.loads(raw)
            if "opened" in said:
                line = self.lines[said["opened"]]
                line.began = said["began"]
                following = follow(self._server.ws, said["opened"], line.received)
                self._following.append(asyncio.create_task(following))
            elif "refused" in said:
                self.refused.append(said)
            else:
                self._answers.put_nowait(said)

    def add(self, call: str, first: int, delay_s: float) -> None:
        """One more call, from frame `first` on, in so many seconds."""
        self.lines[call] = Line(first)
        self._tell({"call": call, "first": first, "delay_s": delay_s})

    async def late_ms(self) -> float:
        """p99 of its lateness since it was last asked."""
        self._tell({"lateness": True})
        return float((await asyncio.wait_for(self._answers.get(), 30))["lateness_p99_ms"] or 0.0)

    async def end(self) -> dict[str, Any]:
        """All calls say goodbye; what the server said of each, and the processor time all this took."""
        self._tell({"end": True})
        said = await asyncio.wait_for(self._answers.get(), END_S)
        await asyncio.gather(*self._following)
        await self._process.wait()
        await self._reading
        return said

    def kill(self) -> None:
        """At the end, whatever happened."""
        if self._process.returncode is None:
            self._process.kill()

    def _tell(self, order: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")


def cpu_s(pid: int, main_thread: bool = False) -> float:
    """Processor time that a process, or its main thread alone, has used; 0 where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/task/{pid}/stat" if main_thread else f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return 0.0
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def whole_cpu_s(server: door.Door) -> float:
    """Processor time that a server and the processes of its recogniser have used."""
    return sum(cpu_s(pid) for pid in (server.process.pid, *server.processes))


def judged(waits: Waits, late_ms: float, refused: int, faltered: int) -> dict[str, Any]:
    """One step's figures and, under `broke`, why it does not hold; "" where it does."""
    overdue = [GRACE_S * 1000] * waits.unheard
    found: dict[str, Any] = {"finals": len(waits.queue_compute), "overdue": waits.unheard, "refused": refused}
    for name, values in (
        ("queue_compute", [*waits.queue_compute, *overdue]),
        ("queue", waits.queue),
        ("compute", waits.compute),
        ("final", [*waits.final, *overdue]),
        ("vad_final", waits.vad_final),
        ("first_partial", waits.first_partial),
    ):
        for share in (0.5, 0.95):
            value = percentile(values, share)
            found[f"{name}_p{share * 100:.0f}_ms"] = None if value is None else round(value, 1)
    found["faltered"], found["sender_late_p99_ms"] = faltered, round(late_ms, 2)
    p95 = found["queue_compute_p95_ms"]
    reasons = (
        (late_ms > LATE_MS, "sender late"),
        (refused > 0, "calls refused"),
        (faltered > 0, "transcriptions failed"),
        (p95 is None, "nothing heard"),
        (p95 is not None and p95 > LIMIT_MS, "p95"),
    )
    found["broke"] = ", ".join(why for broke, why in reasons if broke)
    return found


async def hold(
    generator: Generator, server: door.Door, asked: Asked, script: Script | None, tape: Tape
) -> dict[str, Any]:
    """Measure the calls that are live for one step."""
    await asyncio.sleep(asked.settle_s)
    await generator.late_ms()
    span_from, used = time.monotonic(), whole_cpu_s(server)
    await asyncio.sleep(asked.hold_s)
    span = Span(span_from, time.monotonic())
    used = (whole_cpu_s(server) - used) / asked.hold_s
    late_ms = await generator.late_ms()
    await asyncio.sleep(GRACE_S)
    waits, faltered = Waits(), 0
    for line in generator.lines.values():
        if not line.began:  # it was refused, so nobody waits for its turns
            continue
        until_ms = int((span.to_s - line.began) * 1000)
        turns = looped(script.turn, tape.duration_ms, line.first, until_ms) if script else []
        waits.add(measure(line.received, line.began, turns, span))
        faltered += sum(isinstance(r.entry.event, Faltered) and r.at_s in span for r in line.received)
    level = (await asyncio.to_thread(server.get, "/readyz"))["level"]
    found = judged(waits, late_ms, len(generator.refused), faltered)
    return {"calls": len(generator.lines), **found, "level": level, "server_cores": round(used, 2)}


async def ramp(server: door.Door, asked: Asked, script: Script | None) -> dict[str, Any]:
    """Steps until one does not hold, then the books of all calls."""
    dice = random.Random(asked.seed)
    played = tape(replay.read(asked.call))
    began = time.monotonic()
    generator = await Generator.begin(server, asked.call)
    steps: list[dict[str, Any]] = []
    try:
        for calls in range(asked.start, asked.most + 1, asked.step):
            while len(generator.lines) < calls:
                first = dice.randrange(len(played.frames))
                generator.add(f"call-{len(generator.lines) + 1}", first, dice.uniform(0, asked.settle_s * 0.7))
            steps.append(await hold(generator, server, asked, script, played))
            print(f"  {calls} calls: p95 {steps[-1]['queue_compute_p95_ms']} ms {steps[-1]['broke']}", file=sys.stderr)
            if steps[-1]["broke"]:
                break
        wall_s = time.monotonic() - began
        ended = await generator.end()
    finally:
        generator.kill()
    good = [step for step in steps if not step["broke"]]
    best = good[-1] if good else steps[0]
    books = [unaccounted_ms(call["farewell"].get("ledger", {}), call["audio_ms"]) for call in ended["ended"]]
    silent = [call["call"] for call in ended["ended"] if call["audio_ms"] and not call["farewell"].get("ledger")]
    return {
        "calls": good[-1]["calls"] if good else 0,
        "p95_ms": best["queue_compute_p95_ms"],
        "final_p50_ms": best["final_p50_ms"],
        "final_p95_ms": best["final_p95_ms"],
        "vad_final_p95_ms": best["vad_final_p95_ms"],
        "unaccounted_ms": round(sum(books), 3),
        "calls_without_books": silent,
        "stopped_by": steps[-1]["broke"] or "most",
        "generator_cores": round(ended["cpu_s"] / wall_s, 3),
        "generator_first": ended["first"],
        "steps": steps,
    }


def run(asked: Asked, data_dir: Path) -> dict[str, Any]:
    """The ramp against a server of its own. The document, without the machine."""
    settings = {
        "ASSIST_RECOGNISER_KIND": "whisper",
        "ASSIST_RECOGNISER_WEIGHTS": asked.weights,
        "ASSIST_RECOGNISER_PARTIALS": str(asked.partials).lower(),
    }
    if is_random(asked.weights):
        settings["ASSIST_RECOGNISER_TOKENS_PER_S"] = str(TOKENS_PER_S)
    with door.running(data_dir, settings) as server:
        engine = str(server.get("/readyz")["recogniser"])
        found = asyncio.run(ramp(server, asked, script_of(asked.call)))
    steps = ("start", "step", "most", "settle_s", "hold_s", "partials", "seed")
    given = {**{name: getattr(asked, name) for name in steps}, "limit_ms": LIMIT_MS}
    return {"call": asked.call.name, "engine": engine, "weights": Path(asked.weights).name, **given, **found}


def show(document: dict[str, Any]) -> None:
    """The table for people."""
    keys = ("calls", "finals", "queue_p95_ms", "queue_compute_p50_ms", "queue_compute_p95_ms", "final_p50_ms",
            "final_p95_ms", "overdue", "level", "server_cores", "sender_late_p99_ms", "broke")  # fmt: skip
    head = ("calls", "finals", "queue p95", "q+c p50", "q+c p95", "final p50", "final p95", "overdue", "level",
            "cores", "sender p99", "broke by")  # fmt: skip
    print(f"{document['engine']}, partials {'on' if document['partials'] else 'off'}; times in ms\n")
    print(table(head, [[step[key] for key in keys] for step in document["steps"]]))
    print(
        f"\n{document['calls']} two-channel calls held (queue + compute p95 {document['p95_ms']} ms); stopped by "
        f"{document['stopped_by']}; unaccounted {document['unaccounted_ms']} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights/random-tiny", help="a name or a directory")
    parser.add_argument("--call", type=Path, default=SHIPPED, help="a two-channel recording; default: the shipped call")
    parser.add_argument("--start", type=int, default=8)
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--most", type=int, default=64)
    parser.add_argument("--hold_s", type=float, default=30.0)
    parser.add_argument("--settle_s", type=float, default=8.0)
    parser.add_argument("--partials", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    given = vars(parser.parse_args())
    out = given.pop("out")
    given["weights"] = made(given["weights"])
    given["call"] = given["call"].resolve()
    machine = Machine()
    try:
        with tempfile.TemporaryDirectory() as folder:
            document = run(Asked(**given), Path(folder))
    except (BadMessage, RuntimeError, TimeoutError) as error:
        print(f"capacity: {error or 'no answer in time'}", file=sys.stderr)
        return 2
    show(document)
    name = f"capacity-{document['weights']}{'-partials' if document['partials'] else ''}"
    finish(name, document, machine, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
