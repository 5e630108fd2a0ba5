"""The pages' pure modules, asked directly in a real browser."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from playwright.sync_api import Page

from assist.events import encode
from tests.web.conftest import Open
from tests.web.fixture import Stage
from tests.web.recorded import record


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
            close() { setTimeout(() => this.onclose?.({ code: 1005 }), 1); }
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


ARRANGE: Final = """async ([shown, list, now, looking]) => {
  const { arrange } = await import("/web/slots.js");
  const all = list.map(([id, kind, at_ms, became = null]) =>
    [id, { id, ref: id, kind, at_ms, seq: at_ms, rank: 0, withdrawn: became === "withdrawn",
      mark: became === "withdrawn" ? null : became }]);
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
        (["old", None, None], [[*OLD, "withdrawn"]], 1_000, None, [None, None, None, 0]),
        (["old", None, None], [[*OLD, "withdrawn"]], 1_000, "next", ["old", None, None, 0]),  # not from under an eye
        ([None] * 3, [[*NEW, "withdrawn"]], 1_000, None, [None, None, None, 0]),
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


def test_roles_put_right_go_for_what_was_said_before_and_faults_come_and_go(stage: Stage, opened: Open) -> None:
    said = {"utterance": "u", "party": "customer", "start_ms": 0, "end_ms": 900, "text": "How can I help?"}
    told = [
        {"type": "Transcribed", "transcript": said},
        {"type": "ChannelFaulted", "kind": "crossed", "parties": ["customer"]},
        {"type": "ChannelFaulted", "kind": "dead", "parties": ["agent"]},
        {"type": "RolesSwapped", "utterance": "u", "quote": "How can I help?", "utterances": ["u"]},
        {"type": "ChannelMended", "kind": "dead", "parties": ["agent"]},
    ]
    entries = [{"call": "x", "seq": n, "at_ms": n, "event": event} for n, event in enumerate(told, 1)]
    got = ask(
        opened("/"),
        "state.js",
        """(async () => {
          const { fault } = await import("/web/words.js");
          const { turns, faults, swapped } = m.fold(given);
          return [turns.get("u").party, swapped, [...faults.values()].map(fault)];
        })()""",
        entries,
    )
    assert got == ["agent", True, ["Another voice echoes on the customer's channel: check who said what"]]


def test_cards_of_an_eager_final_go_with_it_unless_they_were_marked(stage: Stage, opened: Open) -> None:
    card = {"kind": "action", "ref": "r", "title": "t", "why": "w", "score": 1, "quote": "", "evidence": {}}
    told = [
        {
            "type": "Suggested",
            "utterance": "u1",
            "suggestions": [{**card, "id": "s1"}, {**card, "id": "s2", "ref": "q"}],
        },
        {"type": "Suggested", "utterance": "u2", "suggestions": [{**card, "id": "s3", "ref": "p"}]},
        {"type": "Marked", "suggestion": "s2", "ref": "q", "mark": "used"},
        {"type": "Withdrawn", "utterance": "u1"},
    ]
    given = [{"call": "c", "seq": n, "at_ms": n, "event": event, "latency_ms": {}} for n, event in enumerate(told, 1)]
    got = ask(opened("/"), "state.js", "[...m.fold(given).suggestions.values()].map((s) => [s.id, s.withdrawn])", given)
    assert got == [["s1", True], ["s2", False], ["s3", False]]


def test_waiting_grows_and_is_spread(stage: Stage, opened: Open) -> None:
    waits = ask(opened("/"), "log.js", "[0, 1, 2, 10].map((n) => [m.waitMs(n, () => 0), m.waitMs(n, () => 1)])")
    assert waits == [[125, 250], [250, 500], [500, 1000], [4000, 8000]]


def test_a_full_queue_of_marks_keeps_the_one_on_its_way(stage: Stage, opened: Open) -> None:
    got = ask(
        opened("/"),
        "marks.js",
        """new Promise((done) => {
          const sent = [];
          const refused = [];
          let answer;
          window.fetch = (_, { body }) => new Promise((go) => {
            sent.push(JSON.parse(body).suggestion);
            const status = sent.length > 1 ? 201 : 503;
            answer = () => go(new Response("{}", { status }));
            if (sent.length > 1) answer();
            if (sent.at(-1) === "s51") done([...sent.slice(0, 3), refused.length]);
          });
          const marks = new m.Marks("c", (why) => refused.push(why));
          for (let n = 0; n < 52; n += 1) marks.send(`s${n}`, "r", "used");
          answer();
        })""",
    )
    assert got == ["s0", "s0", "s3", 2]


def test_speech_overlap_and_silence(stage: Stage, opened: Open) -> None:
    said = [("agent", 0, 2_000), ("customer", 1_500, 4_000), ("agent", 9_000, 9_500), ("agent", 9_500, 10_000)]
    given = [{"party": party, "start_ms": start, "end_ms": end} for party, start, end in said]
    assert ask(opened("/"), "spans.js", "m.speech(given, 14000)", given) == {
        "agent": [[0, 2_000], [9_000, 10_000]],
        "customer": [[1_500, 4_000]],
        "overlap": [[1_500, 2_000]],
        "silence": [[4_000, 9_000], [10_000, 14_000]],
    }


FLOOR: Final = """async ([said, end_ms, speaking, more, at_ms]) => {
  const { need, wait } = await import("/web/floor.js");
  const call = { said: said && { party: said, text: "so", end_ms },
    speaking: Object.fromEntries(speaking.map((party) => [party, 0])), flags: [], sentiment: null, voices: [],
    faults: [], ...more };
  return [wait(call, at_ms), need(call, at_ms)];
}"""
HIGH, LOW = {"severity": "high"}, {"severity": "low"}


@pytest.mark.parametrize(
    ("said", "speaking", "more", "seconds", "expected"),
    [
        (None, [], {}, 60, ["", 0]),
        ("customer", [], {}, 4.9, ["", 0]),
        ("customer", [], {}, 5.2, ["Customer waits 5 s", 0]),
        ("customer", [], {}, 20, ["Customer waits 20 s", 2]),
        ("customer", ["agent"], {}, 40, ["", 0]),
        ("customer", ["customer"], {}, 40, ["", 0]),
        ("customer", [], {"paused": True}, 40, ["", 0]),
        ("customer", [], {"written": True}, 40, ["", 0]),
        ("agent", [], {}, 19, ["", 0]),
        ("agent", [], {}, 75, ["Silent for 01:15", 0]),
        ("agent", [], {"flags": [LOW, HIGH, LOW]}, 0, ["", 6]),
        ("agent", [], {"sentiment": -0.2, "voices": [{"score": 0.9}, {"score": 0.6}]}, 0, ["", 2]),
        ("agent", [], {"sentiment": -0.5, "voices": [{"score": 0.8}], "faults": ["crossed"]}, -3, ["", 7]),
    ],
)
def test_who_waits_and_who_needs_somebody_most(
    opened: Open, said: str | None, speaking: list[str], more: dict[str, Any], seconds: float, expected: list[Any]
) -> None:
    at_ms = 100_000
    asked = [said, at_ms - int(seconds * 1000), speaking, more, at_ms]
    assert opened("/").evaluate(FLOOR, asked) == expected
