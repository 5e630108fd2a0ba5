"""The other ends of Twilio's family and of Azure, for tests: messages made from the platforms' documents alone.

It imports nothing of `assist`, so that a misreading there is not shared here. Each platform is a function that gives
the texts of a whole call, in the order in which they are sent, from the sound of its customer and its agent.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

Texts = Iterator[str]


def cut(audio: bytes, size: int) -> list[str]:
    """Base64 of pieces of so many bytes."""
    return [base64.b64encode(audio[at : at + size]).decode() for at in range(0, len(audio), size)]


def as_twilio(call: str, customer: bytes, agent: bytes, stream: str = "MZ18ad3ab5a668481ce02b83e7395059f0") -> Texts:
    """Twilio, SignalWire and Fonoster: mu-law at 8 kHz, 20 ms, all numbers as strings."""
    yield json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    start = {
        "accountSid": "AC0123456789abcdef0123456789abcdef", "streamSid": stream, "callSid": call,
        "tracks": ["inbound", "outbound"], "customParameters": {"FirstName": "Jane"},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }  # fmt: skip
    yield json.dumps({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream})
    sequence = 1
    for n, pair in enumerate(zip(cut(customer, 160), cut(agent, 160), strict=True)):
        for track, payload in zip(("inbound", "outbound"), pair, strict=True):
            sequence += 1
            media = {"track": track, "chunk": str(n + 1), "timestamp": str(5 + 20 * n), "payload": payload}
            yield json.dumps({"event": "media", "sequenceNumber": str(sequence), "media": media, "streamSid": stream})
    dtmf = {"track": "inbound_track", "digit": "1"}
    yield json.dumps({"event": "dtmf", "streamSid": stream, "sequenceNumber": str(sequence + 1), "dtmf": dtmf})
    mark = {"name": "label"}
    yield json.dumps({"event": "mark", "sequenceNumber": str(sequence + 2), "streamSid": stream, "mark": mark})
    stop = {"accountSid": start["accountSid"], "callSid": call}
    yield json.dumps({"event": "stop", "sequenceNumber": str(sequence + 3), "stop": stop, "streamSid": stream})


def as_talkdesk(call: str, customer: bytes, agent: bytes) -> Texts:
    """UUIDs for ids; 40 ms a frame, while `timestamp` steps by 20."""
    stream, account = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    yield json.dumps({"event": "connected"})
    start = {
        "accountSid": account, "streamSid": stream, "callSid": call, "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"interactionId": str(uuid.UUID(int=3))},
    }  # fmt: skip
    yield json.dumps({"event": "start", "sequenceNumber": 1, "start": start, "streamSid": stream})
    sequence = 1
    for n, pair in enumerate(zip(cut(customer, 320), cut(agent, 320), strict=True)):
        for track, payload in zip(("inbound", "outbound"), pair, strict=True):
            sequence += 1
            media = {"track": track, "chunk": n + 1, "timestamp": 20 * n, "payload": payload}
            yield json.dumps({"event": "media", "sequenceNumber": sequence, "media": media, "streamSid": stream})
    yield json.dumps({"event": "stop", "sequenceNumber": sequence + 1, "stop": {"callSid": call}, "streamSid": stream})


def as_telnyx(call: str, customer: bytes, agent: bytes, seed: int = 5) -> Texts:
    """Snake case; media in an order that is not guaranteed, each track with its own chunk numbers."""
    stream = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
    yield json.dumps({"event": "connected", "version": "1.0.0"})
    start = {
        "user_id": "3E6F995F-85F7-4705-9741-53B116D28237", "call_control_id": call,
        "call_session_id": "ff55a038-6f5d-11ef-9692-02420aeffb1f", "from": "+13122010094", "to": "+13122123456",
        "tags": ["TAG1"], "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d", "custom_parameters": {"customer_id": "c_123"},
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    }  # fmt: skip
    yield json.dumps({"event": "start", "sequence_number": "1", "start": start, "stream_id": stream})
    frames: list[tuple[float, dict[str, str]]] = []
    dice = random.Random(seed)
    for track, audio in (("inbound", customer), ("outbound", agent)):
        for n, payload in enumerate(cut(audio, 160)):
            media = {"track": track, "chunk": str(n + 1), "timestamp": str(20 * n), "payload": payload}
            frames.append((n + dice.uniform(0, 4), media))
    number = 1
    for number, (_, media) in enumerate(sorted(frames, key=lambda each: each[0]), 2):
        yield json.dumps({"event": "media", "sequence_number": str(number), "media": media, "stream_id": stream})
    dtmf = {"event": "dtmf", "stream_id": stream, "occurred_at": "2026-11-26T18:00:00Z", "dtmf": {"digit": "1"}}
    yield json.dumps({**dtmf, "sequence_number": str(number + 1)})
    stop = {"user_id": start["user_id"], "call_control_id": call}
    yield json.dumps({"event": "stop", "sequence_number": str(number + 2), "stop": stop, "stream_id": stream})


def as_plivo(call: str, customer: bytes, agent: bytes) -> Texts:
    """Numbers as numbers, no `connected`, extra headers as text on every message."""
    stream, headers = str(uuid.UUID(int=4)), "userId=12345;sessionId=abc-xyz"
    start = {
        "callId": call, "streamId": stream, "accountId": "MAXXXXXXXXXXXXXXXXXX", "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
    }  # fmt: skip
    yield json.dumps({"event": "start", "sequenceNumber": 1, "start": start, "extra_headers": headers})
    sequence = 1
    for n, pair in enumerate(zip(cut(customer, 160), cut(agent, 160), strict=True)):
        for track, payload in zip(("inbound", "outbound"), pair, strict=True):
            sequence += 1
            media = {"track": track, "timestamp": str(1_705_312_200_000 + 20 * n), "chunk": n + 1, "payload": payload}
            told: dict[str, Any] = {"event": "media", "sequenceNumber": sequence, "streamId": stream, "media": media}
            yield json.dumps({**told, "extra_headers": headers})
    dtmf = {"track": "inbound", "digit": "5", "timestamp": "1705312200000"}
    yield json.dumps({"event": "dtmf", "sequenceNumber": sequence + 1, "streamId": stream, "dtmf": dtmf})
    yield json.dumps({"event": "stop", "sequenceNumber": sequence + 2, "streamId": stream, "stop": {"callId": call}})


def as_exotel(call: str, customer: bytes, agent: bytes) -> Texts:
    """Linear audio, 100 ms, one channel with the caller on it; `agent` is not sent."""
    stream, account = "MZ0123456789abcdef01234567", "AC0123456789abcdef01234567"
    yield json.dumps({"event": "connected"})
    start = {
        "stream_sid": stream, "call_sid": call, "account_sid": account, "from": "+919876543210", "to": "+918047491899",
        "custom_parameters": {"key1": "value1"},
        "media_format": {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"},
    }  # fmt: skip
    yield json.dumps({"event": "start", "sequence_number": "1", "stream_sid": stream, "start": start})
    sequence = 1
    for n, payload in enumerate(cut(customer, 1_600)):
        sequence += 1
        media = {"chunk": str(n + 1), "timestamp": str(100 * n), "payload": payload}
        yield json.dumps({"event": "media", "sequence_number": str(sequence), "stream_sid": stream, "media": media})
    stop = {"call_sid": call, "account_sid": account, "reason": "callended"}
    yield json.dumps({"event": "stop", "sequence_number": str(sequence + 1), "stream_sid": stream, "stop": stop})


def as_azure(customer_id: str, agent_id: str, customer: bytes, agent: bytes) -> Texts:
    """Unmixed linear audio at 16 kHz, 20 ms; silence is marked; nothing says goodbye."""
    about = {"subscriptionId": "89e8cb59-b991-48b0-b154-1db84f16a077", "encoding": "PCM", "sampleRate": 16000}
    yield json.dumps({"kind": "AudioMetadata", "audioMetadata": {**about, "channels": 1, "length": 640}})
    for n, pair in enumerate(zip(cut(customer, 640), cut(agent, 640), strict=True)):
        at = f"2024-11-15T19:16:{n // 50 % 60:02}.{n % 50 * 20:03}Z"
        for who, data in zip((customer_id, agent_id), pair, strict=True):
            silent = not any(base64.b64decode(data))
            told = {"timestamp": at, "participantRawID": who, "data": data, "silent": silent}
            yield json.dumps({"kind": "AudioData", "audioData": told})


FAMILY: dict[str, Callable[[str, bytes, bytes], Texts]] = {
    "twilio": as_twilio,
    "signalwire": as_twilio,
    "fonoster": as_twilio,
    "talkdesk": as_talkdesk,
    "telnyx": as_telnyx,
    "plivo": as_plivo,
    "exotel": as_exotel,
}
