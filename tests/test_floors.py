"""Who may know whom: imports go down, libraries stay where they belong, names say something.

It reads the sources and runs none of them, but for one look at what importing costs. When it fails it names what
broke; a new module of `assist` takes its place on a floor here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("admission", "errors", "heap", "phrase", "metrics", "protobuf", "ticker", "websocket"),
    ("audio",),
    ("conversation", "journal", "resample"),
    ("events", "index", "material", "overlap", "rank", "segment", "transcribe", "wav", "clients"),
    ("analyse", "channel", "config", "hub", "knowledge", "outlook", "protocols", "tapes"),
    (
        "access",
        "jws",
        "keep",
        "playbook",
        "proof",
        "search",
        "protocols.plain",
        "protocols.wave",
        "stores.summary",
        "exports.told",
    ),
    ("protocols.stream",),
    ("protocols.vosk", "protocols.deepgram", "protocols.openai"),
    (
        "flag",
        "side",
        "protocols.asterisk",
        "protocols.audiohook",
        "protocols.audiosocket",
        "protocols.azure",
        "protocols.raw",
        "protocols.text",
        "protocols.twilio",
        "protocols.webex",
        "stores.memory",
        "stores.sqlite",
        "exports.vcon",
    ),
    (
        "suggest",
        "exports.agent_assist",
        "exports.salesforce",
        "protocols.exotel",
        "protocols.fonoster",
        "protocols.freeswitch",
        "protocols.jambonz",
        "protocols.lca",
        "protocols.plivo",
        "protocols.signalwire",
        "protocols.sinch",
        "protocols.talkdesk",
        "protocols.telnyx",
        "protocols.vonage",
        "stores.outbox",
        "exports.asyncapi",
        "exports.cloudevent",
        "exports.contact_lens",
    ),
    (
        "clients.asterisk",
        "clients.audiohook",
        "clients.azure",
        "clients.faults",
        "clients.plain",
        "clients.raw",
        "clients.speech",
        "clients.twilio",
        "clients.webex",
    ),
    ("replay",),
    ("mind", "webhooks"),
    ("call",),
    ("legs",),
    ("house",),
    ("contact", "ingest", "exports.routes"),
    ("gateway", "rpc", "tcp"),
)
"""From the ground up: a module imports only from floors below its own."""

FLOOR = {f"assist.{name}": level for level, names in enumerate(FLOORS) for name in names}

VALUES = {"assist.errors", "assist.audio", "assist.conversation"}
"""What models may know."""

JOINS = {
    "models/finder.py": "it makes the search a judge among the others, and is not imported by the server",
    "models/train/search.py": "it learns from what the search sees; no server imports it",
    "models/train/house_log.py": "it learns from the log that the server keeps; no server imports it",
}
"""Files of `models` that may know more, and why."""

MODEL_LIBRARIES = {
    "torch", "transformers", "onnx", "onnxruntime", "faster_whisper", "ctranslate2", "tokenizers", "webrtcvad",
    "pocketsphinx", "huggingface_hub", "safetensors",
}  # fmt: skip
DATABASES = {"sqlite3", "sqlalchemy", "alembic"}

EXCEPTIONS = {
    ("assist/index.py", "sqlite3"): "the word index lives in memory and keeps nothing",
    ("benchmarks/accuracy/sentiment_trained.py", "torch"): "it tunes an encoder to compare with, which is not shipped",
    ("benchmarks/accuracy/sentiment_trained.py", "tokenizers"): "the same",
    ("benchmarks/accuracy/sentiment_trained.py", "transformers"): "the same",
    ("benchmarks/make_weights.py", "ctranslate2"): "it writes weights of random numbers for models/whisper.py",
    ("benchmarks/make_weights.py", "tokenizers"): "the same",
    ("benchmarks/make_weights.py", "faster_whisper"): "the same",
    ("benchmarks/peers/serve/counted.py", "ctranslate2"): "it counts tokens in the processes of other servers",
    ("benchmarks/peers/serve/loop_server.py", "faster_whisper"): "it is another server, as most people write it",
    ("benchmarks/peers/serve/loop_server.py", "webrtcvad"): "the same",
    ("benchmarks/wer.py", "pocketsphinx"): "it compares with the package's own language model",
}
"""(File, library) that break a rule below for a reason that was thought about."""

WAITERS = {
    "transcribe", "hub", "keep", "mind", "tapes", "ticker", "call", "contact", "house", "ingest", "gateway", "legs",
    "replay", "rpc", "tcp", "webhooks", "exports/routes",
}  # fmt: skip
"""Modules of `assist` in which something waits; no other touches asyncio."""

EMPTY_WORDS = {
    "manager", "helper", "processor", "handler", "service", "engine", "util", "utils", "common", "misc", "core", "base",
}  # fmt: skip
PROPER_NAMES = ("knowledge_base",)
OWN_SENSE = {
    ("assist/exports/salesforce.py", "service"): "what Salesforce calls whoever noticed something",
    ("assist/stores/sqlite.py", "engine"): "SQLAlchemy's name for what gives connections",
    ("models/train/records.py", "service"): "customer service is what the records are about",
    ("models/language.py", "common"): "words that are common in the language",
    ("models/ngram.py", "base"): "the distribution under the unigrams",
}
"""(File, word) where an empty word has a meaning of its own."""


def sources(folder: str) -> list[Path]:
    """Python files under a folder of the repository, or that file."""
    place = ROOT / folder
    found = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert found, f"{folder} holds no Python"
    return found


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    """The name a file is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


OURS = {module(path) for folder in ("assist", "models", "benchmarks", "server.py") for path in sources(folder)}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, wherever in the file; `from package import module` is the module."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{short(path)}:{node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in OURS else str(node.module)


