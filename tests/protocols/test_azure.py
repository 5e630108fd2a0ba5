"""Azure: who is who, one person to a party, and whose sound may be judged."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import BadEncoding, BadMessage
from assist.protocols import Dropped, Handshake, Odd, Opened, Said, Sound
from assist.protocols.azure import GONE, Azure
from tests.contracts.protocol import ProtocolContract, check_said
from tests.golden.exchange import AGENT, CUSTOMER, azure
from tests.protocols.test_variants import grown

PHONE, TEAMS, WEB = "4:+15550199", "8:orgid:7b2c", "8:acs:web"


def metadata(**changes: Any) -> dict[str, Any]:
    given = {"subscriptionId": "s-1", "encoding": "PCM", "sampleRate": 16000, "channels": 1, "length": 640, **changes}
    return {"kind": "AudioMetadata", "audioMetadata": given}


def audio(who: str | None, payload: bytes = b"\x01\x00", silent: bool = False) -> dict[str, Any]:
    told = {"timestamp": "2024-11-15T19:16:12.925Z", "participantRawID": who, "silent": silent}
    return {"kind": "AudioData", "audioData": {**told, "data": base64.b64encode(payload).decode()}}


def asked(query: str = "", **headers: str) -> Azure:
    protocol = Azure()
    protocol.greet(Handshake(f"/ingest/azure{query}", headers, 0.0))
    return protocol


def opened(query: str = "") -> tuple[Azure, Opened]:
    protocol = asked(query)
    (said,) = protocol.receive(json.dumps(metadata()))
    assert isinstance(said, Opened)
    return protocol, said


def play(protocol: Azure, messages: list[dict[str, Any]]) -> list[Said]:
    return [said for message in messages for said in protocol.receive(json.dumps(message))]


class TestAzure(ProtocolContract):
    name = "azure"
    form = ("l16", 16_000)

    def protocol(self) -> Azure:
        return azure()

    def opening(self) -> dict[str, Any]:
        return metadata()

    def messages(self) -> list[dict[str, Any]]:
        return [audio(CUSTOMER), audio(AGENT, silent=True), {"kind": "DtmfData", "dtmfData": {"data": "5"}}]


def test_fields_of_tomorrow_change_nothing() -> None:
    today, tomorrow = azure(), azure()
    for each in (metadata(), audio(CUSTOMER), audio(AGENT)):
        assert play(tomorrow, [grown(each)]) == play(today, [each])


@pytest.mark.parametrize(
    ("query", "header", "call"),
    [
        ("?call=c-9", "connection", "c-9"),
        ("", "connection", "connection"),
        ("?agent=a&token=t", "", "s-1"),
    ],
)
def test_the_call_has_its_id_from_the_address_the_header_or_the_message(query: str, header: str, call: str) -> None:
    protocol = asked(query, **({"x-ms-call-connection-id": header} if header else {}))
    (said,) = protocol.receive(json.dumps(metadata()))
    assert isinstance(said, Opened) and said.call == call
    assert said.metadata == {"subscriptionId": "s-1"}, "what the address says of tokens is nobody's to read"


@pytest.mark.parametrize("missing", [None, 7, {}])
def test_a_call_without_any_id_is_refused(missing: object) -> None:
    with pytest.raises(BadMessage, match="subscriptionId"):
        asked().receive(json.dumps(metadata(subscriptionId=missing)))


@pytest.mark.parametrize(
    "changes",
    [
        {"sampleRate": 24_001},
        {"sampleRate": 0},
        {"sampleRate": "16000"},
        {"channels": 2},
        {"encoding": "OPUS"},
        {"channels": []},
    ],
)
def test_sound_that_is_not_taken_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(BadEncoding, match=r"Pcm16KMono|opus|OPUS|(24001|0) Hz"):
        asked().receive(json.dumps(metadata(**changes)))


def test_24_khz_becomes_16_and_what_is_not_used_is_counted_at_16() -> None:
    protocol = asked("?customer=4:%2B1&agent=8:acs:a")
    (opened,) = protocol.receive(json.dumps(metadata(sampleRate=24_000)))
    assert isinstance(opened, Opened) and opened.rate_hz == 16_000
    tenth = base64.b64encode(bytes(4_800)).decode()
    said = protocol.receive(json.dumps({"kind": "AudioData", "audioData": {"participantRawID": "4:+1", "data": tenth}}))
    assert [(each.party, len(each.payload)) for each in said if isinstance(each, Sound)] == [("customer", 3_200)]
    other = {"kind": "AudioData", "audioData": {"participantRawID": "8:acs:b", "data": tenth}}
    assert Dropped("customer", 3_200, "extra") in protocol.receive(json.dumps(other))


@pytest.mark.parametrize(
    ("query", "mixed"),
    [
        (f"?customer={CUSTOMER}&agent={AGENT}", ()),
        (f"?customer={CUSTOMER}", ("agent",)),
        (f"?agent={AGENT}&agent={TEAMS}", ("customer",)),
        ("", ("agent", "customer")),
        ("?channels=mixed&customer=x", ("customer",)),
    ],
)
def test_a_party_that_nobody_named_is_in_doubt(query: str, mixed: tuple[str, ...]) -> None:
    assert opened(query)[1].mixed == mixed


@pytest.mark.parametrize("quoted", ["4:+15550199", "4%3A%2B15550199", "4:%2b15550199"])
def test_a_telephone_number_in_the_address_may_be_quoted_or_not(quoted: str) -> None:
    protocol, _ = opened(f"?agent={quoted}")
    assert play(protocol, [audio(PHONE)]) == [Sound("agent", b"\x01\x00")]


def test_the_address_says_who_is_who_and_nobody_else_is_heard_there() -> None:
    protocol, _ = opened(f"?customer={CUSTOMER}&agent={AGENT}&agent={TEAMS}")
    said = play(protocol, [audio(AGENT), audio(CUSTOMER), audio(PHONE), audio(TEAMS), audio(WEB, silent=True)])
    assert said == [
        Sound("agent", b"\x01\x00"),
        Sound("customer", b"\x01\x00"),
        *[Odd("extra"), Dropped("customer", 2, "extra")],
        *[Odd("extra"), Dropped("agent", 2, "extra")],
        Odd("silent_nobody"),
    ]


def test_unnamed_telephones_are_customers_and_teams_users_agents() -> None:
    protocol, _ = opened()
    said = play(protocol, [audio(PHONE, silent=True), audio(TEAMS, silent=True), audio(PHONE)])
    assert [each.party for each in said if isinstance(each, Sound)] == ["customer", "agent", "customer"]


def test_of_strangers_who_speaks_first_is_the_agent() -> None:
    protocol, _ = opened()
    messages = [
        audio("8:acs:one", silent=True),
        audio("8:acs:two"),
        audio("8:acs:one", silent=True),
        audio("8:acs:one"),
    ]
    assert play(protocol, messages) == [
        Odd("silent_nobody"),
        Sound("agent", b"\x01\x00"),
        Odd("silent_nobody"),
        Sound("customer", b"\x01\x00"),
    ]


def test_a_party_passes_to_another_when_the_first_has_gone() -> None:
    protocol, _ = opened(f"?customer={CUSTOMER}&agent={AGENT}&agent={TEAMS}")
    play(protocol, [audio(AGENT)])
    said = play(protocol, [each for _ in range(GONE) for each in (audio(CUSTOMER), audio(TEAMS))])
    agents = [each for each in said if isinstance(each, Sound | Dropped) and each.party == "agent"]
    assert isinstance(agents[0], Dropped) and isinstance(agents[-1], Sound)
    assert sum(isinstance(each, Dropped) for each in agents) == GONE // 2
    assert play(protocol, [audio(AGENT)]) == [Odd("extra"), Dropped("agent", 2, "extra")], "it is TEAMS now"


def test_mixed_sound_is_one_channel() -> None:
    protocol, said = opened("?channels=mixed")
    assert said.parties == ("customer",)
    assert play(protocol, [audio(None), audio("")]) == [Sound("customer", b"\x01\x00")] * 2
    protocol, _ = opened()
    assert play(protocol, [audio(None)]) == [Sound("customer", b"\x01\x00")]


def test_mixed_sound_never_passes_for_somebodys_own() -> None:
    protocol, _ = opened(f"?customer={CUSTOMER}")
    with pytest.raises(BadEncoding, match="channels=mixed"):
        play(protocol, [audio(None)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([PHONE, TEAMS, WEB, AGENT, CUSTOMER]), st.booleans()), max_size=200),
    st.sampled_from(["", f"?customer={CUSTOMER}", f"?agent={AGENT}", f"?agent={AGENT}&customer={CUSTOMER}"]),
)
def test_every_sound_has_one_place_and_named_parties_only_their_own(sent: list[tuple[str, bool]], query: str) -> None:
    protocol, description = opened(query)
    for who, silent in sent:
        said = play(protocol, [audio(who, who.encode(), silent)])
        check_said(said)
        kept = [each for each in said if isinstance(each, Sound | Dropped)]
        assert len(kept) == 1 or (silent and said == [Odd("silent_nobody")])
        for each in kept:
            if isinstance(each, Sound) and each.party not in description.mixed:
                assert who == {"agent": AGENT, "customer": CUSTOMER}[each.party]
        owners = list(protocol._leg.values())
        assert len(owners) == len(set(owners))
