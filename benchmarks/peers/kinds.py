"""The servers that are compared: how each is started and spoken to. It measures nothing."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import door
from benchmarks.make_weights import TOKENS_PER_S, found
from benchmarks.peers.judge import OURS
from benchmarks.peers.places import REALTIME_STT, WHISPER_LIVE, Place
from benchmarks.report import ROOT

SERVE: Final = Path(__file__).with_name("serve")
START_S: Final = 120.0

Said = tuple[float, float]
"""Bounds of a final text on its channel's clock, ms."""


@dataclass
class Voice:
    """One connection to a peer, which carries one channel. `began_wall`: time.time() of its first sample's deadline."""

    party: str
    began_wall: float = 0.0
    seen: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Dialect:
    """How a peer that takes one channel per connection is spoken to.

    `frames`: frames of 20 ms per message. `pack`: 16 kHz 16-bit PCM → message. `is_ready`: may audio go out after
    this message? `read`: the final texts that a message brings; `is_refusal`: does it turn us away?
    """

    path: str
    frames: int
    hello: Callable[[str], str | None]
    is_ready: Callable[[Mapping[str, Any]], bool]
    pack: Callable[[bytes], bytes]
    read: Callable[[Mapping[str, Any], Voice], list[Said]]
    is_refusal: Callable[[Mapping[str, Any]], bool] = lambda _: False


@dataclass(frozen=True)
class Kind:
    """One server to compare. `dialect` None: it is ours and takes the call as one. `command`: what starts it."""

    name: str
    what: str
    dialect: Dialect | None
    command: Callable[[Path, int, str, int], list[str]] | None = None
    place: Place | None = None
    health: str = ""


def loop_command(python: Path, port: int, weights: str, _: int) -> list[str]:
    return [str(python), "-m", "benchmarks.peers.serve.loop_server", str(port), weights]


def greedy_loop_command(python: Path, port: int, weights: str, channels: int) -> list[str]:
    return [*loop_command(python, port, weights, channels), "1"]


def whisper_live_command(python: Path, port: int, weights: str, channels: int) -> list[str]:
    return [str(python), str(SERVE / "whisper_live_server.py"), str(port), weights, str(channels)]


def realtime_stt_command(python: Path, port: int, weights: str, channels: int) -> list[str]:
    # Its default is a big model for finals and the smallest for text in between; here the smallest is tiny.
    small = found(str(Path(weights).with_name("random-tiny")))
    return [
        str(python), str(SERVE / "realtime_stt_server.py"), "--host", "127.0.0.1", "--port", str(port),
        "--device", "cpu", "--model", weights, "--realtime-model", small,
        "--max-sessions", str(channels), "--max-active-speakers", str(channels),
    ]  # fmt: skip


def read_loop(message: Mapping[str, Any], _: Voice) -> list[Said]:
    return [(message["start_ms"], message["end_ms"])] if "text" in message else []


def read_whisper_live(message: Mapping[str, Any], voice: Voice) -> list[Said]:
    """Segments marked completed, each once: it sends its last ten again and again."""
    completed = []
    for segment in message.get("segments", ()):
        bounds = f"{segment['start']}-{segment['end']}"
        if segment.get("completed") and bounds not in voice.seen:
            voice.seen.add(bounds)
            completed.append((float(segment["start"]) * 1000, float(segment["end"]) * 1000))
    return completed


def read_realtime_stt(message: Mapping[str, Any], voice: Voice) -> list[Said]:
    """Finals, which end where their recording ended, told on the wall's clock (not yet told: the final is early).

    Where a recording began it tells by the same clock, late where it lags; so that a lag cannot cost it the turn, a
    final may reach back as far as it likes.
    """
    if message.get("type") != "final":
        return []
    end = (message.get("segment") or {}).get("recordingEndedAt") or message["timestamp"]
    return [(0.0, (end - voice.began_wall) * 1000)]


