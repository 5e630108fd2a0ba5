"""All pages in a real browser: hostile text, long calls, room, contrast, and the list of calls."""

from __future__ import annotations

import re
import time
from typing import Final

import pytest
from playwright.sync_api import expect

from assist.audio import Party
from assist.events import ChannelFaulted, Dtmf, Entry, RolesSwapped
from tests.web.conftest import Open
from tests.web.fixture import Stage
from tests.web.recorded import CAMERA, Card, Line, record
from tests.web.seen import card, put_at_offer, turns

# ---- text is text

EVIL: Final = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</p><svg onload=alert(1)>",
    "\"'><iframe src=javascript:alert(1)>",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "<style>*{display:none}</style>",
    "&lt;b&gt;&amp;",
    "\u202eevil\u202c \u0000 \ufeff",
)


def test_hostile_text_stays_text(stage: Stage, opened: Open) -> None:
    evil = " ".join(EVIL)
    action: Card = ("action", evil, evil, evil, evil)
    lines = [Line("customer", text, -0.5, 0.5, evil, (action,), (evil, "high", evil)) for text in EVIL]
    lines.append(Line("customer", evil, cards=(("article", "x", evil, evil, evil),)))
    metadata = {"customer_name": evil, "agent": evil, "queue": evil, "language": evil}
    entries = record("live", lines, metadata=metadata, ended=False)
    stage.put(entries)
    stage.put(record("past", lines, metadata=metadata), sound=True)
    body = "\n\n".join([f"## {evil}", f"- {evil}", f"1. {evil}", *EVIL])
    stage.articles["x"] = {"title": evil, "updated": evil, "body": body}
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    assert [text for _, _, text in turns(page)] == [" ".join(line.text.split()) for line in lines]
    assert page.locator("#caller").text_content() == evil
    assert card(page, "next").locator("h2").text_content() == evil
    page.wait_for_timeout(400)
    card(page, "first").locator("[data-what=open]").click()
    expect(page.locator("#article-body p").first).to_be_visible()
    assert page.locator("#article-body h3").text_content() == evil
    strange = "img, iframe, style, #transcript script, #cards svg, #article svg"
    assert page.locator(strange).count() == 0
    review = opened("/review?call=past", 1280)
    expect(review.locator("#evidence")).to_contain_text("<img src=x onerror=alert(1)>")
    index = opened("/", 1280)
    expect(index.locator("#live .call")).to_contain_text("<script>alert(1)</script>")
    for other in (review, index):
        assert other.locator("img, iframe, style, body script").count() == 0


def test_four_thousand_turns_stay_fast(stage: Stage, opened: Open) -> None:
    parties: tuple[Party, Party] = ("customer", "agent")
    lines = [Line(parties[n % 2], f"turn {n} " + "word " * (n % 23), -0.1, 0.2) for n in range(4_000)]
    entries = record("long", lines, ended=False, partials=False)
    tape = stage.put(entries, len(entries) - 40)
    began = time.monotonic()
    page = opened("/overlay?call=long")
    expect(page.locator("#phase")).to_have_text("Live", timeout=60_000)
    assert page.locator("#transcript li").count() > 3_900
    expect(page.locator("#transcript li").last).to_be_in_viewport()
    assert time.monotonic() - began < 60, "too slow to load, even for a busy machine"
    page.evaluate(
        """() => { window.slowest = 0;
          const take = (list) => { slowest = Math.max(slowest, ...list.getEntries().map((task) => task.duration)); };
          new PerformanceObserver(take).observe({ type: "longtask" }); }"""
    )
    tape.shown = len(entries)
    expect(page.locator("#transcript li")).to_have_count(4_000)
    expect(page.locator("#transcript li").last).to_be_in_viewport()
    slowest = page.evaluate("window.slowest")
    assert slowest < 500, f"a live entry took {slowest} ms"


def test_the_transcript_stays_where_the_agent_scrolled(stage: Stage, opened: Open) -> None:
    entries = record("live", [*CAMERA, *CAMERA], ended=False, partials=False)
    tape = stage.put(entries, len(entries) - 30)
    page = opened("/overlay?call=live")
    expect(page.locator("#transcript li").last).to_be_in_viewport()
    page.locator("#scroller").hover()
    page.mouse.wheel(0, -300)
    expect(page.locator("#newest")).to_be_visible()
    top = page.evaluate("document.getElementById('scroller').scrollTop")
    tape.shown = len(entries)
    expect(page.locator("#newest")).to_contain_text("new")
    assert page.evaluate("document.getElementById('scroller').scrollTop") == top
    page.locator("#newest").click()
    expect(page.locator("#transcript li").last).to_be_in_viewport()
    expect(page.locator("#newest")).not_to_be_visible()


