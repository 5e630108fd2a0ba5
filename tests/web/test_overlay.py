"""The overlay of a live call in a real browser: words, cards, keys, marks and broken connections."""

from __future__ import annotations

import re
import time

from playwright.sync_api import expect

from assist.conversation import Stage as Firmness
from assist.conversation import Transcript
from assist.events import CallEnded, ChannelFaulted, Degraded, Dtmf, Entry, Faltered, Paused, Transcribed, Withdrawn
from tests.web.conftest import Open
from tests.web.fixture import Stage
from tests.web.recorded import CAMERA, METADATA, Recorder, in_order, record
from tests.web.seen import card, marks, put_at_offer, told, turns, until_card, wait_for


def test_a_panel_waits_for_a_call_that_is_not_there_yet(stage: Stage, opened: Open, forgiven: list[str]) -> None:
    forgiven += ["404"]
    page = opened("/overlay?call=soon")
    expect(page.locator("#phase")).to_have_text("Waiting")
    page.wait_for_timeout(2_500)  # the list is looked at
    stage.put(record("soon", ended=False))
    expect(page.locator("#phase")).to_have_text("Live")


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
    expect(page.locator("#notices .bad")).to_have_text("Connection lost, trying again")
    expect(page.locator(":not([role=status]) > #behind")).to_have_text(re.compile(r"^\d+ s behind$"))
    assert page.locator("[data-place=next] .card").bounding_box() == before, "the card jumped"
    tape.shown = len(tape.entries)
    stage.refusing = False
    expect(page.locator("#phase")).to_have_text("Ended", timeout=15_000)
    assert turns(page) == told(tape.entries)


def test_a_server_that_lost_its_tail_is_read_anew(stage: Stage, opened: Open) -> None:
    tape = put_at_offer(stage)
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    shorter = record("live", CAMERA[:3], ended=False)
    stage.put(shorter)
    assert len(shorter) < tape.shown
    stage.drop()
    wait_for(lambda: turns(page) == told(shorter), "the shorter log")


def test_a_log_that_a_crash_ended_elsewhere_is_read_anew(stage: Stage, opened: Open) -> None:
    """The page had heard as many entries as the log holds now; the last of them was another."""
    told_before = record("live", CAMERA[:3], ended=False)
    stage.put(told_before)
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    *kept, last = told_before
    stage.put([*kept, Entry("live", last.seq, last.at_ms, CallEnded("interrupted", last.at_ms, {}, {}))])
    stage.drop()
    expect(page.locator("#phase")).to_have_text("Ended")
    expect(page.locator("#notices")).to_contain_text("cut off by a server stop")
    assert stage.cursors == [0, last.seq, 0]


def test_newest_live_call_is_waited_for(stage: Stage, opened: Open) -> None:
    page = opened("/overlay?call=live")
    expect(page.locator("#place-next")).to_contain_text("Waiting for a call")
    stage.put(record("soon", CAMERA[:2], ended=False))
    expect(page.locator("#phase")).to_have_text("Live")
    expect(page.locator("#transcript li")).to_have_count(2)


def test_a_panel_goes_on_to_its_agents_next_call(stage: Stage, opened: Open, forgiven: list[str]) -> None:
    forgiven.append("503")
    entries = record("mine", CAMERA[:7])
    tape = stage.put(entries, len(entries) - 1)
    stage.put(record("other", CAMERA[:2], ended=False, metadata={"customer_name": "Otto", "agent": "Kim"}))
    page = opened("/overlay?agent=Sam%20Field")
    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    expect(page.locator("#caller")).to_have_text("Maria Lopez")
    page.wait_for_timeout(400)
    stage.refusing = True  # marks, that is; the socket that is open goes on
    page.keyboard.press("Enter")
    stage.stale.add("mine")
    tape.shown = len(entries)
    expect(page.locator("#phase")).to_have_text("Ended")
    stage.put(record("next", CAMERA[:2], ended=False, metadata={"customer_name": "Nora", "agent": "Sam Field"}))
    stage.tapes["mine"] = stage.tapes.pop("mine")  # listed before the next one
    page.wait_for_timeout(2_500)
    assert not loads, "a mark was left behind"
    page.keyboard.press("?")
    stage.refusing = False
    wait_for(lambda: marks(stage) == [("camera_fault/diagnose", "used")], "the mark")
    page.wait_for_timeout(2_500)
    assert not loads, "it went on while somebody read"
    page.keyboard.press("Escape")
    expect(page.locator("#caller")).to_have_text("Nora")
    expect(page.locator("#phase")).to_have_text("Live")
    assert len(loads) == 1


