"""Who is let in: Genesys' own vectors, and every way in which a request may fall short of one."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assist.access import NEEDED, Access, signature, signed_text
from assist.errors import ConfigError, Unauthorized
from assist.protocols import Handshake
from tests import genesys

SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
TARGET = "/api/v1/voicebiometrics/ws"
AUTHORITY = "audiohook.example.com"
NOW = 1_641_013_200
ASKED = {
    "host": AUTHORITY,
    "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
    "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "x-api-key": KEY,
}
VECTORS = [
    ("@authority", "NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4="),
    ("host", "zupMJUMfd/kMuvKc5zhRyfJPE3jTROuz1S1hn8SCTpE="),
]


def parameters(second: str) -> str:
    names = ["@request-target", second, *[name for name in ASKED if name not in ("host",)]]
    inner = " ".join(f'"{name}"' for name in names)
    return (
        f'({inner});keyid="{KEY}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created={NOW};expires=3282026430'
    )


def vector(second: str, mac: str, **headers: str) -> Handshake:
    """The documents' request, signed as it says, with headers changed."""
    asked = {**ASKED, "signature-input": f"sig1={parameters(second)}", "signature": f"sig1=:{mac}:", **headers}
    return Handshake(TARGET, asked, NOW + 1.5)


def request(now_s: float = NOW, target: str = TARGET, secret: str = SECRET, **changes: Any) -> Handshake:
    """Another one, freshly signed."""
    given = {"created": int(now_s), "expires": int(now_s) + 10, **changes}
    signed = genesys.signed(ASKED, target, AUTHORITY, secret, **given)
    return Handshake(TARGET, {**ASKED, **{k.lower(): v for k, v in signed.items()}}, now_s)


@pytest.mark.parametrize(("second", "mac"), VECTORS)
def test_the_documents_vectors_come_out(second: str, mac: str) -> None:
    handshake = vector(second, mac)
    components = parameters(second)[1:].split(")")[0].replace('"', "").split()
    text = signed_text(handshake, components, parameters(second), AUTHORITY)
    assert base64.b64encode(signature(base64.b64decode(SECRET), text)).decode() == mac


def test_the_vector_with_its_authority_is_let_in_once() -> None:
    access = Access({KEY: SECRET})
    access.check(vector(*VECTORS[0]))
    with pytest.raises(Unauthorized, match="used before"):
        access.check(vector(*VECTORS[0]))


def test_a_signature_without_its_authority_is_not_enough() -> None:
    with pytest.raises(Unauthorized, match="@authority must be signed"):
        Access({KEY: SECRET}).check(vector(*VECTORS[1]))


@pytest.mark.parametrize("name", [*ASKED, "signature", "signature-input"])
def test_nothing_that_is_signed_can_be_changed(name: str) -> None:
    for value in ("", "x", KEY + "=", AUTHORITY + ".evil.example"):
        with pytest.raises(Unauthorized):
            Access({KEY: SECRET}).check(vector(*VECTORS[0], **{name: value}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"created": NOW - 11, "expires": NOW + 10}, "at most 10 s ago"),
        ({"created": NOW + 4}, "at most 10 s ago"),
        ({"created": None}, "at most 10 s ago"),
        ({"created": NOW - 5, "expires": NOW - 1}, "expired"),
        ({"nonce": "tooshort" * 2 + "abcde"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"keyid": "another"}, "keyid"),
        ({"alg": "rsa-pss-sha512"}, "alg"),
        ({"secret": "c29tZXRoaW5nIGVsc2U="}, "does not fit"),
        ({"target": "/elsewhere"}, "does not fit"),
        *(({"without": [name]}, "must be signed") for name in sorted(NEEDED)),
    ],
)
def test_a_request_that_falls_short_is_not_let_in(changes: dict[str, Any], says: str) -> None:
    access = Access({KEY: SECRET})
    with pytest.raises(Unauthorized, match=says):
        access.check(request(**changes))
    access.check(request())


@pytest.mark.parametrize("age_s", [-3, 0, 10])
def test_clocks_may_differ_a_little(age_s: int) -> None:
    Access({KEY: SECRET}).check(request(created=NOW - age_s))


def test_a_nonce_is_remembered_for_as_long_as_it_could_be_used() -> None:
    access = Access({KEY: SECRET})
    nonce = "n" * 22
    for made_s, seen_s, fresh in ((0, 0, True), (3, 3, False), (11, 11, False), (14, 14, True)):
        again = request(NOW + seen_s, created=NOW + made_s, nonce=nonce)
        if fresh:
            access.check(again)
        else:
            with pytest.raises(Unauthorized, match="used before"):
                access.check(again)


def test_what_is_remembered_has_a_limit() -> None:
    access = Access({KEY: SECRET}, remember=5)
    many = [request() for _ in range(20)]
    for each in many:
        access.check(each)
    for each in many[-5:]:
        with pytest.raises(Unauthorized, match="used before"):
            access.check(each)
    access.check(many[0])


def test_keys_without_a_secret_come_unsigned_and_only_they() -> None:
    access = Access({KEY: "", "other": SECRET})
    access.check(Handshake(TARGET, ASKED, NOW))
    for key in ("other", "unknown", ""):
        with pytest.raises(Unauthorized):
            access.check(Handshake(TARGET, {**ASKED, "x-api-key": key}, NOW))


def test_without_keys_it_is_all_or_nobody() -> None:
    Access({}, open_to_all=True).check(Handshake(TARGET, {}, NOW))
    for access in (Access({}), Access({KEY: SECRET}, open_to_all=True)):
        with pytest.raises(Unauthorized):
            access.check(Handshake(TARGET, {**ASKED, "x-api-key": "unknown"}, NOW))


def test_the_unknown_key_fails_as_a_wrong_signature_does() -> None:
    """Nobody learns from the answer which keys there are."""
    with pytest.raises(Unauthorized) as wrong:
        Access({KEY: "c29tZXRoaW5nIGVsc2U="}).check(request())
    with pytest.raises(Unauthorized) as unknown:
        Access({"another": SECRET}).check(request())
    assert str(wrong.value) == str(unknown.value)


def test_behind_a_proxy_the_public_host_counts() -> None:
    inside = request()
    inside = Handshake(inside.target, {**inside.headers, "host": "10.0.0.7:8765"}, inside.at_s)
    with pytest.raises(Unauthorized):
        Access({KEY: SECRET}).check(inside)
    Access({KEY: SECRET}, AUTHORITY).check(inside)


@pytest.mark.parametrize("host", ["Audiohook.Example.com", "audiohook.example.com:443", "audiohook.example.com:80"])
def test_a_port_that_goes_without_saying_is_left_out(host: str) -> None:
    Access({KEY: SECRET}).check(vector(*VECTORS[0], host=host))


def test_a_secret_that_is_none_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="SGVs"):
        Access({KEY: "not base64!"})


@given(st.text(max_size=200), st.text(max_size=100), st.text(max_size=40))
def test_any_headers_are_refused_by_name(given_input: str, mac: str, key: str) -> None:
    for text in (given_input, f"sig1=({given_input})", parameters("@authority") + given_input + "x"):
        asked = {**ASKED, "signature-input": text, "signature": mac, "x-api-key": key}
        with pytest.raises(Unauthorized) as refused:
            Access({KEY: SECRET}).check(Handshake(TARGET, asked, NOW))
        assert len(str(refused.value)) < 400
