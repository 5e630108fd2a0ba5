"""Proof that Webex opens a stream: a token in `authorization`, signed (RS256) by Cisco's identity service.

Its keys are published at `<issuer>/oauth2/v2/keys/verificationjwk`, and change. This server calls nobody: whoever runs
it puts them into a file, and a new file is taken as soon as it is there. It knows no socket and no clock.
Source: github.com/CiscoDevNet/webex-contact-center-provider-sample-code (media-forking, runtime authentication).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jwt

from assist.errors import ConfigError, Unauthorized
from assist.protocols import Handshake

URL_CLAIM: Final = "com.cisco.datasource.url"
SCHEMA_CLAIM: Final = "com.cisco.datasource.schema.uuid"
SCHEMAS: Final = frozenset({"523e1b7f-4693-47bc-b84e-a7b7a505fb0b", "3028d2e8-eb03-4395-b70e-a69e823869c5"})
"""Cisco's names of media forking; a token for something else of the same house is not for us."""
SKEW_S: Final = 60
"""By so much the other side's clock may be off."""
LONGEST: Final = 16_384
MOST_KEYS: Final = 32
_BARE: Final[Any] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
"""Times are compared with that of the handshake; whom it is for, the data source says."""


class Jws:
    """`path`: a JWKS file. `url`: what the data source was registered with; "": a token's own is not asked for.

    `open_to_all`: without a file everybody may come; else nobody. Raises ConfigError.
    """

    def __init__(self, path: str, url: str = "", *, open_to_all: bool = False) -> None:
        self._path = Path(path) if path else None
        self._url = url.rstrip("/")
        self._open = open_to_all and not path
        self._stamp: tuple[int, int] | None = None
        self._keys: list[jwt.PyJWK] = []
        if self._path:
            try:
                self._keys, self._stamp = _read(self._path), _stamp(self._path)
            except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
                raise ConfigError(f"ingest.webex_jwks: {path}: {error}") from error

    def check(self, handshake: Handshake) -> None:
        """May this stream be opened? Raises Unauthorized."""
        if self._open:
            return
        if self._path is None:
            raise Unauthorized("no keys are configured: ingest.webex_jwks")
        self._renew(self._path)
        token = handshake.headers.get("authorization", "")[:LONGEST].removeprefix("Bearer ").strip()
        claims = self._claims(token)
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not (isinstance(expires, int | float) and expires + SKEW_S >= handshake.at_s):
            raise Unauthorized("the token has expired, or does not say when")
        if not (isinstance(begins, int | float) and begins - SKEW_S <= handshake.at_s):
            raise Unauthorized("the token is not valid yet")
        if self._url and str(claims.get(URL_CLAIM, "")).rstrip("/") != self._url:
            raise Unauthorized(f"the token's {URL_CLAIM} is not ingest.webex_url")
        if SCHEMA_CLAIM in claims and str(claims[SCHEMA_CLAIM]) not in SCHEMAS:
            raise Unauthorized(f"the token's {SCHEMA_CLAIM} is not that of media forking")

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            named = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            raise Unauthorized("authorization: a signed token (JWS) is expected") from None
        for key in self._keys:
            if named is None or key.key_id is None or key.key_id == named:
                try:
                    claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=["RS256"], options=_BARE)
                except (jwt.PyJWTError, ValueError, TypeError):  # of another key, or no object in it
                    continue
                return claims
        raise Unauthorized("the token is not signed by a key of ingest.webex_jwks")

    def _renew(self, path: Path) -> None:
        try:
            if (stamp := _stamp(path)) != self._stamp:
                self._keys, self._stamp = _read(path), stamp
        except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError):
            pass  # it is just being written, or is gone: what was known is good until there is better


def _stamp(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_mtime_ns, told.st_size


def _read(path: Path) -> list[jwt.PyJWK]:
    keys = jwt.PyJWKSet.from_dict(json.loads(path.read_text("utf-8"))).keys
    mine = [key for key in keys if key.key_type == "RSA"][:MOST_KEYS]
    if not mine:
        raise ValueError("no RSA key in it")
    return mine
