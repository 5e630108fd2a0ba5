"""A receiver of webhooks that is away: `python -m tests.outage [--minutes 10]`.

A real server writes contacts while nobody listens at the address it tells, is restarted in the middle, and goes on when
somebody does. A table, and as the last line one JSON document; exit status 1 where anything was lost or out of order.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from assist.config import Webhooks
from assist.exports.cloudevent import KINDS
from benchmarks import door
from benchmarks.report import table
from tests.receiver import SECRET, Receiver

EVERY_S: Final = 10.0
CAUGHT_UP_S: Final = 180.0
SAID: Final = (
    "I was charged twice this month",
    "Let me look",
    "That is the third time",
    "I have taken it off",
    "Thank you",
)
TOLD: Final = {KINDS[name].__name__ for name in Webhooks().events}


def contact(server: door.Door, call: str) -> None:
    """One finished chat. Raises HTTPError where it is refused."""
    messages = [{"party": ("customer", "agent")[n % 2], "text": text} for n, text in enumerate(SAID)]
    body = json.dumps({"call": call, "channel": "chat", "messages": messages}).encode()
    asked = urllib.request.Request(server.url + "/contacts", body, {"content-type": "application/json"})
    urllib.request.urlopen(asked, timeout=60).close()


def wanted(server: door.Door, call: str) -> list[int]:
    """The seqs of what a receiver is told of a contact, which has final text alone."""
    return [each["seq"] for each in server.get(f"/calls/{call}/log")["entries"] if each["event"]["type"] in TOLD]


def run(data_dir: Path, minutes: float, every_s: float = EVERY_S) -> dict[str, Any]:
    """What came of it: counts of calls and events, of those lost, forged or out of order, and how long it took."""
    receiver, script = Receiver(), data_dir / "nothing.json"
    data_dir.mkdir(parents=True, exist_ok=True)
    script.write_text('{"say": []}', "utf-8")
    settings = {
        "ASSIST_RECOGNISER_KIND": "scripted",
        "ASSIST_RECOGNISER_SCRIPT": str(script),
        "ASSIST_WEBHOOKS_URL": receiver.url,
        "ASSIST_WEBHOOKS_SECRET": SECRET,
    }
    calls: list[str] = []
    server = door.start(data_dir, settings)
    try:
        began = time.monotonic()
        restarted = False
        while (away_s := time.monotonic() - began) < minutes * 60:
            if not restarted and away_s > minutes * 30:
                server.stop()
                server, restarted = door.start(data_dir, settings), True
            calls.append(f"chat-{len(calls)}")
            contact(server, calls[-1])
            time.sleep(every_s)
        due = {call: wanted(server, call) for call in calls}
        back = time.monotonic()
        with receiver.up():
            while time.monotonic() < back + CAUGHT_UP_S and any(receiver.seqs(call) != due[call] for call in calls):
                time.sleep(0.2)
            took_s = time.monotonic() - back
    finally:
        server.stop()
    lost = sum(len(set(due[call]) - set(receiver.seqs(call))) for call in calls)
    strange = sum(receiver.seqs(call) != sorted(receiver.seqs(call)) for call in calls)
    return {
        "away_s": round(away_s),
        "calls": len(calls),
        "events": sum(map(len, due.values())),
        "lost": lost,
        "calls_out_of_order": strange,
        "forged": receiver.forged,
        "told_twice": len(receiver.taken) - len({each["id"] for each in receiver.taken}),
        "restarted": restarted,
        "caught_up_s": round(took_s, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long nobody listens")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), minutes)
    print(table(("what", "how much"), list(found.items())))
    print(json.dumps({"check": "outage", **found}))
    return 1 if found["lost"] or found["calls_out_of_order"] or found["forged"] or not found["events"] else 0


if __name__ == "__main__":
    sys.exit(main())
