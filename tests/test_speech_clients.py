"""Programs written for Vosk, Deepgram and OpenAI get their text from us: their own SDKs, unmodified, over real sockets.

OpenAI's SDK wants an older websockets than the server: it lives in an environment of its own, made under `.clients/`
once. Where no package index can be reached, that test is skipped and says so. Vosk's client is one of our own, written
from what its server answers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from websockets import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from assist import replay
from assist.access import Keys
from assist.errors import Unauthorized
from benchmarks import door
from benchmarks.calls import SHIPPED, Script, for_scripted
from benchmarks.report import ROOT
from tests.conftest import QUICK
from tests.protocols.test_vosk import wav
from tests.wire import new_id

SDK = "openai[realtime]==3.57.0"
HALF_S = 8_000
"""Bytes of PCM at 8 kHz."""
LENGTH_MS = 45_000
KEY = "key-of-ours"

SDK_WARNS = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""Deepgram's SDK still asks pydantic and websockets for their older names."""


@pytest.fixture(scope="module")
def recording() -> replay.Recording:
    """The beginning of the shipped call, at 8 kHz."""
    whole = replay.read(SHIPPED)
    end = LENGTH_MS * whole.rate_hz // 1000
    return replay.Recording(whole.name, whole.agent[:end], whole.customer[:end], whole.rate_hz)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Iterator[door.Door]:
    """A server with keys, the limits of the product, and a recogniser that takes 2 s for everything."""
    folder = tmp_path_factory.mktemp("strict")
    says = for_scripted(script, folder / "say.json", delay_ms=2_000)
    own = {"ASSIST_INGEST_SPEED": "1.25", "ASSIST_INGEST_SPEECH_KEYS": json.dumps([KEY]), "ASSIST_INGEST_BURST_S": "8"}
    own["ASSIST_INGEST_HELLO_TIMEOUT_S"] = "2"
    more = {"ASSIST_RECOGNISER_SCRIPT": str(says), "ASSIST_INGEST_PROMISED_LOAD": "0"}
    with door.running(folder, {**QUICK, **own, **more}) as running:
        yield running


def words_of(script: Script, *parties: str) -> set[str]:
    turns = [turn for turn in script.turn if turn.party in parties and turn.end_ms < LENGTH_MS - 1_000]
    return {word for turn in turns for word in turn.text.split()}


def close_to(said: str, wanted: set[str]) -> bool:
    """All but the odd word at a cut."""
    return len(wanted - set(said.split())) <= 0.05 * len(wanted)


def finals(server: door.Door, call: str) -> list[str]:
    log = server.get(f"/calls/{call}/log")["entries"]
    said = [each["event"]["transcript"] for each in log if each["event"]["type"] == "Transcribed"]
    return [each["text"] for each in said if each["stage"] == "final" and each["text"]]


def check_books(server: door.Door, call: str, reason: str = "bye") -> dict[str, Any]:
    last: dict[str, Any] = {}
    for _ in range(200):
        last = server.get(f"/calls/{call}/log")["entries"][-1]["event"]
        if last["type"] == "CallEnded":
            break
        time.sleep(0.1)
    assert last["type"] == "CallEnded" and last["reason"] == reason
    for ledger in last["ledger"].values():
        assert ledger["gap_ms"] == 0 and ledger["skipped_ms"].keys() <= {"too_short", "fragment"}
    return dict(last["ledger"])


# ---- Vosk


async def vosk(url: str, audio: bytes, chunk: int, reset_at: int = -1) -> tuple[list[dict[str, Any]], list[float], int]:
    """Send, wait for the reply, send: what came, how long each was waited for, and how it was closed."""
    replies, waits = [], []
    async with connect(url, compression=None) as socket:
        await socket.send('{ "config" : { "sample_rate" : 8000, "words" : true } }')
        for number, at in enumerate(range(0, len(audio), chunk)):
            asked = time.monotonic()
            await socket.send(audio[at : at + chunk])
            replies.append(json.loads(await socket.recv()))
            waits.append(time.monotonic() - asked)
            if number == reset_at:
                await socket.send('{"reset" : 1}')
                replies.append({"reset": True, **json.loads(await socket.recv())})
        await socket.send('{"eof" : 1}')
        replies.append(json.loads(await socket.recv()))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        return replies, waits, socket.close_code or 0


