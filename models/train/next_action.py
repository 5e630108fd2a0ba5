"""Trains the policy of next actions on STAR: fits, calibrates on a part held back from the training part, writes.

It never reads STAR's test part; what the policy is worth is measured by `python -m benchmarks.accuracy next_action`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import encoder, history, next_action
from models.next_action import Encode
from models.train import records, recurrent, star
from models.train.recurrent import Recipe, Weights
from models.train.talks import Talk
from models.train.vectors import encoded

Floats = NDArray[np.float32]
Event = dict[str, Any]
DETAILS: Final = ("asked", "item", "total")
LEAST: Final = 0.25  # below, fewer than one in three are right


@dataclass(frozen=True)
class Ready:
    """Dialogues as numbers, each in the ways of VIEWS; sentence vectors; labels with their texts."""

    talks: list[tuple[Talk, ...]]
    table: Floats
    labels: tuple[str, ...]
    texts: Floats


def said_for(data: Path) -> dict[str, str]:
    """What the recorded agents' tool says for an action, without its slots; of several tasks' the first."""
    found: dict[str, str] = {}
    for file in sorted((data / "star" / "tasks").glob("*/responses.json")):
        for label, text in json.loads(file.read_text("utf-8")).items():
            found.setdefault(label, re.sub(r"\s*\{[^}]*\}\s*", " ", text))
    return found


def ready(encode: Encode, dialogues: Sequence[star.Dialogue], labels: Sequence[str], said: Mapping[str, str]) -> Ready:
    """`labels` that `dialogues` do not have cost nothing; picks of other labels are left out."""
    texts = list(dict.fromkeys(e["text"] for d in dialogues for e in d.events if "text" in e))
    rows = {text: row for row, text in enumerate(texts)}
    vectors = encoded(encode.intents, texts, f"{encode.name} intents")
    table = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
    number = {label: k for k, label in enumerate(labels)}
    talks = [
        tuple(_talk(seen(dialogue, view), rows, number) for view in VIEWS)
        for dialogue in dialogues
        if any(label in number for _, label in dialogue.picks)
    ]
    names = [said.get(label) or label.replace("_", " ") for label in labels]
    return Ready(talks, table, tuple(labels), encode(names))


def bare(event: Event) -> Event:
    """An event without what was asked for and what came back, but for whether anything did."""
    return {key: value for key, value in event.items() if key not in DETAILS}


def spoken(event: Event) -> Event | None:
    """None of a look-up: where the policy is told of none, it must do with words and actions."""
    return None if "query" in event else event


VIEWS: Final[tuple[Callable[[Event], Event | None], ...]] = (lambda event: event, bare, spoken)


def seen(dialogue: star.Dialogue, view: Callable[[Event], Event | None]) -> star.Dialogue:
    """`dialogue` with each event as `view` gives it, or left out where that is None."""
    events: list[Event] = []
    places = []
    for event in dialogue.events:
        places.append(len(events))
        changed = view(event)
        if changed is not None:
            events.append(changed)
    places.append(len(events))
    picks = tuple((places[at], label) for at, label in dialogue.picks)
    return replace(dialogue, events=tuple(events), picks=picks)


def _talk(dialogue: star.Dialogue, rows: Mapping[str, int], number: Mapping[str, int]) -> Talk:
    events = dialogue.events
    vectors = [rows[event["text"]] if "text" in event else len(rows) for event in events]
    ours = [(at, number[label]) for at, label in dialogue.picks if label in number]
    newest = []
    for at, _ in ours:
        turns = [row for event, row in zip(events[:at], vectors, strict=False) if history.kind(event) == "c"]
        newest.append(([*reversed(turns), len(rows), len(rows)])[:2])
    return Talk(
        [_slots(history.event_tokens(event)) for event in events],
        np.array(vectors, dtype=np.int64),
        [_slots(history.state_tokens(history.known(events[:at]))) for at, _ in ours],
        np.array(newest, dtype=np.int64),
        np.array([at for at, _ in ours], dtype=np.int64),
        np.array([label for _, label in ours], dtype=np.int64),
    )


def _slots(tokens: Sequence[str]) -> NDArray[np.int64]:
    return np.array(history.slots(tokens), dtype=np.int64)


def temperature(shares: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The divisor of the logits under which `labels` are likeliest (Guo et al. 2017)."""
    logits = np.log(np.maximum(shares, 1e-12))
    tried = np.arange(0.5, 2.01, 0.02)
    losses = []
    for divisor in tried:
        scaled = logits / divisor
        scaled -= scaled.max(axis=1, keepdims=True)
        chosen = scaled[np.arange(len(labels)), labels]
        losses.append(float((np.log(np.exp(scaled).sum(axis=1)) - chosen).mean()))
    return float(tried[int(np.argmin(losses))])


