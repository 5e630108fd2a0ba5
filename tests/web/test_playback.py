"""Past calls in a real browser: replay in step with the sound, and the review of flagged calls."""

from __future__ import annotations

from playwright.sync_api import expect

from assist.conversation import Transcript
from assist.events import Entry, Flagged, Transcribed
from tests.web.conftest import Open
from tests.web.fixture import Stage
from tests.web.recorded import CAMERA, Line, finals, in_order, record
from tests.web.seen import card, sound_s, told, turns, wait_for


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


def test_a_past_call_without_sound_is_found_after_a_bad_start(stage: Stage, opened: Open, forgiven: list[str]) -> None:
    forgiven += ["503", "404"]
    entries = record("past")
    stage.put(entries)
    for number in range(200):
        stage.put(record(f"later-{number}", CAMERA[:1], partials=False))
    stage.refusing = True
    page = opened("/overlay?call=past")
    expect(page.locator("#phase")).to_have_text("Not connected")
    stage.refusing = False
    expect(page.locator("#phase")).to_have_text("Recording")
    expect(page.locator("#notices")).to_contain_text("The recording is missing or damaged")
    assert turns(page) == told(entries)


def test_a_very_long_call_is_there_to_its_end(stage: Stage, opened: Open) -> None:
    """Its log comes in more than one answer."""
    first, *rest = record("past")
    said = Transcript("u-long", "customer", 0, 400, "well", stage="partial")
    entries = in_order([first, *(Entry("past", 0, 300, Transcribed(said)) for _ in range(20_000)), *rest])
    stage.put(entries, sound=True)
    review = opened("/review?call=past&rule=escalation", 1280)
    expect(review.locator("#evidence")).to_contain_text("speak to a supervisor")
    assert review.locator("#transcript li").count() == len(list(finals(entries))) + 1
    page = opened("/overlay?call=past&all")
    expect(page.locator("#transcript li").last).to_contain_text("Thank you for calling Northgate, goodbye.")


def test_a_flagged_call_opens_at_its_evidence_and_takes_a_verdict(stage: Stage, opened: Open) -> None:
    entries = record("past")
    stage.put(entries, sound=True)
    stage.put(record("worse", CAMERA[:2], metadata={"customer_name": "No flag"}), sound=True)
    flags = {e.event.flag.rule: e.event.flag for e in entries if isinstance(e.event, Flagged)}
    asked = flags["escalation"].evidence
    page = opened("/review", 1280, 640)
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
    page.evaluate(
        "document.getElementById('scroller').scrollTop -= 200"
    )  # a wheel's scroll would glide on past the key
    expect(page.locator("#newest")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("#evidence")).to_contain_text("very unhappy")
    expect(page.locator("#newest")).not_to_be_visible()
    wait_for(lambda: abs(sound_s(page) - flags["very_negative"].evidence.start_ms / 1000) < 1.5, "the other flag")
    page.keyboard.press("l")
    expect(page.locator("#evidence")).to_contain_text("supervisor")
    page.get_by_label("Praise").focus()
    page.keyboard.press("Alt+5")
    assert page.locator("[name=score]:checked").count() == 0, "that key was the browser's"
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


def flagged(call: str) -> list[Entry]:
    """A call whose only flag is of its own words."""
    lines = [Line("agent", "How can I help?"), Line("customer", f"I leave {call}", flag=("leaves", "high", "Leaving"))]
    return record(call, lines, metadata={"customer_name": call.title()})