@pytest.mark.parametrize(("path", "chunk"), [("/vosk", 65_536), ("/vosk", 200_000), ("/ingest/vosk", HALF_S)])
async def test_vosk_has_a_reply_for_each_frame_and_all_the_words(
    server: door.Door, script: Script, recording: replay.Recording, path: str, chunk: int
) -> None:
    call = new_id()
    audio = (wav(8_000) if chunk != HALF_S else b"") + recording.customer.tobytes()
    url = f"{server.ws}{path}?call={call}&parties=customer"
    replies, _, code = await vosk(url, audio, chunk, reset_at=20 if chunk == HALF_S else -1)
    assert code == 1000
    for reply in replies:
        assert reply.keys() <= {"partial"} or reply.keys() <= {"result", "text", "reset"}
    text = " ".join(reply["text"] for reply in replies if reply.get("text"))
    assert text.split() == " ".join(finals(server, call)).split(), "each final once, in order"
    assert close_to(text, words_of(script, "customer"))
    times = [(word["start"], word["end"]) for reply in replies for word in reply.get("result", ())]
    assert times == sorted(times) and times[0][0] > 0 and times[-1][1] <= LENGTH_MS / 1000
    assert check_books(server, call)["customer"]["received_ms"] == LENGTH_MS


async def test_vosk_waits_for_no_recogniser_and_files_are_read_at_the_pace_of_the_house(
    strict: door.Door, script: Script, recording: replay.Recording
) -> None:
    call = new_id()
    audio = recording.customer[: 8_000 * 15].tobytes()
    began = time.monotonic()
    replies, waits, _ = await vosk(f"{strict.ws}/vosk?call={call}", audio, HALF_S)
    took_s = time.monotonic() - began
    assert len(waits) == 30 and max(waits[:14]) < 1.0, "a final takes 2 s here, and no reply waits for it"
    assert took_s > (15 - 8) / 1.25 - 1, "not refused as too fast: read more slowly"
    assert "camera" in " ".join(reply.get("text", "") for reply in replies)
    check_books(strict, call)


async def test_vosk_is_told_what_is_wrong(server: door.Door) -> None:
    async with connect(f"{server.ws}/vosk", compression=None) as socket:
        await socket.send('{"config": {"sample_rate": 3000}}')
        error = json.loads(await socket.recv())
        assert error["code"] == "bad_encoding" and "3000" in error["message"]
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4415


# ---- Deepgram


def deepgram(server: door.Door, key: str = KEY) -> DeepgramClient:
    urls = {"base": server.url, "production": server.ws, "agent": server.ws, "agent_rest": server.url}
    return DeepgramClient(api_key=key, environment=DeepgramClientEnvironment(**urls))


def listen(server: door.Door, audio: bytes, chunk: int, finalize_at: int = -1, **asked: Any) -> list[Any]:
    """What the SDK gives for this audio, until the server has closed."""
    came: list[Any] = []
    closed = threading.Event()
    with deepgram(server).listen.v1.connect(model="nova-3", **asked) as socket:
        socket.on(EventType.MESSAGE, came.append)
        socket.on(EventType.ERROR, came.append)
        socket.on(EventType.CLOSE, lambda _: closed.set())
        listening = threading.Thread(target=socket.start_listening, daemon=True)
        listening.start()
        socket.send_keep_alive()
        for number, at in enumerate(range(0, len(audio), chunk)):
            socket.send_media(audio[at : at + chunk])
            time.sleep(0.005)
            if number == finalize_at:
                socket.send_finalize()
        socket.send_close_stream()
        assert closed.wait(60)
        listening.join(10)
    return came


