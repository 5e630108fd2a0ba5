"""What the next-action policy is worth on STAR's test part, and on decisions of our own where STAR is not there.

It knows no training but that of the policy that has never seen one domain, which cannot be had otherwise.

Histories are teacher-forced: what truly happened before each pick (models/train/star.py says what that is and what is
left out). Three histories of each: with what the agent's look-ups brought, with only whether they found anything, and
with the conversation and the actions alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.figures import Figure, Measured, bootstrap, calibration_error, share
from benchmarks.report import percentile, table
from models import encoder, history, next_action
from models.next_action import Policy
from models.train import next_action as training
from models.train import recurrent, star
from models.train.vectors import encoded

OWN: Final = Path(__file__).with_name("next_action.json")
LEFT_OUT: Final = ("bank", "hotel", "ride")
LEFT_OUT_EPOCHS: Final = 5
TIMED: Final = 400
Floats = NDArray[np.float64]


class Ahead:
    """The encoder with the texts of a data set read ahead."""

    def __init__(self, encode: encoder.Encoder, texts: Sequence[str]) -> None:
        self.name = encode.name
        self._encode = encode
        read = encoded(encode.intents, texts, f"{encode.name} intents")
        self._rows = dict(zip(texts, read, strict=True))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode(texts)

    def intents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._rows[text] for text in texts])


def measure(data: Path, *, quick: bool) -> Measured:
    """See the module. Raises ModelMissing without the policy, SystemExit without STAR."""
    encode = encoder.load()
    policy = next_action.read(encode, next_action.WEIGHTS)
    if quick:
        return _own(encode, policy)
    every = star.dialogues(data)
    test = [dialogue for dialogue in every if dialogue.part == "test"]
    ahead = Ahead(encode, list(dict.fromkeys(e["text"] for d in test for e in d.events if "text" in e)))
    truth = np.array([label for dialogue in test for _, label in dialogue.picks])
    names = np.array(policy.labels)
    shares = given(policy, ahead, test)
    whose = [number for number, dialogue in enumerate(test) for _ in dialogue.picks]
    split = f"STAR test part, {len(test)} dialogues, looked-up results known"
    figures, right = _ranked("star", shares, names, truth, split, whose)
    rows = [_row("with what look-ups brought", figures, "star")]
    less = (("star_found", "only whether they found anything"), ("star_words", "conversation and actions alone"))
    for (key, title), view in zip(less, training.VIEWS[1:], strict=True):
        changed = given(policy, ahead, [training.seen(dialogue, view) for dialogue in test])
        more, _ = _ranked(key, changed, names, truth, f"STAR test part, {title}", whose)
        figures |= more
        rows.append(_row(title, more, key))
    sure = shares.max(axis=1)
    named = sure >= policy.least
    figures["next_action.star_named"] = share(named, split, whose)
    figures["next_action.star_named_acc1"] = share(
        right[named], f"{split}, where it names something", np.array(whose)[named]
    )
    figures["next_action.star_ece"] = bootstrap(calibration_error, sure, right, split=split, of=whose)
    for domain in LEFT_OUT:
        figures |= _without(domain, encode, data, every)
    pooled = [figures[f"next_action.star_without_{domain}_acc1"] for domain in LEFT_OUT]
    figures["next_action.star_domain_out_acc1"] = share(
        np.repeat(
            [1.0, 0.0], [round(sum(f.value * f.n for f in pooled)), round(sum((1 - f.value) * f.n for f in pooled))]
        ),
        f"STAR test dialogues of {', '.join(LEFT_OUT)}, each by a policy that never saw that domain",
    )
    times = _timed(policy, encode, test)
    extra = {
        "next_action.p50_ms": percentile(times, 0.5),
        "next_action.p95_ms": percentile(times, 0.95),
        "next_action.megabytes": next_action.WEIGHTS.stat().st_size / 1e6,
    }
    return Measured(
        figures, [table(("history", "first", "in three", "surer half"), rows)], {"next_action": (sure, right)}, extra
    )


def given(policy: Policy, encode: next_action.Encode, dialogues: Sequence[star.Dialogue]) -> Floats:
    """Probabilities before every pick, as they are served, shape (n, k)."""
    return np.array(
        [policy.probabilities(encode, d.events[:at]) for d in dialogues for at, _ in d.picks], dtype=np.float64
    )


def _ranked(
    key: str,
    shares: Floats,
    names: NDArray[np.str_],
    truth: NDArray[np.str_],
    split: str,
    whose: Sequence[int] | None = None,
) -> tuple[dict[str, Figure], NDArray[np.bool_]]:
    """acc1, acc3, acc1 of the surer half; and per decision whether the first was right. `whose`: their dialogues."""
    of = None if whose is None else np.array(whose)
    order = names[np.argsort(-shares, axis=1, kind="stable")[:, :3]]
    right = order[:, 0] == truth
    sure = shares.max(axis=1)
    half = sure >= np.median(sure)
    figures = {
        f"next_action.{key}_acc1": share(right, split, of),
        f"next_action.{key}_acc3": share((order == truth[:, None]).any(axis=1), split, of),
        f"next_action.{key}_top_half_acc1": share(
            right[half], f"{split}, the half it is surest of", None if of is None else of[half]
        ),
    }
    return figures, right


def _row(title: str, figures: dict[str, Figure], key: str) -> tuple[str, ...]:
    found = (figures[f"next_action.{key}_{name}"].value for name in ("acc1", "acc3", "top_half_acc1"))
    return (title, *(f"{value:.3f}" for value in found))


def _without(domain: str, encode: encoder.Encoder, data: Path, every: Sequence[star.Dialogue]) -> dict[str, Figure]:
    """A policy from the training part's dialogues without `domain`, judged on test dialogues of it alone.

    Actions it never saw have no weights of their own: it knows them by the text that is said for them. The encoder has
    seen training dialogues of all domains.
    """
    seen = [d for d in every if d.part == "train" and domain not in d.domains]
    unseen = [d for d in every if d.part == "test" and d.domains == {domain}]
    labels = sorted({label for d in seen for _, label in d.picks})
    here = sorted({label for d in unseen for _, label in d.picks})
    new = sorted(set(here) - set(labels))
    said = training.said_for(data)
    learnt = training.ready(encode, seen, labels, said)
    recipe = recurrent.Recipe(epochs=LEFT_OUT_EPOCHS)
    model = recurrent.fit(learnt.talks, learnt.table, learnt.texts, history.SLOTS, recipe)

    def judged(among: Sequence[str], own: recurrent.Weights) -> tuple[Floats, NDArray[np.str_]]:
        known = training.ready(encode, unseen, among, said)
        found, numbers = recurrent.shares(model | own, [ways[0] for ways in known.talks], known.table, known.texts)
        return found, np.array(among)[numbers]

    padded = {
        "out": np.pad(model["out"], ((0, 0), (0, len(new)))),
        "out_bias": np.pad(model["out_bias"], (0, len(new))),
    }
    shares, truth = judged([*labels, *new], padded)
    key = f"star_without_{domain}"
    figures, right = _ranked(key, shares, np.array([*labels, *new]), truth, f"STAR test dialogues of {domain} alone")
    texts = {
        "out": np.zeros((len(model["out"]), len(here)), np.float32),
        "out_bias": np.zeros(len(here), np.float32),
    }
    split = f"of these, ranking the {len(here)} actions of {domain} by their texts alone"
    by_text, wanted = judged(here, texts)
    figures |= _ranked(f"{key}_texts", by_text, np.array(here), wanted, split)[0]
    old = np.isin(truth, labels)
    kept = {name: figure for name, figure in figures.items() if not name.endswith("top_half_acc1")}
    return kept | {
        f"next_action.{key}_shared_acc1": share(right[old], "of these, actions that other domains have"),
        f"next_action.{key}_new_acc1": share(right[~old], "of these, actions it never saw"),
    }


def _timed(policy: Policy, encode: encoder.Encoder, dialogues: Sequence[star.Dialogue]) -> list[float]:
    """Milliseconds of a ranking, its sentence vectors being there already (the encoder's time is measured by mind)."""
    times = []
    asked = [(d.events[:at]) for d in dialogues[:: max(1, len(dialogues) // 60)] for at, _ in d.picks][:TIMED]
    for events in asked:
        policy(encode, events)
        began = time.perf_counter()
        policy(encode, events)
        times.append((time.perf_counter() - began) * 1000)
    return times


def _own(encode: encoder.Encoder, policy: Policy) -> Measured:
    """Decisions of our own invention in the manner of STAR."""
    cases = json.loads(OWN.read_text("utf-8"))
    shares = np.array([policy.probabilities(encode, case["events"]) for case in cases], dtype=np.float64)
    truth = np.array([case["action"] for case in cases])
    figures, right = _ranked("own", shares, np.array(policy.labels), truth, f"{len(cases)} decisions of our own")
    figures.pop("next_action.own_top_half_acc1")
    wrong = [
        (case["action"], policy.labels[int(row.argmax())], f"{row.max():.2f}")
        for case, row, ok in zip(cases, shares, right, strict=True)
        if not ok
    ]
    return Measured(figures, [table(("should be", "is", "sure"), wrong)])
