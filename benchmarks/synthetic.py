"""Knowledge bases of any size, made up: to time a search over more articles than anybody here has written.

It knows no search. The articles are English and differ, but they answer nobody: nothing here measures whether a
search finds what it should.
"""

from __future__ import annotations

import datetime
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np

from assist.knowledge import Knowledge
from assist.material import Article

THINGS: Final = (
    "kettle", "boiler", "bicycle", "lawn mower", "washing machine", "printer", "tent", "drill", "mattress", "lamp",
    "oven", "fridge", "jacket", "pair of boots", "heat pump", "solar panel", "garden hose", "alarm panel", "tablet",
    "smart lock", "doorbell", "vacuum cleaner", "coffee maker", "sofa", "wardrobe", "car seat", "pushchair", "violin",
    "microscope", "telescope", "treadmill", "rowing boat", "camper van", "hearing aid", "wheelchair", "sewing machine",
    "dishwasher", "radiator", "projector", "microphone", "turntable", "hedge trimmer", "chainsaw", "greenhouse",
    "fish tank", "dog collar", "travel card", "gift voucher", "insurance policy", "season ticket",
)  # fmt: skip
PARTS: Final = (
    "cable", "battery", "lid", "filter", "pump", "screen", "handle", "wheel", "seal", "switch", "motor", "belt",
    "sensor", "hinge", "spring", "fuse", "valve", "strap", "label", "receipt",
)  # fmt: skip
TROUBLES: Final = (
    "makes a grinding noise", "leaks on to the floor", "stops after a minute", "will not start", "smells of burning",
    "arrived without its papers", "shows the wrong time", "loses its settings", "is too heavy to lift",
    "came in the wrong colour", "has a scratch down one side", "does not fit through the door", "trips the fuse",
    "cannot be found in the account", "was billed under another name", "has a part missing", "vibrates badly",
    "freezes in cold weather", "beeps all night", "was sent back twice",
)  # fmt: skip
REMEDIES: Final = (
    "order a new one in the parts list and fit it with the tool in the box",
    "ask a partner workshop for an inspection, which is free in the first year",
    "clean it with a dry cloth, wait for ten minutes and try again",
    "note the serial number and open a case, so that the maker can answer",
    "offer a swap at the nearest branch, without a receipt if the number is known",
    "send a courier to fetch it and book the next free morning for the return",
    "reset it by holding both buttons until the light turns green",
    "credit half of the price if the customer would rather keep it",
)
WHEN: Final = (
    "within a week", "after the first month", "when the warranty has ended", "during a storm", "on a public holiday",
    "at a second home", "for a business customer", "after a house move", "when two people share it", "abroad",
)  # fmt: skip
YEARS: Final = tuple(range(1990, 2027))


def article(number: int, seed: int = 0) -> Article:
    """The article of that number: the same for the same seed, whatever else is made. About 60 words, no topic."""
    rng = np.random.default_rng((seed, number))

    def one(words: tuple[str, ...]) -> str:
        return words[int(rng.integers(len(words)))]

    thing, part, trouble, when = one(THINGS), one(PARTS), one(TROUBLES), one(WHEN)
    year, model = YEARS[int(rng.integers(len(YEARS)))], int(rng.integers(100, 1000))
    body = (
        f"If the {part} of a {thing} of {year} {trouble} {when}, {one(REMEDIES)}.\n\n"
        f"Model {model} is an exception: {one(REMEDIES)}. Where the {one(PARTS)} is affected too, {one(REMEDIES)}, "
        f"and write down what the customer saw before it happened."
    )
    return Article(
        id=f"made-{number}",
        title=f"{thing.capitalize()} {model}: the {part} {trouble}",
        topics=(),
        keywords=(thing, part),
        updated=datetime.date(2026, 1, 1),
        body=body,
        asked=(f"the {part} on my {thing} {trouble}",),
    )


def enlarged(knowledge: Knowledge, count: int, seed: int = 0) -> Knowledge:
    """`knowledge` with made-up articles up to `count` in all; topics, actions, playbooks and rules as they are."""
    topics = tuple(knowledge.topics)
    articles = dict(knowledge.articles)
    for number in range(count - len(articles)):
        made = article(number, seed)
        if topics:
            made = msgspec.structs.replace(made, topics=(topics[number % len(topics)],))
        articles[made.id] = made
    return Knowledge(
        MappingProxyType(articles), knowledge.topics, knowledge.actions, knowledge.playbooks, knowledge.rules
    )
