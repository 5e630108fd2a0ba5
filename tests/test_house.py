"""Letting a call in while its socket loses patience: no id stays taken, no call is left that nobody ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from fastapi import WebSocket
from starlette.types import Message

from assist.admission import Admission
from assist.call import Call
from assist.config import Server, Settings
from assist.contact import Contact, take
from assist.errors import Busy, StoreFailed
from assist.events import CallEnded, Line, Reviewed
from assist.house import House
from assist.ingest import Ingest
from assist.protocols import Opened
from assist.protocols.audiohook import AudioHook
from assist.protocols.plain import Plain
from assist.protocols.text import TextMessage
from assist.stores.memory import Memory
from tests import genesys
from tests.golden.exchange import ASKED, ORGANISATION, SESSION
from tests.scene import BOTH, open_house

OPENED = Opened("c", "plain", BOTH, "mulaw", 8_000)


class Slow(Memory):
    """A store whose writes wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = Event()
        self.go.set()

    def append(self, lines: Sequence[Line]) -> None:
        assert self.go.wait(10)
        super().append(lines)


class Full(Memory):
    """A store that takes so many lines and then has no room, until it is given some."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def append(self, lines: Sequence[Line]) -> None:
        if len(lines) > self.room:
            raise StoreFailed("no space")
        self.room -= len(lines)
        super().append(lines)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(Settings(server=Server(data_dir=str(tmp_path))), Slow()) as made:
        yield made


async def test_a_call_let_in_is_in_the_store_first(house: House) -> None:
    call = await house.open_call(OPENED)
    assert [line.entry.seq for line in house.store.read("c")] == [1]
    call.end("bye")
    await call.run()
    house.leave(call)
    await asyncio.wait_for(house.empty(), 1)


async def being_let_in(house: House, store: Slow) -> asyncio.Task[Call]:
    """A call whose first entry is not kept until `store` goes on."""
    store.go.clear()
    opening = asyncio.create_task(house.open_call(OPENED))
    async with asyncio.timeout(20):
        while "c" not in house.calls:
            await asyncio.sleep(0.01)
    return opening


async def test_a_socket_that_gives_up_while_its_call_is_let_in_leaves_no_call_behind(house: House) -> None:
    assert isinstance(house.store, Slow)
    opening = await being_let_in(house, house.store)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    house.store.go.set()
    assert (house.calls, house.hub._live) == ({}, {})
    await house.keeper.flush()
    last = house.store.read("c")[-1].entry.event
    assert isinstance(last, CallEnded)
    assert last.reason == "lost"


async def test_a_socket_that_gives_up_again_and_again_leaves_no_call_behind(house: House) -> None:
    assert isinstance(house.store, Slow)
    opening = await being_let_in(house, house.store)
    while not opening.done():
        opening.cancel()
        await asyncio.sleep(0)
    house.store.go.set()
    await asyncio.wait_for(house.empty(), 1)


async def test_a_call_of_which_nothing_can_be_kept_is_not_let_in(tmp_path: Path) -> None:
    async with open_house(Settings(server=Server(data_dir=str(tmp_path))), Full(0)) as house:
        with pytest.raises(StoreFailed, match="cannot be kept: no space"):
            await house.open_call(OPENED)
        await asyncio.wait_for(house.empty(), 1)
        assert isinstance(house.store, Full)
        house.store.room = 10
        await house.keeper.flush()
        assert house.ready
        last = house.store.read("c")[-1].entry.event
        assert isinstance(last, CallEnded)
        assert last.reason == "error:store_failed"
        call = await house.open_call(replace(OPENED, call="d"))
        call.end("bye")
        await call.run()
        house.leave(call)


async def test_a_verdict_waits_for_the_store_and_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError("input/output error")

    verdict = Reviewed("confirmed", "fair", "ann")
    async with open_house(Settings(server=Server(data_dir=str(tmp_path))), Full(3)) as house:
        call = await house.open_call(OPENED)
        with monkeypatch.context() as broken:
            broken.setattr("assist.journal.os.fdatasync", refuse)
            call.sound.add("customer", 0, bytes(160), 20)
            await house.keeper.flush(last=True)
        assert "input/output error" in house.keeper.failing, "this call's sound may be lost"
        await house.keep("c", await house.tell("c", verdict))
        assert house.store.read("c")[-1].entry.event == verdict
        assert isinstance(house.store, Full)
        house.store.room = 0
        seq = await house.tell("c", verdict)
        with pytest.raises(StoreFailed, match=f"entry {seq} waits for the disk, which refuses: no space"):
            await house.keep("c", seq)
        house.store.room = 10
        await house.keep("c", seq)
        call.end("bye")
        await call.run()
        house.leave(call)


async def test_a_contact_whose_call_ends_badly_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assist.keep.MOST_LINES", 2)
    messages = [TextMessage("customer", f"My camera is black, and I say so {n} times") for n in range(3)]
    async with open_house(Settings(server=Server(data_dir=str(tmp_path))), Full(1)) as house:
        with pytest.raises((StoreFailed, ExceptionGroup)):
            await take(house, Contact("c", "chat", messages))
        await asyncio.wait_for(house.empty(), 1)


async def test_a_contact_that_nobody_waits_for_any_more_gives_its_place_back(house: House) -> None:
    taking = asyncio.create_task(take(house, Contact("c", "chat", [TextMessage("customer", "My camera is black")])))
    async with asyncio.timeout(20):
        while not (call := house.calls.get("c")) or not call.ending:
            await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await asyncio.wait_for(house.empty(), 5)
    assert call.ended.is_set()


async def test_a_journal_that_cannot_be_made_lets_the_id_go(house: House, tmp_path: Path) -> None:
    house.keeper.path("c").parent.write_bytes(b"")  # a file where the folder should be
    with pytest.raises(StoreFailed):
        await house.open_call(OPENED)
    assert (house.calls, house.hub._live) == ({}, {})
    house.keeper.path("c").parent.unlink()
    call = await house.open_call(OPENED)
    call.end("bye")
    await call.run()
    house.leave(call)


async def test_a_call_that_would_break_the_promise_is_refused_with_a_time_to_come_again(house: House) -> None:
    house.admission = Admission(workers=2, most=0.75)
    house.admission.passed(10.0, 1, 15.0)  # a call takes one and a half workers
    house.admit()
    call = await house.open_call(OPENED)
    with pytest.raises(Busy, match="one more would make finals wait") as refused:
        house.admit()
    assert refused.value.again_s == 60
    call.end("bye")
    await call.run()
    house.leave(call)
    house.admit()


class Hasty(AudioHook):
    """AudioHook, less patient with the disk."""

    opens_s: float | None = 0.3


async def test_a_disk_that_hangs_is_told_in_time_to_who_waits(house: House) -> None:
    came: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[Message] = []
    opening = {"version": "2", "type": "open", "id": SESSION, "seq": 1, "serverseq": 0, "position": "PT0S",
               "parameters": genesys.parameters(ORGANISATION, SESSION)}  # fmt: skip
    closing = {**opening, "type": "close", "seq": 2, "parameters": {"reason": "disconnect"}}

    async def send(message: Message) -> None:
        sent.append(message)
        if "disconnect" in str(message.get("text")):
            came.put_nowait({"type": "websocket.receive", "text": json.dumps(closing)})
        if "closed" in str(message.get("text")):
            came.put_nowait({"type": "websocket.disconnect", "code": 1000, "reason": ""})

    headers = [(name.encode(), value.encode()) for name, value in ASKED.items()]
    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}
    for message in ({"type": "websocket.connect"}, {"type": "websocket.receive", "text": json.dumps(opening)}):
        came.put_nowait(message)
    store = house.store
    assert isinstance(store, Slow)
    store.go.clear()
    serving = asyncio.create_task(Ingest(WebSocket(scope, came.get, send), Hasty(lambda _: None), house).serve())
    try:
        await asyncio.wait_for(serving, 4)
    finally:
        store.go.set()
    told = [json.loads(message["text"]) for message in sent if "text" in message]
    assert [each["type"] for each in told] == ["disconnect", "closed"]
    assert told[0]["parameters"]["info"].startswith("503 busy: the call could not be opened within 0.3 s")
    assert not house.calls


async def test_a_call_that_is_being_let_in_when_the_server_leaves_is_let_in(house: House) -> None:
    came: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if "welcome" in str(message.get("text")):
            came.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": "bye"})})

    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    hello = {"type": "hello", "call": "c", "channels": list(BOTH)}
    for message in ({"type": "websocket.connect"}, {"type": "websocket.receive", "text": json.dumps(hello)}):
        came.put_nowait(message)
    store = house.store
    assert isinstance(store, Slow)
    store.go.clear()
    serving = asyncio.create_task(Ingest(WebSocket(scope, came.get, send), Plain(), house).serve())
    async with asyncio.timeout(20):
        while "c" not in house.calls:
            await asyncio.sleep(0.01)
    house.draining.set()
    await asyncio.sleep(0.05)
    store.go.set()
    await asyncio.wait_for(serving, 10)
    assert [json.loads(each["text"])["type"] for each in sent if "text" in each] == ["welcome", "ack", "ended"]
    last = store.read("c")[-1].entry.event
    assert isinstance(last, CallEnded) and last.reason == "bye"
