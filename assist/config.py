"""Settings: frozen, from `config.toml`, then from `ASSIST_SECTION_KEY` in the environment. It opens nothing else.

An unknown key is an error that names the nearest known one: a setting that silently does nothing is worse than none.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from assist.errors import ConfigError
from assist.segment import Endpointing

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""Hosts that only this machine reaches."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Patience = Annotated[float, msgspec.Meta(ge=0.1)]
"""Seconds of which there must be some."""


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The door. `drain_s`: how long live calls may go on after SIGTERM. All sockets are pinged. `data_dir`: where calls
    and their audio are kept. `frame_ancestors`: web origins, as of a CRM, that may show the pages in a frame.

    `hosts`: names under which we are reached; beside them, on a loopback address, only loopback names are answered (a
    foreign name that resolves to us is how a web page reaches into a machine), elsewhere any. Where some are named,
    others than this machine come, by way of a proxy: then no dialect is open without its key.
    """

    host: str = "127.0.0.1"
    port: Port = 8765
    data_dir: str = "data"
    drain_s: Seconds = 120.0
    ping_interval_s: Patience = 20.0
    ping_timeout_s: Patience = 20.0
    hosts: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()


class IssuedBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`jwks`: a file with the issuer's keys, which is read again when it changes. `audience`: whom a token must be for.
    `issuer`: what it must say in `iss`; "": whoever has the keys.
    """

    jwks: str
    audience: str
    issuer: str = ""


class Ingest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on what comes in. A message has at most `max_message_bytes`, at most `max_calls` are live, a socket opens
    its call within `hello_timeout_s` and brings something every `idle_timeout_s`. Audio may run `burst_s` ahead of
    `speed` times real time; so may messages, counted as `messages_per_s`. `origins`: foreign web origins that
    may open ingest sockets where no proof is configured (phone platforms send none, or ours).
    `audiohook_keys`: API key to client secret (base64) of whoever may open AudioHook sockets; "" for a secret: that key
    may come unsigned. Without any, everybody may on a loopback address, and elsewhere nobody. `audiohook_host`: the
    host that Genesys signs, where a proxy changes it.
    `secrets`: a phone platform's dialect to what its sockets must prove to know; which header that is, says
    assist/proof.py. Two with a space between while one is being replaced; a dialect without one is open to all on a
    loopback address, and elsewhere to nobody. `public_url`: where platforms reach this server, wss://host, with what a
    proxy puts before /ingest; "": the host of the request, over TLS.
    `tokens`: a dialect to whose signed tokens (JWT) open its sockets too, as Azure and the clients of LCA bring them.
    `speech_keys`: API keys of programs written for Deepgram or OpenAI; without any, everybody may come on a loopback
    address, and elsewhere nobody. Vosk's clients bring none, and are let in as the plain dialect's are.
    `promised_load`: how much of the recogniser's time live calls may be expected to take; one more than that is refused
    at its hello, with the time after which to try again. 0: only `max_calls` limits them.
    `leg_grace_s`: how long a call whose parties come on sockets of their own waits for one after the last has left,
    unless that one said goodbye. `leg_missing_s`: an agent's leg without a customer's for so long raises an alert.
    `audiosocket_port`: where Asterisk's AudioSocket is taken, over TCP, 0: nowhere; `audiosocket_host`: "" for the host
    of the server.
    `webex_port`: where Webex Contact Center's gRPC streams are taken, 0: nowhere; `webex_host`: "" for the host of the
    server. `webex_certificate`, `webex_key`: PEM files for TLS, both or neither, where no proxy has it. `webex_jwks`: a
    file with the keys of Cisco's identity service, by which tokens are verified; without it everybody may come on a
    loopback address, and elsewhere nobody. `webex_url`: what the data source was registered with, which tokens must
    name; "": they need not.
    """

    max_message_bytes: Annotated[int, msgspec.Meta(ge=1_024)] = 65_536
    max_calls: Count = 100
    promised_load: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.75
    hello_timeout_s: Patience = 10.0
    idle_timeout_s: Patience = 600.0
    messages_per_s: Count = 250
    origins: tuple[str, ...] = ()
    audiohook_keys: dict[str, str] = {}
    audiohook_host: str = ""
    secrets: dict[str, str] = {}
    tokens: dict[str, IssuedBy] = {}
    public_url: str = ""
    speech_keys: tuple[str, ...] = ()
    leg_grace_s: Seconds = 5.0
    leg_missing_s: Patience = 10.0
    audiosocket_host: str = ""
    audiosocket_port: Port = 0
    webex_host: str = ""
    webex_port: Port = 0
    webex_certificate: str = ""
    webex_key: str = ""
    webex_jwks: str = ""
    webex_url: str = ""
    burst_s: Seconds = 10.0
    speed: Annotated[float, msgspec.Meta(ge=1.0)] = 1.25


class RecogniserChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`kind` auto: whisper where its weights are found, else the embedded pocketsphinx. `scripted` reads `script`.

    `weights`: a name (whisper-base) or a directory. `window`: fit | full. `workers` 0: one per core.
    `device`: where Whisper calculates; cuda-int8 takes half of cuda's memory; auto: cuda where there is one.
    `language`: of all calls, or auto: found for each party of a call. `keyword_tokens`: how much of the knowledge
    base's own words Whisper is given as a hint before each utterance; 0: none.
    `partials`: text of what is still being said, while the machine has time for it. `tokens_per_s` is for benchmarks
    with random weights only: how many tokens a second the decoder is made to emit.
    """

    kind: Literal["auto", "whisper", "pocketsphinx", "scripted"] = "auto"
    weights: str = "whisper-base"
    window: Literal["fit", "full"] = "fit"
    device: Literal["auto", "cpu", "cuda", "cuda-int8"] = "auto"
    language: str = "en"
    keyword_tokens: Annotated[int, msgspec.Meta(ge=0, le=150)] = 48
    workers: Count = 0
    script: str = ""
    tokens_per_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    partials: bool = True


class Mind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is judged. `stress_parties`: customer only, by default; the agent only with a `stress_reason` (which is
    logged): see the stress card before adding anybody. `next_action`: the file that `python -m models.train next_action
    --from-log` wrote; without one, rules and playbooks alone order the next action. `vectors`: a folder for what the
    encoder has read of the knowledge base, so that only the first start takes long; "": in `server.data_dir`.
    """

    knowledge_base: str = "knowledge_base"
    analysers: tuple[str, ...] = ("sentiment", "stress", "topic", "satisfaction")
    stress_parties: tuple[Literal["agent", "customer"], ...] = ("customer",)
    stress_reason: str = ""
    next_action: str = ""
    vectors: str = ""


class Webhooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told of what was kept. `url`: https, or http on this machine; "": nobody. `secret`: `whsec_` and base64 of
    24 to 64 bytes, which the receiver also has; two with a space between while one is being replaced. `events`: some of
    the kinds in assist/exports/cloudevent.py. `give_up_h`: an event that is refused for so long becomes a dead letter.
    """

    url: str = ""
    secret: str = ""
    events: tuple[str, ...] = (
        "call.ended",
        "call.flagged",
        "transcript.final",
        "suggestions.shown",
        "suggestions.withdrawn",
    )
    give_up_h: Annotated[float, msgspec.Meta(ge=0.0)] = 72.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    server: Server = Server()
    ingest: Ingest = Ingest()
    recogniser: RecogniserChoice = RecogniserChoice()
    mind: Mind = Mind()
    endpointing: Endpointing = Endpointing()
    webhooks: Webhooks = Webhooks()


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from a TOML file (None: defaults) and `ASSIST_*`. Raises ConfigError."""
    given: dict[str, Any] = {}
    if path is not None:
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path}: {error}") from error
    _check_names(given, str(path))
    for name, text in sorted(environ.items()):
        if name.startswith("ASSIST_"):
            _put(given, name, text)
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path or 'settings'}: {error}") from error


def _sections() -> dict[str, tuple[str, ...]]:
    return {
        section.name: tuple(field.name for field in msgspec.structs.fields(section.type))
        for section in msgspec.structs.fields(Settings)
    }


def _check_names(given: Mapping[str, Any], where: str) -> None:
    sections = _sections()
    for section, content in given.items():
        if section not in sections:
            raise ConfigError(f"{where}: unknown section [{section}]{_nearest(section, sections)}")
        if not isinstance(content, dict):
            raise ConfigError(f"{where}: {section} must be a section: [{section}]")
        for key in content:
            if key not in sections[section]:
                names = [f"{section}.{known}" for known in sections[section]]
                raise ConfigError(f"{where}: unknown key {section}.{key}{_nearest(f'{section}.{key}', names)}")


def _put(given: dict[str, Any], name: str, text: str) -> None:
    known = {f"ASSIST_{s}_{k}".upper(): (s, k) for s, keys in _sections().items() for k in keys}
    if name not in known:
        raise ConfigError(f"environment: unknown setting {name}{_nearest(name, known)}")
    section, key = known[name]
    value: Any = text
    if text[:1] in ("[", "{") and not isinstance(getattr(getattr(Settings(), section), key), str):
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ConfigError(f"environment: {name}: {error}") from error
    given.setdefault(section, {})[key] = value


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"; did you mean {close[0]}?" if close else ""
