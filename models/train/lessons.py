"""What the encoder's second half is tuned on: one lesson per thing it should tell apart, each a batch and a loss.

It knows texts and labels, and nothing of how the encoder is stored or measured. Read only by `models.train.encoder`.
Contrastive lessons use the supervised contrastive loss (Khosla et al., NeurIPS 2020) on unit vectors.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.sentiment import LABELS
from models.train import records, star
from models.train.sentiment import plain

EMOTIONS: Final = 28
TEMPERATURE: Final = 0.07


class Pupil(Protocol):
    """What is being tuned: texts to intents (unit vectors) and tones, both (n, 384)."""

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]: ...


class Heads(nn.Module):  # type: ignore[misc]
    """What reads the encoder during the tuning and is thrown away after it."""

    def __init__(self, actions: int, events: int) -> None:
        super().__init__()
        self.emotions = nn.Linear(384, EMOTIONS)
        self.label = nn.Linear(384, len(LABELS))
        self.valence = nn.Linear(384, 1)
        self.events = nn.Embedding(events + 1, 64)
        self.action = nn.Sequential(
            nn.Linear(2 * 384 + 3 * 64, 512), nn.GELU(), nn.Dropout(0.2), nn.Linear(512, actions)
        )


class Decision(NamedTuple):
    """What stood before one pick of STAR: the customer's last two turns, and what the agent did last, oldest first."""

    last: str
    earlier: str
    before: tuple[str, ...]
    action: str


@dataclass(frozen=True)
class Lesson:
    """`loss(pupil, heads)` draws its own batch. `weight`: how often its turn comes."""

    name: str
    weight: float
    loss: Callable[[Pupil, Heads], Tensor]


def contrastive(vectors: Tensor, labels: Sequence[int], temperature: float) -> Tensor:
    """-mean over i of the mean log-probability of i's own label's others among all others."""
    owners = torch.tensor(labels)
    alike = vectors @ vectors.T / temperature
    itself = torch.eye(len(owners), dtype=torch.bool)
    alike = alike.masked_fill(itself, -1e9)
    same = (owners[:, None] == owners[None]) & ~itself
    return -((alike.log_softmax(1) * same).sum(1) / same.sum(1).clamp(min=1)).mean()


