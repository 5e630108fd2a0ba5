"""How long a person waits: python -m benchmarks.latency --recogniser whisper --weights weights/random-tiny

A real server in its own process, a real two-channel call over the websocket at absolute deadlines, and a subscriber
to its events, as a page is one. From the moment at which the frame with the last sample of speech was *meant* to be
sent (benchmarks/pace.py) to the moment at which the subscriber has

    final        the final transcript that ends there: `final_*_ms`
    suggestion   the suggestions of that final, where it brought any: `suggestion_*_ms`
    partial      and from the first sample of speech to the first partial with text: `first_partial_*_ms`

The headline counts from the true end of speech, which the script beside the recording gives. `vad_*` counts from where
the server heard the end, some 40 to 100 ms later, as most published figures do. A recording without a script has only
those, so there the headline is the same (`end_of_speech` says "script" or "vad").

Random weights cost what real ones do and say noise, for which nothing is ever suggested. So with random weights and a
script the words come from the script, after Whisper has done all its work on the utterance (models/scripted.py,
`[effort]`), and `engine` says so: the waits are those of Whisper, the suggestions those of the words. `--noise` leaves
the noise as it is. No figure here says anything about how well real weights would hear.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assist import replay
from assist.errors import BadMessage
from assist.events import CallEnded, Degraded, Faltered, Withdrawn, plain
from benchmarks import door
from benchmarks.calls import SHIPPED, Script, for_scripted, script_of
from benchmarks.follow import Received, Span, Waits, follow, measure, unaccounted_ms
from benchmarks.make_weights import TOKENS_PER_S, found
from benchmarks.pace import LATE_MS, Sent, due_s, send, tape
from benchmarks.report import RESULTS, Machine, figures, finish, percentile, spread, table

TARGETS: Final = {"random-tiny": (450.0, 700.0), "random-base": (600.0, 1000.0)}
"""Final p50 and p95, ms, on a quiet machine with two cores."""
LAST_S: Final = 0.85
"""Speech that ends later than this before the goodbye is ended by it, not by silence, and does not count."""


@dataclass(frozen=True)
class Asked:
    """The command line."""

    recogniser: str
    weights: str
    call: Path
    repeat: int
    noise: bool
    most_s: float | None = None


def is_random(weights: str) -> bool:
    """Are these made by benchmarks/make_weights.py?"""
    return (Path(weights) / "random.json").is_file()


def settings(asked: Asked, script: Script | None, folder: Path) -> dict[str, str]:
    """What the server is told."""
    effort = {"weights": asked.weights, "tokens_per_s": TOKENS_PER_S}
    spoken = script is not None and (asked.recogniser == "scripted" or (is_random(asked.weights) and not asked.noise))
    if asked.recogniser in ("scripted", "whisper") and spoken and script:
        # As sure as a good recogniser's words: what sounds finished may end early (assist/outlook.py).
        options: dict[str, Any] = {"probability": 0.9}
        if asked.recogniser == "whisper":
            options["effort"] = effort
        file = for_scripted(script, folder / "words.json", **options)
        return {"ASSIST_RECOGNISER_KIND": "scripted", "ASSIST_RECOGNISER_SCRIPT": str(file)}
    told = {"ASSIST_RECOGNISER_KIND": asked.recogniser, "ASSIST_RECOGNISER_WEIGHTS": asked.weights}
    if is_random(asked.weights):
        told["ASSIST_RECOGNISER_TOKENS_PER_S"] = str(TOKENS_PER_S)
    return told


async def play(server: door.Door, asked: Asked, script: Script | None, number: int) -> tuple[Sent, list[Received]]:
    """One call from hello to its last event."""
    received: list[Received] = []
    following: list[asyncio.Task[None]] = []
    call = f"latency-{number}"

    def opened(_: Sent) -> None:
        following.append(asyncio.create_task(follow(server.ws, call, received)))

    played = tape(replay.read(asked.call))
    count = len(played.frames) if asked.most_s is None else min(len(played.frames), int(asked.most_s * 50))
    sent = await send(server.ws, played, call, count=count, metadata=script.metadata if script else {}, opened=opened)
    await asyncio.gather(*following)
    return sent, received


def run(asked: Asked, data_dir: Path) -> dict[str, Any]:
    """Play the call as often as asked to a server of its own. The document, without the machine."""
    script = script_of(asked.call)
    waits, lateness, lost_ms, seen = Waits(), [], 0.0, 0
    told: dict[str, int] = {"withdrawn": 0, "faltered": 0, "degraded": 0}
    with door.running(data_dir, settings(asked, script, data_dir)) as server:
        engine = str(server.get("/readyz")["recogniser"])
        for number in range(1, asked.repeat + 1):
            sent, received = asyncio.run(play(server, asked, script, number))
            played_ms = sent.audio_ms
            span = Span(sent.began, sent.began + played_ms / 1000 - LAST_S)
            turns = [t for t in script.turn if due_s(sent.began, t.end_ms) in span] if script else []
            waits.add(measure(received, sent.began, turns, span))
            seen += len(turns)
            lateness += sent.lateness_ms
            ended = [r.entry.event for r in received if isinstance(r.entry.event, CallEnded)]
            if not ended:
                raise RuntimeError(f"the call ended without its books: {sent.farewell or 'connection lost'}")
            lost_ms += unaccounted_ms(plain(ended[0].ledger), sent.audio_ms)
            for name, kind in (("withdrawn", Withdrawn), ("faltered", Faltered), ("degraded", Degraded)):
                told[name] += sum(isinstance(r.entry.event, kind) for r in received)
    by_script = bool(script)
    final, suggestion = (waits.final, waits.suggestion) if by_script else (waits.vad_final, waits.vad_suggestion)
    return {
        "call": asked.call.name,
        "engine": engine,
        "weights": Path(asked.weights).name if asked.recogniser == "whisper" else asked.recogniser,
        "end_of_speech": "script" if by_script else "vad",
        "plays": asked.repeat,
        **figures("final", final),
        **figures("suggestion", suggestion),
        **figures("first_partial", waits.first_partial),
        **figures("vad_final", waits.vad_final),
        **figures("vad_suggestion", waits.vad_suggestion),
        "cards_before_final": _share(waits.cards_before),
        "noticed_p95_ms": spread(waits.noticed)["p95"],
        "queue_p95_ms": spread(waits.queue)["p95"],
        "compute_p50_ms": spread(waits.compute)["p50"],
        "compute_p95_ms": spread(waits.compute)["p95"],
        "turns": seen,
        "turns_unheard": waits.unheard,
        "cut_for_length": waits.cuts,
        **told,
        "unaccounted_ms": round(lost_ms, 3),
        "sender_late_p99_ms": round(percentile(lateness, 0.99) or 0.0, 2),
        "sender_in_time": (percentile(lateness, 0.99) or 0.0) <= LATE_MS,
    }


def _share(values: list[bool]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def show(document: dict[str, Any]) -> None:
    """The table for people."""
    names = ("final", "suggestion", "first_partial", "vad_final", "vad_suggestion")
    keys = ("p50_ms", "p95_ms", "p99_ms", "n")
    print(f"{document['engine']}\n{document['plays']} x {document['call']}, true ends by {document['end_of_speech']}\n")
    print(table(["end of speech to", "p50 ms", "p95 ms", "p99 ms", "n"],
                [[name, *(document[f"{name}_{key}"] for key in keys)] for name in names]))  # fmt: skip
    print(f"\nrecogniser: {document['compute_p50_ms']} ms p50, {document['compute_p95_ms']} ms p95 per final")
    print(f"cards on the screen before their final: {document['cards_before_final']} of finals that brought any")
    print(f"unaccounted: {document['unaccounted_ms']} ms; sender late: {document['sender_late_p99_ms']} ms p99")
    if target := TARGETS.get(document["weights"]):
        print(f"target on a quiet machine: final p50 <= {target[0]:g} ms, p95 <= {target[1]:g} ms")
    if not document["sender_in_time"]:
        print(f"REJECT: the sender itself was more than {LATE_MS:g} ms late")
    if document["turns_unheard"]:
        print(f"REJECT: {document['turns_unheard']} turns have no final, and no time above counts their wait")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recogniser", choices=("whisper", "pocketsphinx", "scripted"), default="whisper")
    parser.add_argument("--weights", default="weights/random-tiny", help="a name or a directory (whisper only)")
    parser.add_argument("--call", type=Path, default=SHIPPED, help="a two-channel recording; default: the shipped call")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--noise", action="store_true", help="leave random weights their noise for text")
    parser.add_argument("--most_s", type=float, default=None, help="play only the first seconds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    given = parser.parse_args()
    weights = found(given.weights) if given.recogniser == "whisper" else given.weights
    asked = Asked(given.recogniser, weights, given.call, given.repeat, given.noise, given.most_s)
    machine = Machine()
    try:
        with tempfile.TemporaryDirectory() as folder:
            document = run(asked, Path(folder))
    except (BadMessage, RuntimeError) as error:
        print(f"latency: {error}", file=sys.stderr)
        return 2
    show(document)
    finish(f"latency-{document['weights']}", document, machine, given.out)
    return 0 if document["sender_in_time"] and not document["turns_unheard"] else 1


if __name__ == "__main__":
    sys.exit(main())
