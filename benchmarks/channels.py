"""What the check of the channels finds and what it imagines: python -m benchmarks.channels [--data DIR]

Real calls (and the shipped one, whose voices are synthetic) are cut into excerpts of 20 s from every tenth second on
in which somebody speaks in the first ten. Each is spoilt in every way that assist/channel.py knows, goes through 8 kHz
mu-law, and is fed frame by frame:

    clean        as it is: every alarm is a false one
    duplicated   both channels carry the sum of both, as from a mono source; 0, 5 or 120 ms apart
    crossed      one channel has the other's voice in it as well, fainter and later
    dead         one channel is digital silence
    no_audio     both are; or nothing comes at all
    clipped      one channel is raised until so many dB of its peaks are cut off

`found` counts those with the right alarm within ten seconds, `wrong` those with any other alarm; an excerpt is only
asked of where it can show the fault (who is heard on a dead channel's other side must speak for three seconds). One of
the recordings, audiohook_sample, is clipped in truth: 1 to 6 % of the samples of most of its seconds stand at mu-law's
highest step, so "clipped" said of its excerpts is right and is counted apart, as `truly_clipped`.
Roles exchanged are told by words alone: the shipped call's script, and with STAR's written dialogues (Wizard as agent)
the right way round and the wrong way round. `cost`: processor time of one second of one call, both channels, measured
on the shipped call: `push` for its 100 frames, `look` where all is compared.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from assist import replay
from assist.audio import FRAME_MS, Leg, Party, Samples, encode_mulaw
from assist.channel import ACTIVE_RMS, Channels, Told
from assist.conversation import Transcript
from assist.events import ChannelFaulted, RolesSwapped
from benchmarks.calls import SHIPPED, script_of
from benchmarks.report import RESULTS, ROOT, Machine, finish, percentile, table

PARTIES: Final[tuple[Party, ...]] = ("agent", "customer")
EXCERPT_S: Final = 20
HZ: Final = 8_000
ECHO_DB: Final = (-6, -12, -20, -30)
ECHO_MS: Final = (0, 20, 120, 300)
CUT_DB: Final = (6, 12, 20)
Pair = NDArray[np.float64]
"""Both channels, shape (2, n), as they would be without limits."""


def excerpts(data: Path) -> Iterator[tuple[str, Pair]]:
    """Name of the call, and the sound."""
    paths = [SHIPPED, *sorted(each for each in (data / "calls").glob("*") if each.is_dir())]
    for path in paths:
        recording = replay.read(path)
        both = np.stack([recording.agent, recording.customer]).astype(np.float64)
        for start_s in range(0, both.shape[1] // HZ - EXCERPT_S + 1, 10):
            excerpt = both[:, start_s * HZ : (start_s + EXCERPT_S) * HZ]
            if spoken_s(excerpt).max() >= 3:
                yield path.name, excerpt


def spoken_s(sound: Pair) -> NDArray[np.int_]:
    """Seconds of the first ten in which each channel is active, shape (2,)."""
    first = sound[:, : 10 * HZ].reshape(2, 10, HZ)
    return np.asarray((np.sqrt((first**2).mean(axis=2)) >= ACTIVE_RMS).sum(axis=1))


def as_sent(sound: Pair) -> list[bytes]:
    """Each channel as mu-law."""
    limited: Samples = np.clip(np.rint(sound), -32_768, 32_767).astype(np.int16)
    return [encode_mulaw(channel) for channel in limited]


def listened(sent: Sequence[bytes]) -> list[tuple[int, Told]]:
    """What is told, and when on the call's clock, ms."""
    channels = Channels(PARTIES)
    legs = [Leg("mulaw", HZ) for _ in PARTIES]
    told: list[tuple[int, Told]] = []
    for at_ms in range(0, EXCERPT_S * 1000, FRAME_MS):
        for party, leg, data in zip(PARTIES, legs, sent, strict=True):
            if payload := data[at_ms * 8 : (at_ms + FRAME_MS) * 8]:
                channels.push(party, at_ms, leg.push(payload)[0][0])
        told += [(at_ms + FRAME_MS, each) for each in channels.look(at_ms + FRAME_MS)]
    return told


