"""`python -m models COMMAND`: what can be done with models besides serving them.

It knows the names of the commands and their arguments, and nothing of how they work.
To add one: a function that takes the parsed arguments, prints and returns the exit status, and its parser in `_parser`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import models
from assist.errors import AssistError, StoreFailed
from models.fetch import SOURCES, check, fetch


def _fetch(asked: argparse.Namespace) -> int:
    where = fetch(asked.name, to=asked.to)
    print(f"{asked.name} is whole in {where}; use it with recogniser.weights = {str(where)!r}")
    return 0


def _check(asked: argparse.Namespace) -> int:
    for name, digest in check(asked.directory).items():
        print(f"{digest}  {asked.directory / name}")
    return 0


def _judge(asked: argparse.Namespace) -> int:
    # For one thread, and before numpy is imported: its BLAS would wake a thread per core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from models import judge

    options = {name: getattr(asked, name) for name in OPTIONS if getattr(asked, name) is not None}
    source = None if asked.file == Path("-") else asked.file
    try:
        return judge.judged(asked.task, source, options, asked.channel, sys.stdout)
    except (BrokenPipeError, StoreFailed) as error:
        # What is left to write would be tried again at the exit, and told as an error once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, StoreFailed):
            raise
        return 1  # whoever read has seen enough


OPTIONS = {
    "topics": (str, "PATH", "topic: a knowledge base or a topics.toml (default: the shipped one)"),
    "others": (str, "PATH", "topic: sentences that belong to no topic, one a line"),
    "knowledge": (str, "PATH", "search: a knowledge base, or articles as lines of JSON"),
    "limit": (int, "N", "search: how many articles at most (default 3)"),
    "kind": (str, "KIND", "transcribe: pocketsphinx (default) or whisper"),
    "head": (str, "PATH", "next_action: the policy's file"),
    "weights": (str, "PATH", "the folder of the encoder's or the recogniser's weights"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Fetch, check, judge.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("fetch", help="download Whisper weights and verify them")
    one.add_argument("name", help=", ".join(SOURCES))
    one.add_argument("--to", type=Path, metavar="DIR", help="where to put them (default: weights/NAME)")
    one.set_defaults(run=_fetch)
    one = commands.add_parser("check", help="read fetched weights anew and hold them against their recorded hashes")
    one.add_argument("directory", type=Path)
    one.set_defaults(run=_check)
    one = commands.add_parser("judge", help="a line of JSON in, a finding as a line of JSON out (models/judge.py)")
    one.add_argument("task", metavar="TASK", help=", ".join(models.tasks()))
    one.add_argument("file", type=Path, metavar="FILE", help="lines of JSON; - is stdin")
    for name, (kind, holds, says) in OPTIONS.items():
        one.add_argument(f"--{name}", type=kind, metavar=holds, help=says)
    one.add_argument("--channel", type=int, metavar="N", help="which channel of a recording, counted from 0")
    one.set_defaults(run=_judge)
    return parser


def main() -> None:
    """Run one command; a named error is one line on stderr and exit status 1."""
    asked = _parser().parse_args()
    try:
        raise SystemExit(asked.run(asked))
    except AssistError as error:
        print(f"error ({error.code}): {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
