// Draws one call's state as the overlay: head, gauges, notices, playbook, transcript, latency.
// It fetches nothing and decides nothing.

import { FOLLOWED, spark, trend } from "./charts.js";
import { $, el, say } from "./dom.js";
import { caller, clock, degraded, ending, fault, part, plain, seconds } from "./words.js";

const ticks = { done: "✓", now: "●", next: "○" };
const said = { done: "done", now: "now", next: "to come" };
const ABOUT = ["tier", "segment", "open_cases", "queue", "language", "direction"];
const stageNames = {
  queue: "waiting",
  asr: "speech to text",
  final: "speech to sentence",
  analyse: "mood, voice, topic",
  suggest: "suggestions",
  total: "speech to screen",
  eager: "speech to screen, ahead of the sentence",
};

export function drawHead(state, { phase, silent, behind_ms, now_ms, topics }) {
  const ended = state.ended;
  document.body.dataset.phase = phase;
  const words = {
    connecting: "Connecting",
    live: "Live",
    reconnecting: "Not connected",
    ended: "Ended",
    failed: "No connection",
    waiting: "Waiting",
    past: "Recording",
  };
  say($("phase"), words[phase]);
  say($("elapsed"), clock(ended && phase !== "past" ? ended.duration_ms : now_ms));
  const name = caller(state.metadata);
  say($("caller"), name);
  $("caller").title = name;
  const about = ABOUT.map((key) => state.metadata[key])
    .filter(Boolean)
    .join(" · ");
  say($("about"), about);
  $("about").title = about;
  const topic = state.topic ? (topics[state.topic.id] ?? plain(state.topic.id)) : "";
  say($("topic"), topic || (state.turns.size ? "Topic not clear yet" : ""));
  const title = [name, topic].filter(Boolean).join(" · ") || "Call";
  if (document.title !== title) document.title = title;
  gauge("mood", state.sentiment, now_ms);
  gauge("voice", state.stress, now_ms);
  // Outside the notices: those are read out, and this changes every second.
  say($("behind"), phase === "reconnecting" ? `${Math.max(1, Math.round(behind_ms / 1000))} s behind` : "");
  drawNotices(notices(state, phase, silent));
}

function gauge(what, points, now_ms) {
  const words = trend(what, points, now_ms);
  const { named } = FOLLOWED[what];
  const last = points.filter((p) => p.at_ms <= now_ms).at(-1);
  const before = last ? `was ${named(last.score)}, ${Math.round((now_ms - last.at_ms) / 60_000)} min ago` : "";
  say($(`${what}-words`), words || before || "not known yet");
  $(`${what}-words`).classList.toggle("pale", !words);
  spark($(what), what, points, now_ms, words ? `Last 3 minutes: ${words}` : before || "Not known yet");
}

/** What the agent must know about how far to trust the panel, worst first. */
function notices(state, phase, silent) {
  const list = [];
  if (phase === "reconnecting") list.push(["bad", "Connection lost, trying again"]);
  if (phase === "failed") list.push(["bad", state.failure || "The server does not know this call."]);
  if (silent) list.push(["warn", "The recording is missing or damaged: the whole call is shown"]);
  if (state.paused)
    list.push(["warn", `Paused${state.paused.reason ? ` (${state.paused.reason})` : ""}: nothing is heard or kept`]);
  if (state.missed) list.push(["warn", `No ${state.missed} is heard: their side of the call has not come`]);
  for (const each of state.faults.values()) list.push(["warn", fault(each)]);
  if (state.swapped) list.push(["note", "The phone system had agent and customer the wrong way round: put right"]);
  if (state.degraded.level > 0) list.push(["warn", degraded(state.degraded)]);
  if (state.faltered.size) list.push(["warn", `Not working now: ${[...state.faltered.keys()].map(part).join(", ")}`]);
  if (state.rough) list.push(["note", "Rough text: check names and numbers", state.recogniser]);
  if (state.unkept) list.push(["warn", state.unkept]);
  if (state.ended && state.ended.reason !== "bye") list.push(["note", `Call ${ending(state.ended.reason)}`]);
  return list;
}

function drawNotices(list) {
  const node = $("notices");
  const key = list.map(([kind]) => kind).join();
  if (node.dataset.drawn !== key) {
    node.dataset.drawn = key;
    node.replaceChildren(...list.map(([kind]) => el("li", { class: kind, dir: "auto" })));
  }
  list.forEach(([, text, title], i) => {
    say(node.children[i], text);
    if (title) node.children[i].title = title;
  });
}

export function drawPlaybook(playbook) {
  $("steps").hidden = !playbook;
  if (!playbook || $("playbook").drawn === playbook) return;
  $("playbook").drawn = playbook;
  const done = playbook.steps.filter((step) => step.state === "done").length;
  say($("playbook-title"), playbook.title);
  say($("playbook-count"), `${done}/${playbook.steps.length}`);
  $("steps").title = playbook.title;
  $("playbook").replaceChildren(
    ...playbook.steps.map(({ id, title, state }) =>
      el(
        "li",
        { class: state, title, data: { step: id }, "aria-current": state === "now" && "step" },
        el("span", { "aria-hidden": "true" }, ticks[state]),
        el("span", { class: "title", dir: "auto" }, title),
        el("span", { class: "unseen" }, `, ${said[state]}`),
      ),
    ),
  );
  const now = $("playbook").querySelector(".now");
  if (now) $("playbook").scrollLeft = now.offsetLeft - $("playbook").offsetLeft - $("playbook").clientWidth / 3;
}

export function drawLatency(latency) {
  const total = (kind) => latency[kind]?.stages.total ?? latency[kind]?.stages.eager ?? latency[kind]?.stages.final;
  const figures = [
    ["words", total("Transcribed")],
    ["advice", total("Suggested")],
  ].filter(([, ms]) => ms !== undefined);
  if (!figures.length) return;
  say($("latency-words"), figures.map(([name, ms]) => `${name} ${seconds(ms)}`).join(" · "));
  if (!$("latency").open) return;
  const rows = Object.entries(latency).flatMap(([kind, { stages }]) =>
    Object.entries(stages).map(([stage, ms]) => [
      kind === "Suggested" ? "advice" : kind === "Transcribed" ? "words" : kind.toLowerCase(),
      stage,
      ms,
    ]),
  );
  const table = $("stages");
  const key = rows.join();
  if (table.dataset.drawn === key) return;
  table.dataset.drawn = key;
  table.replaceChildren(
    el("caption", {}, "After the end of speech, last time"),
    ...rows.map(([kind, stage, ms]) =>
      el(
        "tr",
        { data: { stage } },
        el("th", { scope: "row" }, `${kind}: ${stageNames[stage] ?? stage}`),
        el("td", {}, `${Math.round(ms)} ms`),
      ),
    ),
  );
}
