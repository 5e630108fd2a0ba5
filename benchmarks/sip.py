"""A real telephone call: two soft-phones (baresip, as Debian packages it) speak SIP and RTP, and both voices reach us.

    apt-get install --no-install-recommends baresip-core
    python -m benchmarks.sip [--seconds 30]

The caller plays the customer of the shipped call, the one who answers plays the agent. What the agent's phone decodes
of its peer's RTP, and what it encodes itself, it writes down while the call lasts; that is read as it grows and sent on
as two AudioSocket legs, which is Asterisk's part. It knows of the server its addresses alone. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile

from assist import replay
from benchmarks import door
from benchmarks.calls import SHIPPED

MODULES = "/usr/lib/baresip/modules"
WAV_HEADER_BYTES = 44
LONGEST_SETUP_S = 20.0
QUIET_S = 1.0
"""A phone that has written nothing for so long, once the caller is gone, has hung up."""
CONFIG = """
module_path {modules}
poll_method epoll
net_interface 127.0.0.1
sip_listen 127.0.0.1:{port}
audio_source aufile,{wav}
audio_player aubridge,{party}
audio_alert aubridge,alert
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
snd_path {folder}
rtp_timeout 60
"""
"""`sndfile` is what writes both directions down; `aubridge` is a loudspeaker without a sound card."""


def missing() -> str:
    """What is needed and not installed; "" where all is there."""
    here = shutil.which("baresip") and Path(MODULES, "sndfile.so").exists()
    return "" if here else "baresip: apt-get install --no-install-recommends baresip-core"


@contextlib.contextmanager
def phone(folder: Path, party: str, port: int, wav: Path, *told: str) -> Iterator[subprocess.Popen[bytes]]:
    """A soft-phone that answers by itself and speaks this file; `told` is what is typed at its start."""
    folder.mkdir()
    config = CONFIG.format(modules=MODULES, port=port, wav=wav, party=party, folder=folder)
    (folder / "config").write_text(config, "utf-8")
    account = f"<sip:{party}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs=pcmu\n"
    (folder / "accounts").write_text(account, "utf-8")
    (folder / "contacts").touch()
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            ["baresip", "-f", str(folder), *told], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def appears(folder: Path, pattern: str, text: str = "") -> Path:
    """The file of a phone that is soon there, with this in it. Raises RuntimeError with the phone's last words."""
    deadline = time.monotonic() + LONGEST_SETUP_S
    while time.monotonic() < deadline:
        if (found := next(folder.glob(pattern), None)) and text.encode() in found.read_bytes():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"no {text or pattern}:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")


def announce(url: str, stream: uuid.UUID, call: str, party: str) -> None:
    """Say whose voice a stream will be."""
    body = json.dumps({"uuid": str(stream), "ref": call, "party": party}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/legs", body, {"content-type": "application/json"}), timeout=10
    )


async def forward(path: Path, stream: uuid.UUID, port: int, over: asyncio.Event) -> int:
    """Send a growing file of 8 kHz PCM as an AudioSocket stream until the call is over. How many bytes."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">BH", 0x01, 16) + stream.bytes)
    sent, since = 0, time.monotonic()
    with path.open("rb") as growing:
        growing.seek(WAV_HEADER_BYTES)
        while not over.is_set() or time.monotonic() - since < QUIET_S:
            if data := growing.read(3_200):
                since, sent = time.monotonic(), sent + len(data)
                writer.write(struct.pack(">BH", 0x10, len(data)) + data)
                await writer.drain()
            else:
                await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()
    return sent


async def send_on(agent: Path, caller: subprocess.Popen[bytes], url: str, port: int, call: str) -> dict[str, int]:
    """What the agent's phone hears and says, as two legs, until the caller has hung up. Bytes sent by party."""
    streams = {"customer": ("dump-*-dec.wav", uuid.uuid4()), "agent": ("dump-*-enc.wav", uuid.uuid4())}
    over = asyncio.Event()
    legs = []
    for party, (pattern, stream) in streams.items():
        path = await asyncio.to_thread(appears, agent, pattern)
        await asyncio.to_thread(announce, url, stream, call, party)
        legs.append(forward(path, stream, port, over))
    sending = asyncio.gather(*legs)
    await asyncio.to_thread(caller.wait)
    over.set()
    return dict(zip(streams, await sending, strict=True))


def ring(recording: replay.Recording, seconds: int, url: str, port: int, call: str) -> dict[str, int]:
    """Place the call, `seconds` of it, and send both voices on. Bytes sent by party. Raises RuntimeError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for party in ("agent", "customer"):
            samples = getattr(recording, party)[: seconds * recording.rate_hz]
            soundfile.write(folder / f"{party}.wav", samples, recording.rate_hz, subtype="PCM_16")
        answering, calling = door.free_port(), door.free_port()
        dial = ("-e", f"/dial sip:agent@127.0.0.1:{answering}", "-t", str(seconds + 2))
        with phone(folder / "agent", "agent", answering, folder / "agent.wav"):
            appears(folder / "agent", "log", "baresip is ready")
            with phone(folder / "customer", "customer", calling, folder / "customer.wav", *dial) as caller:
                return asyncio.run(send_on(folder / "agent", caller, url, port, call))


def finals(server: door.Door, call: str) -> list[dict[str, Any]]:
    """Final transcripts of a call, once it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        events = [entry["event"] for entry in server.get(f"/calls/{call}/log")["entries"]]
        if events[-1]["type"] == "CallEnded":
            return [
                e["transcript"] for e in events if e["type"] == "Transcribed" and e["transcript"]["stage"] == "final"
            ]
        time.sleep(0.2)
    raise RuntimeError(f"call {call} does not end")


def main() -> int:
    """Exit 0 where both parties were heard; 2 where the soft-phone is not installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    port, call = door.free_port(), f"sip-{uuid.uuid4().hex[:8]}"
    with (
        tempfile.TemporaryDirectory() as folder,
        door.running(Path(folder), {"ASSIST_INGEST_AUDIOSOCKET_PORT": str(port)}) as server,
    ):
        sent = ring(replay.read(SHIPPED), given.seconds, server.url, port, call)
        heard = finals(server, call)
        ledger = server.get(f"/calls/{call}/log")["entries"][-1]["event"]["ledger"]
    for each in heard:
        print(f"{each['start_ms'] / 1000:7.2f} {each['party']}: {each['text']}")
    said = {party: sum(each["party"] == party for each in heard) for party in sent}
    print(json.dumps({"call": call, "sent_ms": {p: n / 16 for p, n in sent.items()}, "finals": said, "ledger": ledger}))
    return 0 if all(said.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
