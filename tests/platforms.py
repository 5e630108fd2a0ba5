"""The other ends of the raw family, for tests: what they ask for and send, made from their documents alone.

It imports nothing of `assist`, so that a misreading there is not shared here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

Messages = list[str | bytes]


@dataclass
class Client:
    """One platform's socket: what it asks for, what it sends, what it is told. `waits_for`: a text before all audio."""

    path: str
    messages: Messages
    subprotocol: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    sends_origin: bool = False
    waits_for: str = ""
    told: list[str] = field(default_factory=list)

    async def play(self, ws: str, *, pace: float = 15, bytes_per_s: int = 32_000, reset: bool = False) -> None:
        """Send all at `pace` times real time, then close; `reset`: be gone without a word, as a lost host is."""
        origin = Origin("http" + ws.removeprefix("ws")) if self.sends_origin else None
        protocols = [Subprotocol(self.subprotocol)] if self.subprotocol else None
        async with connect(
            ws + self.path, origin=origin, subprotocols=protocols, additional_headers=self.headers, ping_interval=None
        ) as socket:
            assert (socket.subprotocol or "") == self.subprotocol, "such a client fails the handshake"
            for message in self.messages:
                await socket.send(message)
                if self.waits_for and isinstance(message, str) and not self.told:
                    self.told.append(str(await asyncio.wait_for(socket.recv(), 5)))
                    assert json.loads(self.told[0])["command"] == self.waits_for
                if isinstance(message, bytes):
                    await asyncio.sleep(len(message) / bytes_per_s / pace)
            if reset:
                await gone(socket)
            else:
                await hung_up(socket, self.told)


async def gone(socket: ClientConnection) -> None:
    """A TCP reset instead of a close."""
    lingering = struct.pack("ii", 1, 0)
    socket.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, lingering)
    await asyncio.sleep(0.2)  # what was written must have left
    socket.transport.abort()


async def hung_up(socket: ClientConnection, told: list[str]) -> None:
    """A clean close, and what was still said before it."""
    await socket.close()
    with contextlib.suppress(ConnectionClosed):
        told.extend([str(text) async for text in socket])


def cut(sound: bytes, *sizes: int) -> Iterator[bytes]:
    """The bytes in messages of these sizes, in turn."""
    at = turn = 0
    while at < len(sound):
        size = sizes[turn % len(sizes)]
        yield sound[at : at + size]
        at, turn = at + size, turn + 1


def freeswitch(call: str, stereo: bytes) -> Client:
    """`uuid_audio_stream CALL start ws://.../ingest/freeswitch?call=CALL&... stereo 8k {...}`, 20 ms buffers.

    Its first audio was seen to come before the text; `stop` sends another one.
    """
    first, *others = cut(stereo, 640)
    return Client(
        f"/ingest/freeswitch?call={call}&rate=8000&channels=stereo",
        [first, json.dumps({"queue": "sales", "agent": "ann"}), *others, "stopped by the dialplan"],
        sends_origin=True,
    )


def audio_fork(call: str, stereo: bytes) -> Client:
    """mod_audio_fork: nothing in the URL, all in the text, and buffers of whatever size the network took."""
    text = {"callid": call, "sampleRate": "8000", "mixType": "stereo", "queue": "sales", "agent": "ann"}
    return Client("/ingest/freeswitch", [json.dumps(text), *cut(stereo, 641, 1_279, 3, 6_400)], "audio.drachtio.org")


def jambonz(call: str, stereo: bytes) -> Client:
    """The `listen` verb with mixType stereo and passDtmf."""
    attributes = {
        "sampleRate": 8000, "mixType": "stereo", "callSid": call, "direction": "inbound", "from": "+15551234",
        "to": "+15559876", "callId": str(uuid.uuid4()), "sipStatus": 200, "callStatus": "in-progress",
        "accountSid": str(uuid.uuid4()), "applicationSid": str(uuid.uuid4()), "queue": "sales", "agent": "ann",
    }  # fmt: skip
    key = json.dumps({"event": "dtmf", "dtmf": "2", "duration": "1600"})
    sound = list(cut(stereo, 4_096, 512))
    return Client("/ingest/jambonz", [json.dumps(attributes), *sound[:9], key, *sound[9:]], "audio.jambonz.org")


def lca(call: str, stereo: bytes) -> Client:
    """The sample client of Live Call Analytics: a WAV file from its first byte, 100 ms at a time."""
    form = struct.pack("<HHIIHH", 1, 2, 8000, 32_000, 4, 16)
    file = struct.pack("<4sI8sI", b"RIFF", 36 + len(stereo), b"WAVEfmt ", 16) + form
    file += struct.pack("<4sI", b"data", len(stereo)) + stereo
    about = {"callId": call, "fromNumber": "+15551234", "toNumber": "+15559876", "agentId": "ann", "queue": "sales",
             "shouldRecordCall": True, "samplingRate": 8000}  # fmt: skip
    events = [json.dumps({**about, "callEvent": event}) for event in ("START", "UPDATE_AGENT", "END")]
    first, *others = cut(file, 3_200)
    token = quote("Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
    return Client(f"/ingest/lca?authorization={token}", [events[0], first, events[1], *others, events[2]])


def vonage(call: str, mono: bytes) -> Client:
    """A websocket endpoint of an NCCO on the customer's leg, its headers `call`, `party`, `queue` and `agent`."""
    headers = {"call": call, "party": "customer", "queue": "sales", "agent": "ann"}
    text = {"event": "websocket:connected", "content-type": "audio/l16;rate=8000", **headers}
    key = json.dumps({"event": "websocket:dtmf", "digit": "5", "duration": 260})
    sound = list(cut(mono, 320))
    return Client("/ingest/vonage", [json.dumps(text), *sound[:9], key, *sound[9:]])


def sinch(call: str, mono: bytes) -> Client:
    """A `connectStream` leg: it sends audio only once it has been answered."""
    text = {"command": "connect", "version": 1, "callId": call, "applicationKey": str(uuid.uuid4()), "codec": "PCM",
            "sampleRate": 8000, "callHeaders": {"party": "customer", "queue": "sales", "agent": "ann"}}  # fmt: skip
    return Client("/ingest/sinch", [json.dumps(text), *cut(mono, 320)], waits_for="answer")