def ranked(shares: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Share of decisions whose label comes first, comes in the first three, comes first on the surer half."""
    order = np.argsort(-shares, axis=1)[:, :3]
    right = order[:, 0] == labels
    sure = shares.max(axis=1)
    return {
        "acc1": float(right.mean()),
        "acc3": float((order == labels[:, None]).any(axis=1).mean()),
        "top_half": float(right[sure >= np.median(sure)].mean()),
    }


def train(encode: Encode, data: Path, file: Path, recipe: Recipe) -> dict[str, float]:
    """Fit on the training part, set the temperature on the inner one, write `file`. What the inner part gave."""
    dialogues = [d for d in star.dialogues(data) if d.part != "test"]
    labels = sorted({label for d in dialogues for _, label in d.picks})
    known = ready(encode, dialogues, labels, said_for(data))
    parts = [d.part for d in dialogues]
    learn, hold = ([t for t, p in zip(known.talks, parts, strict=True) if p == part] for part in ("train", "inner"))

    def judged(model: Weights) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return recurrent.shares(model, [ways[0] for ways in hold], known.table, known.texts)

    def tell(epoch: int, loss: float, model: Weights) -> None:
        figures = ranked(*judged(model))
        print(f"epoch {epoch + 1}: loss {loss:.3f}, inner", *(f"{k} {v:.4f}" for k, v in figures.items()), flush=True)

    model = recurrent.fit(learn, known.table, known.texts, history.SLOTS, recipe, tell)
    shares, truth = judged(model)
    write(file, model, known, encode.name, temperature(shares, truth))
    return ranked(shares, truth)


def write(file: Path, model: Weights, known: Ready, encoder_name: str, divisor: float) -> None:
    """The policy's file: half precision is enough."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: model[name].astype(np.float16) for name in next_action.LAYERS}
    arrays["out"] = (model["out"] + model["text"] @ known.texts.T).astype(np.float16)
    arrays["out_bias"] = model["out_bias"].astype(np.float32)
    arrays["text"] = model["text"].astype(np.float16)
    np.savez(file, **arrays, labels=np.array(known.labels), encoder=encoder_name, temperature=divisor, least=LEAST)


def main(argv: Sequence[str]) -> None:
    """Train and log; or with --from-log learn from a house's own store and write --to; the last line is one JSON."""
    parser = records.parser("next_action")
    parser.add_argument(
        "--from-log", type=Path, metavar="DB", help="the server's store (data/assist.db): learn from marks"
    )
    parser.add_argument("--to", type=Path, metavar="FILE", default=Path("data/next_action.npz"), help="with --from-log")
    args = parser.parse_args(argv)
    encode = encoder.load()
    if args.from_log is None:
        figures = train(encode, args.data, next_action.WEIGHTS, Recipe())
        short = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        records.keep(f"next_action over {encode.name}, inner part: {short}. {args.note}".strip())
    else:
        from models.train import house_log

        trunk, _ = next_action.opened(encode, next_action.WEIGHTS)
        arrays, figures = house_log.learn(encode, trunk, house_log.choices(args.from_log))
        args.to.parent.mkdir(parents=True, exist_ok=True)
        np.savez(args.to, **arrays)
        print(f"written: {args.to}; the server uses it with mind.next_action = {str(args.to)!r}")
    print(json.dumps(figures))
