"""Plays a two-channel recording into a server at the pace of speech, in any dialect: what integrators test with.

    python -m assist.replay FILE [--as plain|twilio] [--to ws://127.0.0.1:8765] [--call ID] [--speed 1.0]

FILE: a two-channel WAV (agent left), a folder with agent.wav and customer.wav, or two files joined by a comma.
Frames go out at absolute deadlines, so that a late one does not make the next one later. It knows nothing of the
server but its wire.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from assist.audio import Samples, encode_mulaw
from assist.errors import BadMessage


@dataclass(frozen=True)
class Recording:
    """Two channels of equal length: int16, shape (n,), at `rate_hz`."""

    name: str
    agent: Samples
    customer: Samples
    rate_hz: int

    @property
    def duration_ms(self) -> float:
        return len(self.agent) * 1000 / self.rate_hz


def read(path: str | Path) -> Recording:
    """A recording from a file, a folder or a pair. Raises BadMessage where it is not two channels at 8 or 16 kHz."""
    text = str(path)
    parts = [Path(p) for p in text.split(",")]
    if len(parts) == 1 and parts[0].is_dir():
        wavs = sorted(parts[0].glob("*.wav"))
        pair = [parts[0] / "agent.wav", parts[0] / "customer.wav"]
        parts = pair if all(p.exists() for p in pair) else wavs[:1]
    if not parts or not all(p.is_file() for p in parts):
        raise BadMessage(f"{text}: no such recording (a WAV, a folder with agent.wav and customer.wav, or A.wav,B.wav)")
    try:
        read_all = [soundfile.read(p, dtype="int16", always_2d=True) for p in parts]
    except soundfile.SoundFileError as error:
        raise BadMessage(f"{text}: {error}") from error
    channels = [data[:, n] for data, _ in read_all for n in range(data.shape[1])]
    rates = {rate for _, rate in read_all}
    if len(channels) != 2 or len(rates) != 1 or rates - {8_000, 16_000}:
        raise BadMessage(f"{text}: {len(channels)} channels at {sorted(rates)} Hz; two at 8000 or 16000 are needed")
    longest = max(map(len, channels))
    agent, customer = (np.pad(c, (0, longest - len(c))).astype(np.int16) for c in channels)
    return Recording(parts[0].parent.name if len(parts) > 1 else parts[0].stem, agent, customer, rates.pop())


@dataclass
class Played:
    """What came of it. `began` is the monotonic time of the first frame's deadline; lateness is the sender's own."""

    call: str
    began: float = 0.0
    lateness_ms: list[float] = field(default_factory=list)
    replies: list[dict[str, object]] = field(default_factory=list)
    close_code: int | None = None


def frames(
    recording: Recording, dialect: str, call: str, metadata: dict[str, str], frame_ms: int = 20
) -> Iterator[tuple[int, list[str | bytes]]]:
    """Messages with the time in ms at which their audio ends: what stands before the audio at 0, goodbye last."""
    step = recording.rate_hz * frame_ms // 1000
    count = -(-len(recording.agent) // step)
    both = np.stack([np.pad(c, (0, count * step - len(c))) for c in (recording.agent, recording.customer)])
    if dialect == "plain":
        hello = {"type": "hello", "call": call, "channels": ["agent", "customer"], "encoding": "mulaw",
                 "rate_hz": recording.rate_hz, "metadata": metadata}  # fmt: skip
        yield 0, [json.dumps(hello)]
        coded = encode_mulaw(both.T.reshape(-1))
        for n in range(count):
            yield (n + 1) * frame_ms, [coded[n * 2 * step : (n + 1) * 2 * step]]
        yield count * frame_ms, [json.dumps({"type": "bye"})]
        return
    stream = f"MZ{uuid.uuid4().hex}"
    start = {"accountSid": "AC0", "streamSid": stream, "callSid": call, "tracks": ["inbound", "outbound"],
             "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": recording.rate_hz, "channels": 1},
             "customParameters": metadata}  # fmt: skip
    yield (
        0,
        [
            json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
            json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": stream, "start": start}),
        ],
    )
    tracks = [("outbound", encode_mulaw(both[0])), ("inbound", encode_mulaw(both[1]))]
    sequence = 1
    for n in range(count):
        messages: list[str | bytes] = []
        for track, coded in tracks:
            sequence += 1
            payload = base64.b64encode(coded[n * step : (n + 1) * step]).decode()
            media = {"track": track, "chunk": str(n + 1), "timestamp": str(n * frame_ms), "payload": payload}
            messages.append(
                json.dumps({"event": "media", "sequenceNumber": str(sequence), "streamSid": stream, "media": media})
            )
        yield (n + 1) * frame_ms, messages
    yield count * frame_ms, [json.dumps({"event": "stop", "sequenceNumber": str(sequence + 1), "streamSid": stream})]


async def play(
    recording: Recording,
    url: str,
    *,
    call: str = "",
    dialect: str = "plain",
    metadata: dict[str, str] | None = None,
    speed: float = 1.0,
) -> Played:
    """Play all of it to the server at `url` (ws://host:port) and wait for its close."""
    played = Played(call or f"replay-{uuid.uuid4().hex[:12]}")
    async with connect(f"{url}/ingest/{dialect}", compression=None, max_size=2**20, ping_interval=None) as socket:
        listening = asyncio.create_task(_listen(socket, played))
        loop = asyncio.get_running_loop()
        try:
            for at_ms, messages in frames(recording, dialect, played.call, metadata or {}):
                if not played.began and at_ms:
                    played.began = time.monotonic()
                if at_ms:
                    due = played.began + at_ms / 1000 / speed
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    played.lateness_ms.append((loop.time() - due) * 1000)
                for message in messages:
                    await socket.send(message)
        except ConnectionClosed:
            pass  # the server had enough of it: why, stands in its replies
        await listening
        played.close_code = socket.close_code
    return played


async def _listen(socket: ClientConnection, played: Played) -> None:
    try:
        async for message in socket:
            played.replies.append(json.loads(message))
    except ConnectionClosed:
        pass


def main() -> int:
    """Exit 0 where the server closed the call in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--as", dest="dialect", choices=("plain", "twilio"), default="plain")
    parser.add_argument("--to", default="ws://127.0.0.1:8765")
    parser.add_argument("--call", default="")
    parser.add_argument("--speed", type=float, default=1.0)
    given = parser.parse_args()
    if given.speed <= 0:
        parser.error("--speed must be above 0")
    try:
        recording = read(given.file)
        played = asyncio.run(play(recording, given.to, call=given.call, dialect=given.dialect, speed=given.speed))
    except (BadMessage, OSError, WebSocketException) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    print(f"sent at most {max(played.lateness_ms, default=0.0):.0f} ms late", file=sys.stderr)
    for reply in played.replies[-1:]:
        print(json.dumps(reply))
    return 0 if played.close_code == 1000 else 1


if __name__ == "__main__":
    sys.exit(main())
