"""Who may open a platform's socket: against Twilio's own validator, published vectors, and hands that slip."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from assist.config import Ingest, Server, Settings
from assist.errors import ConfigError, Unauthorized
from assist.proof import FRESH_S, Proof, addresses
from assist.protocols import Handshake
from server import PROVED, dialects

TOKEN = "12345"
PUBLIC = "wss://calls.example.com"


def asked(path: str, **headers: str) -> Handshake:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Handshake(path, {"host": "10.0.0.7:8765", **given}, 0.0)


def lets_in(proof: Proof, handshake: Handshake) -> bool:
    try:
        proof.check(handshake)
    except Unauthorized as refused:
        assert TOKEN not in str(refused)
        return False
    return True


@pytest.mark.parametrize(
    "signed",
    [
        "wss://calls.example.com/ingest/twilio",
        "wss://calls.example.com/ingest/twilio/",
        "wss://calls.example.com:443/ingest/twilio",
        "wss://calls.example.com:443/ingest/twilio/",
    ],
)
@pytest.mark.parametrize("public", [PUBLIC, f"{PUBLIC}/", "https://calls.example.com", f"{PUBLIC}:443"])
@pytest.mark.parametrize("path", ["/ingest/twilio", "/ingest/twilio/"])
def test_what_twilios_validator_signs_is_let_in(signed: str, public: str, path: str) -> None:
    signature = RequestValidator(TOKEN).compute_signature(signed, {})
    proof = Proof("twilio", TOKEN, public)
    assert lets_in(proof, asked(path, x_twilio_signature=signature))
    assert not lets_in(Proof("twilio", "other", public), asked(path, x_twilio_signature=signature))


@settings(max_examples=100, deadline=None)
@given(
    host=st.sampled_from(["a.example", "a.example:443", "a.example:8443", "127.0.0.1:9", "[::1]:9"]),
    prefix=st.sampled_from(["", "/assist", "/a/b"]),
    query=st.sampled_from(["", "?x=1&y=%20"]),
    signature=st.text(max_size=40),
    right=st.booleans(),
)
def test_twilios_validator_and_we_agree(host: str, prefix: str, query: str, signature: str, right: bool) -> None:
    url = f"wss://{host}{prefix}/ingest/twilio{query}"
    validator = RequestValidator(TOKEN)
    given = validator.compute_signature(url, {}) if right else signature
    ours = lets_in(
        Proof("twilio", TOKEN, f"wss://{host}{prefix}"), asked(f"/ingest/twilio{query}", x_twilio_signature=given)
    )
    assert ours == right
    assert not validator.validate(url, {}, given) or ours, "what Twilio takes, we take"


def test_twilios_published_vector() -> None:
    """From Twilio's page on security: the address with its POST fields behind it, as one text, and the token 12345."""
    fields = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234", "From": "+14158675309",
              "To": "+18005551212"}  # fmt: skip
    text = "https://mycompany.com/myapp.php?foo=1&bar=2" + "".join(k + fields[k] for k in sorted(fields))
    wanted = base64.b64encode(hmac.new(b"12345", text.encode(), hashlib.sha1).digest()).decode()
    assert wanted == "RSOYDt4T1cUTdK1PDd93/VVr8B8=" == RequestValidator("12345").compute_signature(text, {})


def test_plivos_own_validator_made_these() -> None:
    """`plivo` 4.63.0, signature_v3.get_signature_v3 and construct_get_url, token 12345."""
    proof = Proof("plivo", TOKEN, PUBLIC)
    for path, signature in VECTORS.items():
        good = {"x_plivo_signature_v3_nonce": "12345678901234567890", "x_plivo_signature_v3": signature}
        assert lets_in(proof, asked(path, **good))
        assert lets_in(proof, asked(path, **{**good, "x_plivo_signature_v3": f"abc, {signature}"})), "one of several"
        main = {"x_plivo_signature_v3": "of the subaccount", "x_plivo_signature_ma_v3": signature}
        assert lets_in(proof, asked(path, **{**good, **main})), "that of the main account"
        assert not lets_in(proof, asked(path, **{**good, "x_plivo_signature_v3_nonce": "1"}))
        assert not lets_in(proof, asked(path, x_plivo_signature_v3=signature))
        assert not lets_in(proof, asked(path + "&z=1", **good))


VECTORS = {
    "/ingest/plivo": "/UmeDBPsigK8OZfsuPbHwyr4U0QjFVyHtB06kgDBRFI=",
    "/ingest/plivo?b=2&a=1%202&a=0": "5KzsuGsPxq1w6ZvTiCyCO746kylI4cIYr8MEGf5VrcM=",
    "/ingest/plivo?c=3": "H8MbblzPpAY6cqvlA75b8EwWDzy9+t4VReWcmDJvFLU=",
}
"""Path, and the signature of its address with the nonce 12345678901234567890; the last is of https, the rest of wss."""


