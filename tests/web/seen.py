"""What a person sees on a page and what the log says should be there, for the tests of the pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from playwright.sync_api import Locator, Page

from assist.events import Entry, Suggested
from tests.web.fixture import Stage, Tape
from tests.web.recorded import finals, record

TURNS: Final = """() => [...document.querySelectorAll("#transcript li")].map((row) => [
  row.dataset.utterance, row.dataset.stage, row.querySelector("p").textContent])"""


def turns(page: Page) -> list[tuple[str, str, str]]:
    return [(str(a), str(b), str(c)) for a, b, c in page.evaluate(TURNS)]


def told(entries: list[Entry]) -> list[tuple[str, str, str]]:
    """What the transcript should hold at the end of these entries."""
    return [(t.utterance, "final", t.text) for t in sorted(finals(entries), key=lambda t: t.start_ms)]


def wait_for(met: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    until = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)


def until_card(entries: list[Entry], ref: str) -> int:
    """How many entries there are when this suggestion has just been told."""
    return next(
        e.seq for e in entries if isinstance(e.event, Suggested) and any(s.ref == ref for s in e.event.suggestions)
    )


def put_at_offer(stage: Stage, call: str = "live") -> Tape:
    entries = record(call)
    return stage.put(entries, until_card(entries, "offer_replacement") + 2)


def card(page: Page, place: str) -> Locator:
    return page.locator(f"[data-place={place}] .card")


def marks(stage: Stage) -> list[tuple[str, str]]:
    return [(mark.ref, mark.mark) for mark in stage.marks]


def sound_s(page: Page) -> float:
    return float(page.evaluate("document.getElementById('audio').currentTime"))
