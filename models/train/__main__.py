"""`python -m models.train WHAT`: make a shipped weight anew, or (`--evaluate`) measure what its card says.

It knows the names of the trainings and nothing of how they work.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

TRAININGS: Final = ("encoder", "sentiment", "stress", "topic")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TRAININGS:
        raise SystemExit(
            f"usage: python -m models.train {{{'|'.join(TRAININGS)}}} [--evaluate] [--data ../shared/data]"
        )
    importlib.import_module(f"models.train.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
