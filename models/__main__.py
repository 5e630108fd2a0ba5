"""`python -m models COMMAND`: what can be done with models besides serving them.

It knows the names of the commands and their arguments, and nothing of how they work.
To add one: a function that takes the parsed arguments and returns a line to print, and its parser in `_parser`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from assist.errors import AssistError
from models.fetch import SOURCES, check, fetch


def _fetch(asked: argparse.Namespace) -> str:
    where = fetch(asked.name, to=asked.to)
    return f"{asked.name} is whole in {where}; use it with recogniser.weights = {str(where)!r}"


def _check(asked: argparse.Namespace) -> str:
    return "\n".join(f"{digest}  {asked.directory / name}" for name, digest in check(asked.directory).items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Fetch and check model weights.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("fetch", help="download Whisper weights and verify them")
    one.add_argument("name", help=", ".join(SOURCES))
    one.add_argument("--to", type=Path, metavar="DIR", help="where to put them (default: weights/NAME)")
    one.set_defaults(run=_fetch)
    one = commands.add_parser("check", help="read fetched weights anew and hold them against their recorded hashes")
    one.add_argument("directory", type=Path)
    one.set_defaults(run=_check)
    return parser


def main() -> None:
    """Run one command; a named error is one line on stderr and exit status 1."""
    asked = _parser().parse_args()
    try:
        print(asked.run(asked))
    except AssistError as error:
        print(f"error ({error.code}): {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
