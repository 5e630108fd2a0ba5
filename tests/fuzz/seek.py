"""One target's search, in a process of its own: python -m tests.fuzz.seek NAME FOLDER [options of libFuzzer]

With `atheris` libFuzzer leads it by coverage and keeps in FOLDER what reached something new. Without, inputs are bent
blindly for `-max_total_time` seconds. A finding is written beside FOLDER and ends the process with a status that is
not 0.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutate import mutated

PATIENCE_S = 5.0


def guided(name: str, arguments: list[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["assist"]):
        from tests.fuzz.targets import golden, targets
    target = targets()[name]
    others = golden(name)

    def bend(data: bytes, most: int, seed: int) -> bytes:
        dice = random.Random(seed)
        if dice.random() < 0.15:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, dice, others, most)

    atheris.Setup([sys.argv[0], *arguments], target, custom_mutator=bend)
    atheris.Fuzz()


def blind(name: str, folder: Path, seconds: float) -> int:
    """Without coverage. The exit status."""
    from tests.fuzz.targets import golden, targets

    target = targets()[name]
    known = [*golden(name), *(path.read_bytes() for path in sorted(folder.iterdir()))] or [b""]
    dice = random.Random(1)
    began = time.monotonic()
    done = 0
    while time.monotonic() - began < seconds:
        data = mutated(dice.choice(known), dice, known)
        asked = time.monotonic()
        try:
            target(data)
            if time.monotonic() - asked > PATIENCE_S:
                raise TimeoutError(f"an input took more than {PATIENCE_S:g} s")
        except Exception:
            traceback.print_exc()
            (folder.parent / f"crash-{name}").write_bytes(data)
            return 1
        done += 1
    print(f"#{done} DONE", file=sys.stderr)
    return 0


def main() -> int:
    """The exit status of the blind search; libFuzzer's is its own."""
    name, folder, *options = sys.argv[1:]
    if importlib.util.find_spec("atheris"):
        prefix = f"-artifact_prefix={Path(folder).parent}/"
        guided(name, [folder, prefix, f"-timeout={PATIENCE_S:.0f}", "-rss_limit_mb=2048", *options])
    given = dict(option.lstrip("-").split("=", 1) for option in options)
    with contextlib.suppress(KeyboardInterrupt):
        return blind(name, Path(folder), float(given.get("max_total_time", 600)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