def breaks(folder: str, forbidden: set[str]) -> list[str]:
    """Imports of forbidden top-level packages under a folder, less the exceptions."""
    return [
        f"{short(path)}:{line} imports {name}"
        for path in sources(folder)
        for line, name in imports(path)
        if (top := name.split(".")[0]) in forbidden and (short(path), top) not in EXCEPTIONS
    ]


def test_every_module_stands_on_a_floor() -> None:
    packages = {"assist", "assist.exports", "assist.stores"}
    modules = {m for m in OURS if m.startswith("assist") and ".migrations" not in m} - packages
    assert modules == set(FLOOR), f"put on a floor: {modules - set(FLOOR)}; gone: {set(FLOOR) - modules}"


def test_imports_go_strictly_down() -> None:
    wrong = []
    for path in sources("assist"):
        mine = FLOOR.get(module(path))
        for line, name in imports(path):
            if mine is not None and name.startswith("assist") and FLOOR.get(name, -1) >= mine:
                wrong.append(f"{short(path)}:{line} imports {name}, which does not stand below it")
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_the_door_and_only_the_door_imports_models() -> None:
    assert not breaks("assist", {"server", "models", "benchmarks", "tests"})
    assert not breaks("models", {"server", "benchmarks", "tests"})
    assert not breaks("benchmarks", {"server", "tests"})
    assert not breaks("server.py", {"benchmarks", "tests"})


def test_models_know_values_only() -> None:
    """And, in processes of their own, what malloc is told."""
    wrong = [
        f"{short(path)}:{line} imports {name}"
        for path in sources("models")
        for line, name in imports(path)
        if name.startswith("assist") and name not in VALUES | {"assist.heap"} and short(path) not in JOINS
    ]
    assert not wrong, "\n".join(wrong)


def test_the_other_end_shares_nothing_with_the_dialects() -> None:
    """A misreading on one side would else be one on the other, and no test would see it."""
    known = {"assist.errors", "assist.audio"}
    wrong = [
        f"{short(path)}:{line} imports {name}"
        for path in sources("assist/clients")
        for line, name in imports(path)
        if name.startswith("assist") and name not in known and not name.startswith("assist.clients")
    ]
    assert not wrong, "\n".join(wrong)


def test_dialects_and_stores_know_what_they_are_made_of() -> None:
    """Dialects: values, what is said, and what they vary. Stores: the log's values and the interface they keep."""
    allowed = {
        "assist/protocols": VALUES
        | {
            "assist.events",
            "assist.protobuf",
            "assist.protocols",
            "assist.protocols.plain",
            "assist.protocols.raw",
            "assist.protocols.twilio",
            "assist.protocols.stream",
            "assist.protocols.wave",
            "assist.resample",
        },
        "assist/stores": VALUES | {"assist.events", "assist.hub", "assist.stores.summary"},
    }
    wrong = [
        f"{short(path)}:{line} imports {name}"
        for folder, known in allowed.items()
        for path in sources(folder)
        for line, name in imports(path)
        if name.startswith("assist") and name not in known
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["assist", "server.py", "benchmarks"])
def test_model_libraries_stay_in_models(folder: str) -> None:
    assert not breaks(folder, MODEL_LIBRARIES)


def test_the_database_stays_in_stores() -> None:
    for folder in ("assist", "models", "benchmarks", "server.py"):
        assert not [each for each in breaks(folder, DATABASES) if not each.startswith("assist/stores/")]


def test_nothing_waits_where_nothing_should() -> None:
    waiting = {f"assist/{name}.py" for name in WAITERS}
    wrong = [each for each in breaks("assist", {"asyncio"}) if each.split(":")[0] not in waiting]
    assert not wrong, "\n".join(wrong)
    assert not breaks("models", {"asyncio"})


def test_dialects_have_no_socket_and_no_clock() -> None:
    assert not breaks("assist/protocols", {"asyncio", "socket", "time", "datetime", "fastapi", "websockets"})
    assert not breaks("assist/segment.py", {"asyncio", "time", "datetime"})


def test_exceptions_are_still_needed() -> None:
    used = {(short(p), n.split(".")[0]) for f in ("assist", "benchmarks") for p in sources(f) for _, n in imports(p)}
    assert set(EXCEPTIONS) <= used, f"nobody does this any more: {set(EXCEPTIONS) - used}"


def test_importing_assist_costs_no_model_library() -> None:
    names = sorted(m for m in OURS if m.startswith("assist") and ".migrations" not in m)
    script = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "assist" in loaded
    assert not loaded & (MODEL_LIBRARIES | {"models", "server", "benchmarks"})


def words(name: str) -> set[str]:
    """`HubKeeper_of2` → hub, keeper, of."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def defined(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to others: classes, functions, arguments, fields, constants. Not local variables."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        if isinstance(node, ast.ClassDef | ast.Module):
            for each in node.body:
                for target in each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]:
                    if isinstance(target, ast.Name):
                        yield target.lineno, target.id


def test_names_say_something() -> None:
    wrong = []
    for folder in ("assist", "models", "benchmarks", "tests", "server.py"):
        for path in sources(folder):
            for line, name in [(1, path.stem), (1, path.parent.name), *defined(path)]:
                for proper in PROPER_NAMES:
                    name = name.replace(proper, "")
                empty = {word for word in words(name) & EMPTY_WORDS if (short(path), word) not in OWN_SENSE}
                wrong += [f"{short(path)}:{line}: {name} has {word!r} in it" for word in empty]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is() -> None:
    """A docstring, but for the empty files that make a folder a package."""
    wrong = [
        short(path)
        for folder in ("assist", "models", "benchmarks", "tests", "server.py")
        for path in sources(folder)
        if path.stat().st_size and not ast.get_docstring(tree(path))
    ]
    assert not wrong, "\n".join(wrong)
