"""The text dialect: messages as they come, whatever is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.errors import BadMessage, Oversize
from assist.protocols import Odd, Opened, Wrote
from assist.protocols.text import MOST_LETTERS, Text, wrote
from tests.contracts.protocol import ProtocolContract


def hello(**more: Any) -> dict[str, Any]:
    return {"type": "hello", "call": "c-1", "channel": "chat", **more}


class TestText(ProtocolContract):
    name = "text"

    def protocol(self) -> Text:
        return Text()

    def opening(self) -> dict[str, Any]:
        return hello(customer="crm-17", metadata={"agent": "ann"})

    def messages(self) -> list[dict[str, Any]]:
        message = {"type": "message", "party": "customer", "text": "My camera is black.", "at": "2026-11-26T10:00:00Z"}
        return [message, {"type": "typing", "party": "agent"}, {"type": "edit"}, {"type": "bye"}]


def test_who_it_is_stands_in_the_metadata_and_a_bot_may_write_where_it_is_named() -> None:
    text = Text()
    (said,) = text.receive(json.dumps(hello(customer="crm-17", parties=["system", "customer"])))
    assert isinstance(said, Opened)
    assert said.metadata == {"channel": "chat", "customer_id": "crm-17"}
    assert said.written and set(said.mixed) == set(said.parties)
    bot = json.dumps({"type": "message", "party": "system", "text": "I am a bot"})
    assert text.receive(bot) == [Wrote("system", "I am a bot")]


@pytest.mark.parametrize("parties", [[], ["agent", "agent"], ["boss"]])
def test_parties_that_are_none(parties: list[str]) -> None:
    with pytest.raises(BadMessage):
        Text().receive(json.dumps(hello(parties=parties)))


@given(st.text(max_size=300))
def test_no_letter_is_lost_and_no_control_character_passes(text: str) -> None:
    said = wrote("customer", text)
    written = "".join(each.text for each in said if isinstance(each, Wrote))
    assert [c for c in text if c.isalnum()] == [c for c in written if c.isalnum()]
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in written)
    assert bool(written) != (Odd("empty_text") in said)


def test_too_long_by_one() -> None:
    assert wrote("agent", "x" * MOST_LETTERS) == [Wrote("agent", "x" * MOST_LETTERS)]
    with pytest.raises(Oversize):
        wrote("agent", "x" * (MOST_LETTERS + 1))
