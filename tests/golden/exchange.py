"""Recorded exchanges: one JSON line per message with what it said. `python -m tests.golden.exchange` records anew.

A line is {"in": text} or {"in_hex": bytes}, with "out": what was said, or "error": the code of the refusal. The last
line, {"in": null}, is what `flush` gives. {"ask": "welcome"} (replies, leave, farewell; cut, with "waiting": utterance
to party) and {"tell": entry} come with "sent", the texts to send. {"asked": target}, where it comes first, is the
request for the socket. After recording, the difference in version control is what is to be judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assist.audio import Party
from assist.errors import WireError
from assist.events import decode
from assist.protocols import Handshake, Protocol, Said
from assist.protocols.asterisk import Asterisk
from assist.protocols.audiohook import AudioHook
from assist.protocols.audiosocket import AudioSocket
from assist.protocols.azure import Azure
from assist.protocols.deepgram import Deepgram
from assist.protocols.exotel import Exotel
from assist.protocols.fonoster import Fonoster
from assist.protocols.freeswitch import FreeSwitch
from assist.protocols.jambonz import Jambonz
from assist.protocols.lca import Lca
from assist.protocols.openai import OpenAI
from assist.protocols.plain import Plain
from assist.protocols.plivo import Plivo
from assist.protocols.signalwire import SignalWire
from assist.protocols.sinch import Sinch
from assist.protocols.talkdesk import Talkdesk
from assist.protocols.telnyx import Telnyx
from assist.protocols.text import Text
from assist.protocols.twilio import Twilio
from assist.protocols.vonage import Vonage
from assist.protocols.vosk import Vosk
from assist.protocols.webex import Webex

HERE = Path(__file__).parent
ORGANISATION, SESSION, CORRELATION = (f"{n}0000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
ASKED = {
    "host": "127.0.0.1",
    "audiohook-organization-id": ORGANISATION,
    "audiohook-session-id": SESSION,
    "audiohook-correlation-id": CORRELATION,
}
"""What an AudioHook client that signs nothing asks for a socket with."""


def audiohook() -> AudioHook:
    """A session that was let in."""
    protocol = AudioHook(lambda _: None, ("en",))
    protocol.greet(Handshake("/ingest/audiohook", ASKED, 0.0))
    return protocol


CUSTOMER, AGENT = "4:+15550100", "8:acs:a1_b2"


def azure() -> Azure:
    """A stream whose address says who is who."""
    protocol = Azure()
    target = f"/ingest/azure?call=c-1&customer={CUSTOMER}&agent={AGENT}"
    protocol.greet(Handshake(target, {"x-ms-call-connection-id": "421f"}, 0.0))
    return protocol


def vosk(query: str = "") -> Vosk:
    """A client that was let in."""
    protocol = Vosk(lambda: "v-1")
    protocol.greet(Handshake(f"/vosk?{query}", {}, 0.0))
    return protocol


STEREO = "encoding=mulaw&sample_rate=8000&channels=2&multichannel=true&interim_results=true&vad_events=true"


def deepgram(query: str = f"{STEREO}&utterance_end_ms=50&model=nova-3") -> Deepgram:
    """A client that was let in."""
    protocol = Deepgram(lambda _: None, lambda: SESSION)
    protocol.greet(Handshake(f"/v1/listen?{query}", {}, 0.0))
    return protocol


def openai(query: str = "intent=transcription") -> OpenAI:
    """A session that was let in."""
    protocol = OpenAI(lambda _: None, lambda: "o-1")
    protocol.greet(Handshake(f"/v1/realtime?{query}", {}, 0.0))
    return protocol


def asterisk(query: str = "leg=customer&ref=c-1&queue=sales") -> Asterisk:
    """A socket that was asked for like this."""
    protocol = Asterisk()
    protocol.greet(Handshake(f"/ingest/asterisk?{query}", {}, 0.0, ("media",)))
    return protocol


STREAM = "40325ec2-5efd-4bd3-805f-53576e581d13"


def audiosocket() -> AudioSocket:
    """A connection where one stream has been announced."""
    legs: dict[str, tuple[str, Party]] = {STREAM: ("c-1", "agent")}
    return AudioSocket(legs.get)


DIALECTS: dict[str, Callable[[], Protocol]] = {
    "plain": Plain,
    "text": Text,
    "audiohook": audiohook,
    "twilio": Twilio,
    "telnyx": Telnyx,
    "signalwire": SignalWire,
    "plivo": Plivo,
    "exotel": Exotel,
    "talkdesk": Talkdesk,
    "fonoster": Fonoster,
    "azure": azure,
    "freeswitch": FreeSwitch,
    "jambonz": Jambonz,
    "lca": Lca,
    "sinch": Sinch,
    "vonage": Vonage,
    "vosk": vosk,
    "deepgram": deepgram,
    "openai": openai,
    "asterisk": asterisk,
    "audiosocket": audiosocket,
    "webex": Webex,
}
"""By the first word of the file's name."""


def shown(said: Said) -> dict[str, Any]:
    """Something said as JSON can hold it, bytes as hex; what is None, and not in writing, goes without saying."""
    bare: dict[str, Any] = {k: v for k, v in asdict(said).items() if v is not None and (k, v) != ("written", False)}
    fields = {k: v.hex() if isinstance(v, bytes) else v for k, v in bare.items()}
    return json.loads(json.dumps({"said": type(said).__name__, **fields}))  # type: ignore[no-any-return]


def answer(protocol: Protocol, line: dict[str, Any]) -> dict[str, Any]:
    """The line with what `protocol` makes of its message now."""
    asked: dict[str, Any] = {k: line[k] for k in ("in", "in_hex", "ask", "waiting", "tell", "asked") if k in line}
    if "ask" in line or "tell" in line:
        texts: dict[str, Callable[[], list[str]]] = {
            "welcome": protocol.welcome,
            "replies": protocol.replies,
            "leave": protocol.leave,
            "farewell": lambda: protocol.farewell("bye", {}),
            "cut": lambda: protocol.cut(line["waiting"]),
            "tell": lambda: protocol.tell(decode(json.dumps(line["tell"]))),
        }
        return {**asked, "sent": texts[line.get("ask", "tell")]()}
    try:
        if "asked" in line:
            protocol.greet(Handshake(line["asked"], {}, 0.0))
            return asked
        if line.get("in", "") is None:
            said = protocol.flush()
        else:
            said = protocol.receive(bytes.fromhex(line["in_hex"]) if "in_hex" in line else line["in"])
    except WireError as error:
        return {**asked, "error": error.code}
    return {**asked, "out": [shown(each) for each in said]}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a recording."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def protocol_of(path: Path) -> Protocol:
    """A new protocol of the dialect the file is named after."""
    return DIALECTS[path.stem.split("_")[0]]()


def main() -> None:
    """Play every recording again and write down what comes out now."""
    for path in sorted(HERE.glob("*.jsonl")):
        protocol = protocol_of(path)
        lines = [json.dumps(answer(protocol, line), ensure_ascii=False) for line in read(path)]
        path.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
