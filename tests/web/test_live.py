"""The pages over the real server while a call is played into it: what an agent and a reviewer go through."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks import door
from benchmarks.calls import SHIPPED, Script
from tests.web.conftest import WATCH
from tests.web.cut import Relay

SPEED = 6


@pytest.fixture
def relay(server: door.Door) -> Iterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.close()


def play(server: door.Door, call: str) -> subprocess.Popen[bytes]:
    """The shipped call from the command line that integrators use."""
    command = [sys.executable, "-m", "assist.replay", str(SHIPPED), "--to", server.ws, "--call", call]
    return subprocess.Popen([*command, "--speed", str(SPEED)], cwd=door.ROOT, stdout=subprocess.DEVNULL)


def rows(page: Page) -> list[tuple[str, str, str]]:
    found: list[list[str]] = page.evaluate(
        """() => [...document.querySelectorAll("#transcript li")].map(
             (row) => [row.dataset.utterance, row.dataset.stage, row.querySelector("p").textContent])"""
    )
    return [(a, b, c) for a, b, c in found]


def finals(server: door.Door, call: str) -> dict[str, str]:
    log: list[dict[str, Any]] = server.get(f"/calls/{call}/log")["entries"]
    said = [e["event"]["transcript"] for e in log if e["event"]["type"] == "Transcribed"]
    return {t["utterance"]: t["text"] for t in said if t["stage"] == "final" and t["text"]}


def titles(server: door.Door, call: str) -> dict[str, set[str]]:
    """What was suggested, by kind."""
    found: dict[str, set[str]] = {}
    for entry in server.get(f"/calls/{call}/log")["entries"]:
        for each in entry["event"].get("suggestions", ()):
            found.setdefault(each["kind"], set()).add(each["title"])
    return found


def test_an_agent_follows_a_live_call_through_a_bad_line(
    server: door.Door, browser: Browser, relay: Relay, script: Script
) -> None:
    call = f"live-{uuid.uuid4().hex[:8]}"
    playing = play(server, call)
    while call not in [each["call"] for each in server.get("/calls")["calls"]]:
        time.sleep(0.05)
    page = browser.new_page(viewport={"width": 400, "height": 860})
    violations: list[str] = []
    page.add_init_script(WATCH)
    page.on("pageerror", lambda error: violations.append(str(error)))
    page.goto(f"http://127.0.0.1:{relay.port}/overlay?call={call}")
    expect(page.locator("#phase")).to_have_text("Live")
    expect(page.locator("#transcript li")).not_to_have_count(0, timeout=15_000)
    for _ in range(4):
        time.sleep(1.5)
        relay.cut()
    assert relay.cuts >= 4, "the line was never cut"
    expect(page.locator("#phase")).to_have_text("Ended", timeout=60_000)
    assert playing.wait(30) == 0
    kept = finals(server, call)
    shown = {utterance: text for utterance, stage, text in rows(page) if stage == "final"}
    assert shown == kept and len(kept) >= 15, "the page and the log disagree"
    assert any("black screen" in text for text in shown.values())
    suggested = titles(server, call)
    cards = page.locator(".card.article h2").all_text_contents()
    assert 1 <= len(cards) <= 2 and set(cards) <= suggested["article"], cards
    assert "Camera shows a black screen in video calls" in suggested["article"]
    points = page.locator("#mood circle")
    assert points.count() >= 3
    assert -1 <= float(points.last.get_attribute("data-score") or 9) <= 1
    assert not violations and not page.evaluate("violations")
    page.close()


def test_a_reviewer_hears_the_evidence_and_files_a_verdict(server: door.Door, browser: Browser) -> None:
    call = f"review-{uuid.uuid4().hex[:8]}"
    assert play(server, call).wait(60) == 0
    flag = next(f for f in server.get(f"/calls/{call}")["flags"] if f["rule"] == "asks_for_manager")
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.goto(f"{server.url}/review?call={call}")
    expect(page.locator("#transcript li")).not_to_have_count(0, timeout=15_000)
    page.locator("#pins .pin[data-rule=asks_for_manager]").click()
    expect(page.locator("#evidence")).to_contain_text("manager")
    wanted_s = flag["evidence"]["start_ms"] / 1000 - 0.3
    page.wait_for_function("s => document.getElementById('audio').currentTime > s", arg=wanted_s, timeout=15_000)
    at_s = page.evaluate("document.getElementById('audio').currentTime")
    assert wanted_s < at_s < wanted_s + 3
    loud = server.get(f"/calls/{call}/peaks")["peaks"][1]
    first = flag["evidence"]["start_ms"] // 50
    assert max(loud[first : first + 60]) > 20, "there is no sound at the evidence"
    page.get_by_label("Confirmed").check()
    page.get_by_label("Comment").fill("She asked twice.")
    page.get_by_label("Your name").fill("Rosa")
    page.locator("#file").click()
    expect(page.locator("#kept")).to_have_text("✓ Verdict kept.")
    [review] = server.get(f"/calls/{call}")["reviews"]
    assert (review["verdict"], review["comment"], review["reviewer"]) == ("confirmed", "She asked twice.", "Rosa")
    page.close()
