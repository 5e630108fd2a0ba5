// The list of live and past calls. It does not move under a pointer or a focus.

import { $, el, say } from "./dom.js";
import * as routes from "./routes.js";
import { caller, clock, ending, faultName, mood, plain, severity, when } from "./words.js";

const LOOK_AGAIN_MS = 3_000;
const RANK = { high: 0, medium: 1, low: 2 };

const worst = (flags) => [...flags].sort((a, b) => RANK[a.severity] - RANK[b.severity])[0];

function row(call, topics) {
  const { metadata, ended, flags, faults = [] } = call;
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
    ),
    el(
      "span",
      { class: "pale" },
      when(call.started_at),
      ended && ` · ${clock(call.duration_ms)}`,
      ended && call.reason !== "bye" && ` · ${ending(call.reason)}`,
      ...[...new Set(faults)].map((kind) => el("span", { class: "flagged" }, ` · Sound: ${faultName(kind)}`)),
      metadata.queue && el("span", {}, " · ", el("bdi", {}, metadata.queue)),
      flag &&
        el("span", { class: "flagged" }, ` · ${severity[flag.severity]} ${flag.severity}${more ? ` +${more}` : ""}`),
    ),
    el(
      "span",
      { class: "doors" },
      el("a", { href: routes.pages.overlay(call.call) }, ended ? "Replay" : "Open"),
      flag && el("a", { href: routes.pages.review(call.call, flag.rule) }, "Review"),
    ),
  );
}

let drawn = "";

function draw(calls, topics) {
  const key = JSON.stringify([calls, topics]);
  if (key === drawn) return;
  const main = document.querySelector("main");
  if (drawn && (main.matches(":hover") || main.contains(document.activeElement))) return;
  drawn = key;
  const live = calls.filter((call) => !call.ended);
  const past = calls.filter((call) => call.ended);
  $("live").replaceChildren(...live.map((call) => row(call, topics)));
  $("past").replaceChildren(...past.map((call) => row(call, topics)));
  say($("no-live"), live.length ? "" : "No call is live. One appears here as soon as it starts.");
  say($("no-past"), past.length ? "" : "No call has been kept yet.");
}

function notice(list) {
  const node = $("notices");
  const key = JSON.stringify(list);
  if (node.dataset.drawn === key) return;
  node.dataset.drawn = key;
  node.replaceChildren(...list.map(([kind, text]) => el("li", { class: kind, dir: "auto" }, text)));
}

async function look() {
  try {
    const [calls, topics, ready] = await Promise.all([routes.calls(), routes.topics(), routes.ready()]);
    draw(calls, topics);
    notice([
      ...(ready.ready ? [] : [["warn", "The server is not ready for calls yet."]]),
      ...(ready.notices ?? []).map((text) => ["note", text]),
      ["note", `Recogniser: ${ready.recogniser}${ready.rough ? " (rough text)" : ""}`],
    ]);
  } catch (error) {
    notice([["bad", `The list is not up to date: ${error.message}`]]);
  }
  setTimeout(look, document.hidden ? 5 * LOOK_AGAIN_MS : LOOK_AGAIN_MS);
}

look();
