"""The loop most people write: websocket in, voice detector, `WhisperModel.transcribe` for each utterance in a thread.

One connection is one channel of 16 kHz 16-bit mono in frames of 20 ms; each utterance comes back as one line of JSON
with its bounds on the channel's clock. Nothing in it is slow on purpose: the model is loaded once and shared, the event
loop is never blocked, and faster-whisper is called as its README calls it, with its defaults, or with another beam:
`loop_server.py PORT WEIGHTS [BEAM]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import webrtcvad
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.peers.serve import counted

FRAME_MS: Final = 20
SILENCE_MS: Final = 500
"""The silence that ends an utterance, as most examples have it."""
BEFORE_MS: Final = 200
LONGEST_MS: Final = 30_000
AGGRESSIVENESS: Final = 2


def transcribe(model: Any, pcm: bytes, options: Mapping[str, int]) -> str:
    """One utterance's text."""
    audio = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768.0
    segments, _ = model.transcribe(audio, language="en", **options)
    return " ".join(segment.text.strip() for segment in segments)


class Channel:
    """Cuts one channel into utterances."""

    def __init__(self) -> None:
        self._detector = webrtcvad.Vad(AGGRESSIVENESS)
        self._kept: list[bytes] = []
        self._speaking = False
        self._silence_ms = 0
        self._now_ms = 0

    def push(self, frame: bytes) -> tuple[int, int, bytes] | None:
        """The utterance that ends with this frame, where one does: start and end of its speech, and its PCM."""
        self._now_ms += FRAME_MS
        self._kept.append(frame)
        if self._detector.is_speech(frame, 16_000):
            self._speaking, self._silence_ms = True, 0
        else:
            self._silence_ms += FRAME_MS
        if not self._speaking:
            del self._kept[: -BEFORE_MS // FRAME_MS]
            return None
        if self._silence_ms < SILENCE_MS and len(self._kept) * FRAME_MS < LONGEST_MS:
            return None
        start_ms = self._now_ms - len(self._kept) * FRAME_MS
        found = (start_ms, self._now_ms - self._silence_ms, b"".join(self._kept))
        self._kept, self._speaking = [], False
        return found


async def listen(model: Any, socket: ServerConnection, options: Mapping[str, int]) -> None:
    """One channel from its first frame to its last."""
    channel, queue = Channel(), asyncio.Queue[tuple[int, int, bytes]]()

    async def write() -> None:
        while True:
            start_ms, end_ms, pcm = await queue.get()
            text = await asyncio.to_thread(transcribe, model, pcm, options)
            await socket.send(json.dumps({"start_ms": start_ms, "end_ms": end_ms, "text": text}))

    writing = asyncio.create_task(write())
    await socket.send('{"ready": true}')
    try:
        async for frame in socket:
            if isinstance(frame, bytes) and (found := channel.push(frame)):
                queue.put_nowait(found)
    finally:
        writing.cancel()


async def main(port: int, weights: str, *beam: str) -> None:
    """Serve until killed."""
    from faster_whisper import WhisperModel

    model = WhisperModel(weights, device="cpu", compute_type="int8")
    options = {"beam_size": int(beam[0])} if beam else {}
    async with serve(lambda socket: listen(model, socket, options), "127.0.0.1", port, ping_interval=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    counted.from_environment()
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:4]))