def delayed(channel: NDArray[np.float64], ms: int) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(ms * HZ // 1000), channel])[: len(channel)]


def spoilt() -> Iterator[tuple[str, str, str, Callable[[Pair], list[bytes] | None]]]:
    """Kind, its variant, the alarm that is right ("" for none), and how: None where the excerpt cannot show it."""
    yield "clean", "", "", as_sent
    for ms in (0, 5, 120):
        yield (
            "duplicated",
            f"{ms} ms apart",
            "duplicated",
            lambda sound, ms=ms: as_sent(  # type: ignore[misc]
                np.stack([sound.sum(axis=0), delayed(sound.sum(axis=0), ms)])
            ),
        )
    for db in ECHO_DB:
        for ms in ECHO_MS:
            yield "crossed", f"{db} dB, {ms} ms", "crossed", lambda sound, db=db, ms=ms: crossed(sound, db, ms)  # type: ignore[misc]
    yield "crossed", "-20 dB, 120 ms, smeared", "crossed", lambda sound: crossed(sound, -20, 120, smeared=True)
    for silent in (0, 1):
        yield "dead", PARTIES[silent], "dead", lambda sound, silent=silent: dead(sound, silent)  # type: ignore[misc]
    yield "no_audio", "silence", "no_audio", lambda sound: as_sent(np.zeros_like(sound))
    yield "no_audio", "nothing comes", "no_audio", lambda sound: [b"", b""]
    for db in CUT_DB:
        yield "clipped", f"by {db} dB", "clipped", lambda sound, db=db: clipped(sound, db)  # type: ignore[misc]


def crossed(sound: Pair, db: float, ms: int, smeared: bool = False) -> list[bytes] | None:
    """The channel that speaks more in the first ten seconds, on the other one as well.

    `smeared`: over a tail of 20 ms of noise that falls by 60 dB, as a room or a hybrid does it.
    """
    loud = int(spoken_s(sound).argmax())
    mixed = sound.copy()
    voice = sound[loud]
    if smeared:
        tail = np.random.default_rng(5).standard_normal(HZ // 50) * 10 ** (-3 * np.arange(HZ // 50) / (HZ // 50))
        voice = np.convolve(voice, tail / np.sqrt((tail**2).sum()))[: len(voice)]
    mixed[1 - loud] += 10 ** (db / 20) * delayed(voice, ms)
    return as_sent(mixed)


def dead(sound: Pair, silent: int) -> list[bytes] | None:
    if spoken_s(sound)[1 - silent] < 3:
        return None
    muted = sound.copy()
    muted[silent] = 0
    return as_sent(muted)


def clipped(sound: Pair, db: float) -> list[bytes] | None:
    """The louder channel, its highest `db` cut off and the rest raised to full scale."""
    loud = int(spoken_s(sound).argmax())
    raised = sound.copy()
    raised[loud] *= 10 ** (db / 20) * 32_000 / np.abs(sound[loud]).max()
    return as_sent(np.clip(raised, -32_000, 32_000))


def sounds(data: Path) -> list[dict[str, Any]]:
    """One row for each variant."""
    cut = list(excerpts(data))
    rows = []
    for kind, variant, right, spoil in spoilt():
        asked = found = wrong = said_clipped = 0
        after_ms: list[float] = []
        imagined: dict[str, int] = {}
        for name, sound in cut:
            if (sent := spoil(sound)) is None:
                continue
            asked += 1
            faults = [(at_ms, each.kind) for at_ms, each in listened(sent) if isinstance(each, ChannelFaulted)]
            mine = [at_ms for at_ms, fault in faults if fault == right and at_ms <= 10_500]
            found += bool(mine)
            after_ms += mine[:1]
            truly_clipped = name == "audiohook_sample" and right != "clipped"
            others = {fault for _, fault in faults if fault not in (right, "clipped" if truly_clipped else "")}
            said_clipped += truly_clipped and any(fault == "clipped" for _, fault in faults)
            wrong += bool(others)
            for fault in others:
                imagined[fault] = imagined.get(fault, 0) + 1
        rows.append(
            {
                "kind": kind,
                "variant": variant,
                "asked": asked,
                "found": found if right else None,
                "wrong": wrong,
                "wrong_kinds": imagined,
                "truly_clipped": said_clipped,
                "after_p50_ms": percentile(after_ms, 0.5),
                "after_max_ms": max(after_ms, default=None),
            }
        )
    return rows


def roles(turns: Sequence[tuple[Party, str]]) -> str:
    """ "right", "swapped" or "doubt": what finals with these words come to."""
    channels = Channels(PARTIES)
    outcome = "right"
    for number, (party, text) in enumerate(turns):
        said = Transcript(f"{party}-{number}", party, number * 3_000, number * 3_000 + 2_000, text)
        for each in channels.said(said):
            doubt = "doubt" if isinstance(each, ChannelFaulted) else "right"
            outcome = "swapped" if isinstance(each, RolesSwapped) else doubt
    return outcome


def words(data: Path) -> list[dict[str, Any]]:
    """One row for each source of dialogues, and for each way round."""
    script = script_of(SHIPPED)
    assert script
    sources: dict[str, list[list[tuple[Party, str]]]] = {
        "shipped call": [[("agent" if turn.party == "agent" else "customer", turn.text) for turn in script.turn]]
    }
    if (data / "star").is_dir():
        sources["STAR"] = list(written(data / "star" / "dialogues.jsonl.gz"))
    rows = []
    other: dict[Party, Party] = {"agent": "customer", "customer": "agent"}
    for name, dialogues in sources.items():
        for way in ("right", "swapped"):
            seen = [roles([(other[p] if way == "swapped" else p, text) for p, text in each]) for each in dialogues]
            rows.append({"source": name, "truth": way, "n": len(seen)} | {k: seen.count(k) for k in OUTCOMES})
    return rows


def written(path: Path) -> Iterator[list[tuple[Party, str]]]:
    """The first eight turns of each dialogue of STAR."""
    parties: dict[str, Party] = {"Wizard": "agent", "User": "customer"}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            events = [e for e in json.loads(line)["Events"] if e["Agent"] in parties and e.get("Text")]
            said = [e for e in events if e["Action"] in ("utter", "pick_suggestion")]
            yield [(parties[e["Agent"]], e["Text"]) for e in said[:8]]


OUTCOMES: Final = ("right", "swapped", "doubt")


def cost() -> dict[str, float]:
    """Microseconds of processor time per call and second."""
    recording = replay.read(SHIPPED)
    sent = as_sent(np.stack([recording.agent, recording.customer]).astype(np.float64))
    legs = [Leg("mulaw", HZ) for _ in PARTIES]
    frames = [[pcm for pcm, _ in leg.push(data)] for leg, data in zip(legs, sent, strict=True)]
    push_us: list[float] = []
    look_us: list[float] = []
    for _ in range(5):
        channels = Channels(PARTIES, every=1)
        for second in range(len(frames[0]) // 50):
            began = time.thread_time_ns()
            for n in range(second * 50, second * 50 + 50):
                for party, mine in zip(PARTIES, frames, strict=True):
                    channels.push(party, n * FRAME_MS, mine[n])
            pushed = time.thread_time_ns()
            channels.look((second + 1) * 1000)
            push_us.append((pushed - began) / 1000)
            look_us.append((time.thread_time_ns() - pushed) / 1000)
    return {
        "push_us": round(median(push_us), 1),
        "look_us": round(median(look_us), 1),
        "look_p95_us": round(percentile(look_us, 0.95) or 0.0, 1),
    }


def measure(data: Path) -> dict[str, Any]:
    """The document, without the machine."""
    found = sounds(data)
    clean = next(row for row in found if row["kind"] == "clean")
    shares = {}
    for kind in ("duplicated", "crossed", "dead", "no_audio", "clipped"):
        mine = [row for row in found if row["kind"] == kind]
        shares[f"{kind}_found"] = round(sum(r["found"] for r in mine) / max(1, sum(r["asked"] for r in mine)), 4)
    return {
        "excerpts": clean["asked"],
        "false_alarms": clean["wrong"],
        "wrong_when_spoilt": sum(row["wrong"] for row in found) - clean["wrong"],
        **shares,
        "sound": found,
        "words": words(data),
        "cost_us": cost(),
    }


def show(document: dict[str, Any]) -> None:
    """Tables for people."""
    head = ("spoilt", "asked", "found", "wrong", "after p50 ms", "longest")
    rows = [
        (f"{r['kind']} {r['variant']}", r["asked"], r["found"], r["wrong"], r["after_p50_ms"], r["after_max_ms"])
        for r in document["sound"]
    ]
    print(table(head, rows))
    print()
    print(table(("roles", "n", *OUTCOMES), [
        (f"{r['source']}, {r['truth']}", r["n"], *(r[k] for k in OUTCOMES)) for r in document["words"]
    ]))  # fmt: skip
    print(f"\none second of one call: {document['cost_us']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="default ../shared/data")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"NO DATA in {arguments.data}: the shipped call alone, whose voices are synthetic, says little.")
    machine = Machine()
    document = measure(arguments.data)
    show(document)
    finish("channels", document, machine, RESULTS)


if __name__ == "__main__":
    main()
