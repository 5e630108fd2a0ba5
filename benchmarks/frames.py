"""What hearing costs, all models aside: python -m benchmarks.frames --calls 200

A real server whose recogniser says nothing, in its own process; two-channel calls at the pace of speech from others
(benchmarks/flood.py, one for every `--each` calls). What is left is the path of every frame: socket, websocket,
dialect, mu-law to PCM, timeline, voice gate, segmenter, journal; at ends of speech Silero's second opinion; finals
with no words in them. A message holds 20 ms of both channels: 50 messages and 100 frames a second and call.

`server_cores` is the server's processor time over the seconds of `--hold_s`, `loop_cores` that of the event loop's
thread alone (the rest is the keeper's, which writes); `cpu_s_per_audio_minute` the same for one
minute of one two-channel call, which neighbours on the machine disturb least; `lag_p99_ms` the upper edge of the bucket
of the event loop's lag. Every call must have books without a gap that hold all that was sent. `--profile OUT` has
py-spy (not among our dependencies) sample the server meanwhile, in its "raw" format, and `stacks` sums it up.
On a machine that others use as well, `chrt --rr 1 python -m benchmarks.frames` goes before them, where that is allowed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import door
from benchmarks.calls import SHIPPED, Script, for_scripted
from benchmarks.capacity import cpu_s
from benchmarks.pace import LATE_MS
from benchmarks.report import RESULTS, ROOT, Machine, finish, table
from benchmarks.vitals import lag_p99_ms, look

MOST_CORES: Final = 0.5
MOST_LAG_MS: Final = 20.0
SETTLE_S: Final = 5.0
LAST_S: Final = 3.0
"""The generator goes on for so long after the measurement, so that no call ends in it."""


@dataclass(frozen=True)
class Asked:
    """The command line."""

    calls: int
    each: int
    hold_s: float
    call: Path
    profile: Path | None
    seed: int


def counts(calls: int, each: int) -> list[int]:
    """How many calls each generator plays."""
    return [min(each, calls - n) for n in range(0, calls, each)]


def run(asked: Asked, data_dir: Path) -> dict[str, Any]:
    """The document, without the machine. Raises RuntimeError where a call was not let in."""
    settings = {
        "ASSIST_RECOGNISER_KIND": "scripted",
        "ASSIST_RECOGNISER_SCRIPT": str(for_scripted(Script(turn=[]), data_dir / "silence.json")),
        "ASSIST_RECOGNISER_PARTIALS": "false",
        "ASSIST_INGEST_MAX_CALLS": str(asked.calls),
        "ASSIST_MIND_ANALYSERS": "[]",
        "ASSIST_SERVER_PING_INTERVAL_S": "3600",  # bare sockets answer none
    }
    with door.running(data_dir, settings) as server:
        host, port = "127.0.0.1", str(server.port)
        seconds = SETTLE_S + asked.hold_s + LAST_S
        generators = []
        for n, count in enumerate(counts(asked.calls, asked.each)):
            command = [sys.executable, "-m", "benchmarks.flood", str(asked.call), host, port, str(count)]
            given = [*command, str(seconds), str(asked.seed + n)]
            generators.append(subprocess.Popen(given, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        try:
            for each in generators:
                _said(each)
            time.sleep(SETTLE_S)
            found = measured(server, asked)
            sent = [_said(each) for each in generators]
            books = [book for each in generators for book in _said(each)["books"]]
        finally:
            for each in generators:
                each.kill()
                each.communicate()
    minutes = asked.calls * asked.hold_s / 60
    return {
        "call": asked.call.name,
        "calls": asked.calls,
        "hold_s": asked.hold_s,
        **found,
        "cpu_s_per_audio_minute": round(found["server_cores"] * asked.hold_s / minutes, 4),
        "us_per_message": round(found["server_cores"] * 1e6 / (asked.calls * 50), 1),
        "generator_cores": round(sum(each["cpu_s"] for each in sent) / seconds, 3),
        "sender_late_p99_ms": round(max(each["late_p99_ms"] for each in sent), 2),
        "gap_ms": round(sum(abs(b["gap_ms"]) for book in books for b in book["ended"].get("ledger", {}).values()), 3),
        "unreceived_ms": sum(
            abs(book["sent_ms"] - b["received_ms"]) for book in books for b in book["ended"].get("ledger", {}).values()
        ),
        "calls_without_books": sum(not book["ended"].get("ledger") for book in books),
    }


def measured(server: door.Door, asked: Asked) -> dict[str, Any]:
    """The server while all calls are live."""
    pid = server.process.pid
    spy = None
    if asked.profile:
        command = ["py-spy", "record", "--nonblocking", "-f", "raw", "-r", "200", "-d", str(int(asked.hold_s))]
        spy = subprocess.Popen([*command, "-o", str(asked.profile), "-p", str(pid)], stdout=subprocess.DEVNULL)
    before, used, loop, began = look(pid, server.url, 0.0), cpu_s(pid), cpu_s(pid, True), time.monotonic()
    time.sleep(asked.hold_s)
    used, loop, wall_s = cpu_s(pid) - used, cpu_s(pid, True) - loop, time.monotonic() - began
    after = look(pid, server.url, wall_s)
    if spy:
        spy.wait(60)
    return {
        "live": after.calls,
        "server_cores": round(used / wall_s, 3),
        "loop_cores": round(loop / wall_s, 3),
        "lag_p99_ms": lag_p99_ms(before.counts, after.counts),
        "rss_mb": after.rss_mb,
        "threads": after.threads,
    }


def stacks(lines: Iterable[str]) -> list[tuple[str, float, float]]:
    """py-spy's raw stacks to functions with their shares in percent: (name, of its own, with what it calls)."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        names = [name.split(" (")[0] + " (" + name.split(" (")[-1].split(":")[0] for name in stack.split(";")]
        total += int(count)
        own[names[-1]] += int(count)
        within.update(dict.fromkeys(names, int(count)))
    return [(name, 100 * own[name] / total, 100 * count / total) for name, count in within.most_common()]


