"""`python -m models.train WHAT`: make a shipped weight anew from data, with a line in models/LOG.md.

It knows the names of the trainings, which needs which, and nothing of how they work. `all` runs every one in order,
each in a process of its own (those after the encoder read with the new one); `make train` does that from nothing.
What came of it is measured by `python -m benchmarks.accuracy`.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

TRAININGS: Final = ("encoder", "sentiment", "stress", "topic", "next_action", "search")
"""In the order in which they need each other."""

ROOT: Final = Path(__file__).resolve().parents[2]


def everything(data: Path) -> None:
    """Every training, then the embedded recogniser's language. Raises SystemExit at the first that fails."""
    steps = [["models.train", name] for name in TRAININGS] + [["models.language"]]
    for module, *rest in steps:
        name = " ".join([module, *rest])
        print(f"\n{name}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", module, *rest, "--data", str(data)], cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"python -m {name} failed with {done.returncode}; what ran before it is kept")
        print(f"{name} took {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "all":
        parser = argparse.ArgumentParser(prog="python -m models.train all", description=__doc__)
        parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="default ../shared/data")
        return everything(parser.parse_args(sys.argv[2:]).data.resolve())
    if len(sys.argv) < 2 or sys.argv[1] not in TRAININGS:
        raise SystemExit(f"usage: python -m models.train {{all|{'|'.join(TRAININGS)}}} [--data ../shared/data]")
    importlib.import_module(f"models.train.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
