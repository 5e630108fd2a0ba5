"""The pages in a real browser over recorded calls: what people see, press and hear.

They know no inside of a page but its ids, and the few pure modules that can be asked directly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from assist.audio import Party
from assist.conversation import Stage as Firmness
from assist.conversation import Transcript
from assist.events import Degraded, Entry, Faltered, Flagged, Paused, Suggested, Transcribed, Withdrawn, encode
from tests.web.conftest import Open
from tests.web.fixture import Stage, Tape
from tests.web.recorded import CAMERA, METADATA, Card, Line, Recorder, finals, in_order, record

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


def card(page: Page, place: str) -> Any:
    return page.locator(f"[data-place={place}] .card")


# ---- the overlay, live


def test_words_card_and_chart_point_are_there(stage: Stage, opened: Open) -> None:
    tape = put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    expect(page.locator("#caller")).to_have_text("Maria Lopez")
    expect(page.locator("#topic")).to_have_text("Camera not working")
    expect(card(page, "next").locator("h2")).to_have_text("Offer replacement within 30 days")
    expect(card(page, "next").locator(".why")).to_have_text("because: “bought it seven days ago”")
    expect(card(page, "first").locator("h2")).to_have_text("Replacing a faulty device within 30 days")
    expect(page.locator(".card.article")).to_have_count(2)
    expect(page.locator("#voice circle").last).to_have_attribute("data-score", "0.72")
    assert float(page.locator("#mood circle").last.get_attribute("data-score") or 0) < -0.4
    expect(page.locator("#mood-words")).to_have_text("very unhappy, worsening")
    expect(page.locator("#voice-words")).to_have_text("tense, rising")
    expect(page.locator("#playbook [data-step=offer]")).to_have_attribute("aria-current", "step")
    assert turns(page) == told(tape.seen)
    page.click("#latency summary")
    expect(page.locator("#stages [data-stage=asr] td")).to_have_text("212 ms")


def test_partial_words_are_paler_and_replaced(stage: Stage, opened: Open) -> None:
    entries = record("live", CAMERA[:2])
    tape = stage.put(entries, shown=1)
    page = opened("/overlay?call=live")
    expect(page.locator("#place-next")).to_contain_text("Listening")
    expect(page.locator("#no-words")).to_contain_text("No words yet")
    seen: list[str] = []
    for entry in entries[1:]:
        tape.shown = entry.seq
        if isinstance(entry.event, Transcribed):
            said = entry.event.transcript
            row = page.locator(f"[data-utterance={said.utterance}]")
            expect(row.locator("p")).to_have_text(said.text)
            expect(row).to_have_attribute("data-stage", said.stage)
            seen.append(said.stage)
        elif isinstance(entry.event, Withdrawn):
            expect(page.locator("#transcript li").last).to_have_attribute("data-stage", "partial")
    assert set(seen) == {"partial", "speculative", "final"}
    expect(page.locator("#transcript li")).to_have_count(2)
    expect(page.locator("#phase")).to_have_text("Ended")


def test_a_dropped_connection_leaves_no_gap_and_no_double(stage: Stage, opened: Open) -> None:
    entries = record("live")
    tape = stage.put(entries, shown=20)
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    stage.pace(tape, speed=25)
    for _ in range(4):
        time.sleep(0.6)
        stage.drop()
    expect(page.locator("#phase")).to_have_text("Ended", timeout=20_000)
    assert turns(page) == told(entries)
    assert len(stage.cursors) >= 4, "the connection was never broken"
    assert stage.cursors == sorted(stage.cursors)
    assert stage.cursors[0] == 0 < stage.cursors[1]


def test_while_away_it_says_so_and_how_far_behind(stage: Stage, opened: Open) -> None:
    tape = put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    before = page.locator("[data-place=next] .card").bounding_box()
    stage.refusing = True
    stage.drop()
    expect(page.locator("#phase")).to_have_text("Not connected")
    expect(page.locator("#notices .bad")).to_contain_text("s behind")
    assert page.locator("[data-place=next] .card").bounding_box() == before, "the card jumped"
    tape.shown = len(tape.entries)
    stage.refusing = False
    expect(page.locator("#phase")).to_have_text("Ended", timeout=15_000)
    assert turns(page) == told(tape.entries)


def test_the_socket_never_passes_on_a_hole_or_a_double(stage: Stage, opened: Open) -> None:
    page = opened("/")
    got = page.evaluate(
        """async () => {
          const { LogSocket } = await import("/web/log.js");
          const scripts = [[1, 2, 2, 4], [3, 3, 4, 5]];
          const asked = [];
          window.WebSocket = class {
            constructor(address) {
              asked.push(address);
              const script = scripts[asked.length - 1];
              setTimeout(() => script.forEach((seq) => this.onmessage({ data: JSON.stringify(
                { seq, event: { type: seq === 5 ? "CallEnded" : "Dtmf" } }) })), 5);
            }
            close() { setTimeout(() => this.onclose?.(), 1); }
          };
          const seen = [];
          await new Promise((done) => new LogSocket((after) => after, {
            entry: (entry) => seen.push(entry.seq), clock() {}, reset() {},
            status: ({ phase }) => { if (phase === "ended") done(); },
          }));
          return { seen, asked };
        }"""
    )
    assert got == {"seen": [1, 2, 3, 4, 5], "asked": [0, 2]}


def test_a_server_that_lost_its_tail_is_read_anew(stage: Stage, opened: Open) -> None:
    tape = put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    shorter = record("live", CAMERA[:3], ended=False)
    stage.put(shorter)
    assert len(shorter) < tape.shown
    stage.drop()
    wait_for(lambda: turns(page) == told(shorter), "the shorter log")


def test_newest_live_call_is_waited_for(stage: Stage, opened: Open) -> None:
    page = opened("/overlay?call=live")
    expect(page.locator("#place-next")).to_contain_text("Waiting for a call")
    stage.put(record("soon", CAMERA[:2], ended=False))
    expect(page.locator("#phase")).to_have_text("Live")
    expect(page.locator("#transcript li")).to_have_count(2)


def test_notices_say_what_to_trust(stage: Stage, opened: Open) -> None:
    entries = record("live", CAMERA[:4], rough=True, ended=False)
    at_ms = entries[-1].at_ms
    for event in (Degraded(2, ("partials",)), Faltered("stress", "analyser_failed", "no"), Paused("card payment")):
        entries.append(Entry("live", len(entries) + 1, at_ms, event))
    stage.put(entries)
    page = opened("/overlay?call=live", width=320)
    notices = page.locator("#notices")
    expect(notices).to_contain_text("Rough text: check names and numbers")
    expect(notices).to_contain_text("only finished sentences")
    expect(notices).to_contain_text("Not working now: voice")
    expect(notices).to_contain_text("Paused (card payment): nothing is heard or kept")


# ---- the overlay, keys and marks


def marks(stage: Stage) -> list[tuple[str, str]]:
    return [(mark.ref, mark.mark) for mark in stage.marks]


def test_one_key_does_and_one_key_dismisses(stage: Stage, opened: Open) -> None:
    put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(card(page, "next").locator("h2")).to_have_text("Offer replacement within 30 days")
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    wait_for(lambda: marks(stage) == [("offer_replacement", "used")], "the mark")
    expect(card(page, "next").locator("h2")).to_have_text("Find the cause")
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert len(stage.marks) == 1, "a key pressed at once belongs to the card that stood there"
    page.wait_for_timeout(400)
    page.keyboard.press("Escape")
    wait_for(lambda: marks(stage)[1:] == [("camera_fault/diagnose", "dismissed")], "the second mark")
    expect(page.locator("#place-next")).to_contain_text("Listening for what comes next")
    page.reload()
    expect(page.locator("#phase")).to_have_text("Live")
    expect(page.locator("#place-next .empty")).to_be_visible()


def test_an_article_opens_and_is_marked(stage: Stage, opened: Open) -> None:
    put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(card(page, "second")).to_be_visible()
    page.wait_for_timeout(400)
    page.keyboard.press("ArrowDown")
    expect(card(page, "next")).to_be_focused()
    expect(card(page, "next").locator(".proof")).to_contain_text("Customer 01:")
    page.keyboard.press("ArrowDown")
    expect(card(page, "first")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#article-body li")).to_have_count(5)
    expect(page.locator("#article-body h3")).to_have_text("Steps")
    page.keyboard.press("Escape")
    expect(page.locator("#article")).not_to_be_visible()
    expect(card(page, "first")).to_be_visible()
    card(page, "first").locator("[data-what=used]").click()
    card(page, "second").locator("[data-what=not_useful]").click()
    wait_for(lambda: len(stage.marks) == 3, "three marks")
    replacing, screen = "replacement-within-30-days", "camera-black-screen-video-calls"
    assert marks(stage) == [(replacing, "opened"), (replacing, "used"), (screen, "not_useful")]
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_a_mark_made_while_away_is_sent_later(stage: Stage, opened: Open, forgiven: list[str]) -> None:
    forgiven.append("503")
    put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(card(page, "next")).to_be_visible()
    page.wait_for_timeout(400)
    stage.refusing = True
    with page.expect_response("**/marks") as refused:
        page.keyboard.press("Enter")
    assert refused.value.status == 503
    expect(card(page, "next").locator("h2")).to_have_text("Find the cause")  # the agent need not wait for it
    assert marks(stage) == []
    stage.refusing = False
    wait_for(lambda: marks(stage) == [("offer_replacement", "used")], "the mark")


def test_a_card_under_the_pointer_stays(stage: Stage, opened: Open) -> None:
    tape = put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(card(page, "next")).to_be_visible()
    card(page, "next").hover()
    tape.shown = until_card(tape.entries, "escalation")
    expect(card(page, "next").locator(".waiting")).to_have_text("2 more waiting")
    expect(card(page, "next").locator("h2")).to_have_text("Offer replacement within 30 days")


ARRANGE: Final = """async ([shown, list, now, looking]) => {
  const { arrange } = await import("/web/slots.js");
  const all = list.map(([id, kind, at_ms, mark = null]) =>
    [id, { id, ref: id, kind, at_ms, seq: at_ms, rank: 0, mark }]);
  const places = Object.fromEntries(["next", "first", "second"].map((place, i) =>
    [place, shown[i] ? { id: shown[i], since_ms: 0 } : null]));
  const { shown: after, waiting } = arrange(places, new Map(all), now, looking);
  return [...["next", "first", "second"].map((place) => after[place]?.id ?? null), waiting];
}"""
OLD, NEW, ARTICLE_A, ARTICLE_B, ARTICLE_C = (
    ["old", "action", 1],
    ["new", "action", 900],
    ["a", "article", 1],
    ["b", "article", 2],
    ["c", "article", 900],
)


@pytest.mark.parametrize(
    ("shown", "cards", "now_ms", "looking", "after"),
    [
        ([None] * 3, [OLD, ARTICLE_A, ARTICLE_B], 10, None, ["old", "b", "a", 0]),
        (["old", None, None], [OLD, NEW], 1_000, None, ["old", None, None, 1]),  # not yet read
        (["old", None, None], [OLD, NEW], 7_000, None, ["new", None, None, 1]),
        (["old", None, None], [OLD, NEW], 7_000, "next", ["old", None, None, 1]),  # is being read
        (["old", None, None], [[*OLD, "dismissed"], NEW], 1_000, None, ["new", None, None, 0]),
        (["old", None, None], [OLD, ["x", "alert", 5]], 7_000, None, ["x", None, None, 1]),  # alerts go first
        ([None, "a", "b"], [ARTICLE_A, ARTICLE_B, ARTICLE_C], 7_000, None, [None, "c", "b", 0]),
        ([None, "a", "b"], [ARTICLE_A, ARTICLE_B, ARTICLE_C], 7_000, "second", [None, "a", "b", 0]),
        ([None, "a", None], [ARTICLE_A, ARTICLE_C], 100, "first", [None, "a", "c", 0]),  # a free place below
        ([None, None, "b"], [ARTICLE_B, ARTICLE_C], 100, "second", [None, None, "b", 0]),  # would push what is read
        ([None] * 3, [OLD], 200_000, None, [None, None, None, 0]),  # too old to bring up
    ],
)
def test_cards_take_free_places_and_never_jump(
    stage: Stage, opened: Open, shown: list[str | None], cards: list[Any], now_ms: int, looking: str, after: list[Any]
) -> None:
    assert opened("/").evaluate(ARRANGE, [shown, cards, now_ms, looking]) == after


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


# ---- long calls, past calls


def test_four_thousand_turns_stay_fast(stage: Stage, opened: Open) -> None:
    parties: tuple[Party, Party] = ("customer", "agent")
    lines = [Line(parties[n % 2], f"turn {n} " + "word " * (n % 23), -0.1, 0.2) for n in range(4_000)]
    entries = record("long", lines, ended=False, partials=False)
    tape = stage.put(entries, len(entries) - 40)
    began = time.monotonic()
    page = opened("/overlay?call=long")
    expect(page.locator("#phase")).to_have_text("Live", timeout=15_000)
    assert page.locator("#transcript li").count() > 3_900
    expect(page.locator("#transcript li").last).to_be_in_viewport()
    assert time.monotonic() - began < 10, "too slow to load, even for a busy machine"
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


def sound_s(page: Page) -> float:
    return float(page.evaluate("document.getElementById('audio').currentTime"))


def test_a_past_call_replays_in_step_with_its_sound(stage: Stage, opened: Open) -> None:
    entries = record("past")
    stage.put(entries, sound=True)
    page = opened("/overlay?call=past")
    expect(page.locator("#phase")).to_have_text("Recording")
    expect(page.locator("#transcript li")).to_have_count(0)
    for at_s in (30.0, 80.0, 12.0):
        page.evaluate("(at) => { document.getElementById('audio').currentTime = at; }", at_s)
        known = [e for e in entries if e.at_ms <= at_s * 1000]
        shown = {e.event.transcript.utterance for e in known if isinstance(e.event, Transcribed)}
        expect(page.locator("#transcript li")).to_have_count(len(shown))
    page.evaluate("document.getElementById('audio').currentTime = 80")
    expect(card(page, "next")).to_be_visible()
    assert page.locator("[data-what=do]").count() == 0, "what is past cannot be done"
    said = list(finals(entries))[6]
    page.locator(f"[data-utterance={said.utterance}]").click()
    wait_for(lambda: sound_s(page) >= said.start_ms / 1000, "the sound")
    assert abs(sound_s(page) - said.start_ms / 1000) < 1.5
    expect(page.locator(f"[data-utterance={said.utterance}]")).to_have_attribute("aria-current", "true")
    page.keyboard.press("Space")
    page.locator("#show-all").check()
    assert turns(page) == told(entries)


# ---- review


def test_a_flagged_call_opens_at_its_evidence_and_takes_a_verdict(stage: Stage, opened: Open) -> None:
    entries = record("past")
    stage.put(entries, sound=True)
    stage.put(record("worse", CAMERA[:2], metadata={"customer_name": "No flag"}), sound=True)
    flags = {e.event.flag.rule: e.event.flag for e in entries if isinstance(e.event, Flagged)}
    asked = flags["escalation"].evidence
    page = opened("/review", 1280)
    expect(page.locator("#queue .item")).to_have_count(1)
    expect(page.locator("#queue .item")).to_contain_text("The customer asked for a supervisor")
    page.locator("#queue .item").click()
    expect(page.locator("#evidence")).to_contain_text("speak to a supervisor")
    starts_s = asked.start_ms / 1000 - 0.3
    wait_for(lambda: sound_s(page) > starts_s, "the sound to play on from the evidence")
    assert sound_s(page) < starts_s + 2
    expect(page.locator(f"[data-utterance={asked.utterance}]")).to_have_attribute("aria-current", "true")
    page.keyboard.press("Space")
    assert page.evaluate("document.getElementById('audio').paused")
    expect(page.locator("#pins .pin")).to_have_count(2)
    assert page.locator("#bands rect[data-score='-0.85']").count() == 1
    page.keyboard.press("j")
    expect(page.locator("#evidence")).to_contain_text("very unhappy")
    wait_for(lambda: abs(sound_s(page) - flags["very_negative"].evidence.start_ms / 1000) < 1.5, "the other flag")
    page.keyboard.press("l")
    expect(page.locator("#evidence")).to_contain_text("supervisor")
    page.keyboard.press("4")
    page.locator("#wave").click(position={"x": 10, "y": 20})
    wait_for(lambda: sound_s(page) < 5, "the beginning")
    page.get_by_label("Coach").check()
    page.get_by_label("Comment").fill("Offer it sooner: 3 j l")
    page.get_by_label("Your name").fill("Ana")
    page.locator("#file").click()
    expect(page.locator("#kept")).to_have_text("✓ Verdict kept.")
    [review] = stage.reviews
    assert (review.verdict, review.score, review.rule) == ("coach", 4, "escalation")
    assert (review.comment, review.reviewer) == ("Offer it sooner: 3 j l", "Ana")
    expect(page.locator("#queue .item")).to_contain_text("✓ coach")
    expect(page.locator("#reviews li")).to_contain_text("Offer it sooner")


def test_an_address_opens_a_flag(stage: Stage, opened: Open) -> None:
    stage.put(record("past"), sound=True)
    page = opened("/review?call=past&rule=very_negative", 1280)
    expect(page.locator("#pins [aria-current]")).to_have_attribute("data-rule", "very_negative")
    wait_for(lambda: sound_s(page) > 60, "the evidence")
    assert page.evaluate("document.getElementById('audio').paused"), "sound starts by a person's hand"


def test_the_list_of_calls(stage: Stage, opened: Open) -> None:
    stage.put(record("past"), sound=True)
    put_at_offer(stage)
    page = opened("/", 1280)
    expect(page.locator("#live .call")).to_have_count(1)
    expect(page.locator("#past .call")).to_contain_text("Camera not working")
    page.locator("#past .call").get_by_text("Replay").click()
    expect(page.locator("#phase")).to_have_text("Recording")


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
        page.locator('.turn, .call').first.wait_for()
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than {width}"
        assert page.evaluate(CONTRAST) == [], path


def test_no_motion_where_none_is_wanted(stage: Stage, opened: Open) -> None:
    put_at_offer(stage)
    page = opened("/overlay?call=live")
    page.emulate_media(reduced_motion="reduce", color_scheme="dark")
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 23, 26)"


# ---- the pure parts


def ask(page: Page, module: str, expression: str, given: Any = None) -> Any:
    script = f"async (given) => {{ const m = await import('/web/{module}'); return {expression}; }}"
    return page.evaluate(script, given)


def test_the_state_is_the_same_however_the_log_arrives(stage: Stage, opened: Open) -> None:
    entries = record("x")
    raw = [json.loads(encode(entry)) for entry in entries]
    got = ask(
        opened("/"),
        "state.js",
        """(() => {
          const plain = (s) => JSON.stringify(
            [s.order, [...s.turns], s.sentiment, s.stress, [...s.suggestions], s.playbook, s.flags, s.latency]);
          const whole = plain(m.fold(given));
          return given.filter((_, n) => n % 17 === 0)
            .every((_, n) => plain(m.fold(given.slice(n * 17), m.fold(given.slice(0, n * 17)))) === whole);
        })()""",
        raw,
    )
    assert got is True


def test_an_empty_final_takes_its_row_away_and_a_final_never_changes(stage: Stage, opened: Open) -> None:
    recorder = Recorder("live")
    recorder.start(METADATA)
    steps: tuple[tuple[int, str, str, Firmness], ...] = (
        (900, "u1", "hel", "partial"),
        (950, "u2", "what", "partial"),
        (1_000, "u1", "", "final"),
        (1_100, "u2", "what now", "final"),
        (1_200, "u2", "something else", "partial"),
        (1_300, "u3", "", "final"),
    )
    for at_ms, utterance, text, firmness in steps:
        said = Transcript(utterance, "customer", {"u1": 500}.get(utterance, 800), at_ms, text, stage=firmness)
        recorder.tell(at_ms, Transcribed(said))
    stage.put(in_order(recorder.entries))
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    assert turns(page) == [("u2", "final", "what now")]


def test_waiting_grows_and_is_spread(stage: Stage, opened: Open) -> None:
    waits = ask(opened("/"), "log.js", "[0, 1, 2, 10].map((n) => [m.waitMs(n, () => 0), m.waitMs(n, () => 1)])")
    assert waits == [[125, 250], [250, 500], [500, 1000], [4000, 8000]]


def test_speech_overlap_and_silence(stage: Stage, opened: Open) -> None:
    said = [("agent", 0, 2_000), ("customer", 1_500, 4_000), ("agent", 9_000, 9_500), ("agent", 9_500, 10_000)]
    given = [{"party": party, "start_ms": start, "end_ms": end} for party, start, end in said]
    assert ask(opened("/"), "spans.js", "m.speech(given, 14000)", given) == {
        "agent": [[0, 2_000], [9_000, 10_000]],
        "customer": [[1_500, 4_000]],
        "overlap": [[1_500, 2_000]],
        "silence": [[4_000, 9_000], [10_000, 14_000]],
    }
