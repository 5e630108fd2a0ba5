"""A program written for OpenAI's realtime transcription: the official SDK, run by the interpreter that has it.

    PYTHON tests/openai_client.py ws://host:port SPEECH.pcm turns|commits KEY

It sends 16-bit PCM at 24 kHz, commits (twice, where commits make the items), and prints each event as a line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

CHUNK = 9_600
"""Bytes: 200 ms."""
QUIET_S = 4.0


async def speak(connection: Any, audio: bytes) -> None:
    for at in range(0, len(audio), CHUNK):
        await connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + CHUNK]).decode())
        await asyncio.sleep(0.01)
    await connection.input_audio_buffer.commit()


async def main(ws: str, path: str, mode: str, key: str) -> None:
    audio = Path(path).read_bytes()
    client = AsyncOpenAI(api_key=key, base_url=f"{ws.replace('ws', 'http', 1)}/v1", websocket_base_url=f"{ws}/v1")
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        turns = {"type": "server_vad"} if mode == "turns" else None
        given: Any = {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": turns}
        given["transcription"] = {"model": "gpt-4o-transcribe", "language": "en"}
        await connection.session.update(session={"type": "transcription", "audio": {"input": given}})
        middle = len(audio) // 2 // CHUNK * CHUNK
        parts = [audio] if mode == "turns" else [audio[:middle], audio[middle:]]
        speaking = asyncio.create_task(say_all(connection, parts))
        open_items: set[str] = set()
        while True:
            try:
                event = await asyncio.wait_for(connection.recv(), QUIET_S)
            except TimeoutError:
                if speaking.done() and not open_items:
                    return
                continue
            print(event.model_dump_json(), flush=True)
            if event.type == "input_audio_buffer.committed":
                open_items.add(event.item_id)
            elif event.type.endswith(("transcription.completed", "transcription.failed")):
                open_items.discard(event.item_id)


async def say_all(connection: Any, parts: list[bytes]) -> None:
    for part in parts:
        await speak(connection, part)


asyncio.run(main(*sys.argv[1:]))