@SDK_WARNS
async def test_deepgrams_sdk_hears_two_channels(server: door.Door, script: Script, recording: replay.Recording) -> None:
    call = new_id()
    audio = np.stack([recording.customer, recording.agent], 1).reshape(-1).tobytes()
    asked = {"encoding": "linear16", "sample_rate": 8_000, "channels": 2, "multichannel": True}
    more = {"interim_results": True, "vad_events": True, "utterance_end_ms": 1_000, "smart_format": True}
    options = {"additional_query_parameters": {"call": call}}
    came = await asyncio.to_thread(listen, server, audio, 6_400, 40, **asked, **more, request_options=options)
    kinds = [each.type for each in came]
    assert {"Results", "SpeechStarted", "UtteranceEnd"} <= set(kinds) and kinds[-1] == "Metadata"
    results = [each for each in came if each.type == "Results"]
    told = [(each, each.channel.alternatives[0]) for each in results if each.is_final]
    assert any(not each.is_final for each in results)
    for channel, party in enumerate(("customer", "agent")):
        said = " ".join(best.transcript for each, best in told if each.channel_index == [channel, 2])
        assert close_to(said, words_of(script, party))
    for each, best in told:
        times = [word.start for word in best.words]
        assert times == sorted(times) and len(times) == len(best.transcript.split())
        assert all(each.start - 0.5 <= at <= each.start + each.duration + 0.5 for at in times)
    assert sorted({each.channel_index[0] for each in results if each.from_finalize}) == [0, 1]
    assert came[-1].channels == 2 and came[-1].duration == LENGTH_MS / 1000
    assert all(each["received_ms"] == LENGTH_MS for each in check_books(server, call).values())


@SDK_WARNS
@pytest.mark.parametrize("rate_hz", [24_000, 44_100])
async def test_deepgrams_sdk_may_send_any_rate(
    server: door.Door, script: Script, recording: replay.Recording, rate_hz: int
) -> None:
    call = new_id()
    options = {"additional_query_parameters": {"call": call, "parties": "customer"}}
    audio = at_rate(recording.customer[: 8_000 * 20], rate_hz)
    came = await asyncio.to_thread(
        listen, server, audio, 20_000, encoding="linear16", sample_rate=rate_hz, request_options=options
    )
    said = " ".join(each.channel.alternatives[0].transcript for each in came if each.type == "Results")
    first = next(turn for turn in script.turn if turn.party == "customer")
    assert close_to(said, set(first.text.split()))
    assert check_books(server, call)["customer"]["received_ms"] == pytest.approx(20_000, abs=0.1)


@SDK_WARNS
async def test_a_key_is_asked_for(strict: door.Door) -> None:
    asked = {"encoding": "mulaw", "sample_rate": 8_000}
    with (
        pytest.raises((ApiError, InvalidStatus)) as refused,
        deepgram(strict, "another").listen.v1.connect(model="nova-3", **asked),
    ):
        pass
    assert "401" in str(refused.value)
    for protocols, path in (
        (["token", KEY], "/v1/listen?encoding=mulaw"),
        (["realtime", f"openai-insecure-api-key.{KEY}"], "/v1/realtime?intent=transcription"),
    ):
        async with connect(f"{strict.ws}{path}", subprotocols=protocols, compression=None) as socket:  # type: ignore[arg-type]
            assert socket.subprotocol == protocols[0]
    with pytest.raises(InvalidStatus) as turned_away:
        async with connect(f"{strict.ws}/v1/realtime?intent=transcription"):
            pass
    assert turned_away.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as wrong:
        async with connect(
            f"{strict.ws}/v1/listen?encoding=opus", additional_headers={"Authorization": f"Token {KEY}"}
        ):
            pass
    assert wrong.value.response.status_code == 415 and b"opus" in wrong.value.response.body


async def test_a_socket_may_be_kept_alive_before_there_is_audio(strict: door.Door) -> None:
    call = new_id()
    url = f"{strict.ws}/v1/listen?encoding=mulaw&call={call}"
    async with connect(url, additional_headers={"Authorization": f"Token {KEY}"}, compression=None) as socket:
        for _ in range(6):
            await asyncio.sleep(0.6)
            await socket.send('{"type": "KeepAlive"}')
        await socket.send(b"\xff" * 8_000)
        await socket.send('{"type": "Finalize"}')
        result = json.loads(await socket.recv())
        assert result["from_finalize"] and result["start"] == 1.0, "seconds are of the audio sent"
        await socket.send('{"type": "CloseStream"}')
        assert json.loads(await socket.recv())["type"] == "Metadata"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000
    check_books(strict, call)
    async with connect(url, additional_headers={"Authorization": f"Token {KEY}"}, compression=None) as silent:
        error = json.loads(await silent.recv())
        assert (error["type"], error["variant"]) == ("Error", "idle")


