"""What is sent: a CloudEvent with the entry in it, signed so that who knows the secret can tell."""

from __future__ import annotations

import base64
import json
from typing import get_args

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.conversation import Transcript
from assist.errors import ConfigError
from assist.events import AnyEvent, CallEnded, Entry, Marked, Transcribed, plain
from assist.exports.cloudevent import KINDS, body, event_id, keys, kind_of, signed
from tests.receiver import KEY, SECRET, TOLERANCE_S, verified
from tests.test_events import ENTRY

STARTED_AT = "2026-11-25T10:00:00.000+00:00"
SCHEMA = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "pattern": "^/calls/[A-Za-z0-9_.~%-]*$"},
        "type": {"enum": list(KINDS)},
        "subject": {"type": "string"},
        "time": {"type": "string", "pattern": "^[0-9-]{10}T[0-9:.]{12}[+]00:00$"},
        "datacontenttype": {"const": "application/json"},
        "data": {"type": "object", "required": ["call", "seq", "event"]},
    },
    "additionalProperties": False,
}
"""CloudEvents 1.0, 3.1: the required attributes, and those that we use."""


@settings(max_examples=200, deadline=None)
@given(ENTRY)
def test_an_entry_is_a_cloudevent(entry: Entry) -> None:
    if kind_of(entry.event) and abs(entry.at_ms) < 10**10:
        made = json.loads(body(STARTED_AT, entry))
        jsonschema.validate(made, SCHEMA)
        assert made["data"] == json.loads(json.dumps(plain(entry)))


def test_its_time_is_the_calls_start_and_the_entrys_place() -> None:
    ended = Entry("a/b c", 7, 61_500, CallEnded("bye", 61_500, {}, {}))
    made = json.loads(body(STARTED_AT, ended))
    assert (made["time"], made["source"]) == ("2026-11-25T10:01:01.500+00:00", "/calls/a%2Fb%20c")
    assert "time" not in json.loads(body(STARTED_AT, Entry("c", 8, 0, Marked("s", "r", "used"))))


def test_one_event_has_one_id_and_no_other_has_it() -> None:
    entries = [Entry(call, seq, 0, CallEnded("bye", 0, {}, {})) for call in ("a", "a\n1") for seq in (1, 11)]
    ids = {event_id(at, entry) for at in (STARTED_AT, "2026-11-26T10:00:00+00:00") for entry in entries}
    assert len(ids) == 8 and event_id(STARTED_AT, entries[0]) in ids


def test_text_that_may_change_is_never_sent() -> None:
    for stage, kind in (("partial", ""), ("speculative", ""), ("final", "transcript.final")):
        said = Transcribed(Transcript("u", "agent", 0, 1, "x", stage=stage))  # type: ignore[arg-type]
        assert kind_of(said) == kind
    assert set(KINDS.values()) <= set(get_args(AnyEvent))


@given(st.binary(max_size=200), st.integers(0, 2**33), st.integers(-400, 400), st.binary(min_size=24, max_size=64))
def test_who_knows_the_secret_can_tell(content: bytes, now_s: int, off_s: int, other: bytes) -> None:
    """The signature holds for this id, moment and body, within the tolerance, with any key that is in use."""
    both = keys(f"whsec_{base64.b64encode(other).decode()} {SECRET}")
    headers = signed(both, "msg_1", max(0, now_s + off_s), content)
    near = abs(max(0, now_s + off_s) - now_s) <= TOLERANCE_S
    assert verified(KEY, headers, content, now_s) == verified(other, headers, content, now_s) == near
    assert not verified(KEY, headers, content + b"x", now_s)
    assert not verified(KEY, {**headers, "webhook-id": "msg_2"}, content, now_s)
    assert not verified(b"somebody else" * 3, headers, content, now_s)


def test_the_example_of_the_specification() -> None:
    """Of the reference library: secret, id, moment, body and the signature they give."""
    headers = signed(
        keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", " ", "secret", "whsec_x", "whsec_é", "whsec_" + "A" * 28, "whsec_" + "A" * 100])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.secret"):
        keys(secret)
