"""What is fed to what, and what must hold whatever comes. It knows nothing of how inputs are found.

An input is lines. For a dialect each is a message: text, or binary where it begins with a zero byte, or in hex with a
byte 2, or N zero bytes where it is a byte 1 and a number of at most 65536. A first line `GET target` is the request
for the socket. For `journal` the first line is the header and each further one a record's body, framed as the journal
frames them; one that begins with "!" stands in the file as it is. For `signature` the lines are the request's target
and headers.
"""

from __future__ import annotations

import base64
import gc
import json
import random
import tempfile
import types
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from struct import pack
from typing import Final

from websockets.frames import Opcode

from assist import access, journal, wav
from assist.access import Access
from assist.config import Settings
from assist.conversation import Evidence, Suggestion, Transcript
from assist.errors import Busy, StoreFailed, Unauthorized, WireError
from assist.events import Entry, Ledger, Suggested, Transcribed
from assist.protocols import Bye, Due, Handshake, Opened, Protocol, Said, Sound
from assist.protocols.audiosocket import AudioSocket
from assist.protocols.webex import Webex
from server import dialects
from tests.contracts.protocol import check_said
from tests.frames import compare
from tests.golden.exchange import ASKED, HERE, read

Message = str | bytes
Target = Callable[[bytes], object]
MOST_BYTES: Final = 65_536
"""A message; larger ones never reach a dialect."""
MOST_LINES: Final = 4_096
HELD_BYTES: Final = 8 * 2**20
"""What one dialect may keep, whatever came."""
MOST_LOST_MS: Final = 3_600_000
TARGETS: Final = {
    "deepgram": "/v1/listen?encoding=mulaw&sample_rate=8000&channels=2&multichannel=true&interim_results=true",
    "openai": "/v1/realtime?intent=transcription",
}
"""What is asked for where an input does not say, of dialects that hear nothing otherwise; of others /ingest/NAME."""
KEY, SECRET = "key", b"a secret that nobody has"


class Wrong(AssertionError):
    """A finding that is no exception by itself."""


def messages(data: bytes) -> Iterator[Message]:
    """The messages that an input stands for."""
    for line in data.split(b"\n")[:MOST_LINES]:
        if line[:1] == b"\0":
            yield line[1:]
        elif line[:1] == b"\2":
            yield _unhexed(line[1:])
        elif line[:1] == b"\1":
            yield bytes(min(int(line[1:6]), MOST_BYTES)) if line[1:6].isdigit() else b""
        else:
            yield line.decode("utf-8", "replace")


def as_input(sent: list[Message]) -> bytes:
    """Messages as an input."""
    return b"\n".join(_line(each) for each in sent)


def _line(message: Message) -> bytes:
    if isinstance(message, str):
        return message.encode()
    return b"\2" + message.hex().encode() if b"\n" in message else b"\0" + message


def _unhexed(line: bytes) -> bytes:
    """What the hex in it stands for; whatever is none is left out."""
    digits = bytes(each for each in line[: 2 * MOST_BYTES] if each in b"0123456789abcdefABCDEF")
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())


def held_bytes(thing: object) -> int:
    """What an object holds, all in all; what it shares with the program (types, functions, modules) left out."""
    shared = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, Access)
    seen: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, shared):
            continue
        seen[id(each)] = each
        waiting += gc.get_referents(each)
    return sum(each.__sizeof__() for each in seen.values())


SAID: Final = (
    Transcribed(Transcript("u1", "customer", 0, 900, "one two", stage="final")),
    Transcribed(Transcript("u2", "agent", 0, 0, "x", stage="partial")),
    Transcribed(Transcript("u3", "system", 5, 9, "", stage="final")),
    Suggested("u1", (Suggestion("c", "article", "ref", "title", "why", 0.5, evidence=Evidence("u1", 0, 900)),)),
)
"""Events that a dialect may be told at any moment, of parties that its call has."""


def speak(protocol: Protocol, sent: Iterator[Message]) -> None:
    """All that an ingest does with one socket's dialect. Raises whatever should not have been raised."""
    received = heard = 0
    opened: list[object] = []
    parties: set[str] = set()
    for number, message in enumerate(sent):
        received += len(message)
        try:
            said = protocol.receive(message)
        except WireError as error:
            if not 0 < len(str(error)) < 400:
                raise Wrong(f"an error of {len(str(error))} characters") from error
            protocol.refusal(error)
            continue
        check_said(said, MOST_LOST_MS)
        opened += [each.leg for each in said if isinstance(each, Opened)]
        parties.update(*(each.parties for each in said if isinstance(each, Opened)))
        heard += sum(len(each.payload) for each in said if isinstance(each, Sound))
        if (len(opened) > 1 and (None in opened or len(set(opened)) < len(opened))) or (heard and not opened):
            raise Wrong(f"audio of {heard} bytes in calls or legs {opened}")
        for each in said:
            try:
                reply(protocol, each)
            except WireError as error:  # what came before it stays said
                protocol.refusal(error)
        event = SAID[number % len(SAID)]
        foreign = isinstance(event, Transcribed) and event.transcript.party not in parties
        if protocol.follows and opened and not foreign:
            protocol.tell(Entry("c", number + 1, 0, event))
        protocol.ack(number, {"agent": 20, "customer": 20})
    held = held_bytes(protocol)
    check_said(protocol.flush(), MOST_LOST_MS)
    protocol.refusal(Busy("full"))
    protocol.farewell("bye", {"agent": Ledger(20.0, 0.0, 20.0, {}, 0.0, 0.0)})
    if heard > 4 * received + 4_096:
        raise Wrong(f"{received} bytes came and {heard} bytes of audio were heard")
    if held > HELD_BYTES:
        raise Wrong(f"{held} bytes are held after {received} came")


