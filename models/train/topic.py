"""Learns the topics of a topics.toml as the server does at start, and names the phrases that others would outvote.

Nothing is kept: topics are learnt anew at every start, so there is no weight to train ahead. It is for whoever writes
topics, and measures nothing; `python -m benchmarks.accuracy topic` does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from models import KNOWLEDGE, encoder, given, topic
from models.train import records


def doubtful(encode: encoder.Encoder, topics: Sequence[topic.Topic], parts: int = 5) -> list[tuple[str, str, str]]:
    """(topic, phrase, what it is taken for) of each phrase that is not its topic's once a fifth is left out."""
    found = []
    for part in range(parts):
        kept = [
            given.Subject(t.id, t.label, t.description, tuple(x for n, x in enumerate(t.examples) if n % parts != part))
            for t in topics
        ]
        judge = topic.Judge(topic.load(encode, kept))
        for each in topics:
            for phrase in each.examples[part::parts]:
                named = judge(phrase).label
                if named != each.id:
                    found.append((each.id, phrase, named))
    return sorted(found)


def main(argv: Sequence[str]) -> None:
    """Print the doubtful phrases, then what was learnt from."""
    parser = records.parser("topic")
    parser.add_argument("--topics", type=Path, default=KNOWLEDGE / "topics.toml", help="default the shipped ones")
    args = parser.parse_args(argv)
    encode = encoder.load()
    topics = given.topics(args.topics)
    began = time.perf_counter()
    topic.load(encode, topics)
    took = time.perf_counter() - began
    for name, phrase, named in doubtful(encode, topics):
        print(f"{name}: {phrase!r} is taken for {named}")
    count = sum(len(each.examples) for each in topics)
    print(f"{len(topics)} topics, {count} phrases, learnt in {took:.2f} s; nothing to keep: every start learns anew")
