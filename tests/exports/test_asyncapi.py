"""The document of the sockets is well formed, whole, and says what the sockets say."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from websockets import connect
from websockets.exceptions import ConnectionClosed

from assist import errors
from assist.config import Settings
from assist.events import AnyEvent
from assist.exports.asyncapi import document
from assist.protocols import SPEECH_CLIENTS
from benchmarks import door
from benchmarks.calls import SHIPPED
from server import dialects
from tests.wire import SILENCE, hello, new_id, open_ingest, rest

SCHEMA = json.loads(Path(__file__).with_name("asyncapi.schema.json").read_text())
DIALECTS = tuple(dialects(Settings()))
DOCUMENT = json.loads(json.dumps(document(DIALECTS, "example.com", True)))


def references(value: Any) -> Iterator[str]:
    """Every `$ref` in it."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def at(reference: str) -> Any:
    """What a local reference points at. Raises KeyError."""
    found = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def validate(channel: str, action: str, message: dict[str, Any]) -> None:
    """It is one of the messages that the document gives for this direction, and has no field beyond it."""
    kinds = [
        at(at(each["$ref"])["$ref"])["payload"]
        for operation in DOCUMENT["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{channel}" and operation["action"] == action
        for each in operation["messages"]
    ]
    fitting = []
    for kind in kinds:
        try:
            jsonschema.validate(message, {"components": DOCUMENT["components"], **kind})
            fitting.append(at(kind["$ref"]))
        except jsonschema.ValidationError:
            continue
    assert len(fitting) == 1, f"{message} is {len(fitting)} messages of {channel}"
    assert message.keys() <= fitting[0]["properties"].keys(), f"{message} says more than the document"


def test_it_is_an_asyncapi_document() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(DOCUMENT)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft7Validator.check_schema(schema)
        assert isinstance(schema.get("discriminator", ""), str), name
    for reference in references(DOCUMENT):
        assert at(reference) is not None, reference


def test_operations_use_the_messages_of_their_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"])
    for name, channel in DOCUMENT["channels"].items():
        assert ("{call}" in channel["address"]) == ("parameters" in channel), name


def test_every_event_dialect_and_error_is_in_it() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    told = {each["$ref"].rsplit("/")[-1] for each in schemas["Entry"]["properties"]["event"]["anyOf"]}
    assert told == {kind.__name__ for kind in get_args(AnyEvent)}
    for kind in get_args(AnyEvent):
        assert schemas[kind.__name__]["properties"].keys() == {"type", *kind.__struct_fields__}
    assert set(DOCUMENT["channels"]) == {*DIALECTS, "events"}
    addresses = {name: DOCUMENT["channels"][name]["address"] for name in DIALECTS}
    assert addresses == {name: SPEECH_CLIENTS.get(name, f"/ingest/{name}") for name in DIALECTS}
    for error in errors.WireError.__subclasses__():
        assert f"{error.close_code} {error.code}" in DOCUMENT["info"]["description"]


def test_a_dialect_says_what_its_address_carries() -> None:
    query = DOCUMENT["channels"]["asterisk"]["bindings"]["ws"]["query"]
    jsonschema.Draft7Validator.check_schema(query)
    jsonschema.validate({"leg": "agent", "ref": "c-1", "more": "x"}, query)
    for wrong in ({"leg": "boss"}, {"ref": "a b"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, query)


@pytest.mark.parametrize("broken", [{"asyncapi": "2.6.0"}, {"channels": {"a b": {}}}, {"operations": {"x": {}}}])
def test_the_schema_refuses(broken: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({**DOCUMENT, **broken})


async def test_what_the_sockets_say_is_what_the_document_says(server: door.Door) -> None:
    told = server.get("/asyncapi.json")
    assert told["servers"] == {"here": {"host": f"127.0.0.1:{server.port}", "protocol": "ws"}}
    assert told["channels"] == DOCUMENT["channels"]
    call = new_id()
    said: list[dict[str, Any]] = [hello(call), {"type": "pause", "reason": "card"}, {"type": "resume"}, {"type": "bye"}]
    events: list[Any] = []

    async def follow() -> None:
        async with connect(f"{server.ws}/calls/{call}/events", compression=None, max_size=2**22) as socket:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    events.append(json.loads(await socket.recv()))

    async with open_ingest(server.ws) as socket:
        await socket.send(json.dumps(said[0]))
        replies = [json.loads(await socket.recv())]
        following = asyncio.create_task(follow())
        audio = (SHIPPED / "call.wav").read_bytes()[44:]
        for start in range(0, 160_000, 8_000):
            await socket.send(audio[start : start + 8_000])
            await asyncio.sleep(0.01)
        for message in said[1:3]:
            await socket.send(json.dumps(message))
            await socket.send(SILENCE)
        async with asyncio.timeout(60):  # an acknowledgement, and a heartbeat to the one who follows
            while "heartbeat" not in [each.get("type") for each in events]:
                await asyncio.sleep(0.1)
        await socket.send(json.dumps(said[3]))
        more, _ = await rest(socket)
    await following
    async with open_ingest(server.ws) as socket:
        await socket.send(json.dumps(hello(call)))
        refused, _ = await rest(socket)
    for message in said:
        validate("plain", "receive", message)
    for reply in [*replies, *more, *refused]:
        validate("plain", "send", reply)
    for event in events:
        validate("events", "send", event)
    assert {each["type"] for each in [*replies, *more, *refused]} == {"welcome", "ack", "ended", "error"}
    assert {"live", "heartbeat"} <= {each.get("type") for each in events}
    assert {"CallStarted", "Paused", "CallEnded"} <= {each["event"]["type"] for each in events if "event" in each}
