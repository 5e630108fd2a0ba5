"""Weights fetched from a small hub on 127.0.0.1 that speaks the real one's HTTP: whole, verified, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assist.errors import ModelMissing
from models import fetch
from models.fetch import LOCK, Source, check, find

REPO = "Somebody/whisper-small-as-a-mouse"
REVISION = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parent.parent.parent


def blob(raw: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


class Hub:
    """What the hub holds, what it states about it, and what it was asked for."""

    def __init__(self) -> None:
        self.files = {
            "model.bin": os.urandom(3_000_000),
            "config.json": b"{}",
            "tokenizer.json": b'{"version": "1.0"}',
            "vocabulary.txt": b"a\nb\n",
            "README.md": b"not wanted",
        }
        self.served = dict(self.files)
        self.asked: list[str] = []
        self.url = ""

    @property
    def source(self) -> Source:
        model = self.files["model.bin"]
        return Source(REPO, REVISION, len(model), hashlib.sha256(model).hexdigest())

    def siblings(self) -> list[dict[str, Any]]:
        told = []
        for name, raw in self.files.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(raw), "blobId": blob(raw)}
            if name == "model.bin":
                one["lfs"] = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 130}
            told.append(one)
        return told


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            hub.asked.append(self.path)
            path = self.path.split("?")[0]
            head = {"X-Repo-Commit": REVISION}
            if path.startswith(f"/api/models/{REPO}"):
                raw = json.dumps({"id": REPO, "modelId": REPO, "sha": REVISION, "siblings": hub.siblings()}).encode()
                head["Content-Type"] = "application/json"
            elif (name := path.removeprefix(f"/{REPO}/resolve/{REVISION}/")) in hub.served:
                raw = hub.served[name]
                head["ETag"] = f'"{blob(hub.files[name])}"'
                head["Accept-Ranges"] = "bytes"
            else:
                self.send_error(404)
                return
            status = 200
            if body and (asked := self.headers.get("Range")):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                whole = len(raw)
                raw = raw[int(first) : int(last) + 1 if last else whole]
                head["Content-Range"] = f"bytes {first}-{int(first) + len(raw) - 1}/{whole}"
                status = 206
            self.send_response(status)
            for name, value in {**head, "Content-Length": str(len(raw))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(raw)

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetched_weights_are_whole_and_recorded(hub: Hub, tmp_path: Path) -> None:
    to = tmp_path / "whisper-mouse"
    assert fetch.fetch("whisper-mouse", to=to, source=hub.source, endpoint=hub.url) == to
    assert sorted(f.name for f in to.iterdir()) == sorted((set(hub.files) - {"README.md"}) | {LOCK})
    assert all((to / name).read_bytes() == raw for name, raw in hub.files.items() if name != "README.md")
    lock = json.loads((to / LOCK).read_text())
    assert (lock["repo"], lock["revision"]) == (REPO, REVISION)
    assert lock["files"]["model.bin"]["sha256"] == hub.source.sha256
    assert [f.name for f in tmp_path.iterdir()] == ["whisper-mouse"]
    assert find(str(to)) == to
    assert check(to)["model.bin"] == hub.source.sha256


def test_a_terminal_shows_how_far_it_is(hub: Hub, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))  # a new terminal is 0 wide
    call = f"fetch('mouse', to=Path({str(tmp_path / 'mouse')!r}), source={hub.source!r}, endpoint={hub.url!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; from models.fetch import *; {call}"],
        cwd=ROOT,
        stderr=theirs,
        timeout=100,
    )
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert done.returncode == 0, shown
    assert "model.bin" in shown
    assert "100%" in shown


def test_fetching_again_asks_the_hub_nothing(hub: Hub, tmp_path: Path) -> None:
    to = tmp_path / "mouse"
    fetch.fetch("mouse", to=to, source=hub.source, endpoint=hub.url)
    hub.asked.clear()
    assert fetch.fetch("mouse", to=to, source=hub.source, endpoint=hub.url) == to
    assert hub.asked == []


def test_wrong_bytes_are_refused_and_the_next_try_mends_it(hub: Hub, tmp_path: Path) -> None:
    to = tmp_path / "mouse"
    hub.served["model.bin"] = hub.files["model.bin"][:-1] + bytes([hub.files["model.bin"][-1] ^ 1])
    with pytest.raises(ModelMissing, match="wrong bytes"):
        fetch.fetch("mouse", to=to, source=hub.source, endpoint=hub.url)
    assert not to.exists()
    hub.served["model.bin"] = hub.files["model.bin"]
    assert fetch.fetch("mouse", to=to, source=hub.source, endpoint=hub.url) == to


def test_a_small_file_with_wrong_bytes_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.served["tokenizer.json"] = b'{"version": "6.6"}'
    with pytest.raises(ModelMissing, match=r"tokenizer\.json"):
        fetch.fetch("mouse", to=tmp_path / "mouse", source=hub.source, endpoint=hub.url)


def test_a_hub_that_states_another_model_is_refused(hub: Hub, tmp_path: Path) -> None:
    pinned = hub.source._replace(sha256="0" * 64)
    with pytest.raises(ModelMissing, match="pinned"):
        fetch.fetch("mouse", to=tmp_path / "mouse", source=pinned, endpoint=hub.url)
    assert not any("resolve" in path for path in hub.asked)


def test_a_repository_that_lacks_a_file_is_named(hub: Hub, tmp_path: Path) -> None:
    del hub.files["tokenizer.json"]
    with pytest.raises(ModelMissing, match=r"lacks tokenizer\.json"):
        fetch.fetch("mouse", to=tmp_path / "mouse", source=hub.source, endpoint=hub.url)


def test_no_network_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"could not be fetched from http://127\.0\.0\.1:9.*another machine"):
        fetch.fetch("whisper-tiny", to=tmp_path / "tiny", endpoint="http://127.0.0.1:9")
    assert not (tmp_path / "tiny").exists()


def test_unknown_names_and_strange_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="whisper-large-v3-turbo"):
        fetch.fetch("whisper-huge")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelMissing, match="was not fetched by this program"):
        fetch.fetch("whisper-tiny", to=tmp_path / "mine")
    with pytest.raises(ModelMissing, match=LOCK):
        check(tmp_path / "mine")


@pytest.mark.parametrize("where", [0, 1_500_000, 2_999_999])
def test_damage_is_found_by_check_and_truncation_at_once(hub: Hub, tmp_path: Path, where: int) -> None:
    to = fetch.fetch("mouse", to=tmp_path / "mouse", source=hub.source, endpoint=hub.url)
    raw = bytearray((to / "model.bin").read_bytes())
    raw[where] ^= 1
    (to / "model.bin").write_bytes(raw)
    with pytest.raises(ModelMissing, match="differs"):
        check(to)
    (to / "model.bin").write_bytes(raw[: where + 1] if where < 2_999_999 else raw + b"x")
    with pytest.raises(ModelMissing, match="differs"):
        find(str(to))


@pytest.mark.parametrize(
    "lock", ["", "[]", "{}", '{"files": {"model.bin": 3}}', '{"files": {"gone.bin": {"size": 1}}}']
)
def test_a_broken_lock_file_is_named(hub: Hub, tmp_path: Path, lock: str) -> None:
    to = fetch.fetch("mouse", to=tmp_path / "mouse", source=hub.source, endpoint=hub.url)
    (to / LOCK).write_text(lock)
    with pytest.raises(ModelMissing):
        find(str(to))


def test_names_are_found_in_the_weights_directory_and_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    source = fetch.SOURCES["whisper-tiny"]
    snapshot = tmp_path / "cache" / f"models--{source.repo.replace('/', '--')}" / "snapshots" / source.revision
    looked = partial(huggingface_hub.try_to_load_from_cache, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", looked)
    with pytest.raises(ModelMissing, match="hub's cache"):
        find("whisper-tiny", within=tmp_path)
    for directory in (snapshot, tmp_path / "whisper-tiny"):
        directory.mkdir(parents=True)
        for name in fetch.NEEDED:
            (directory / name).write_bytes(b"x")
        assert find("whisper-tiny", within=tmp_path) == directory
    (tmp_path / "whisper-tiny" / "tokenizer.json").unlink()
    with pytest.raises(ModelMissing, match=r"lacks tokenizer\.json"):
        find("whisper-tiny", within=tmp_path)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-m", "models", *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_command_says_what_went_wrong_in_one_line(hub: Hub, tmp_path: Path) -> None:
    failed = run("fetch", "whisper-tiny", "--to", str(tmp_path / "tiny"), HF_ENDPOINT=hub.url)
    assert failed.returncode == 1  # this hub has no such repository
    assert failed.stderr.startswith("error (model_missing): whisper-tiny could not be fetched from http://127.0.0.1")
    assert failed.stderr.count("\n") == 1
    assert any("Systran/faster-whisper-tiny" in path for path in hub.asked)


def test_the_command_checks_weights(hub: Hub, tmp_path: Path) -> None:
    to = fetch.fetch("mouse", to=tmp_path / "mouse", source=hub.source, endpoint=hub.url)
    checked = run("check", str(to))
    assert checked.returncode == 0
    assert hub.source.sha256 in checked.stdout
