"""Proof that a platform itself opens its socket: a signature over the address it was given, or a token it was given.

    twilio      X-Twilio-Signature: base64 of HMAC-SHA1 of the address, by the account's auth token
    plivo       X-Plivo-Signature-V3 or -Ma-V3: base64 of HMAC-SHA256 of `<address>.<nonce>`, by the auth token
    fonoster    x-fonoster-signature: hex of HMAC-SHA256 of `<timestamp>.<address>`, by the signing secret
    telnyx      x-telnyx-streaming-auth-token: the token
    any other   Authorization: Bearer <secret> (SignalWire's authBearerToken), Basic <secret> where the secret is
                `user:password` (Exotel's, jambonz'), or in the address `?token=<secret>` (whoever can send no header),
                `?authorization=Bearer <secret>` (clients of Amazon's LCA)

In the last two places a token that an issuer has signed does as well, where one is configured (assist/jws.py).
It knows no socket and no clock. AudioHook has more to check, in assist/access.py. What Twilio, Plivo and a token prove
is good for ever, by their own design: they hold nothing that is used up.
Sources: twilio.com/docs/usage/security, plivo.com/docs/voice/concepts/signature-validation and its SDK for streams,
docs.fonoster.com/streams/verify-signatures, developers.telnyx.com (stream call media over WebSocket).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

from assist.errors import ConfigError, Unauthorized
from assist.protocols import Handshake

FRESH_S: Final = 300
"""So far a timestamp may be from our clock."""


def addresses(public_url: str, handshake: Handshake) -> list[str]:
    """Our address as it may have been signed: with and without the port, and a slash at its end, as wss or https.

    Twilio is known to differ in the first two from what it was told, and Plivo's own server checks for https.
    `public_url` "": the host that the request names, over TLS.
    """
    base = public_url.rstrip("/") or f"wss://{handshake.headers.get('host', '')}"
    scheme, _, rest = re.sub("^http", "ws", base).partition("://")
    host, slash, prefix = rest.partition("/")
    path, mark, query = handshake.target.partition("?")
    bare = re.sub(r":\d+\Z", "", host)
    hosts = dict.fromkeys((host, bare, f"{bare}:{443 if scheme == 'wss' else 80}"))
    paths = dict.fromkeys((path, path.rstrip("/"), path.rstrip("/") + "/"))
    schemes = (scheme, scheme.replace("ws", "http"))
    return [f"{s}://{h}{slash}{prefix}{p}{mark}{query}" for s in schemes for h in hosts for p in paths]


def _twilio(secret: bytes, urls: list[str], handshake: Handshake) -> bool:
    wanted = [base64.b64encode(hmac.new(secret, url.encode(), hashlib.sha1).digest()) for url in urls]
    return _among(handshake.headers.get("x-twilio-signature", ""), wanted)


def _plivo(secret: bytes, urls: list[str], handshake: Handshake) -> bool:
    nonce = handshake.headers.get("x-plivo-signature-v3-nonce", "")
    wanted = [base64.b64encode(_sha256(secret, f"{_sorted(url)}.{nonce}")) for url in urls]
    names = ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
    given = ",".join(handshake.headers.get(name, "") for name in names)[:4_096].split(",")
    return nonce != "" and any([_among(each.strip(), wanted) for each in given])


def _sorted(url: str) -> str:
    """The address with its query decoded and in order, as Plivo signs it."""
    path, mark, query = url.partition("?")
    return path + mark + "&".join(f"{k}={v}" for k, v in sorted(parse_qsl(query, keep_blank_values=True)))


def _fonoster(secret: bytes, urls: list[str], handshake: Handshake) -> bool:
    at = handshake.headers.get("x-fonoster-timestamp", "")
    fresh = re.fullmatch("[0-9]{1,12}", at) is not None and abs(int(at) - handshake.at_s) <= FRESH_S
    wanted = [_sha256(secret, f"{at}.{url}").hex().encode() for url in urls]
    return _among(handshake.headers.get("x-fonoster-signature", ""), wanted) and fresh


def _telnyx(secret: bytes, urls: list[str], handshake: Handshake) -> bool:
    return _among(handshake.headers.get("x-telnyx-streaming-auth-token", ""), [secret])


def _token(secret: bytes, urls: list[str], handshake: Handshake) -> bool:
    bearer, basic = b"Bearer " + secret, b"Basic " + base64.b64encode(secret)
    query = handshake.target.partition("?")[2]
    tokens = [unquote(part[6:]) for part in query.split("&") if part.startswith("token=")]
    said = _authorizations(handshake)
    return any([*(_among(each, [bearer, basic]) for each in said), *(_among(each, [secret]) for each in tokens[:4])])


def _authorizations(handshake: Handshake) -> list[str]:
    query = handshake.target.partition("?")[2]
    given = [part[14:] for part in query.split("&") if part.startswith("authorization=")]
    return [handshake.headers.get("authorization", ""), *map(unquote, given[:4]), *map(unquote_plus, given[:4])]


def _sha256(secret: bytes, text: str) -> bytes:
    return hmac.new(secret, text.encode(), hashlib.sha256).digest()


def _among(given: str, wanted: list[bytes]) -> bool:
    """Each is compared, and in constant time."""
    return any([hmac.compare_digest(given.encode(), each) for each in wanted])


def _scheme(url: str) -> str:
    """Nothing where it is no address."""
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


PROOFS: Final[Mapping[str, Callable[[bytes, list[str], Handshake], bool]]] = {
    "twilio": _twilio,
    "plivo": _plivo,
    "fonoster": _fonoster,
    "telnyx": _telnyx,
}
"""By dialect; a token, for any other."""


Verify = Callable[[str, float], None]
"""A signed token, and the time in s: may its bearer come? Raises Unauthorized."""


class Proof:
    """What one dialect's sockets are opened with. `secret`: two with a space between while one is being replaced.

    `public_url`: where platforms reach this server, before `/ingest/...`. `verify`: tokens that do as well.
    `open_to_all`: without either everybody may come; else nobody. Raises ConfigError.
    """

    def __init__(
        self,
        dialect: str,
        secret: str,
        public_url: str = "",
        *,
        verify: Verify | None = None,
        open_to_all: bool = False,
    ) -> None:
        if public_url and (_scheme(public_url) not in ("ws", "wss", "http", "https") or "?" in public_url):
            raise ConfigError("ingest.public_url: wss://host, with a path before /ingest where a proxy adds one")
        self._dialect = dialect
        self._secrets = [each.encode() for each in secret.split()]
        self._public_url = public_url
        self._verify = verify
        self._open = open_to_all and not self._secrets and verify is None

    def check(self, handshake: Handshake) -> None:
        """May this socket be opened? Raises Unauthorized."""
        if self._open:
            return
        proves = PROOFS.get(self._dialect, _token)
        urls = addresses(self._public_url, handshake)
        if any([proves(secret, urls, handshake) for secret in self._secrets]):
            return
        refused = Unauthorized(
            f"{self._dialect}: the signature or token is missing, or is not of this address and secret"
        )
        if self._verify:
            for said in dict.fromkeys(_authorizations(handshake)):
                if said[:7].lower() == "bearer ":
                    try:
                        self._verify(said[7:], handshake.at_s)
                    except Unauthorized as error:
                        refused = error
                    else:
                        return
        raise refused
