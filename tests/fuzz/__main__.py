"""Ten minutes for each target, a table, what is worth keeping into the corpus, and one line of JSON.

    python -m tests.fuzz [--seconds 600] [--only NAME ...] [--at-once 1] [--keep]

A finding is an input in the folder that is named; put it into `corpus/` with the mend. `--keep` writes the result to
benchmarks/results and adds to the corpus what reached lines that nothing in it reached.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, ROOT, Machine, finish, table
from tests.fuzz.targets import Target, golden, targets

CORPUS = Path(__file__).with_name("corpus")
MOST_KEPT, LARGEST = 60, 4_096
"""Inputs of a target in the repository, and bytes of one."""
LONGEST = 16_384
"""Bytes of an input while searching; more of the same takes longer and reaches nothing new."""
Step = tuple[str, int, int]


def reached(target: Target, data: bytes) -> set[Step]:
    """The steps from line to line of `assist` that an input takes."""
    steps: set[Step] = set()

    def trace(frame: Any, event: str, _: object) -> Any:
        if "/assist/" not in frame.f_code.co_filename:
            return None
        last = 0

        def line(frame: Any, event: str, _: object) -> Any:
            nonlocal last
            if event == "line":
                steps.add((frame.f_code.co_filename, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return steps


def grown(target: Target, kept: Iterable[bytes], found: Iterable[bytes]) -> list[bytes]:
    """Of `found`, what takes steps that neither `kept` nor the ones before it take; short ones first."""
    known: set[Step] = set()
    for data in kept:
        known |= reached(target, data)
    more = []
    for data in sorted(found, key=len):
        steps = reached(target, data)
        if len(data) <= LARGEST and steps - known:
            known |= steps
            more.append(data)
    return more


def seek(name: str, seconds: int, folder: Path) -> dict[str, Any]:
    """Search; `findings` are the files it left."""
    units = folder / "units"
    units.mkdir()
    for n, data in enumerate([*golden(name), *(path.read_bytes() for path in corpus(name))]):
        (units / f"seed-{n}").write_bytes(data)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.seek",
        name,
        str(units),
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
    ]
    began = time.monotonic()
    log = folder / "log.txt"
    with log.open("wb") as out:
        done = subprocess.run(command, cwd=ROOT, stdout=out, stderr=out)
    told = log.read_text("utf-8", "replace")
    runs = [int(each) for each in re.findall(r"^#(\d+)\s", told, re.MULTILINE)]
    covered = [int(each) for each in re.findall(r"\bcov: (\d+)", told)]
    findings = [each.name for each in sorted(folder.iterdir()) if re.match("crash-|timeout-|oom-|leak-", each.name)]
    if done.returncode and not findings:  # libFuzzer could not write the input: the log names at least the error
        wrong = re.findall(r"Uncaught Python exception: ===\n(.*)", told)
        findings = [wrong[-1] if wrong else f"status {done.returncode}"]
    if findings:
        print(f"{name}: {findings} in {folder}", file=sys.stderr, flush=True)
    return {
        "seconds": round(time.monotonic() - began),
        "inputs": max(runs, default=0),
        "covered": max(covered, default=None),
        "findings": findings,
        "status": done.returncode,
    }


def corpus(name: str) -> list[Path]:
    """The kept inputs of a target."""
    return sorted((CORPUS / name).glob("*"))


def keep(name: str, units: Path) -> int:
    """Add to the corpus what is new. How many it holds then."""
    there = [path.read_bytes() for path in corpus(name)]
    found = [path.read_bytes() for path in units.iterdir()]
    more = grown(targets()[name], [*golden(name), *there], found)[: max(0, MOST_KEPT - len(there))]
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(more, len(there)):
        (CORPUS / name / f"{n:03d}").write_bytes(data)
    return len(there) + len(more)


def main() -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--only", nargs="+", default=sorted(targets()), choices=sorted(targets()), metavar="NAME")
    parser.add_argument("--at-once", type=int, default=1, help="targets that are searched side by side")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    machine = Machine()
    try:
        guide = f"atheris {version('atheris')}"
    except PackageNotFoundError:
        guide = "none"
    folders = {name: Path(tempfile.mkdtemp(prefix=f"assist-fuzz-{name}-")) for name in given.only}
    with ThreadPoolExecutor(given.at_once) as searching:
        found = searching.map(lambda name: seek(name, given.seconds, folders[name]), given.only)
        results = dict(zip(given.only, found, strict=True))
    for name, each in results.items():
        if given.keep and not each["findings"]:
            each["corpus"] = keep(name, folders[name] / "units")
    columns = ("seconds", "inputs", "covered", "corpus")
    rows = [(name, *(each.get(c) for c in columns), len(each["findings"])) for name, each in results.items()]
    print(table(("target", *columns, "findings"), rows))
    failed = [name for name, each in results.items() if each["findings"]]
    title = "fuzz" if set(given.only) == set(targets()) else "-".join(["fuzz", *given.only])
    finish(title, {"guide": guide, "targets": results, "failed": failed}, machine, RESULTS if given.keep else None)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