def test_what_is_wrong_with_the_sound_is_told_and_rows_change_sides(stage: Stage, opened: Open) -> None:
    entries = record("live", [Line("customer", "Thank you for calling."), Line("agent", "Hello.")], ended=False)
    for event in (
        ChannelFaulted("no_audio", ("agent", "customer")),
        RolesSwapped("u", "Thank you for calling.", ("u",)),
    ):
        entries.append(Entry("live", len(entries) + 1, entries[-1].at_ms, event))
    stage.put(entries)
    page = opened("/overlay?call=live")
    expect(page.locator("#notices")).to_contain_text("No sound: the call is connected and carries none")
    expect(page.locator("#notices")).to_contain_text("the wrong way round: put right")
    expect(page.locator("#transcript .turn.agent")).to_have_text(re.compile("Thank you for calling"))
    expect(page.locator("#transcript .turn.customer")).to_have_text(re.compile("Hello"))
    expect(opened("/", 1280).locator("#live .call")).to_contain_text("Sound: none")


def test_the_list_of_calls(stage: Stage, opened: Open) -> None:
    stage.put(record("past"), sound=True)
    put_at_offer(stage)
    page = opened("/", 1280)
    expect(page.locator("#live .call")).to_have_count(1)
    expect(page.locator("#past .call")).to_contain_text("Camera not working")
    page.locator("#past .call").get_by_text("Replay").click()
    expect(page.locator("#phase")).to_have_text("Recording")


def test_the_floor_shows_who_needs_help_most_first(stage: Stage, opened: Open) -> None:
    for name, lines in (("Ana", CAMERA[:18]), ("Ben", CAMERA[:2]), ("Cleo", CAMERA[:3]), ("Dev", CAMERA[:1])):
        stage.put(record(name, lines, metadata={"customer_name": name}, ended=False, partials=False))
    longest = stage.tapes["Ana"]
    for name in ("Ben", "Cleo", "Dev"):  # all have been going on for as long
        tape = stage.tapes[name]
        tape.entries.append(Entry(name, len(tape.entries) + 1, longest.entries[-1].at_ms, Dtmf("customer")))
        tape.shown += 1
    stage.later_s = 3.0
    page = opened("/", 1280)
    rows = page.locator("#live .call")
    expect(rows.locator("bdi.strong")).to_have_text(["Ana", "Ben", "Dev", "Cleo"])
    expect(rows.nth(0)).to_contain_text("Customer: If this is not solved today I want to speak to a supervisor.")
    expect(rows.nth(0)).to_contain_text("▲ high +1")
    expect(rows.nth(0).locator(".wait")).to_have_text("")
    expect(rows.nth(1).locator(".wait")).to_have_text(re.compile(r"Customer waits \d\d:\d\d · "))
    expect(rows.nth(2).locator(".wait")).to_have_text(re.compile("Silent for "))
    mood = rows.nth(0).locator(".spark.mood")
    expect(mood).to_have_attribute("aria-label", re.compile("Mood, last 3 minutes: very unhappy"))
    assert mood.locator("circle").count() == 9
    expect(rows.nth(0).locator(".spark.voice")).to_have_attribute("aria-label", re.compile("very tense"))
    expect(rows.nth(2).locator(".spark.mood")).to_have_attribute("aria-label", "Mood, last 3 minutes: not known")


def test_names_of_topics_that_do_not_come_hold_no_list_up(stage: Stage, opened: Open) -> None:
    stage.put(record("past"))
    stage.slow_s["topics"] = 15.0
    page = opened("/", 1280)
    expect(page.locator("#past .call")).to_contain_text("Camera fault", timeout=20_000)


def test_the_list_keeps_up_and_no_row_moves_under_a_pointer(stage: Stage, opened: Open) -> None:
    first = stage.put(entries := record("first", CAMERA[:20], metadata={"customer_name": "Ana"}), len(entries) - 1)
    stage.put(record("second", CAMERA[:2], metadata={"customer_name": "Ben"}, ended=False))
    page = opened("/", 1280)
    page.clock.install()
    live = page.locator("#live .call")
    expect(live.locator("bdi.strong")).to_have_text(["Ana", "Ben"])
    link = live.nth(0).get_by_text("Open")
    link.hover()
    link.focus()
    stage.put(record("third", CAMERA[:2], metadata={"customer_name": "Cleo"}, ended=False))
    first.shown += 1
    stage.readiness = {"ready": False, "draining": True, "level": 2}
    page.clock.run_for(3_500)
    expect(live.locator("bdi.strong")).to_have_text(["Ana", "Ben", "Cleo"])
    expect(live.nth(0)).to_contain_text("· 01:")
    expect(live.nth(0).get_by_text("Replay")).to_be_focused()
    expect(page.locator("#notices")).to_contain_text("The server is shutting down")
    expect(page.locator("#notices")).to_contain_text("Busy: only finished sentences are shown")
    for _ in range(10):
        page.clock.run_for(3_500)  # at rest
        page.wait_for_timeout(50)
    expect(live.locator("bdi.strong")).to_have_text(["Cleo", "Ben"])
    expect(page.locator("#past bdi.strong")).to_have_text(["Ana"])
    expect(page.locator("#past").get_by_text("Replay")).to_be_focused()


