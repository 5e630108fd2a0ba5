"""The main job on one call: start the server, play a two-channel call at the pace of speech, follow it, sum it up.

    make demo                       the call the project ships; stays up until Ctrl-C
    make demo ONCE=1                exits at the end; the last line is one JSON document
    make demo CALL=path             any two-channel WAV, a folder with agent.wav and customer.wav, or A.wav,B.wav

Where a script stands beside the recording, the summary compares with it: `wer` over all words of both parties, and
whether topic and article came out right; without one they are null.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jiwer

from assist import replay
from assist.conversation import Suggestion
from assist.errors import BadMessage
from assist.events import CallEnded, Degraded, Entry, Faltered, Flagged, Noticed, Suggested, Transcribed, Withdrawn
from benchmarks import door
from benchmarks.calls import SHIPPED, Script, script_of
from benchmarks.follow import Received, follow, measure
from benchmarks.pace import Sent, send, tape
from benchmarks.report import figures

PORT = 8765
WHO = {"agent": "A", "customer": "C", "system": "S"}
_WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.SubstituteRegexes({r"[^\w\s']": " "}),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def word_error_rate(script: Script, entries: Iterable[Entry]) -> float:
    """Substitutions, insertions and deletions of both parties over the words of the script."""
    finals = [
        e.event.transcript for e in entries if isinstance(e.event, Transcribed) and e.event.transcript.stage == "final"
    ]
    parties = sorted({turn.party for turn in script.turn})
    spoken = [" ".join(t.text for t in script.turn if t.party == party) for party in parties]
    heard = [" ".join(t.text for t in finals if t.party == party) for party in parties]
    return float(jiwer.wer(spoken, heard, reference_transform=_WORDS, hypothesis_transform=_WORDS))


def tell(entry: Entry) -> None:
    """One entry in the terminal, if a person would want to see it go by."""
    event, at = entry.event, f"{entry.at_ms // 60000:02}:{entry.at_ms // 1000 % 60:02}"
    match event:
        case Transcribed(transcript) if transcript.stage == "final" and transcript.text:
            print(f"{at} {WHO[transcript.party]}  {transcript.text}", flush=True)
        case Noticed(_, "customer", findings):
            judged = [f"{f.analyser} {f.label} {f.score:+.2f}" for f in findings if f.label != "none"]
            if judged:
                print(f"{'':7}· {', '.join(judged)}", flush=True)
        case Suggested(_, suggestions):
            for each in suggestions:
                print(f"{'':7}> {each.kind}: {each.title}   ({each.why})", flush=True)
        case Flagged(flag):
            print(f"{'':7}! {flag.severity}: {flag.reason}", flush=True)
        case Degraded(level, shed):
            print(f"{'':7}~ load level {level}: {', '.join(shed) or 'normal again'}", flush=True)
        case Faltered(part, code, message):
            print(f"{'':7}x {part}: {code}: {message}", flush=True)


async def play(server: door.Door, path: str, script: Script | None, call: str) -> tuple[Sent, list[Received]]:
    """The call from hello to its last event."""
    received: list[Received] = []
    following: list[asyncio.Task[None]] = []
    played = tape(replay.read(path))
    sent = await send(
        server.ws,
        played,
        call,
        count=len(played.frames),
        metadata=script.metadata if script else {"agent": "demo"},
        opened=lambda _: following.append(asyncio.create_task(follow(server.ws, call, received, tell))),
    )
    await asyncio.gather(*following)
    return sent, received


def standing(entries: Sequence[Entry]) -> list[Suggestion]:
    """What was suggested and not taken back."""
    shown: list[tuple[str, Suggestion]] = []
    for entry in entries:
        if isinstance(entry.event, Suggested):
            shown += [(entry.event.utterance, each) for each in entry.event.suggestions]
        elif isinstance(entry.event, Withdrawn):
            void = entry.event.utterance
            shown = [(utterance, each) for utterance, each in shown if utterance != void]
    return [each for _, each in shown]


def summarise(server: door.Door, script: Script | None, sent: Sent, received: list[Received]) -> dict[str, Any]:
    """The JSON document."""
    entries = [r.entry for r in received]
    ended = next((e.event for e in entries if isinstance(e.event, CallEnded)), None)
    if ended is None:
        raise RuntimeError(f"the call did not end in order: {sent.farewell}")
    waits = measure(received, sent.began, script.turn if script else [])
    shown = standing(entries)
    summary = server.get(f"/calls/{sent.call}")
    expected = script.expected if script else {}
    ready = server.get("/readyz")
    # The first article on the screen is what the agent reads; a right one that comes later is of less use.
    first_article = next((s.ref for s in shown if s.kind == "article"), None)
    final = figures("final", waits.final or waits.vad_final)
    return {
        "call": sent.call,
        "recogniser": ready["recogniser"],
        "rough": ready["rough"],
        "finals": sum(isinstance(e.event, Transcribed) and e.event.transcript.stage == "final" for e in entries),
        "suggestions": len(shown),
        "kinds": dict(Counter(s.kind for s in shown)),
        "flags": sum(isinstance(e.event, Flagged) for e in entries),
        "ledger_gap_ms": sum(abs(ledger.gap_ms) for ledger in ended.ledger.values()),
        "wer": round(word_error_rate(script, entries), 3) if script else None,
        "topic": summary["topic"],
        "topic_right": summary["topic"] == expected["topic"] if script else None,
        "article": first_article,
        "article_right": first_article == expected["article"] if script else None,
        "end_of_speech": "script" if script else "vad",
        "final_p50_ms": final["final_p50_ms"],
        "final_p95_ms": final["final_p95_ms"],
        "suggestion_p95_ms": figures("s", waits.suggestion or waits.vad_suggestion)["s_p95_ms"],
        "vad_final_p50_ms": figures("v", waits.vad_final)["v_p50_ms"],
        "vad_final_p95_ms": figures("v", waits.vad_final)["v_p95_ms"],
        "reason": ended.reason,
    }


def run(path: str, once: bool, data_dir: Path) -> int:
    script = script_of(Path(path.split(",")[0]))
    recording = replay.read(path)
    print(f"{recording.name}: two channels, {recording.duration_ms / 1000:.0f} s, played at the pace of speech")
    server = door.start(data_dir, port=0 if once else PORT if door.is_free(PORT) else 0)
    try:
        ready = server.get("/readyz")
        call = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
        print(f"recogniser: {ready['recogniser']}")
        for notice in ready["notices"]:
            print(f"notice: {notice}")
        print(f"\n    overlay: {server.url}/overlay?call={call}\n", flush=True)
        sent, received = asyncio.run(play(server, path, script, call))
        document = summarise(server, script, sent, received)
        print("\n" + "\n".join(f"{name:>20}  {value}" for name, value in document.items()))
        print(f"\n    replay:  {server.url}/overlay?call={call}\n    review:  {server.url}/review\n")
        print(json.dumps(document), flush=True)
        if not once:
            print("\nThe server stays up; Ctrl-C ends it.", flush=True)
            server.process.wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.stop()
    return 0 if server.process.returncode == 0 else 1


def main() -> int:
    """Exit 0 where the call went through and the server left in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--call", default=str(SHIPPED))
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args()
    try:
        if given.once:
            with tempfile.TemporaryDirectory() as folder:
                return run(given.call, True, Path(folder))
        return run(given.call, False, Path(os.environ.get("ASSIST_SERVER_DATA_DIR", "data")))
    except (BadMessage, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
