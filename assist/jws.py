"""Proof by a signed token (JWT, RS256): of Webex for its streams, of Azure and of LCA's users for their sockets.

    Webex   `authorization`, by Cisco's identity service; keys at `<issuer>/oauth2/v2/keys/verificationjwk`
    Azure   keys at acscallautomation.communication.azure.com/calling/keys, the audience is the resource's id
    Cognito (LCA) keys at `<issuer>/.well-known/jwks.json`, the audience is the app client's id

Keys are published, and change. This server calls nobody: whoever runs it puts them into a file, and a new file is taken
as soon as it is there. It knows no socket and no clock.
Sources: github.com/CiscoDevNet/webex-contact-center-provider-sample-code (media-forking, runtime authentication),
learn.microsoft.com (how to secure webhook endpoints and websocket connections), docs.aws.amazon.com/cognito (verifying
JSON web tokens), RFC 7519.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jwt

from assist.config import IssuedBy
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


class Jwks:
    """The keys of one issuer: a JWKS file at `path`, which `setting` named. Raises ConfigError."""

    def __init__(self, path: str, setting: str) -> None:
        self._path = Path(path)
        self._setting = setting
        try:
            self._keys, self._stamp = _read(self._path), _stamp(self._path)
        except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise ConfigError(f"{setting}: {path}: {error}") from error

    def claims(self, token: str, at_s: float) -> dict[str, Any]:
        """What a token says that one of the keys has signed and that is valid at `at_s`. Raises Unauthorized."""
        self._renew()
        claims = self._signed(token[:LONGEST].strip())
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not (isinstance(expires, int | float) and expires + SKEW_S >= at_s):
            raise Unauthorized("the token has expired, or does not say when")
        if not (isinstance(begins, int | float) and begins - SKEW_S <= at_s):
            raise Unauthorized("the token is not valid yet")
        return claims

    def _signed(self, token: str) -> dict[str, Any]:
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
        raise Unauthorized(f"the token is not signed by a key of {self._setting}")

    def _renew(self) -> None:
        try:
            if (stamp := _stamp(self._path)) != self._stamp:
                self._keys, self._stamp = _read(self._path), stamp
        except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError):
            pass  # it is just being written, or is gone: what was known is good until there is better


class Jws:
    """Webex's. `path`: a JWKS file. `url`: what the data source was registered with; "": a token need not name it.

    `open_to_all`: without a file everybody may come; else nobody. Raises ConfigError.
    """

    def __init__(self, path: str, url: str = "", *, open_to_all: bool = False) -> None:
        self._keys = Jwks(path, "ingest.webex_jwks") if path else None
        self._url = url.rstrip("/")
        self._open = open_to_all and not path

    def check(self, handshake: Handshake) -> None:
        """May this stream be opened? Raises Unauthorized."""
        if self._open:
            return
        if self._keys is None:
            raise Unauthorized("no keys are configured: ingest.webex_jwks")
        token = handshake.headers.get("authorization", "")[:LONGEST].removeprefix("Bearer ")
        claims = self._keys.claims(token, handshake.at_s)
        if self._url and str(claims.get(URL_CLAIM, "")).rstrip("/") != self._url:
            raise Unauthorized(f"the token's {URL_CLAIM} is not ingest.webex_url")
        if SCHEMA_CLAIM in claims and str(claims[SCHEMA_CLAIM]) not in SCHEMAS:
            raise Unauthorized(f"the token's {SCHEMA_CLAIM} is not that of media forking")


class Issued:
    """Tokens of one issuer for one audience, without which those for others of its customers would do as well.

    `dialect` is whose `ingest.tokens` these are. Raises ConfigError.
    """

    def __init__(self, dialect: str, issued: IssuedBy) -> None:
        where = f"ingest.tokens.{dialect}"
        if not issued.audience:
            raise ConfigError(f"{where}.audience is empty: tokens for anybody would be let in")
        self._keys = Jwks(issued.jwks, f"{where}.jwks")
        self._where = where
        self._issued = issued

    def check(self, token: str, at_s: float) -> None:
        """Is it good at `at_s`? Raises Unauthorized.

        An access token of Cognito says whom it is for in `client_id`, as it has no `aud`.
        """
        claims = self._keys.claims(token, at_s)
        if self._issued.issuer and claims.get("iss") != self._issued.issuer:
            raise Unauthorized(f"the token's iss is not {self._where}.issuer")
        audience = claims.get("aud", claims.get("client_id"))
        if self._issued.audience not in (audience if isinstance(audience, list) else [audience]):
            raise Unauthorized(f"the token's audience is not {self._where}.audience")


def _stamp(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_mtime_ns, told.st_size


def _read(path: Path) -> list[jwt.PyJWK]:
    keys = jwt.PyJWKSet.from_dict(json.loads(path.read_text("utf-8"))).keys
    mine = [key for key in keys if key.key_type == "RSA"][:MOST_KEYS]
    if not mine:
        raise ValueError("no RSA key in it")
    return mine