def test_fonosters_signature_is_of_now() -> None:
    proof = Proof("fonoster", TOKEN, PUBLIC)
    text = b"1700000000.wss://calls.example.com/ingest/fonoster"
    signature = hmac.new(TOKEN.encode(), text, hashlib.sha256).hexdigest()
    for at_s, right in ((1_700_000_000.0 + FRESH_S, True), (1_700_000_000.0 - FRESH_S - 1, False), (0.0, False)):
        headers = {"x_fonoster_timestamp": "1700000000", "x_fonoster_signature": signature}
        assert lets_in(proof, replace(asked("/ingest/fonoster", **headers), at_s=at_s)) == right
    for wrong in ("", "x", "-1", "1" * 5_000, "1700000001"):
        headers = {"x_fonoster_timestamp": wrong, "x_fonoster_signature": signature}
        assert not lets_in(proof, replace(asked("/ingest/fonoster", **headers), at_s=1_700_000_000.0))


@pytest.mark.parametrize(
    ("dialect", "secret", "path", "headers"),
    [
        ("telnyx", TOKEN, "", {"x_telnyx_streaming_auth_token": TOKEN}),
        ("signalwire", TOKEN, "", {"authorization": f"Bearer {TOKEN}"}),
        ("exotel", "key:token", "", {"authorization": "Basic " + base64.b64encode(b"key:token").decode()}),
        ("azure", "a/b+c", "?agent=x&token=a%2Fb+c", {"authorization": "Bearer eyJ"}),
        ("talkdesk", TOKEN, f"?token=wrong&token={TOKEN}", {}),
        ("talkdesk", f"new {TOKEN}", f"?token={TOKEN}", {}),
        ("jambonz", "user:word", "", {"authorization": "Basic " + base64.b64encode(b"user:word").decode()}),
        ("lca", TOKEN, f"?authorization=Bearer%20{TOKEN}&id_token=x", {}),
        ("lca", TOKEN, f"?authorization=Bearer+{TOKEN}", {}),
    ],
)
def test_a_token_comes_as_the_platform_can_send_it(
    dialect: str, secret: str, path: str, headers: dict[str, str]
) -> None:
    handshake = asked(f"/ingest/{dialect}{path}", **headers)
    assert lets_in(Proof(dialect, secret), handshake)
    assert not lets_in(Proof(dialect, "quite another"), handshake)
    assert not lets_in(Proof(dialect, secret), asked(f"/ingest/{dialect}"))


@settings(max_examples=100, deadline=None)
@given(
    dialect=st.sampled_from(sorted(PROVED)),
    target=st.text(max_size=40),
    names=st.lists(
        st.sampled_from(
            ["host", "x-twilio-signature", "authorization", "x-plivo-signature-v3", "x-plivo-signature-v3-nonce",
             "x-fonoster-timestamp", "x-fonoster-signature", "x-telnyx-streaming-auth-token"]
        ),
        unique=True,
    ),
    value=st.text(max_size=30),
    public=st.sampled_from(["", PUBLIC]),
)  # fmt: skip
def test_any_request_is_let_in_or_refused_by_name(
    dialect: str, target: str, names: list[str], value: str, public: str
) -> None:
    handshake = Handshake(target, dict.fromkeys(names, value), 0.0)
    assert not lets_in(Proof(dialect, "a_secret_that_no_test_guesses", public), handshake)


def test_without_a_public_address_the_host_of_the_request_is_taken() -> None:
    assert addresses("", asked("/ingest/twilio"))[0] == "wss://10.0.0.7:8765/ingest/twilio"


@pytest.mark.parametrize("address", ["calls.example.com", "ftp://x", "wss://x?y=1", "//x", "wss://[bad"])
def test_a_public_address_that_is_none_is_an_error_of_the_settings(address: str) -> None:
    with pytest.raises(ConfigError, match=r"ingest\.public_url"):
        Proof("twilio", TOKEN, address)


def test_a_secret_for_no_dialect_is_an_error_of_the_settings() -> None:
    with pytest.raises(ConfigError, match="twillio"):
        dialects(Settings(ingest=Ingest(secrets={"twillio": "x"})))


@pytest.mark.parametrize("dialect", sorted(PROVED))
@pytest.mark.parametrize(("host", "open_here"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_without_a_secret_it_is_open_on_loopback_only_and_says_so(
    dialect: str, host: str, open_here: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    others = {name: "secret" for name in PROVED if name != dialect}
    made = dialects(Settings(server=Server(host=host), ingest=Ingest(secrets=others)))
    said = "open to all here" if open_here else "refused"
    assert f"ingest.secrets has none for {dialect}: their sockets are {said}" in caplog.text
    with contextlib.nullcontext() if open_here else pytest.raises(Unauthorized):
        made[dialect]().greet(asked(f"/ingest/{dialect}"))
    other = next(iter(others))
    with pytest.raises(Unauthorized):
        made[other]().greet(asked(f"/ingest/{other}"))