def test_a_reviewer_goes_through_the_queue(stage: Stage, opened: Open, forgiven: list[str]) -> None:
    """Each call with its own evidence and its own sound, or word of why there is none."""
    forgiven += ["404", "500", "503"]
    stage.put(flagged("slow"), sound=True)
    stage.slow_s["slow"] = 2.0
    stage.put(flagged("silent"))
    damaged = stage.put(flagged("damaged"), sound=True).wav
    assert damaged
    damaged.write_bytes(b"RIFF and no more")
    stage.put(flagged("no peaks"), sound=True).peaks = []
    stage.refusing = True
    page = opened("/review", 1280)
    expect(page.locator("#no-queue")).to_contain_text("The queue cannot be loaded")
    stage.refusing = False
    expect(page.locator("#queue .item")).to_have_count(4)
    item, evidence, trouble = page.locator("[data-call=slow]"), page.locator("#evidence"), page.locator("#trouble")
    item.click()
    expect(evidence).to_contain_text("I leave slow")
    assert page.evaluate("document.getElementById('audio').readyState") == 0, "there is sound already"
    expect(page.locator("#transcript [aria-current]")).to_contain_text("I leave slow")
    expect(item).to_be_focused()
    expect(item).to_have_attribute("aria-current", "page")
    wait_for(lambda: sound_s(page) > 2, "the sound to play on from the evidence")
    page.locator("#next").click()
    expect(trouble).to_have_text("There is no recording of this call.")
    expect(evidence).to_contain_text("I leave silent")
    assert page.evaluate("document.getElementById('audio').networkState") == 0, "another call's sound is there"
    assert page.evaluate("document.getElementById('audio').paused")
    page.keyboard.press("j")
    page.locator("#next").click()
    expect(evidence).to_contain_text("I leave damaged")
    expect(trouble).to_have_text("The recording of this call cannot be played.")
    page.locator("#next").click()
    expect(evidence).to_contain_text("I leave no peaks")
    expect(trouble).to_have_text("The recording cannot be read: a damaged record")
    live = flagged("live")[:-1]
    stage.put(live)
    page.locator("#next").click()
    expect(evidence).to_contain_text("I leave live")  # the queue was looked at anew, and gone round
    expect(page.locator("#about")).to_contain_text(f"00:0{live[-1].at_ms // 1000}, still live")
    starts = next(e.event.flag.evidence.start_ms for e in live if isinstance(e.event, Flagged))
    at = float(page.locator("#pins .pin").evaluate("(pin) => parseFloat(pin.style.insetInlineStart)"))
    assert abs(at - 100 * starts / live[-1].at_ms) < 1


def test_a_verdict_that_was_not_kept_at_once(stage: Stage, opened: Open, forgiven: list[str]) -> None:
    forgiven.append("503")
    stage.put(flagged("one"))
    stage.put(flagged("two"))
    forgiven.append("404")
    page = opened("/review?call=one", 1280)
    page.get_by_label("Coach").check()
    page.get_by_label("Your name").fill("Ana")
    stage.review_refused = "store_failed"
    page.locator("#file").click()
    expect(page.locator("#kept")).to_contain_text("no need to file it again")
    expect(page.locator("#reviews li")).to_have_count(1)
    page.get_by_label("Praise").check()
    stage.review_refused = "draining"
    stage.slow_s["reviews"] = 1.0
    page.locator("#file").click()
    expect(page.locator("#kept")).to_have_text("Filing…")
    expect(page.locator("#file")).to_be_focused()
    page.locator("[data-call=two]").click()
    expect(page.locator("#title")).to_contain_text("Two")
    expect(page.locator("#kept")).to_have_text("One: ✕ Not kept: it refuses")


def test_an_address_opens_a_flag(stage: Stage, opened: Open) -> None:
    stage.put(record("past"), sound=True)
    page = opened("/review?call=past&rule=very_negative", 1280)
    expect(page.locator("#pins [aria-current=true]")).to_have_attribute("data-rule", "very_negative")
    wait_for(lambda: sound_s(page) > 60, "the evidence")
    assert page.evaluate("document.getElementById('audio').paused"), "sound starts by a person's hand"


def test_flags_of_the_same_moment_can_all_be_reached(stage: Stage, opened: Open) -> None:
    lines = [Line("customer", f"I leave {n}", flag=(f"rule_{n}", "low", f"reason {n}")) for n in range(4)]
    stage.put(record("past", lines, metadata={"customer_name": "Four flags"}), sound=True)
    page = opened("/review?call=past", 320)
    expect(page.locator("#pins .pin")).to_have_count(4)
    for n in range(4):
        page.locator(f"#pins [data-rule=rule_{n}]").click()
        expect(page.locator("#evidence")).to_contain_text(f"reason {n}")
