// The floor: live calls, who needs help most first, and past ones. Its words change as they come; its rows do not
// move while somebody looks.

import { FOLLOWED, spark, trend } from "./charts.js";
import { $, el, say, settle, svg } from "./dom.js";
import { need, wait } from "./floor.js";
import * as routes from "./routes.js";
import { caller, clock, degraded, ending, faultName, mood, party, plain, severity, when } from "./words.js";

const LOOK_AGAIN_MS = 3_000;
const LOOKS_FOR_MS = 30_000; // a pointer or focus this long at rest reads nothing
const RANK = { high: 0, medium: 1, low: 2 };
const CHARTS = { mood: "moods", voice: "voices" }; // what is followed -> its points in a summary

const worst = (flags) => [...flags].sort((a, b) => RANK[a.severity] - RANK[b.severity])[0];

const main = document.querySelector("main");
const rows = new Map(); // call -> {item, drawn}
let stirredAt = -Infinity;
for (const kind of ["pointermove", "pointerdown", "keydown"])
  addEventListener(kind, () => (stirredAt = performance.now()), { passive: true });

const chart = (what) => svg("svg", { class: `spark ${what}`, role: "img" });

function row(call, topics) {
  const { metadata, ended, flags, faults, said } = call;
  const [flag, more] = [worst(flags), flags.length - 1];
  return el(
    "li",
    { class: "call", data: { call: call.call } },
    el("span", { class: ended ? "dot" : "dot on", "aria-hidden": "true" }),
    el(
      "span",
      {},
      el("bdi", { class: "strong" }, caller(metadata) || call.call),
      metadata.agent && el("span", { class: "pale" }, " with ", el("bdi", {}, metadata.agent)),
    ),
    el(
      "span",
      { dir: "auto" },
      call.topic ? (topics[call.topic] ?? plain(call.topic)) : "No topic yet",
      call.sentiment !== null && el("span", { class: "pale" }, ` · ${mood(call.sentiment)}`),
      !ended &&
        said &&
        el(
          "span",
          { class: "said", title: said.text },
          el("span", { class: `who ${said.party}` }, `${party(said.party)}: `),
          el("bdi", {}, said.text),
        ),
    ),
    el("span", { class: "charts" }, ...(ended ? [] : Object.keys(CHARTS).map(chart))),
    el(
      "span",
      { class: "pale" },
      flag &&
        el("span", { class: "flagged" }, `${severity[flag.severity]} ${flag.severity}${more ? ` +${more}` : ""} · `),
      ...[...new Set(faults)].map((kind) => el("span", { class: "flagged" }, `Sound: ${faultName(kind)} · `)),
      !ended && el("span", { class: "wait" }),
      when(call.started_at),
      ended && ` · ${clock(call.duration_ms)}`,
      ended && call.reason !== "bye" && ` · ${ending(call.reason)}`,
      metadata.queue && el("span", {}, " · ", el("bdi", {}, metadata.queue)),
    ),
    el(
      "span",
      { class: "doors" },
      el("a", { href: routes.pages.overlay(call.call) }, ended ? "Replay" : "Open"),
      flag && el("a", { href: routes.pages.review(call.call, flag.rule) }, "Review"),
    ),
  );
}

/** Whether somebody reads or points at the list. */
function looking() {
  const there = main.matches(":hover") || main.contains(document.activeElement);
  return there && performance.now() - stirredAt < LOOKS_FOR_MS;
}

/** Now on the call's own clock, which begins with its first audio: a little after it started. */
const at = (call, now_ms) => Math.max(0, now_ms - Date.parse(call.started_at)) || 0;

function draw({ calls, now_ms }, topics) {
  const known = new Map(calls.map((call) => [call.call, call]));
  const going = calls.filter((call) => !call.ended);
  const needs = new Map(going.map((call) => [call.call, need(call, at(call, now_ms))]));
  let live = going.map((call) => call.call).sort((a, b) => needs.get(b) - needs.get(a));
  let past = calls.filter((call) => call.ended).map((call) => call.call);
  if (rows.size && looking()) {
    // No row moves: who has ended says so where it stands, who is new comes after the others.
    const standing = (list) => [...list.children].map((item) => item.dataset.call).filter((id) => known.has(id));
    live = [...standing($("live")), ...calls.map((call) => call.call).filter((id) => !rows.has(id))];
    past = standing($("past"));
  }
  for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
  const item = (id) => write(known.get(id), topics);
  settle($("past"), past.map(item)); // first: who has ended brings the focus along
  settle($("live"), live.map(item));
  const width = $("live").querySelector(".spark")?.clientWidth; // of all, asked once: each time costs a layout
  for (const call of going) moveOn(call, at(call, now_ms), width);
  say($("no-live"), live.length ? "" : "No call is live. One appears here as soon as it starts.");
  say($("no-past"), past.length ? "" : "No call has been kept yet.");
}

/** The call's row, up to date. Its links stay: one of them may have the focus, or be just under a finger. */
function write(call, topics) {
  const drawn = JSON.stringify([call, topics[call.topic]]);
  const known = rows.get(call.call) ?? { item: null, drawn: "" };
  if (known.drawn === drawn) return known.item;
  const fresh = row(call, topics);
  const item = known.item ?? fresh;
  rows.set(call.call, { item, drawn });
  if (item === fresh) return item;
  const links = item.querySelectorAll("a");
  fresh.querySelectorAll("a").forEach((link, n) => {
    if (!links[n]) return item.lastElementChild.append(link);
    links[n].href = link.href;
    say(links[n], link.textContent);
  });
  settle(item, [...[...fresh.children].slice(0, -1), item.lastElementChild]);
  return item;
}

/** What changes with the time alone. */
function moveOn(call, at_ms, width) {
  const { item } = rows.get(call.call);
  const waits = wait(call, at_ms);
  say(item.querySelector(".wait"), waits && `${waits} · `);
  for (const [what, key] of Object.entries(CHARTS)) {
    const points = call[key].map((point) => ({ ...point, label: FOLLOWED[what].named(point.score) }));
    const words = `${plain(what)}, last 3 minutes: ${trend(what, points, at_ms) || "not known"}`;
    spark(item.querySelector(`.${what}`), what, points, at_ms, words, width);
  }
}

const CLOSING = "The server is shutting down: it takes no new calls.";

function notice(list) {
  const node = $("notices");
  const key = JSON.stringify(list);
  if (node.dataset.drawn === key) return;
  node.dataset.drawn = key;
  node.replaceChildren(...list.map(([kind, text]) => el("li", { class: kind, dir: "auto" }, text)));
}

async function look() {
  try {
    const [list, topics, ready] = await Promise.all([routes.calls(), routes.topics(), routes.ready()]);
    draw(list, topics);
    notice([
      ...(ready.ready ? [] : [["warn", ready.draining ? CLOSING : "The server is not ready for calls."]]),
      ...(ready.level > 0 ? [["warn", degraded({ level: ready.level, shed: [] })]] : []),
      ...(ready.notices ?? []).map((text) => ["note", text]),
      ["note", `Recogniser: ${ready.recogniser}${ready.rough ? " (rough text)" : ""}`],
    ]);
  } catch (error) {
    notice([["bad", `The list is not up to date: ${error.message}`]]);
  }
  setTimeout(look, document.hidden ? 5 * LOOK_AGAIN_MS : LOOK_AGAIN_MS);
}

look();