def lessons(data: Path, rng: random.Random) -> tuple[list[Lesson], Heads]:
    """All lessons over the training parts of what may be shipped, and the heads they need."""
    intents = _by_label(records.clinc150(data, "train"))
    bank = _by_label([(text, label) for text, label in records.banking77(data) if not records.held_out(text)])
    asked, domains = _requests(data)
    decisions = _decisions(data)
    actions = {a: n for n, a in enumerate(sorted({d.action for d in decisions}))}
    events = {e: n + 1 for n, e in enumerate(sorted({e for d in decisions for e in d.before}))}
    comments = [(plain(text), named, label) for text, named, label in records.emotions(data, "train")]
    rated = [(plain(text), sum(ratings) / len(ratings)) for text, _, ratings in records.vader()]
    own = records.service_patterns(20, 0)

    def groups(by: Mapping[str, Sequence[str]], most: int, each: int) -> tuple[list[str], list[int]]:
        texts: list[str] = []
        labels: list[int] = []
        for number, label in enumerate(rng.sample(sorted(by), min(most, len(by)))):
            drawn = rng.sample(by[label], min(each, len(by[label])))
            texts += drawn
            labels += [number] * len(drawn)
        return texts, labels

    def intent(pupil: Pupil, _: Heads) -> Tensor:
        texts, labels = groups(intents, 32, 3)
        return contrastive(pupil(texts)[0], labels, TEMPERATURE)

    def question(pupil: Pupil, _: Heads) -> Tensor:
        texts, labels = groups(bank, 32, 3)
        return contrastive(pupil(texts)[0], labels, TEMPERATURE)

    def request(pupil: Pupil, _: Heads) -> Tensor:
        texts, labels = groups(asked[rng.choice(sorted(asked))], 12, 4)
        return 0.5 * contrastive(pupil(texts)[0], labels, TEMPERATURE)

    def domain(pupil: Pupil, _: Heads) -> Tensor:
        texts, labels = groups(domains, 6, 8)
        return 0.5 * contrastive(pupil(texts)[0], labels, 0.1)

    def action(pupil: Pupil, heads: Heads) -> Tensor:
        batch = rng.sample(decisions, 48)
        last = pupil([d.last or "." for d in batch])[0]
        earlier = pupil([d.earlier or "." for d in batch])[0]
        before = torch.tensor([[events.get(e, 0) for e in ("", "", "", *d.before)[-3:]] for d in batch])
        # Unit vectors have entries near 0.05; times 10 they weigh as much as the embeddings beside them.
        scores = heads.action(torch.cat([10 * last, 10 * earlier, heads.events(before).flatten(1)], dim=1))
        return functional.cross_entropy(scores, torch.tensor([actions[d.action] for d in batch]))

    def emotion(pupil: Pupil, heads: Heads) -> Tensor:
        batch = rng.sample(comments, 48)
        tones = pupil([text for text, _, _ in batch])[1]
        named = torch.zeros(len(batch), EMOTIONS)
        for row, (_, emotions, _) in enumerate(batch):
            named[row, list(emotions)] = 1
        loss = 10 * functional.binary_cross_entropy_with_logits(heads.emotions(tones), named)
        clear = [row for row, (_, _, label) in enumerate(batch) if label]
        labels = torch.tensor([LABELS.index(batch[row][2]) for row in clear])
        return loss + functional.cross_entropy(heads.label(tones)[clear], labels)

    def valence(pupil: Pupil, heads: Heads) -> Tensor:
        batch = rng.sample(rated, 48)
        said = heads.valence(pupil([text for text, _ in batch])[1])[:, 0]
        return functional.smooth_l1_loss(said, torch.tensor([value for _, value in batch]))

    def phrase(pupil: Pupil, heads: Heads) -> Tensor:
        batch = rng.sample(own, 32)
        labels = torch.tensor([LABELS.index(label) for _, label in batch])
        return functional.cross_entropy(heads.label(pupil([text for text, _ in batch])[1]), labels)

    taught = [
        Lesson("intent", 3, intent),
        Lesson("question", 2, question),
        Lesson("request", 1, request),
        Lesson("domain", 0.4, domain),
        Lesson("action", 4, action),
        Lesson("emotion", 4, emotion),
        Lesson("valence", 2.5, valence),
        Lesson("phrase", 0.8, phrase),
    ]
    return taught, Heads(len(actions), len(events))


def _by_label(pairs: records.Labelled) -> dict[str, list[str]]:
    by: dict[str, list[str]] = defaultdict(list)
    for text, label in pairs:
        by[label].append(text)
    return by


def _requests(data: Path) -> tuple[dict[str, dict[str, list[str]]], dict[str, list[str]]]:
    """multidogo's customer turns by domain and intent, and the turns a call begins with by domain."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    openings: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)
    for turn in records.multidogo(data, "train"):
        seen[turn.call] += 1
        words = len(turn.text.split())
        if words > 2 and turn.intent != "contentonly":
            found[turn.domain][turn.intent].add(turn.text)
        if words > 3 and seen[turn.call] <= 4:
            openings[turn.domain].append(turn.text)
    # An intent of a handful of sentences would be drawn again and again.
    kept = {d: {i: sorted(t) for i, t in by.items() if len(t) >= 8} for d, by in found.items()}
    return kept, openings


def _decisions(data: Path) -> list[Decision]:
    """Every pick of STAR's training part."""
    found: list[Decision] = []
    for dialogue in star.dialogues(data):
        if dialogue.part != "train":
            continue
        for position, action in dialogue.picks:
            said = ["", ""]
            done: list[str] = []
            for event in dialogue.events[:position]:
                if event.get("party") == "customer":
                    said.append(event["text"])
                elif "action" in event:
                    done.append(event["action"])
                elif "query" in event:
                    done.append(f"{event['query']} {'found' if event.get('found') else 'nothing'}")
            found.append(Decision(said[-1], said[-2], tuple(done[-3:]), action))
    return found
