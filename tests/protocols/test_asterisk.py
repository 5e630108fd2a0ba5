"""Asterisk's media websocket: both forms of control say the same, the query says whose leg it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.errors import AssistError, BadEncoding, BadMessage, Busy, StoreFailed, WireError
from assist.protocols import Handshake, Key, Odd, Opened, Sound
from assist.protocols.asterisk import FORMATS, Asterisk
from tests.contracts.protocol import ProtocolContract
from tests.golden.exchange import asterisk


def start(**changes: Any) -> dict[str, Any]:
    told = {"event": "MEDIA_START", "connection_id": "m1", "channel": "WebSocket/m1/0x7f", "channel_id": "1764.12",
            "format": "ulaw", "optimal_frame_size": 160, "ptime": 20, "channel_variables": {}}  # fmt: skip
    return {**told, **changes}


def started(query: str = "", **changes: Any) -> tuple[Asterisk, Opened]:
    protocol = asterisk(query)
    (opened,) = protocol.receive(json.dumps(start(**changes)))
    assert isinstance(opened, Opened)
    return protocol, opened


class TestAsterisk(ProtocolContract):
    name = "asterisk"

    def protocol(self) -> Asterisk:
        return asterisk()

    def opening(self) -> dict[str, Any]:
        return start()

    def messages(self) -> list[dict[str, Any]]:
        return [
            {"event": "DTMF_END", "channel_id": "1764.12", "digit": "1"},
            {"event": "STATUS", "queue_length": 0, "media_paused": False},
            {"event": "ERROR", "error_text": "no"},
        ]

    @pytest.mark.parametrize("error", [WireError("too bad"), Busy("full", 17), StoreFailed("/var/lib: no space")])
    def test_a_refusal_says_what_is_theirs_to_know(self, error: AssistError) -> None:
        """The close's reason is the error's name; a text would be taken for a command."""
        assert self.protocol().refusal(error) == self.opened().refusal(error) == []


def test_a_leg_of_a_call() -> None:
    protocol, opened = started("leg=agent&ref=c-1&queue=sales", channel_variables={"UNIQUEID": "1764.3", "n": 4})
    metadata = {"UNIQUEID": "1764.3", "queue": "sales", "channel": "WebSocket/m1/0x7f", "channel_id": "1764.12",
                "connection_id": "m1", "format": "ulaw"}  # fmt: skip
    assert opened == Opened("c-1", "asterisk", ("agent", "customer"), "mulaw", 8_000, metadata, leg="agent")
    assert protocol.receive(b"\x01\x02") == [Sound("agent", b"\x01\x02")]
    assert protocol.receive('{"event": "DTMF_END", "digit": "5"}') == [Key("agent")]


def test_a_socket_without_ref_is_a_call_of_its_own() -> None:
    _, opened = started("leg=agent")
    assert (opened.call, opened.parties, opened.mixed, opened.leg) == ("1764.12", ("agent",), (), None)
    _, opened = started(channel_id=None)
    assert (opened.call, opened.parties, opened.mixed) == ("m1", ("customer",), ("customer",))


@pytest.mark.parametrize("query", ["leg=boss", "ref=c-1", "leg=agent&ref=a%20b", "leg=agent&ref=-"])
def test_a_query_that_cannot_be_meant_is_refused_before_the_handshake(query: str) -> None:
    with pytest.raises(BadMessage):
        Asterisk().greet(Handshake(f"/ingest/asterisk?{query}", {}, 0.0))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_taken_at_a_rate_that_is_ours(name: str) -> None:
    protocol, opened = started(format=name)
    (encoding, rate_hz), width = FORMATS[name], 1 if name in ("ulaw", "alaw") else 2
    assert opened.encoding == encoding
    assert opened.rate_hz == (rate_hz if rate_hz in (8_000, 16_000) else 16_000)
    message = bytes(rate_hz // 10 * width)
    heard = b"".join(each.payload for _ in range(10) for each in protocol.receive(message) if isinstance(each, Sound))
    assert len(heard) == opened.rate_hz * width


@pytest.mark.parametrize("name", ["opus", "", None, "slin17", "g722", 7])
def test_other_formats_are_refused_by_name(name: object) -> None:
    with pytest.raises(BadEncoding, match="slin16"):
        started(format=name)


@given(
    fields=st.dictionaries(
        st.sampled_from(["channel", "channel_id", "connection_id"]),
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,20}", fullmatch=True),
    ),
    name=st.sampled_from(["ulaw", "alaw", "slin", "slin16"]),
)
def test_plain_control_says_what_json_says(fields: dict[str, str], name: str) -> None:
    told = {"connection_id": "m1", **fields, "format": name, "ptime": "20"}
    text = "MEDIA_START " + " ".join(f"{key}:{value}" for key, value in told.items())
    query = "leg=customer&ref=c-1"
    assert asterisk(query).receive(text) == asterisk(query).receive(json.dumps({"event": "MEDIA_START", **told}))


@pytest.mark.parametrize("text", ["", " ", "media_start", "MEDIA START\x00", "5", "[]", "A" * 70, "X" * 70_000])
def test_what_is_no_control_is_refused(text: str) -> None:
    protocol, _ = started()
    if text == "MEDIA START\x00":  # an event, if a strange one
        assert protocol.receive(text) == [Odd("unknown_event")]
        return
    with pytest.raises(BadMessage):
        protocol.receive(text)


def test_half_samples_are_kept_for_the_next_message() -> None:
    protocol, _ = started(format="slin32")
    whole, _ = started(format="slin32")
    data = bytes(range(200)) * 4
    cut = [each for n in range(0, 800, 7) for each in protocol.receive(data[n : n + 7])]
    together = whole.receive(data)
    assert b"".join(e.payload for e in cut if isinstance(e, Sound)) == b"".join(
        e.payload for e in together if isinstance(e, Sound)
    )
    protocol.receive(b"\x01")
    assert protocol.flush() == [Odd("odd_bytes")]
