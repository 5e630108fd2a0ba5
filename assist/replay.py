"""Plays a two-channel recording into a server at the pace of speech, in any dialect: what integrators test with.

    python -m assist.replay FILE [--as DIALECT] [--to ws://127.0.0.1:8765] [--call ID] [--speed 1.0]
        [--frame-ms MS] [--key KEY] [--secret SECRET] [--verbose]
        [--jitter-ms MS] [--loss PERCENT] [--reorder PERCENT] [--duplicate PERCENT]
        [--freeze-at S --freeze-s S] [--drop-at S] [--seed N]

FILE: a two-channel WAV (agent left), a folder with agent.wav and customer.wav, or two files joined by a comma. A URL
with a path is used as it is; without one, the server's usual path for the dialect is put behind it. Webex is at
grpc://127.0.0.1:PORT. The last line on
stdout says in JSON what came of it: `outcome` is ended, dropped (as ordered), refused or lost. The exit status is 0 for
the first two, 1 with the reason on stderr for the others, 2 where nobody could be reached.

Frames go out at absolute deadlines, so that a late one does not make the next one later. It knows nothing of the
server but its wire; what is said on it, `assist.clients` knows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import socket as sockets
import struct
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from assist.audio import RATE_HZ, Samples
from assist.clients import MODULES, Answer, Client, Line, Message, Setup, make
from assist.clients.faults import Faults, Timed, spoilt
from assist.errors import BadMessage
from assist.resample import Resampler

READY_S = 10.0
"""So long a server may take to say that it is ready for audio, where the dialect has it say so."""
GOODBYE_S = 90.0


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
    """A recording from a file, a folder or a pair; other rates than 8 and 16 kHz become 16.

    Raises BadMessage where it is not two channels, BadEncoding for a rate that has no simple ratio to 16 kHz.
    """
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
    if len(channels) != 2 or len(rates) != 1:
        raise BadMessage(f"{text}: {len(channels)} channels at {sorted(rates)} Hz; two at one rate are needed")
    rate_hz = rates.pop()
    if rate_hz not in (8_000, RATE_HZ):
        heard = [Resampler(rate_hz).push(each.astype("<i2").tobytes()) for each in channels]
        channels, rate_hz = [np.frombuffer(each, dtype="<i2") for each in heard], RATE_HZ
    longest = max(map(len, channels))
    agent, customer = (np.pad(c, (0, longest - len(c))).astype(np.int16) for c in channels)
    return Recording(parts[0].parent.name if len(parts) > 1 else parts[0].stem, agent, customer, rate_hz)


@dataclass
class Played:
    """What came of it. `began`: the monotonic time from which deadlines count; lateness is the sender's own.

    `replies`: what the server said, in order. `sent`: messages with audio, and what `Faults` did to them.
    """

    call: str
    began: float = 0.0
    lateness_ms: list[float] = field(default_factory=list)
    replies: list[Answer] = field(default_factory=list)
    close_code: int | None = None
    outcome: str = "ended"
    reason: str = ""
    acknowledged: dict[str, Any] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """The same sound at another rate, by a windowed sinc; the rates' ratio must be one of small numbers."""
    up, down = (rate // math.gcd(from_hz, to_hz) for rate in (to_hz, from_hz))
    if up == down:
        return samples
    widest = max(up, down)
    n = np.arange(-16 * widest, 16 * widest + 1)
    kernel = np.sinc(n / widest) * np.kaiser(len(n), 8.0) * up / widest
    wide = np.zeros(len(samples) * up, np.float32)
    wide[::up] = samples
    made = np.convolve(wide, kernel.astype(np.float32), "same")[::down]
    return np.rint(made).clip(-32_768, 32_767).astype(np.int16)


def audio(recording: Recording, client: Client) -> Iterator[Timed]:
    """The client's messages with audio, each with the time at which its audio ends. The last frame is filled up."""
    both = [resampled(each, recording.rate_hz, client.rate_hz) for each in (recording.agent, recording.customer)]
    step = client.rate_hz * client.frame_ms // 1000
    count = -(-len(both[0]) // step)
    agent, customer = (np.pad(each, (0, count * step - len(each))) for each in both)
    for n in range(count):
        frame = slice(n * step, (n + 1) * step)
        for line, message in client.audio(agent[frame], customer[frame]):
            yield (n + 1) * client.frame_ms, line, message


def frames(
    recording: Recording, dialect: str, call: str, metadata: dict[str, str], frame_ms: int = 0
) -> Iterator[tuple[int, list[Message]]]:
    """Messages with the time in ms at which their audio ends: what stands before the audio at 0, goodbye last.

    For dialects of one socket whose messages wait for no answer.
    """
    client = make(dialect, Setup(call, recording.rate_hz, frame_ms, metadata))
    yield 0, client.opening(0)
    at_ms, together = 0, list[Message]()
    for each_ms, _, message in audio(recording, client):
        if together and each_ms > at_ms:
            yield at_ms, together
            together = []
        at_ms = int(each_ms)
        together.append(message)
    yield at_ms, together
    yield at_ms, client.closing(0)


class Wire(Protocol):
    """One open connection."""

    async def send(self, message: Message) -> None: ...

    def answers(self) -> AsyncIterator[Message]:
        """What comes, until the connection is closed."""

    async def close(self) -> int | None:
        """Close it in order, if it is open; the websocket's close code, where there is one."""

    def reset(self) -> None:
        """Tear it down: RST instead of FIN."""


class Web:
    """A websocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: Message) -> None:
        await self._socket.send(message)

    async def answers(self) -> AsyncIterator[Message]:
        with contextlib.suppress(ConnectionClosed):
            async for message in self._socket:
                yield message

    async def close(self) -> int | None:
        await self._socket.close()
        return self._socket.close_code

    def reset(self) -> None:
        _reset(self._socket.transport)


class Tcp:
    """A bare connection. What comes on it is given as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, message: Message) -> None:
        self._writer.write(message if isinstance(message, bytes) else message.encode())
        await self._writer.drain()

    async def answers(self) -> AsyncIterator[Message]:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                yield data

    async def close(self) -> int | None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        return None

    def reset(self) -> None:
        _reset(self._writer.transport)


class Rpc:
    """A gRPC stream, on a connection of its own. Its goodbye is that it is half-closed."""

    def __init__(self, channel: Any, stream: Any) -> None:
        self._channel, self._stream = channel, stream

    async def send(self, message: Message) -> None:
        if self._stream.done():
            raise ConnectionResetError("the stream has ended")
        try:
            await self._stream.write(message if isinstance(message, bytes) else message.encode())
        except (self._errors, asyncio.InvalidStateError) as error:
            raise ConnectionResetError("the stream has ended") from error

    async def answers(self) -> AsyncIterator[Message]:
        try:
            async for message in self._stream:
                yield message
        except self._errors:
            pass
        except asyncio.CancelledError:
            if not self._stream.cancelled():
                raise
            return  # by ourselves: `reset`
        code = await self._stream.code()
        if code.name != "OK":
            yield json.dumps({"status": code.name, "message": await self._stream.details()})

    async def close(self) -> int | None:
        if not self._stream.done():
            with contextlib.suppress(self._errors, asyncio.InvalidStateError):
                await self._stream.done_writing()
            await asyncio.wait_for(self._stream.code(), GOODBYE_S)
        await self._channel.close()
        return None

    def reset(self) -> None:
        self._stream.cancel()

    @property
    def _errors(self) -> type[Exception]:
        import grpc

        error: type[Exception] = grpc.RpcError
        return error


async def _called(line: Line) -> Rpc:
    """Raises OSError where nobody answers."""
    import grpc
    import grpc.aio

    parts = urlsplit(line.url)
    options = [("grpc.use_local_subchannel_pool", 1)]
    if parts.scheme == "grpcs":
        channel = grpc.aio.secure_channel(parts.netloc, grpc.ssl_channel_credentials(), options)
    else:
        channel = grpc.aio.insecure_channel(parts.netloc, options)
    try:
        await asyncio.wait_for(channel.channel_ready(), READY_S)
    except TimeoutError:
        await channel.close()
        raise ConnectionRefusedError(f"{parts.netloc}: nobody speaks gRPC there") from None
    return Rpc(channel, channel.stream_stream(parts.path)(metadata=tuple(line.headers.items())))


def _reset(transport: asyncio.WriteTransport) -> None:
    line = transport.get_extra_info("socket")
    line.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _connected(line: Line) -> Wire:
    parts = urlsplit(line.url)
    if parts.scheme == "tcp":
        return Tcp(*await asyncio.open_connection(parts.hostname, parts.port))
    if parts.scheme in ("grpc", "grpcs"):
        return await _called(line)
    asked = [Subprotocol(name) for name in line.subprotocols] or None
    headers = dict(line.headers)
    limits: dict[str, Any] = {"compression": None, "max_size": 2**20, "ping_interval": None}
    return Web(await connect(line.url, additional_headers=headers, subprotocols=asked, **limits))


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
    call = call or f"replay-{uuid.uuid4().hex[:12]}"
    return await send(make(dialect, Setup(call, recording.rate_hz, 0, metadata or {})), recording, url, speed=speed)


async def send(
    client: Client, recording: Recording, url: str, *, speed: float = 1.0, faults: Faults | None = None, http: str = ""
) -> Played:
    """Play all of it as `client` says it. `http`: where it announces its call, http://host:port.

    Raises OSError, WebSocketException where nobody is there to be talked to.
    """
    for path, body in client.announcements():
        await asyncio.to_thread(_post, f"{http}{path}", body)
    return await _Playing(client, speed, faults or Faults()).play(recording, url)


def _post(url: str, body: dict[str, str]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=READY_S) as answer:
        answer.read()


class _Playing:
    """One call on the wire."""

    def __init__(self, client: Client, speed: float, faults: Faults) -> None:
        self.client = client
        self.played = Played(client.call)
        self._speed = speed
        self._faults = faults
        self._wires: list[Wire] = []
        self._voice = asyncio.Lock()
        """Messages may be numbered: they are made when it is their turn."""
        self._answered = asyncio.Event()
        self._gone: list[asyncio.Task[None]] = []

    async def play(self, recording: Recording, url: str) -> Played:
        client, played = self.client, self.played
        try:
            for line in client.lines(url):
                self._wires.append(await _connected(line))
        except InvalidStatus as refused:
            body = (refused.response.body or b"").decode(errors="replace")[:300]
            played.outcome, played.reason = "refused", f"HTTP {refused.response.status_code}: {body}".rstrip(": ")
            await self._close()
            return played
        self._gone = [asyncio.create_task(self._listen(n)) for n in range(len(self._wires))]
        beating = asyncio.create_task(self._beat())
        try:
            for n in range(len(self._wires)):
                await self._say(n, client.opening(n))
            await self._until_ready()
            await self._speak(audio(recording, client))
            if played.outcome == "ended":
                await self._say_goodbye()
        except (ConnectionClosed, ConnectionError):
            pass  # the server had enough of it: why, stands in its replies
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        if played.outcome == "ended":
            _, waiting = await asyncio.wait(self._gone, timeout=GOODBYE_S)
            if waiting:
                client.refused = client.refused or f"not closed within {GOODBYE_S:g} s of the goodbye"
        await self._close()
        await asyncio.gather(*self._gone)
        self._judge()
        return played

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not (self.client.ready or self.client.stopped or self._any_gone()):
            self._answered.clear()
            try:
                await asyncio.wait_for(self._answered.wait(), deadline - time.monotonic())
            except TimeoutError:
                self.client.refused = f"not ready for audio within {READY_S:g} s"
                self.client.stopped = True

    async def _speak(self, timed: Iterator[Timed]) -> None:
        played, faults = self.played, self._faults
        played.began = time.monotonic()
        for due_ms, line, message in spoilt(timed, faults, played.sent):
            if faults.drop_at_s is not None and due_ms > faults.drop_at_s * 1000:
                await self._sleep_until(faults.drop_at_s * 1000)
                for wire in self._wires:
                    wire.reset()
                played.outcome = "dropped"
                return
            due = await self._sleep_until(due_ms)
            if self.client.stopped or self._any_gone():
                return
            played.lateness_ms.append((time.monotonic() - due) * 1000)
            await self._wires[line].send(message)
            played.sent["messages"] += 1

    async def _sleep_until(self, due_ms: float) -> float:
        due = self.played.began + due_ms / 1000 / self._speed
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        return due

    def _any_gone(self) -> bool:
        return any(each.done() for each in self._gone)

    async def _say_goodbye(self) -> None:
        for n in range(len(self._wires)):
            await self._say(n, self.client.closing(n))
        if self.client.hangs_up_s is not None:
            await asyncio.wait(self._gone, timeout=self.client.hangs_up_s)
            for wire in self._wires:
                await wire.close()

    async def _say(self, line: int, messages: list[Message]) -> None:
        async with self._voice:
            for message in messages:
                await self._wires[line].send(message)

    async def _beat(self) -> None:
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            for pause_s in self.client.beats_s:
                await asyncio.sleep(pause_s)
                await self._say(0, self.client.beat())

    async def _listen(self, line: int) -> None:
        try:
            async for message in self._wires[line].answers():
                answer = _read(message)
                self.played.replies.append(answer)
                with contextlib.suppress(ConnectionClosed, ConnectionError):
                    await self._say(line, self.client.hear(line, answer))
                self._answered.set()
                if self.client.over:
                    await self._wires[line].close()
        finally:
            self._answered.set()

    async def _close(self) -> None:
        for wire in self._wires:
            code = await wire.close()
            self.played.close_code = code if self.played.close_code in (None, 1000) else self.played.close_code

    def _judge(self) -> None:
        played = self.played
        played.acknowledged = self.client.acknowledged
        if played.outcome != "dropped":
            if self.client.refused:
                played.outcome, played.reason = "refused", self.client.refused
            elif played.close_code not in (None, 1000):
                played.outcome, played.reason = "lost", f"the connection ended with {played.close_code}"


def _read(message: Message) -> Answer:
    try:
        value = json.loads(message)
    except ValueError:  # not JSON, or not even text
        value = None
    if isinstance(value, dict):
        return value
    return {"text": message if isinstance(message, str) else message.hex()}


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--as", dest="dialect", choices=sorted(MODULES), default="plain")
    parser.add_argument("--to", default="ws://127.0.0.1:8765")
    parser.add_argument("--http", default="http://127.0.0.1:8765", help="where AudioSocket's streams are announced")
    parser.add_argument("--call", default="")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--frame-ms", type=int, default=0, help="default: as the platform does it")
    parser.add_argument("--key", default="", help="the API key, where the dialect has one")
    parser.add_argument("--secret", default="", help="what requests are signed with, where the dialect signs them")
    parser.add_argument("--verbose", action="store_true", help="print all that the server says")
    for name in ("jitter-ms", "loss", "reorder", "duplicate", "freeze-at", "freeze-s"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--drop-at", type=float, default=None)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.speed <= 0:
        parser.error("--speed must be above 0")
    if not 0 <= given.frame_ms <= 5_000:
        parser.error("--frame-ms must lie in 1..5000")
    if not all(0 <= each <= 100 for each in (given.loss, given.reorder, given.duplicate)):
        parser.error("--loss, --reorder and --duplicate are percent")
    if min(given.jitter_ms, given.freeze_at, given.freeze_s, given.drop_at or 0) < 0:
        parser.error("times must not lie below 0")
    return given


def main() -> int:
    """The exit status, as above."""
    given = _asked()
    faults = Faults(
        given.jitter_ms,
        given.loss,
        given.reorder,
        given.duplicate,
        given.freeze_at,
        given.freeze_s,
        given.drop_at,
        given.seed,
    )
    call = given.call or f"replay-{uuid.uuid4().hex[:12]}"
    try:
        recording = read(given.file)
        setup = Setup(call, recording.rate_hz, given.frame_ms, {}, given.key, given.secret)
        client = make(given.dialect, setup)
        played = asyncio.run(send(client, recording, given.to, speed=given.speed, faults=faults, http=given.http))
    except (BadMessage, OSError, ValueError, WebSocketException) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    for reply in played.replies if given.verbose else ():
        print(json.dumps(reply))
    told = {
        "call": played.call,
        "outcome": played.outcome,
        "reason": played.reason,
        "close_code": played.close_code,
        "acknowledged": played.acknowledged,
        "sent": dict(played.sent),
        "latest_ms": round(max(played.lateness_ms, default=0.0), 1),
    }
    print(json.dumps(told))
    if played.outcome in ("ended", "dropped"):
        return 0
    print(f"replay: {played.outcome}: {played.reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