async def test_who_waits_for_somebody_to_speak_is_not_hurried_and_may_send_much_at_once(strict: door.Door) -> None:
    url = f"{strict.ws}/v1/realtime?intent=transcription"
    async with connect(url, additional_headers={"Authorization": f"Bearer {KEY}"}, compression=None) as socket:
        older = {"type": "transcription_session.update", "input_audio_format": "g711_ulaw", "turn_detection": None}
        await socket.send(json.dumps(older))
        told = [json.loads(await socket.recv()) for _ in range(2)]
        assert [each["type"] for each in told] == ["session.created", "transcription_session.updated"]
        assert told[1]["session"]["audio"]["input"]["format"]["type"] == "audio/pcmu"
        await asyncio.sleep(2.5)  # longer than a hello may take
        sound = base64.b64encode(b"\xff" * 56_000).decode()
        again = {"type": "audio/pcmu"}
        for message in (
            {"type": "input_audio_buffer.append", "audio": sound},
            {"type": "session.update", "session": {"audio": {"input": {"format": again, "turn_detection": None}}}},
            {"type": "input_audio_buffer.append", "audio": "?" * 1_100_000},
        ):
            await socket.send(json.dumps(message))
        updated, error = [json.loads(await socket.recv()) for _ in range(2)]
        assert updated["type"] == "session.updated"
        assert (error["type"], error["error"]["code"]) == ("error", "oversize"), "by name, not by 1009"


def test_without_keys_only_this_machine_may_come() -> None:
    Keys([], open_to_all=True).check("")
    Keys(["a", "b"], open_to_all=True).check("b")
    for keys, key in (([], ""), (["a", "b"], "c"), (["a"], "")):
        with pytest.raises(Unauthorized):
            Keys(keys, open_to_all=bool(keys)).check(key)


# ---- OpenAI


def at_rate(samples: Any, rate_hz: int) -> bytes:
    """8 kHz samples as PCM of another rate."""
    at = np.arange(len(samples) * rate_hz // 8_000) * 8_000 / rate_hz
    return bytes(np.rint(np.interp(at, np.arange(len(samples)), samples)).astype("<i2"))


@pytest.fixture(scope="module")
def openai_python() -> Path:
    """An interpreter with OpenAI's SDK, made once."""
    folder = ROOT / ".clients" / "openai"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.is_file() and ready.read_text("utf-8") == SDK:
        return python
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", SDK],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            pytest.skip(f"OPENAI'S SDK WAS NOT TRIED, because {SDK} cannot be installed: {why}")
    ready.write_text(SDK, "utf-8")
    return python


@pytest.mark.timeout(500)
@pytest.mark.parametrize("mode", ["turns", "commits"])
async def test_openais_sdk_hears_items(
    server: door.Door, script: Script, recording: replay.Recording, openai_python: Path, tmp_path: Path, mode: str
) -> None:
    file = tmp_path / "speech.pcm"
    file.write_bytes(at_rate(recording.customer, 24_000))
    command = [str(openai_python), str(Path(__file__).with_name("openai_client.py")), server.ws, str(file), mode, KEY]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=150, env=env)
    assert done.returncode == 0, done.stderr[-2_000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [each["type"] for each in events]
    assert kinds[:2] == ["session.created", "session.updated"] and "error" not in kinds, events[:3]
    items = [each["item_id"] for each in events if each["type"] == "input_audio_buffer.committed"]
    completed = [each for each in events if each["type"].endswith("transcription.completed")]
    assert [each["item_id"] for each in completed] == items
    said = " ".join(each["transcript"] for each in completed if each["transcript"])
    assert close_to(said, words_of(script, "customer"))
    assert said == " ".join(each["delta"] for each in events if each["type"].endswith("transcription.delta"))
    if mode == "commits":
        assert len(items) == 2 and "input_audio_buffer.speech_started" not in kinds
    else:
        assert len(items) > 2 and kinds.count("input_audio_buffer.speech_started") >= 2
    call = events[0]["session"]["id"].removeprefix("sess_")
    assert check_books(server, call, "closed")["customer"]["received_ms"] == pytest.approx(LENGTH_MS, abs=0.1)