def _said(generator: subprocess.Popen[str]) -> dict[str, Any]:
    assert generator.stdout
    line = generator.stdout.readline()
    if not line:
        raise RuntimeError("a generator gave up")
    found: dict[str, Any] = json.loads(line)
    return found


def show(document: dict[str, Any]) -> None:
    """The table for people."""
    rows = [
        ("server, cores", document["server_cores"], f"<= {MOST_CORES} at 200 calls"),
        ("of these the event loop's thread", document["loop_cores"], ""),
        ("CPU s a minute of a call", document["cpu_s_per_audio_minute"], ""),
        ("us a message (two frames)", document["us_per_message"], ""),
        ("loop lag p99, ms", document["lag_p99_ms"], f"<= {MOST_LAG_MS:g}"),
        ("sender late p99, ms", document["sender_late_p99_ms"], f"<= {LATE_MS:g}"),
        ("gaps, ms", document["gap_ms"] + document["unreceived_ms"], "0"),
    ]
    print(f"{document['calls']} two-channel calls, {document['calls'] * 100} frames/s, for {document['hold_s']:g} s\n")
    print(table(("", "found", "target"), rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--each", type=int, default=100, help="calls of one generator")
    parser.add_argument("--hold_s", type=float, default=30.0)
    parser.add_argument("--call", type=Path, default=SHIPPED, help="a two-channel recording; default: the shipped call")
    parser.add_argument("--profile", type=Path, default=None, help="where py-spy's raw stacks go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    given = vars(parser.parse_args())
    out = given.pop("out")
    given["call"] = given["call"].resolve()
    asked, machine = Asked(**given), Machine()
    try:
        with tempfile.TemporaryDirectory() as folder:
            document = run(asked, Path(folder))
    except (RuntimeError, OSError) as error:
        print(f"frames: {error}", file=sys.stderr)
        return 2
    show(document)
    if asked.profile:
        top = [
            (name, f"{own:.1f}", f"{within:.1f}")
            for name, own, within in stacks(asked.profile.read_text().splitlines())[:60]
        ]
        print("\n" + table(("function", "own %", "with calls %"), top))
    finish("frames", document, machine, out)
    whole = not document["gap_ms"] and not document["calls_without_books"]
    return 0 if whole and document["sender_late_p99_ms"] <= LATE_MS else 1


if __name__ == "__main__":
    sys.exit(main())