def reply(protocol: Protocol, said: Said) -> None:
    """What an ingest asks for because of this."""
    if isinstance(said, Opened):
        protocol.welcome()
    elif isinstance(said, Due):
        protocol.replies()
    elif isinstance(said, Bye):
        protocol.leave()


def talk(name: str, data: bytes) -> None:
    """An input to a new socket of a dialect."""
    protocol = makers()[name]()
    first, _, rest = data.partition(b"\n")
    asked = first.startswith(b"GET ")
    target = first[4:].decode("latin-1") if asked else TARGETS.get(name, f"/ingest/{name}")
    try:
        protocol.greet(Handshake(target, ASKED, 0.0))
    except WireError:
        return
    speak(protocol, messages(rest if asked else data))


def sign(data: bytes) -> None:
    """A request's target and headers to the check of signatures, with a signature that fits what it names."""
    lines = data.decode("latin-1").split("\n")
    headers = {**ASKED, "x-api-key": KEY}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    handshake = Handshake(lines[0], headers, 1_000.0)
    given = headers.get("signature-input", "")
    with suppress(Unauthorized):
        if read := access._SIGNED.fullmatch(given[: access._LONGEST]):
            label, parameters, names, _ = read.groups()
            parts = [name.strip('"') for name in names.split()]
            text = access.signed_text(handshake, parts, parameters, access.authority_of(handshake))
            mac = base64.b64encode(access.signature(SECRET, text)).decode()
            headers["signature"] = f"{label}=:{mac}:"
        known = Access({KEY: base64.b64encode(SECRET).decode()}, remember=8)
        known.check(handshake)
        try:
            known.check(handshake)
        except Unauthorized:
            return
        raise Wrong("a signature was good twice")


def listen(data: bytes) -> None:
    """A journal with these records, measured, read, rendered and drawn."""
    first, *lines = data.split(b"\n")
    if first[:1] == b"!":
        whole = data[1:]
    else:
        salt = 0
        with suppress(ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            salt = int(json.loads(first).get("salt", 0)) & 0xFFFFFFFF
        whole = 2 * (pack("<4sII", b"ASJ1", len(first), zlib.crc32(first)) + first)
        for line in lines:
            framed = b"\xf7\xfe\xa7\x52" + pack("<II", len(line), zlib.crc32(line, salt)) + line
            whole += line[1:] if line[:1] == b"!" else framed
    path = _folder() / "journal"
    path.write_bytes(whole)
    for ask in (journal.read_header, journal.measure, lambda each: list(journal.scan(each)), _drawn):
        with suppress(StoreFailed):
            ask(path)
    out = _folder() / "out.wav"
    with suppress(StoreFailed):
        wav.render_wav(path, out)
    out.unlink(missing_ok=True)


def cut(data: bytes) -> None:
    """A websocket's bytes after its handshake, cut somewhere."""
    compare(data, random.Random(zlib.crc32(data)))


def _drawn(path: Path) -> object:
    return wav.peaks(path, 50)


@cache
def _folder() -> Path:
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="assist-fuzz-", dir=shared if shared.is_dir() else None))


@cache
def makers() -> dict[str, Callable[[], Protocol]]:
    """What the server speaks."""
    return {**dialects(Settings()), "audiosocket": AudioSocket, "webex": Webex}


def targets() -> dict[str, Target]:
    """By name: every dialect, `signature`, `journal` and `websocket`."""

    def to(name: str) -> Target:
        return lambda data: talk(name, data)

    return {**{name: to(name) for name in sorted(makers())}, "signature": sign, "journal": listen, "websocket": cut}


def masked(payload: bytes) -> bytes:
    """The rest of a frame after its first byte, with a mask that is always the same."""
    length = b"%c" % (128 + len(payload)) if len(payload) < 126 else b"\xfe" + pack(">H", len(payload))
    return length + b"mask" + bytes(each ^ b"mask"[at % 4] for at, each in enumerate(payload))


def golden(name: str) -> list[bytes]:
    """Inputs that are known to be good: the recorded exchanges of a dialect, and one for each other target."""
    if name == "signature":
        named = " ".join(f'"{each}"' for each in sorted(access.NEEDED))
        made = f'sig1=({named});keyid="{KEY}";nonce="{"n" * 22}";alg="hmac-sha256";created=1000;expires=1010'
        return [f"/ingest/audiohook\nsignature-input: {made}".encode()]
    if name == "journal":
        header = b'{"call":"c","rate_hz":8000,"encoding":"mulaw","parties":["agent","customer"],"salt":7}'
        records = [pack("<BQ", n % 2, n * 161) + bytes([n + 11]) * 160 for n in range(4)]
        return [b"\n".join([header, *records])]
    if name == "websocket":
        forms = [(Opcode.TEXT, b"{}", True), (Opcode.BINARY, bytes(range(160)), True), (Opcode.PING, b"x", True)]
        forms += [(Opcode.BINARY, b"one", False), (Opcode.CONT, b"two", True), (Opcode.CLOSE, b"\x03\xe8", True)]
        return [b"".join(b"%c" % (128 * fin + kind) + masked(text) for kind, text, fin in forms)]
    found = []
    for path in sorted(HERE.glob(f"{name}*.jsonl")):
        sent = [bytes.fromhex(line["in_hex"]) if "in_hex" in line else line.get("in") for line in read(path)]
        found.append(as_input([each for each in sent if each is not None]))
    return found
