"""Measures the topic analyser; there is nothing to train ahead, it learns from topics.toml at start.

It knows no call: turns are judged one by one, as a customer's first sentence would be.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assist.audio import Utterance
from assist.conversation import Conversation, Heard, Transcript
from models import encoder, topic
from models.train import records


@dataclass(frozen=True)
class Example:
    """A topic as topics.toml has it."""

    id: str
    label: str
    description: str
    examples: tuple[str, ...]


def said(text: str) -> Heard:
    """`text` as a customer's turn without sound."""
    utterance = Utterance("u", "customer", 0, 1000, 1000, np.zeros(0, dtype=np.int16))
    return Heard(utterance, Transcript("u", "customer", 0, 1000, text))


def share_named(analyse: topic.TopicAnalyser, texts: Sequence[str]) -> float:
    """How many of `texts` alone are taken for some topic, 0..1."""
    return float(np.mean([analyse(said(text), Conversation("c"))[0].label != "none" for text in texts]))


def leave_one_out(encode: encoder.Encoder, topics: Sequence[Example], background: Sequence[str]) -> dict[str, float]:
    """Every example judged by topics learnt without it, through the analyser itself."""
    right = wrong = best = 0
    total = sum(len(t.examples) for t in topics)
    for number, held in enumerate(topics):
        for text in held.examples:
            rest = list(topics)
            rest[number] = Example(held.id, held.label, held.description, tuple(e for e in held.examples if e != text))
            analyse = topic.TopicAnalyser(encode, topic.learn(encode, rest, background))
            (finding,) = analyse(said(text), Conversation("c"))
            right += finding.label == held.id
            wrong += finding.label not in (held.id, "none")
            best += next(iter(finding.detail), "") == held.id
    return {"loo_best": best / total, "loo_named_right": right / total, "loo_named_wrong": wrong / total}


def few_shot(encode: encoder.Encoder, pairs: records.Labelled, shots: int, background: Sequence[str]) -> float:
    """Accuracy of the most probable topic on banking77, learnt from `shots` examples each; 3,000 others judged."""
    order = np.random.default_rng(0).permutation(len(pairs))
    taken: dict[str, list[str]] = {}
    judged: records.Labelled = []
    for row in order:
        text, label = pairs[row]
        own = taken.setdefault(label, [])
        if len(own) < shots:
            own.append(text)
        else:
            judged.append((text, label))
    judged = judged[:3000]
    topics = [Example(label, label.replace("_", " "), "", tuple(own)) for label, own in taken.items()]
    learnt = topic.learn(encode, topics, background)
    best = learnt.probabilities(encode([text for text, _ in judged])).argmax(axis=1)
    return float(np.mean([learnt.ids[k] == label for k, (_, label) in zip(best, judged, strict=True)]))


def main(argv: Sequence[str]) -> None:
    """Print the card's figures as one JSON line."""
    args = records.options("topic", argv)
    encode = encoder.load()
    raw = tomllib.loads((records.ROOT / "knowledge_base" / "topics.toml").read_text("utf-8"))["topic"]
    topics = [Example(t["id"], t["label"], t["description"], tuple(t["examples"])) for t in raw]
    background = topic.background()
    began = time.perf_counter()
    analyse = topic.load(encode, topics)
    figures = {"topics": len(topics), "learn_s": time.perf_counter() - began}
    figures |= leave_one_out(encode, topics, background)
    for part in ("oos_train", "oos_val"):
        figures[f"clinc_{part}_named"] = share_named(analyse, [t for t, _ in records.clinc150(args.data, part)])
    figures["clinc_val_named"] = share_named(analyse, [t for t, _ in records.clinc150(args.data, "val")[::5]])
    for shots in (5, 10):
        figures[f"banking77_{shots}_shot"] = few_shot(encode, records.banking77(args.data), shots, background)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
