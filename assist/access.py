"""Who may open a socket: with AudioHook an API key, and an HTTP message signature where the key has a secret; with the
speech clients an API key.

It knows no socket and no clock: the handshake says when it came. Keys are configured; nothing of a refused request is
kept, and every refusal takes the same work whether the key is known or not.
Source: draft-ietf-httpbis-message-signatures as Genesys signs (HMAC-SHA256 over the components in the order named).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from assist.errors import ConfigError, Unauthorized
from assist.protocols import Handshake

NEEDED: Final = frozenset({
    "@request-target", "@authority", "audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id",
    "x-api-key",
})  # fmt: skip
"""Components that must be under the signature."""
OLDEST_S: Final = 10
SKEW_S: Final = 3
"""By so much the other side's clock may be ahead."""
LEAST_NONCE: Final = 22
MOST_NONCES: Final = 100_000
"""Remembered at once: more than this in 13 s is no phone system, and the oldest are forgotten."""

_SIGNED = re.compile(r'([a-z*][a-z0-9_.*-]*)=(\(((?:"[^"]*"(?: |(?=\))))*)\)((?:;[a-z]+=(?:"[^"\\]*"|[0-9]+))*))')
_PARAMETER = re.compile(r';([a-z]+)=(?:"([^"\\]*)"|([0-9]+))')
_LONGEST: Final = 4_096


def signed_text(handshake: Handshake, components: Sequence[str], parameters: str, authority: str) -> bytes:
    """What is signed: a line per component, then the parameters verbatim. Raises Unauthorized where one is missing."""
    lines = []
    for name in components:
        value = {"@request-target": handshake.target, "@authority": authority}.get(name) or handshake.headers.get(name)
        if value is None:
            raise Unauthorized(f"signature: {name[:60]!r} is signed and did not come")
        lines.append(f'"{name}": {value.strip()}')
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def signature(secret: bytes, text: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return hmac.new(secret, text, hashlib.sha256).digest()


class Access:
    """The keys and what was used up of them. `keys`: API key to client secret in base64; "": it may come unsigned.

    `authority`: the host that callers name, where a proxy stands between; "": what the request says. `open_to_all`:
    without keys, everybody may come; else nobody. Raises ConfigError.
    """

    def __init__(
        self, keys: Mapping[str, str], authority: str = "", *, open_to_all: bool = False, remember: int = MOST_NONCES
    ) -> None:
        self._secrets: dict[str, bytes] = {}
        for key, secret in keys.items():
            try:
                self._secrets[key] = base64.b64decode(secret, validate=True)
            except (binascii.Error, ValueError):
                raise ConfigError(f"ingest.audiohook_keys: the secret of {key[:4]}... is not base64") from None
        self._authority = authority
        self._open = open_to_all and not keys
        self._remember = remember
        self._nobody = secrets.token_bytes(32)
        self._used: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, handshake: Handshake) -> None:
        """May this socket be opened? Raises Unauthorized; a signature is good for one socket."""
        if self._open:
            return
        key = handshake.headers.get("x-api-key", "")
        secret = self._secret(key)
        if secret == b"":
            return
        given = handshake.headers.get("signature-input", "")
        # An unknown key is checked like a known one, against a secret that nobody has.
        self._verify(handshake, key, self._nobody if secret is None else secret, given)

    def _secret(self, key: str) -> bytes | None:
        found = None
        for known, secret in self._secrets.items():
            if hmac.compare_digest(known.encode(), key.encode()):
                found = secret
        return found

    def _verify(self, handshake: Handshake, key: str, secret: bytes, given: str) -> None:
        read = _SIGNED.fullmatch(given.strip()) if len(given) <= _LONGEST else None
        if read is None:
            raise Unauthorized("signature-input: missing, or not one signature of named components")
        label, parameters, names, rest = read.groups()
        components = re.findall(r'"([^"]*)"', names)
        if missing := NEEDED - set(components):
            raise Unauthorized(f"signature: {', '.join(sorted(missing))} must be signed")
        if len(set(components)) != len(components):
            raise Unauthorized("signature: a component is signed twice")
        texts = {name: text for name, text, _ in _PARAMETER.findall(rest)}
        numbers = {name: int(number[:15]) for name, _, number in _PARAMETER.findall(rest) if number}
        text = signed_text(handshake, components, parameters, self._authority or authority_of(handshake))
        _same(signature(secret, text), handshake.headers.get("signature", ""), label)
        if not hmac.compare_digest(texts.get("keyid", "").encode(), key.encode()):
            raise Unauthorized("signature: keyid is not the API key")
        if texts.get("alg", "hmac-sha256") != "hmac-sha256":
            raise Unauthorized("signature: alg must be hmac-sha256")
        self._fresh(key, texts.get("nonce", ""), numbers, handshake.at_s)

    def _fresh(self, key: str, nonce: str, numbers: Mapping[str, int], now_s: float) -> None:
        if len(nonce) < LEAST_NONCE:
            raise Unauthorized(f"signature: a nonce needs {LEAST_NONCE} characters")
        created = numbers.get("created")
        if created is None or not -SKEW_S <= now_s - created <= OLDEST_S:
            raise Unauthorized(f"signature: it may be created at most {OLDEST_S} s ago")
        if now_s > numbers.get("expires", created + OLDEST_S):
            raise Unauthorized("signature: it has expired")
        if self._used.get((key, nonce), 0.0) >= now_s:
            raise Unauthorized("signature: it was used before")
        while self._used and (next(iter(self._used.values())) < now_s or len(self._used) >= self._remember):
            self._used.popitem(last=False)
        # In the order they came, and each until the latest moment at which one made ahead of our clock is too old.
        self._used[key, nonce] = now_s + SKEW_S + OLDEST_S


class Keys:
    """API keys of speech clients. `open_to_all`: without keys, everybody may come; else nobody."""

    def __init__(self, keys: Sequence[str], *, open_to_all: bool = False) -> None:
        self._keys = tuple(keys)
        self._open = open_to_all and not keys

    def check(self, key: str) -> None:
        """May who brings this key open a socket? Raises Unauthorized."""
        # Each is compared, whichever fits: how long it takes tells nothing.
        fits = [hmac.compare_digest(known.encode(), key.encode()) for known in self._keys]
        if not self._open and not any(fits):
            raise Unauthorized(
                "no API key of ours: ingest.speech_keys names them"
                if self._keys
                else "no API keys are configured: ingest.speech_keys"
            )


def authority_of(handshake: Handshake) -> str:
    """`Host` in lower case without the port that goes without saying."""
    host = handshake.headers.get("host", "").strip().lower()
    return re.sub(r":(80|443)\Z", "", host)


def _same(wanted: bytes, header: str, label: str) -> None:
    read = re.fullmatch(rf"{re.escape(label)}=:([A-Za-z0-9+/=]{{0,200}}):", header.strip())
    try:
        given = base64.b64decode(read[1], validate=True) if read else b""
    except (binascii.Error, ValueError):
        given = b""
    if not hmac.compare_digest(wanted, given):
        raise Unauthorized("signature: it does not fit the request and the key")
