"""A server whose model files are missing or damaged: it says so once, by name, and runs on without what needs them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from assist import replay
from assist.events import CallEnded, Entry, Faltered, Noticed, Suggested, Transcribed
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.wire import follow, new_id, until

SERVER = ("server.py", "assist", "models", "knowledge_base")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 3] ^= 1
    file.write_bytes(bytes(raw))


def without_second_opinion(root: Path) -> None:
    """The library that Silero's file comes with, but for that file: the server's folder comes first on its path."""
    package = find_spec("faster_whisper")
    assert package and package.origin
    shutil.copytree(Path(package.origin).parent, root / "faster_whisper", ignore=shutil.ignore_patterns("silero*"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a server is made of."""
    root = tmp_path / "server"
    for name in SERVER:
        source = door.ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
        else:
            root.mkdir(exist_ok=True)
            shutil.copy(source, root / name)
    return root


@pytest.fixture
def start(tree: Path, tmp_path: Path, scripted: dict[str, str]) -> Iterator[Callable[[], door.Door]]:
    """Starts the server in `tree` as it now is; it is stopped in the end."""
    running: list[door.Door] = []

    def started() -> door.Door:
        running.append(door.start(tmp_path / "data", scripted, root=tree))
        return running[-1]

    yield started
    for each in running:
        assert each.stop() == 0


async def play(server: door.Door) -> list[Entry]:
    """The shipped call's log, heard by this server."""
    call = new_id()
    playing = asyncio.create_task(replay.play(replay.read(SHIPPED), server.ws, call=call, speed=15))
    await until(lambda: any(c["call"] == call for c in server.get("/calls")["calls"]))
    entries, _, _ = await follow(server.ws, call)
    await playing
    return entries


def told(entries: list[Entry]) -> tuple[set[str], set[str]]:
    """The analysers that found something, and the kinds of what was suggested."""
    analysers = {f.analyser for e in entries if isinstance(e.event, Noticed) for f in e.event.findings}
    kinds = {str(s.kind) for e in entries if isinstance(e.event, Suggested) for s in e.event.suggestions}
    return analysers, kinds


def finals(entries: list[Entry]) -> int:
    return sum(isinstance(e.event, Transcribed) and e.event.transcript.stage == "final" for e in entries)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink], ids=["truncated", "wrong hash", "missing"])
async def test_without_the_encoder_a_call_is_heard_and_the_voice_judged(
    tree: Path, start: Callable[[], door.Door], damage: Callable[[Path], Any]
) -> None:
    damage(tree / "models" / "weights" / "encoder.onnx")
    server = start()
    (notice,) = [n for n in server.get("/readyz")["notices"] if "encoder.onnx" in n]
    assert "sentiment" in notice and "topic" in notice and "articles" in notice and "git checkout" in notice
    assert server.log.read_text().count("encoder.onnx") == 1, "one error, by name"
    entries = await play(server)
    assert isinstance(entries[-1].event, CallEnded) and entries[-1].event.reason == "bye"
    assert finals(entries) >= 15
    analysers, kinds = told(entries)
    assert "stress" in analysers and not analysers & {"sentiment", "topic"}
    assert kinds and "article" not in kinds, "rules and playbooks need no encoder"
    assert not any(isinstance(e.event, Faltered) for e in entries), "what is not there does not fail turn after turn"


async def test_a_damaged_ranking_costs_the_articles_only(tree: Path, start: Callable[[], door.Door]) -> None:
    truncate(tree / "assist" / "rank.json")
    server = start()
    assert sum("rank.json" in notice for notice in server.get("/readyz")["notices"]) == 1
    analysers, kinds = told(await play(server))
    assert {"stress", "topic", "sentiment"} <= analysers
    assert kinds and "article" not in kinds


async def test_a_damaged_head_costs_its_own_judgement_only(tree: Path, start: Callable[[], door.Door]) -> None:
    truncate(tree / "models" / "weights" / "sentiment.npz")
    without_second_opinion(tree)
    server = start()
    notices = server.get("/readyz")["notices"]
    # Satisfaction is told of by its own notice, since it reads what sentiment finds.
    named = [notice.split(":")[0] for notice in notices if "sentiment.npz" in notice]
    assert set(named) <= {"No sentiment", "No satisfaction"} and named.count("No sentiment") == 1
    assert sum("silero" in notice for notice in notices) == 1
    entries = await play(server)
    assert finals(entries) >= 15, "ends of speech are found without a second opinion"
    analysers, kinds = told(entries)
    assert {"stress", "topic"} <= analysers and "sentiment" not in analysers
    assert "article" in kinds
