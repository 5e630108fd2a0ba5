"""A small knowledge base, an encoder without weights and a way to write calls down, for the tests of guidance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from assist.audio import Party
from assist.conversation import Conversation, Evidence, Finding, Transcript, Turn
from assist.knowledge import Knowledge

SHIPPED = Path(__file__).resolve().parent.parent / "knowledge_base"

TOPICS = """
[[topic]]
id = "camera_fault"
label = "Camera fault"
description = "The camera of a phone does not work."
examples = ["my camera shows a black screen", "the camera is broken", "camera does not open"]

[[topic]]
id = "roaming"
label = "Use abroad"
description = "Using the phone in another country."
examples = ["will my phone work in spain", "what does it cost abroad", "no service on holiday"]
"""

ACTIONS = """
[[action]]
id = "offer_replacement"
title = "Offer a replacement"
say = "We will replace it free of charge."
when = "The device is faulty and new."
topics = ["camera_fault"]

[[action]]
id = "offer_supervisor"
title = "Offer a supervisor"
say = "I can put you through to a supervisor."
when = "The customer asks for one."
"""

GENERAL = """
id = "general"
title = "Any call"
topics = []

[[step]]
id = "greet"
title = "Greet"
say = "Thank you for calling Northgate."
next = ["verify"]
done.agent = ["thank you for calling"]

[[step]]
id = "verify"
title = "Verify"
say = "Could I have your account number?"
next = ["close"]
done.agent = ["your account number"]

[[step]]
id = "close"
title = "Close"
say = "Is there anything else I can do?"
next = []
done.agent = ["anything else"]
"""

CAMERA = """
id = "camera"
title = "Camera not working"
topics = ["camera_fault"]

[[step]]
id = "greet"
title = "Greet"
say = "Thank you for calling Northgate."
next = ["verify"]
done.agent = ["thank you for calling"]

[[step]]
id = "verify"
title = "Verify"
say = "Could I have your account number?"
next = ["fix"]
done.agent = ["your account number"]

[[step]]
id = "fix"
title = "Try a fix"
say = "Please restart the phone."
next = ["replace", "confirm"]
done.agent = ["restart the phone"]
done.customer = ["restarted it already"]

[[step]]
id = "replace"
title = "Replace"
say = "We will replace it free of charge."
action = "offer_replacement"
next = ["confirm"]
done.agent = ["replace it free of charge"]

[[step]]
id = "confirm"
title = "Confirm"
say = "You will get an email from us."
next = ["close"]
done.agent = ["get an email"]
done.customer = ["camera works now"]

[[step]]
id = "close"
title = "Close"
say = "Is there anything else I can do?"
next = []
done.agent = ["anything else"]
"""

RULES = """
[[rule]]
id = "asks_for_manager"
severity = "medium"
reason = "Customer asks for a manager"
suggest = "offer_supervisor"
when.said = ["speak to a manager", "your supervisor"]

[[rule]]
id = "very_negative"
severity = "high"
reason = "Customer is very negative"
when.sentiment_call_below = -0.5

[[rule]]
id = "stress_rising"
severity = "medium"
reason = "Voice stayed tense"
when.stress_above = 0.6
when.stress_turns = 2

[[rule]]
id = "no_identity"
severity = "medium"
reason = "No identity check heard"
tell = "No identity check heard yet"
when.party = "agent"
when.missing = ["your account number"]
when.by_ms = 60000

[[rule]]
id = "no_closing"
severity = "low"
reason = "No closing question"
when.party = "agent"
when.missing = ["anything else"]
when.lasted_ms = 30000

[[rule]]
id = "silence"
severity = "low"
reason = "Long silence"
when.silence_ms = 20000

