"""The other end of AudioHook, for tests: messages, numbers and signatures made from Genesys' documents alone.

It imports nothing of `assist`, so that a misreading there is not shared here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

NOBODY = "00000000-0000-0000-0000-000000000000"
DURATION = re.compile(r"PT(\d*\.)?\d+S")
STEREO = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
LINEAR = {**STEREO, "format": "L16"}


def seconds(duration: str) -> float:
    assert DURATION.fullmatch(duration), duration
    return float(duration[2:-1])


def parameters(organisation: str, conversation: str, **more: Any) -> dict[str, Any]:
    """Of `open`."""
    participant = {"id": str(uuid.uuid4()), "ani": "+1-9876543210", "aniName": "Jo Doe", "dnis": "+1-123456789"}
    return {
        "organizationId": organisation,
        "conversationId": conversation,
        "participant": participant,
        "media": [STEREO],
        **more,
    }


def probe(organisation: str) -> dict[str, Any]:
    """Of the `open` of a connection probe."""
    nobody = {"id": NOBODY, "ani": "", "aniName": "", "dnis": ""}
    return {"organizationId": organisation, "conversationId": NOBODY, "participant": nobody, "media": [STEREO, LINEAR]}


def signed(headers: Mapping[str, str], target: str, authority: str, secret: str, **changes: Any) -> dict[str, str]:
    """The two headers of a signature over the others."""
    named = ("audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id", "x-api-key")
    lower = {name.lower(): value for name, value in headers.items()}
    signing = {"@request-target": target, "@authority": authority, **{name: lower[name] for name in named}}
    for name in changes.pop("without", ()):
        del signing[name]
    now = int(time.time())
    values = {"keyid": lower["x-api-key"], "nonce": base64.b64encode(uuid.uuid4().bytes).decode(), "alg": "hmac-sha256",
              "created": now, "expires": now + 10, **changes}  # fmt: skip
    inner = " ".join(f'"{name}"' for name in signing)
    rest = "".join(f";{k}={v}" if isinstance(v, int) else f';{k}="{v}"' for k, v in values.items() if v is not None)
    params = f"({inner}){rest}"
    text = "\n".join([*(f'"{k}": {v}' for k, v in signing.items()), f'"@signature-params": {params}'])
    mac = hmac.new(base64.b64decode(secret), text.encode(), hashlib.sha256).digest()
    return {"Signature-Input": f"sig1={params}", "Signature": f"sig1=:{base64.b64encode(mac).decode()}:"}


class Session:
    """One session on one socket. It keeps what came, and checks of each message what every message must be."""

    def __init__(self, socket: ClientConnection, session: str, organisation: str) -> None:
        self.socket = socket
        self.session = session
        self.organisation = organisation
        self.seq = 0
        self.serverseq = 0
        self.position_ms = 0.0
        self.came: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for text in self.socket:
                message = json.loads(text)
                assert message["version"] == "2" and message["id"] == self.session
                assert message["seq"] == self.serverseq + 1 and 0 <= message["clientseq"] <= self.seq
                assert isinstance(message["parameters"], dict) and "position" not in message
                self.serverseq = message["seq"]
                self.came.append(message)
                arrived, self.arrived = self.arrived, asyncio.Event()
                arrived.set()
        except ConnectionClosed:
            pass
        finally:
            self.arrived.set()

    async def send(self, kind: str, **given: Any) -> None:
        self.seq += 1
        message = {"version": "2", "id": self.session, "type": kind, "seq": self.seq, "serverseq": self.serverseq,
                   "position": f"PT{self.position_ms / 1000:.3f}S", "parameters": given}  # fmt: skip
        await self.socket.send(json.dumps(message))

    async def hear(self, stereo: bytes, frame_ms: int = 200, pace: float = 0.0) -> None:
        """Stereo mu-law at 8000 Hz in frames, at `pace` times real time; 0: all at once."""
        for frame in _cut(stereo, frame_ms):
            await self.socket.send(frame)
            self.position_ms += len(frame) / 16
            if pace:
                await asyncio.sleep(frame_ms / 1000 / pace)

    async def wait(self, kind: str, within_s: float = 20.0, count: int = 1) -> dict[str, Any]:
        """The `count`th message of a kind. Raises TimeoutError, and AssertionError where the socket closed first."""
        async with asyncio.timeout(within_s):
            while len(found := self.all(kind)) < count:
                assert not self.listening.done(), f"closed without {kind}: {self.socket.close_code}"
                await self.arrived.wait()
        return found[count - 1]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.came if message["type"] == kind]

    def entities(self, kind: str) -> list[dict[str, Any]]:
        """Data of the entities of a kind, in order."""
        sent = [each for message in self.all("event") for each in message["parameters"]["entities"]]
        assert all(message["parameters"]["entities"] for message in self.all("event")), "the client reads the first"
        return [each["data"] for each in sent if each["type"] == kind]


def _cut(stereo: bytes, frame_ms: int) -> list[bytes]:
    step = 16 * frame_ms
    return [stereo[at : at + step] for at in range(0, len(stereo), step)]


def asking(key: str = "anything") -> dict[str, str]:
    """Headers of a request for a socket, not signed."""
    ids = {f"Audiohook-{name}-Id": str(uuid.uuid4()) for name in ("Organization", "Session", "Correlation")}
    return {**ids, "X-API-KEY": key}


@asynccontextmanager
async def session(ws: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Session]:
    """A socket to `ws`/ingest/audiohook."""
    headers = headers or asking()
    async with connect(f"{ws}/ingest/audiohook", additional_headers=dict(headers), compression=None) as socket:
        made = Session(socket, headers["Audiohook-Session-Id"], headers["Audiohook-Organization-Id"])
        try:
            yield made
        finally:
            await socket.close()
            await made.listening