def test_what_was_heard_of_mood_long_ago_is_told_as_past(stage: Stage, opened: Open) -> None:
    tape = put_at_offer(stage)
    page = opened("/overlay?call=live", width=320)
    expect(page.locator("#mood-words")).to_have_text("very unhappy, worsening")
    later = tape.entries[: tape.shown]
    later.append(Entry("live", len(later) + 1, later[-1].at_ms + 7 * 60_000, Dtmf("customer")))
    stage.put(later)
    stage.drop()
    expect(page.locator("#mood-words")).to_have_text("was very unhappy, 7 min ago")
    expect(page.locator("#voice-words")).to_have_text("was tense, 7 min ago")
    assert page.locator("#mood-words").evaluate("(words) => words.scrollWidth <= words.clientWidth")


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
    expect(page.locator("#place-next")).to_contain_text("Paused")
    stage.tapes["live"].add(ChannelFaulted("dead", ("customer",)))
    expect(notices).to_contain_text("No sound from the customer's channel")
    stage.tapes["live"].add(CallEnded("bye", at_ms, {}, {}))
    expect(page.locator("#place-next")).to_contain_text("The call has ended")
    expect(notices).to_have_text("Rough text: check names and numbers")  # what was wrong then is not wrong now


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
    page.locator("#latency summary").click()
    page.keyboard.press("Escape")
    expect(page.locator("#stages")).not_to_be_visible()
    expect(card(page, "next").locator("h2")).to_have_text("Offer replacement within 30 days")
    card(page, "next").locator(".why").click()
    expect(card(page, "next").locator(".proof")).to_be_visible()
    page.locator(".foot").hover()
    expect(card(page, "next").locator(".proof")).not_to_be_visible()
    page.locator("#shortcuts").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("article", name="Offer replacement within 30 days")).to_be_focused()
    expect(card(page, "next").locator(".proof")).to_contain_text("Customer 01:")
    page.keyboard.press("ArrowDown")
    expect(card(page, "first")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#article-body li")).to_have_count(5)
    expect(page.locator("#article-body h3")).to_have_text("Steps")
    expect(page.get_by_role("group", name="Camera shows black screen in video calls")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("group", name="Words")).to_be_visible()
    expect(page.locator("#article")).not_to_be_visible()
    expect(card(page, "first")).to_be_visible()
    card(page, "first").locator("[data-what=used]").click()
    card(page, "second").locator("[data-what=not_useful]").click()
    wait_for(lambda: len(stage.marks) == 3, "three marks")
    replacing, screen = "replacement-within-30-days", "camera-black-screen-video-calls"
    assert marks(stage) == [(replacing, "opened"), (replacing, "used"), (screen, "not_useful")]
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_an_article_that_comes_late_does_not_take_the_place_of_the_next(stage: Stage, opened: Open) -> None:
    put_at_offer(stage)
    replacing, screen = "replacement-within-30-days", "camera-black-screen-video-calls"
    stage.slow_s[replacing] = 1.0
    stage.articles[replacing] = {"title": "Replacing"}
    page = opened("/overlay?call=live")
    expect(card(page, "second")).to_have_attribute("data-ref", screen)
    page.wait_for_timeout(400)
    with page.expect_response(f"**/articles/{replacing}"):
        card(page, "first").locator("[data-what=open]").click()
        page.keyboard.press("Escape")
        card(page, "second").locator("[data-what=open]").click()
    page.wait_for_timeout(200)
    expect(page.locator("#article-title")).to_have_text("Camera shows black screen in video calls")


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


def test_a_row_ends_as_its_final_does(stage: Stage, opened: Open) -> None:
    recorder = Recorder("live")
    recorder.start(METADATA)
    steps: tuple[tuple[int, str, str, Firmness], ...] = (
        (900, "u1", "hel", "partial"),
        (950, "u2", "what", "partial"),
        (1_000, "u1", "", "final"),
        (1_100, "u2", "what now", "final"),
        (1_200, "u2", "something else", "partial"),
        (1_300, "u3", "", "final"),
        (1_400, "u4", "are you", "partial"),
    )
    for at_ms, utterance, text, firmness in steps:
        said = Transcript(utterance, "customer", {"u1": 500}.get(utterance, 800), at_ms, text, stage=firmness)
        recorder.tell(at_ms, Transcribed(said))
    recorder.tell(1_500, Faltered("recogniser", "recogniser_failed", "no", "u4"))
    stage.put(in_order(recorder.entries))
    page = opened("/overlay?call=live")
    expect(page.locator("#phase")).to_have_text("Live")
    assert turns(page) == [("u2", "final", "what now"), ("u4", "lost", "are you")]
    shown = "getComputedStyle(document.querySelector('[data-utterance=u4] p'), '::after').content"
    assert "not understood" in page.evaluate(shown), "it looks as if it were still being said"
