"""A real server in its own process, for benchmarks, demo and tests: started on a free port, stopped by signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0


@dataclass
class Door:
    """A running server. `url` is http://..., `ws` is ws://..."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """The JSON at `path`. Raises urllib.error.HTTPError."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.loads(answer.read())

    @property
    def processes(self) -> list[int]:
        """Those that it has started, where the system says so."""
        started = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for each in started for pid in each.read_text("ascii").split()]

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Signal it and wait. The exit status; negative where a signal ended it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


def is_free(port: int) -> bool:
    """Does nobody listen on this port?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(data_dir: Path, settings: Mapping[str, str] | None = None, port: int = 0, root: Path = ROOT) -> Door:
    """Start the `server.py` in `root` with `ASSIST_*` settings and wait until it is ready.

    Raises RuntimeError with its log.
    """
    port = port or free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "server.log"
    ours = {
        "ASSIST_SERVER_PORT": str(port),
        "ASSIST_SERVER_DATA_DIR": str(data_dir),
        # Each has a data folder of its own; what the encoder reads of the knowledge base is the same for all.
        "ASSIST_MIND_VECTORS": str(Path(tempfile.gettempdir()) / f"assist-vectors-{os.getuid()}"),
        **(settings or {}),
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ASSIST_")}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, str(root / "server.py")], cwd=root, env={**kept, **ours}, stdout=out, stderr=out
        )
    door = Door(process, port, log)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if door.get("/readyz")["ready"]:
                return door
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise RuntimeError(f"the server did not get ready (exit {process.returncode}):\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def running(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[Door]:
    """`start`, and a SIGTERM at the end."""
    door = start(data_dir, settings)
    try:
        yield door
    finally:
        try:
            door.stop()
        except subprocess.TimeoutExpired:
            door.process.kill()
            door.process.wait()