def test_a_long_call_stays_in_sight_however_many_come_after_it(stage: Stage, opened: Open) -> None:
    put_at_offer(stage, "long")
    for number in range(200):
        stage.put(record(f"past-{number}", CAMERA[:1], partials=False))
    page = opened("/", 1280)
    expect(page.locator("#past .call")).to_have_count(200)
    expect(page.locator("#live .call")).to_have_attribute("data-call", "long")
    expect(opened("/overlay?call=live").locator("#phase")).to_have_text("Live")
    expect(opened("/overlay?call=live&agent=Sam%20Field").locator("#phase")).to_have_text("Live")


# ---- room and contrast

AWKWARD: Final = {
    "customer_name": "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh Maria de los Ángeles",
    "agent": "שרה כהן",
    "queue": "Rückabwicklungsangelegenheitenüberprüfungsstelle",
    "language": "de",
}
LONG: Final = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
AWKWARD_LINES: Final = (
    Line("customer", LONG, -0.9, 0.9, "camera_fault", (("action", "x", LONG, LONG, LONG),), ("r", "high", LONG)),
    Line("agent", "مرحبا، كيف يمكنني مساعدتك اليوم؟ رقم الطلب 4711"),
    Line("customer", "הכרטיס שלי לא עובד (SIM)", -0.4, 0.6, "", (("article", "y", LONG, LONG, LONG),), steps=2),
)
CONTRAST: Final = """() => {
  const rgb = (colour) => {
    const n = colour.match(/[\\d.]+/g).map(Number);
    return n.length > 3 && n[3] === 0 ? null : n.slice(0, 3);
  };
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; // WCAG 2, relative luminance
  const light = (c) => c.map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = rgb(getComputedStyle(n).backgroundColor);
      if (c) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    const skip = !walk.currentNode.data.trim() || !node.checkVisibility();
    if (skip || node.closest("svg, option, script, noscript")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${walk.currentNode.data.trim().slice(0, 40)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 420, 1280])
def test_every_page_fits_and_can_be_read(stage: Stage, opened: Open, width: int, theme: str) -> None:
    put_at_offer(stage, "plain")
    stage.put(record("awkward", AWKWARD_LINES, metadata=AWKWARD, rough=True, ended=False))
    stage.put(record("past", AWKWARD_LINES, metadata=AWKWARD), sound=True)
    stage.put(record("past-2"), sound=True)
    overlays = [f"/overlay?call={call}" for call in ("plain", "awkward", "past&all")]
    for path in [*overlays, "/review?call=past-2", "/review?call=past", "/?"]:
        page = opened(f"{path}&theme={theme}", width)
        page.locator(".turn, .call").first.wait_for()
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than {width}"
        assert page.evaluate(CONTRAST) == [], path


def test_the_overlay_keeps_to_little_room(stage: Stage, opened: Open) -> None:
    """A laptop's height, and letters at twice their size."""
    stage.put(record("awkward", AWKWARD_LINES, metadata=AWKWARD, rough=True, ended=False))
    page = opened("/overlay?call=awkward", 400, 640)
    newest = page.locator("#transcript li").last
    expect(newest).to_be_in_viewport(ratio=1)
    covered = """(row) => { const { left, bottom } = row.getBoundingClientRect();
      return !row.contains(document.elementFromPoint(left + 30, bottom - 4)); }"""
    assert not newest.evaluate(covered), "something lies over the newest words"
    card(page, "first").focus()
    page.keyboard.press("ArrowDown")
    expect(card(page, "first").locator(".proof")).to_be_in_viewport(ratio=0.9)
    page.set_viewport_size({"width": 210, "height": 430})
    stage.refusing = True
    stage.drop()
    expect(page.locator("#behind")).not_to_be_empty()
    too_wide = """() => ["html", ".head .line", ".gauge", "#mood-words"].filter((part) => {
      const node = document.querySelector(part);
      return node.scrollWidth > node.clientWidth; })"""
    assert page.evaluate(too_wide) == []


def test_no_motion_where_none_is_wanted(stage: Stage, opened: Open) -> None:
    put_at_offer(stage)
    page = opened("/overlay?call=live")
    page.emulate_media(reduced_motion="reduce", color_scheme="dark")
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 23, 26)"
