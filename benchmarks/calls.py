"""Calls with a known script: what was said and when, and what a server should make of it. It plays nothing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec

SHIPPED = Path(__file__).with_name("calls") / "camera_call"


class Turn(msgspec.Struct, frozen=True):
    """One turn as it was spoken; `end_ms` is the true end of its speech."""

    party: str
    start_ms: int
    end_ms: int
    text: str


class Script(msgspec.Struct, frozen=True):
    """The script beside a recording. `expected` has `topic`, `article` and `other_articles`."""

    turn: list[Turn]
    call: dict[str, str] = {}
    expected: dict[str, Any] = {}

    @property
    def metadata(self) -> dict[str, str]:
        """The call's metadata as a phone platform would send it."""
        renamed = {"customer": "customer_name"}
        return {renamed.get(k, k): v for k, v in self.call.items() if k not in ("id", "started_at")}


def script_of(recording: Path) -> Script | None:
    """The script of a recording (a folder or a file in it), or None where there is none."""
    folder = recording if recording.is_dir() else recording.parent
    path = folder / "script.toml"
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Script) if path.exists() else None


def for_scripted(script: Script, out: Path, **options: Any) -> Path:
    """The script as a file for the scripted recogniser (`delay_ms`, `fail`, ... as options)."""
    say = [msgspec.to_builtins(turn) for turn in script.turn]
    out.write_text(json.dumps({"say": say, **options}), "utf-8")
    return out
