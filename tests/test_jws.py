"""Signed tokens: whose signature, until when, and for whom; and keys that are replaced while the server runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.config import Ingest, IssuedBy, Settings, load
from assist.errors import ConfigError, Unauthorized
from assist.jws import SCHEMA_CLAIM, SKEW_S, URL_CLAIM, Issued, Jws
from assist.protocols import Handshake
from server import dialects

NOW_S = 1_800_000_000.0
URL = "https://calls.example.com:443"
KEY, OTHER = (generate_private_key(65_537, 2_048) for _ in range(2))
CLAIMS: dict[str, Any] = {
    "iss": "https://idbroker.webex.com/idb", "aud": "ourselves", "sub": "callAudioData", "jti": "1", "iat": NOW_S,
    "exp": NOW_S + 3_600, URL_CLAIM: URL, SCHEMA_CLAIM: "523e1b7f-4693-47bc-b84e-a7b7a505fb0b",
}  # fmt: skip


def jwks(**keys: RSAPrivateKey) -> str:
    """A JWKS document, as the identity service publishes it."""
    found = []
    for kid, key in keys.items():
        told = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        found.append({**told, "kid": kid, "use": "sig"})
    return json.dumps({"keys": found})


def token(
    key: RSAPrivateKey = KEY, kid: str | None = "k1", claims: Mapping[str, Any] | None = None, **more: Any
) -> str:
    """A token; a claim of None is left out."""
    told = {name: value for name, value in {**CLAIMS, **(claims or {}), **more}.items() if value is not None}
    return jwt.encode(told, key, "RS256", {"kid": kid} if kid else None)


def asked(authorization: str, at_s: float = NOW_S) -> Handshake:
    return Handshake("/", {"authorization": authorization} if authorization else {}, at_s)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(jwks(k0=OTHER, k1=KEY))
    return path


@pytest.mark.parametrize("url", [URL, URL + "/", ""])
@pytest.mark.parametrize("given", [f"Bearer {token()}", token(), f"Bearer {token(kid=None)}"])
def test_a_token_of_these_keys_for_us_is_let_in(keys: Path, url: str, given: str) -> None:
    Jws(str(keys), url).check(asked(given))


def test_what_it_need_not_say_may_be_missing(keys: Path) -> None:
    bare = dict.fromkeys(("iss", "aud", "sub", "jti", "iat", URL_CLAIM, SCHEMA_CLAIM))
    Jws(str(keys)).check(asked(token(claims=bare)))


UNSIGNED = jwt.encode(CLAIMS, "", "none", {"kid": "k1"})
BAD = {
    "nothing": ("", "a signed token"),
    "no token": ("Bearer abc", "a signed token"),
    "another's signature": (token(OTHER, "k1"), "not signed"),
    "an unknown key": (token(KEY, "k9"), "not signed"),
    "a shared secret": (jwt.encode(CLAIMS, "s" * 32, "HS256", {"kid": "k1"}), "not signed"),
    "unsigned": (UNSIGNED, "not signed"),
    "changed": (token()[:-8] + "AAAAAAAA", "not signed"),
    "expired": (token(exp=NOW_S - SKEW_S - 1), "expired"),
    "without an end": (token(exp=None), "expired"),
    "with an end that is no time": (token(exp=float("nan")), "expired"),
    "not valid yet": (token(nbf=NOW_S + SKEW_S + 1), "not valid yet"),
    "for another url": (token(claims={URL_CLAIM: "https://else.example.com:443"}), URL_CLAIM),
    "for no url": (token(claims={URL_CLAIM: None}), URL_CLAIM),
    "for a virtual agent": (token(claims={SCHEMA_CLAIM: "5397013b-7920-4ffc-807c-e8a3e0a18f43"}), SCHEMA_CLAIM),
    "for no schema that is a text": (token(claims={SCHEMA_CLAIM: ["x"]}), SCHEMA_CLAIM),
}


@pytest.mark.parametrize("name", BAD)
def test_any_other_is_refused(keys: Path, name: str) -> None:
    given, told = BAD[name]
    with pytest.raises(Unauthorized, match=told):
        Jws(str(keys), URL, open_to_all=True).check(asked(given))


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.text("eyJ.abc0123_-=", max_size=60)), where=st.integers(0, 400))
def test_no_text_is_let_in_or_breaks_it(tmp_path_factory: pytest.TempPathFactory, text: str, where: int) -> None:
    path = tmp_path_factory.getbasetemp() / "jwks.json"
    if not path.exists():
        path.write_text(jwks(k1=KEY))
    good = token()
    for tried in (text, good[:where] + text + good[where + len(text) :]):
        if tried != good:
            with pytest.raises(Unauthorized):
                Jws(str(path)).check(asked(tried))


def test_without_keys_it_is_open_or_shut() -> None:
    Jws("", open_to_all=True).check(asked(""))
    with pytest.raises(Unauthorized, match=r"ingest\.webex_jwks"):
        Jws("").check(asked(token()))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "EC"}]}', '{"keys": 7}'])
def test_a_file_without_keys_is_an_error_of_the_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"ingest\.webex_jwks"):
        Jws(str(path))
    with pytest.raises(ConfigError, match="nowhere"):
        Jws(str(tmp_path / "nowhere"))


def test_new_keys_are_taken_when_they_are_there_and_good(keys: Path) -> None:
    proof = Jws(str(keys))
    proof.check(asked(token()))
    for spoilt in ("{", None):  # half written, then gone
        keys.write_text(spoilt) if spoilt else keys.unlink()
        proof.check(asked(token()))
    keys.write_text(jwks(k2=OTHER))
    os.utime(keys, ns=(1, 1))
    proof.check(asked(token(OTHER, "k2")))
    with pytest.raises(Unauthorized):
        proof.check(asked(token()))


RESOURCE = "2b1a4b0c-0000-4000-8000-5d6c7e8f9a0b"
AZURE = "https://acscallautomation.communication.azure.com"


def issued(key: RSAPrivateKey = KEY, kid: str | None = "k1", **more: Any) -> str:
    """A token as Azure signs it for one resource."""
    only = {URL_CLAIM: None, SCHEMA_CLAIM: None, "iss": AZURE, "aud": RESOURCE}
    return token(key, kid, {**only, **more})


@pytest.fixture
def settings_with(keys: Path) -> Settings:
    """Settings from a file, in which Azure's and LCA's sockets are opened by tokens."""
    path = keys.with_name("config.toml")
    path.write_text(f"""
        [server]
        host = "0.0.0.0"
        [ingest.secrets]
        azure = "shared"
        [ingest.tokens.azure]
        jwks = "{keys}"
        issuer = "{AZURE}"
        audience = "{RESOURCE}"
        [ingest.tokens.lca]
        jwks = "{keys}"
        audience = "{RESOURCE}"
    """)
    return load(path, {})


def test_a_token_for_this_resource_opens_the_socket_and_so_does_the_secret(settings_with: Settings) -> None:
    made = dialects(settings_with)
    for said in (issued(), issued(kid=None), issued(aud=["else", RESOURCE]), "shared"):
        made["azure"]().greet(asked(f"Bearer {said}"))
    made["azure"]().greet(asked(f"bearer {issued()}"))
    made["azure"]().greet(Handshake("/ingest/azure?token=shared", {}, NOW_S))


@pytest.mark.parametrize("space", ["%20", "+"])
def test_a_token_may_stand_in_the_address(settings_with: Settings, space: str) -> None:
    access = issued(aud=None, client_id=RESOURCE)
    target = f"/ingest/lca?authorization=Bearer{space}{access}&id_token=Bearer{space}{issued()}&refresh_token=x"
    dialects(settings_with)["lca"]().greet(Handshake(target, {}, NOW_S))


NOT_FOR_US = {
    "another's signature": (issued(OTHER, "k1"), "not signed by a key of ingest.tokens.azure.jwks"),
    "expired": (issued(exp=NOW_S - SKEW_S - 1), "expired"),
    "of another issuer": (issued(iss="https://else.example.com"), "ingest.tokens.azure.issuer"),
    "of no issuer": (issued(iss=None), "ingest.tokens.azure.issuer"),
    "for another resource": (issued(aud="else"), "ingest.tokens.azure.audience"),
    "for another, whatever its client": (issued(aud="else", client_id=RESOURCE), "ingest.tokens.azure.audience"),
    "for all but us": (issued(aud=["else", "more"]), "ingest.tokens.azure.audience"),
    "for nobody": (issued(aud=None), "ingest.tokens.azure.audience"),
    "for no text": (issued(aud={RESOURCE: 1}), "ingest.tokens.azure.audience"),
    "no token": ("abc", "a signed token"),
}


@pytest.mark.parametrize("name", NOT_FOR_US)
def test_a_token_for_somebody_else_opens_nothing(settings_with: Settings, name: str) -> None:
    said, why = NOT_FOR_US[name]
    with pytest.raises(Unauthorized, match=why):
        dialects(settings_with)["azure"]().greet(asked(f"Bearer {said}"))


@pytest.mark.parametrize("said", ["", "Basic abc", "Bearer", issued()])
def test_who_brings_no_token_is_told_so(settings_with: Settings, said: str) -> None:
    with pytest.raises(Unauthorized, match="azure: the signature or token is missing"):
        dialects(settings_with)["azure"]().greet(asked(said))


def test_tokens_that_cannot_be_judged_are_errors_of_the_settings(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ingest\.tokens\.azure\.audience is empty"):
        Issued("azure", IssuedBy(str(keys), ""))
    with pytest.raises(ConfigError, match=r"ingest\.tokens\.azure\.jwks: .*nowhere"):
        Issued("azure", IssuedBy(str(tmp_path / "nowhere"), RESOURCE))
    with pytest.raises(ConfigError, match=r"ingest\.tokens: no dialect azur:"):
        dialects(Settings(ingest=Ingest(tokens={"azur": IssuedBy(str(keys), RESOURCE)})))