def hello_whisper_live(uid: str) -> str:
    """The options its own client sends, with its defaults."""
    return json.dumps(
        {"uid": uid, "language": "en", "task": "transcribe", "model": "small", "use_vad": True, "audio_format": "int16",
         "send_last_n_segments": 10, "no_speech_thresh": 0.45, "clip_audio": False, "same_output_threshold": 10}
    )  # fmt: skip


def pack_realtime_stt(pcm: bytes) -> bytes:
    told = json.dumps({"sampleRate": 16_000, "channels": 1, "format": "pcm_s16le"}).encode()
    return struct.pack("<I", len(told)) + told + pcm


LOOP: Final = Dialect("", 1, lambda _: None, lambda message: "ready" in message, bytes, read_loop)
KINDS: Final = (
    Kind(OURS, "this server, plain dialect, as it ships", None),
    Kind(
        "loop",
        "the loop most people write: webrtcvad, 500 ms of silence, faster-whisper 1.2.1 transcribe() in a thread",
        LOOP,
        loop_command,
    ),
    Kind(
        "whisper-live",
        "WhisperLive 0.10.0, faster_whisper backend, one shared model",
        Dialect(
            "",
            5,
            hello_whisper_live,
            lambda message: message.get("message") == "SERVER_READY",
            bytes,
            read_whisper_live,
            lambda message: message.get("status") in ("WAIT", "ERROR"),
        ),
        whisper_live_command,
        WHISPER_LIVE,
    ),
    Kind(
        "realtime-stt",
        "RealtimeSTT 1.1.2, its multi-user FastAPI server, faster_whisper engine",
        Dialect(
            "/ws/transcribe",
            2,
            lambda _: json.dumps({"type": "start"}),
            lambda message: message.get("type") == "ready",
            pack_realtime_stt,
            read_realtime_stt,
            lambda message: message.get("type") == "error" and message.get("where") == "admission",
        ),
        realtime_stt_command,
        REALTIME_STT,
    ),
    Kind("loop-greedy", "the same loop with beam_size=1, which is how this server decodes", LOOP, greedy_loop_command),
)
NOT_COMPARABLE: Final = {
    "vosk-server": "another kind of model (Kaldi) whose weights cannot be made here: no comparison at equal cost",
    "whisper_streaming": "takes one client at a time, so it has no figure for calls at once",
}


def end_token(weights: str) -> int:
    """The id of `<|endoftext|>` in weights of benchmarks/make_weights.py."""
    return int(json.loads((Path(weights) / "random.json").read_text("utf-8"))["shape"]["text_tokens"])


@contextlib.contextmanager
def running(kind: Kind, weights: str, calls: int, folder: Path) -> Iterator[str]:
    """A server of this kind for so many calls, stopped at the end; its ws:// address. Raises RuntimeError."""
    if kind.command is None:
        told = {
            "ASSIST_RECOGNISER_KIND": "whisper",
            "ASSIST_RECOGNISER_WEIGHTS": weights,
            "ASSIST_RECOGNISER_TOKENS_PER_S": str(TOKENS_PER_S),
        }
        with door.running(folder, told) as server:
            yield server.ws
        return
    python = kind.place.made() if kind.place else Path(sys.executable)
    port = door.free_port()
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH")}
    # Nobody needs a network here, and nobody shall wait for one.
    told = {"PEERS_TOKENS_PER_S": str(TOKENS_PER_S), "PEERS_END_TOKEN": str(end_token(weights)), "HF_HUB_OFFLINE": "1"}
    if kind.place is None:  # the others must find nothing of ours
        told["PYTHONPATH"] = str(ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{kind.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            kind.command(python, port, weights, 2 * calls), cwd=folder, env={**kept, **told}, stdout=out, stderr=out
        )
    try:
        _listening(process, port, log)
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if not door.is_free(port):
            return
        time.sleep(0.1)
    raise RuntimeError(f"it did not start (exit {process.poll()}):\n{log.read_text(errors='replace')[-2000:]}")


def weights_root() -> Path:
    """Where random weights are kept."""
    return ROOT / "weights"