[[rule]]
id = "prices_abroad"
severity = "low"
reason = "Prices abroad not said"
when.party = "agent"
when.topic = ["roaming"]
when.missing = ["it costs"]
"""

ARTICLES = {
    "camera-black-screen": (
        "Camera shows a black screen",
        "camera_fault",
        ["camera", "black screen", "video call"],
        "A black camera picture is nearly always a missing permission, so turn the camera permission on.",
    ),
    "camera-blurry": (
        "Photos are blurred",
        "camera_fault",
        ["blurry", "focus", "photos"],
        "Blurred photos come from a dirty lens, so clean the lens with a soft dry cloth.",
    ),
    "roaming-costs": (
        "What calls and data cost abroad",
        "roaming",
        ["abroad", "roaming", "holiday", "spain"],
        "In Europe the plan works as at home, and outside Europe a day costs five pounds.",
    ),
}

_FILLING = " ".join(f"Sentence number {n} is here to make the text long enough to be taken." for n in range(7))


def article(ident: str, title: str, topic: str, keywords: Sequence[str], first: str) -> str:
    """The text of an article file."""
    words = ", ".join(f'"{word}"' for word in keywords)
    return (
        f'+++\nid = "{ident}"\ntitle = "{title}"\ntopics = ["{topic}"]\nkeywords = [{words}]\n'
        f"updated = 2026-03-01\n+++\n\n{first}\n\n1. Ask what happened.\n2. Say what to do.\n\n{_FILLING}\n"
    )


def write(path: Path) -> Path:
    """The small knowledge base, written under `path`."""
    (path / "articles").mkdir(parents=True)
    (path / "playbooks").mkdir()
    for ident, parts in ARTICLES.items():
        (path / "articles" / f"{ident}.md").write_text(article(ident, *parts), encoding="utf-8")
    (path / "topics.toml").write_text(TOPICS, encoding="utf-8")
    (path / "actions.toml").write_text(ACTIONS, encoding="utf-8")
    (path / "rules.toml").write_text(RULES, encoding="utf-8")
    (path / "playbooks" / "general.toml").write_text(GENERAL, encoding="utf-8")
    (path / "playbooks" / "camera.toml").write_text(CAMERA, encoding="utf-8")
    return path


def small(path: Path) -> Knowledge:
    """The small knowledge base, loaded."""
    return Knowledge.load(write(path / "kb"))


def trigrams(texts: Sequence[str]) -> NDArray[np.float32]:
    """A stand-in encoder: letters in threes, hashed into 384 places; rows of length 1."""
    rows = np.zeros((len(texts), 384), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        padded = f"  {text.lower()} "
        for at in range(len(padded) - 2):
            row[crc32(padded[at : at + 3].encode("utf-8", "replace")) % 384] += 1.0
        row /= np.linalg.norm(row)
    return rows


def heard(topic: str = "", call: float | None = None, turn: float = 0.0, stress: float | None = None) -> list[Finding]:
    """Findings as the analysers give them."""
    found = []
    if topic:
        found.append(Finding("topic", topic, 0.0 if topic == "none" else 0.8, Evidence()))
    if call is not None:
        found.append(Finding("sentiment", "negative", turn, Evidence(), {"call": call, "confidence": 0.9}))
    if stress is not None:
        found.append(Finding("stress", "tense" if stress > 0.5 else "calm", stress, Evidence()))
    return found


def turn(number: int, party: Party, text: str, findings: Sequence[Finding] = (), start_ms: int | None = None) -> Turn:
    """Turn `number` of a call: 4 s of speech every 5 s unless told otherwise."""
    begins = number * 5000 if start_ms is None else start_ms
    return Turn(Transcript(f"u{number}", party, begins, begins + 4000, text), tuple(findings))


Said = tuple[Party, str, list[Finding]] | tuple[Party, str]


def talk(*said: Said) -> list[Conversation]:
    """The conversation after each turn."""
    conversation, states = Conversation("call"), []
    for number, one in enumerate(said):
        conversation = conversation.with_turn(turn(number, one[0], one[1], one[2] if len(one) == 3 else ()))
        states.append(conversation)
    return states
