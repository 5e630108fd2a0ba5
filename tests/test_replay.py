"""The client that integrators test with: what it does to order, and what it says of how a server answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from assist import replay
from assist.access import Access
from assist.clients import MODULES, Setup, make
from assist.clients.faults import Faults, Timed, spoilt
from assist.errors import BadEncoding, BadMessage, Unauthorized
from assist.proof import Proof
from assist.protocols import Handshake
from benchmarks import door
from benchmarks.calls import SHIPPED
from tests.wire import new_id, replayed, until

KEY, SECRET = "some-key", base64.b64encode(b"a secret of some length").decode()
PERCENT = st.sampled_from([0.0, 1.0, 30.0, 100.0])


def timed(count: int) -> list[Timed]:
    return [((n // 2 + 1) * 20.0, 0, str(n)) for n in range(count)]


@given(
    st.integers(0, 200),
    st.builds(
        Faults,
        jitter_ms=st.floats(0, 500),
        loss=PERCENT,
        reorder=PERCENT,
        duplicate=PERCENT,
        freeze_at_s=st.floats(0, 2),
        freeze_s=st.floats(0, 2),
        seed=st.integers(0, 99),
    ),
)
def test_what_is_spoilt_is_counted_and_nothing_else_changes(count: int, faults: Faults) -> None:
    done: Counter[str] = Counter()
    sent = list(spoilt(timed(count), faults, done))
    assert sent == list(spoilt(timed(count), faults, Counter())), "the same seed must give the same"
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(sent)), "times go back"
    due = {message: at_ms for at_ms, _, message in timed(count)}
    assert all(at_ms >= due[str(message)] for at_ms, _, message in sent), "nothing can come before it was said"
    numbers = [int(message) for _, _, message in sent]
    assert len(set(numbers)) == count - done["lost"]
    assert len(numbers) - len(set(numbers)) <= done["duplicated"]
    distinct = list(dict.fromkeys(numbers))
    assert sum(a > b for a, b in itertools.pairwise(distinct)) == done["reordered"]
    frozen_ms = (faults.freeze_at_s * 1000, (faults.freeze_at_s + faults.freeze_s) * 1000)
    assert not any(frozen_ms[0] <= at_ms < frozen_ms[1] - 1e-6 for at_ms, _, _ in sent)
    if faults == Faults(seed=faults.seed):
        assert sent == timed(count)


@pytest.mark.parametrize("rates", [(16_000, 8_000), (8_000, 16_000), (8_000, 24_000), (16_000, 24_000)])
def test_a_tone_is_the_same_tone_at_another_rate(rates: tuple[int, int]) -> None:
    tones = [(8_000 * np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate)).astype(np.int16) for rate in rates]
    made = replay.resampled(tones[0], *rates)
    assert len(made) == len(tones[1])
    inner = slice(rates[1] // 10, -rates[1] // 10)
    assert np.abs(made[inner].astype(int) - tones[1][inner]).max() < 80, "off by more than a hundredth"


def test_a_recording_of_another_rate_becomes_one_of_16_khz(tmp_path: Path) -> None:
    tone = (8_000 * np.sin(2 * np.pi * 1_000 * np.arange(44_100) / 44_100)).astype(np.int16)
    soundfile.write(tmp_path / "call.wav", np.stack([tone, tone // 2], axis=1), 44_100)
    recording = replay.read(tmp_path / "call.wav")
    assert (recording.rate_hz, len(recording.agent), len(recording.customer)) == (16_000, 16_000, 16_000)
    assert np.abs(recording.agent[800:-800]).max() == pytest.approx(8_000, rel=0.01)
    soundfile.write(tmp_path / "odd.wav", np.stack([tone, tone], axis=1), 44_099)
    with pytest.raises(BadEncoding, match="44099 Hz"):
        replay.read(tmp_path / "odd.wav")


def test_what_a_lower_rate_cannot_hold_is_taken_out() -> None:
    high = (8_000 * np.sin(2 * np.pi * 6_000 * np.arange(16_000) / 16_000)).astype(np.int16)
    assert np.abs(replay.resampled(high, 16_000, 8_000)[800:-800]).max() < 80


def test_a_url_with_a_path_is_used_as_it_is() -> None:
    for dialect in set(MODULES) - {"audiosocket"}:  # which has no path
        client = make(dialect, Setup("c"))
        assert {line.url.split("?")[0] for line in client.lines("ws://there:1/our/own")} == {"ws://there:1/our/own"}
    assert make("plain", Setup("c")).lines("ws://there:1/")[0].url == "ws://there:1/ingest/plain"


def test_an_unknown_dialect_is_refused_by_name() -> None:
    with pytest.raises(BadMessage, match="klingon"):
        make("klingon", Setup("c"))


@pytest.mark.parametrize("url", ["ws://there.example:8765", "wss://There.example/x?y=1", "wss://there.example:443/x"])
def test_a_signed_audiohook_request_is_let_in_once(url: str) -> None:
    (line,) = make("audiohook", Setup("c", key=KEY, secret=SECRET)).lines(url)
    target = "/" + line.url.partition("://")[2].partition("/")[2]
    headers = {name.lower(): value for name, value in line.headers.items()}
    headers["host"] = line.url.partition("://")[2].partition("/")[0]
    access = Access({KEY: SECRET})
    access.check(Handshake(target, headers, time.time()))
    with pytest.raises(Exception, match="used before"):
        access.check(Handshake(target, headers, time.time()))


@pytest.mark.parametrize("dialect", [name for name, module in MODULES.items() if module == "twilio"])
def test_what_a_client_proves_lets_it_in(dialect: str) -> None:
    (line, *_) = make(dialect, Setup("c", secret="user:token")).lines("wss://there.example")
    headers = {name.lower(): value for name, value in line.headers.items()}
    handshake = Handshake(f"/ingest/{dialect}", {"host": "there.example", **headers}, time.time())
    Proof(dialect, "user:token").check(handshake)
    with pytest.raises(Unauthorized):
        Proof(dialect, "user:other").check(handshake)


def test_a_signed_twilio_request_is_signed_over_its_url() -> None:
    (line,) = make("twilio", Setup("c", secret="token")).lines("wss://there.example/media")
    mac = hmac.new(b"token", b"wss://there.example/media", hashlib.sha1).digest()
    assert line.headers["X-Twilio-Signature"] == base64.b64encode(mac).decode()


def last(server: door.Door, call: str) -> Any:
    """The CallEnded of a call, once it has ended."""
    event = server.get(f"/calls/{call}/log")["entries"][-1]["event"]
    return event if event["type"] == "CallEnded" else None


@pytest.mark.parametrize("dialect", ["plain", "audiohook"])
async def test_the_command_says_what_was_acknowledged(server: door.Door, dialect: str) -> None:
    status, told, wrong = await replayed(str(SHIPPED), "--as", dialect, "--to", server.ws, "--speed", "20")
    assert (status, told["outcome"], told["close_code"], wrong) == (0, "ended", 1000, "")
    if dialect == "plain":
        assert told["acknowledged"]["audio_ms"] == {"agent": 98_400, "customer": 98_400}
        assert told["acknowledged"]["ended"] == "bye"
        assert told["sent"] == {"messages": 4_920}
    else:
        assert told["acknowledged"]["finals"] > 10
        assert told["sent"] == {"messages": 492}


async def test_the_command_says_why_it_was_refused(server: door.Door) -> None:
    call = new_id()
    arguments = (str(SHIPPED), "--to", server.ws, "--call", call, "--speed", "50", "--drop-at", "1")
    assert (await replayed(*arguments))[0] == 0
    await until(lambda: last(server, call))
    status, told, wrong = await replayed(*arguments)
    assert (status, told["outcome"], told["close_code"]) == (1, "refused", 4409)
    assert "duplicate_call" in wrong and "duplicate_call" in told["reason"]
    status, told, wrong = await replayed(str(SHIPPED), "--to", f"{server.ws}/no/such/socket")
    assert (status, told["outcome"]) == (1, "refused") and "HTTP 4" in wrong


async def test_the_command_says_that_nobody_is_there() -> None:
    status, told, wrong = await replayed(str(SHIPPED), "--to", f"ws://127.0.0.1:{door.free_port()}")
    assert (status, told) == (2, {}) and "replay:" in wrong
    assert (await replayed("no.wav"))[0] == 2


async def test_a_dropped_socket_loses_nothing_that_came(server: door.Door) -> None:
    for dialect in ("plain", "twilio", "audiohook"):
        client = make(dialect, Setup(new_id()))
        faults = Faults(drop_at_s=30.0)
        played = await replay.send(client, replay.read(SHIPPED), server.ws, speed=15, faults=faults)
        assert played.outcome == "dropped"
        books = await until(lambda call=played.call: last(server, call))
        assert books["reason"] == "lost"
        for ledger in books["ledger"].values():
            # What was on its way when the line was torn down may never have come.
            assert 20_000 <= ledger["received_ms"] <= 30_000 and ledger["gap_ms"] == 0


async def test_numbered_messages_survive_disorder(server: door.Door) -> None:
    client = make("twilio", Setup(new_id()))
    faults = Faults(jitter_ms=100, loss=2, reorder=10, duplicate=5, freeze_at_s=20, freeze_s=3)
    played = await replay.send(client, replay.read(SHIPPED), server.ws, speed=15, faults=faults)
    assert (played.outcome, played.reason) == ("ended", "")
    lost, twice = played.sent["lost"], played.sent["duplicated"]
    assert min(lost, twice, played.sent["reordered"]) > 50
    books = await until(lambda: last(server, played.call))
    ledgers = books["ledger"].values()
    sent_ms = played.sent["messages"] * 20
    assert sum(each["received_ms"] for each in ledgers) == pytest.approx(sent_ms, abs=1)
    assert sum(each["skipped_ms"].get("duplicate", 0) for each in ledgers) == pytest.approx(twice * 20, abs=1)
    assert all(each["gap_ms"] == 0 for each in ledgers)
