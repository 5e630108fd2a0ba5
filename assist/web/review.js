// The review page: the queue, one call opened at its evidence, and the verdict.

import { $, asked, el, say, settle, typing } from "./dom.js";
import * as routes from "./routes.js";
import { fold } from "./state.js";
import { Transcript } from "./transcript.js";
import * as verdict from "./verdict.js";
import { Waveform } from "./waveform.js";
import { caller, clock, plain, severity, when } from "./words.js";

const LOOK_AGAIN_MS = 10_000;
const BEFORE_MS = 300; // evidence starts with a word: hear it whole
const RANK = { high: 0, medium: 1, low: 2 };

const audio = $("audio");
let queue = [];
let topics = {};
let going = null; // the newest call asked for
let open = null; // {summary, state, flags, flag, sound: whether there is any}
const items = new Map(); // call -> {item, link, drawn} in the queue

const riskiest = (flags) =>
  [...flags].sort((a, b) => RANK[a.severity] - RANK[b.severity] || a.evidence.start_ms - b.evidence.start_ms);
const inTime = (flags) => [...flags].sort((a, b) => a.evidence.start_ms - b.evidence.start_ms);

const transcript = new Transcript($("scroller"), $("transcript"), $("newest"), (turn) => playFrom(turn.start_ms - 100));
transcript.follows = true;

const wave = new Waveform(
  { wave: $("wave"), canvas: $("canvas"), bands: $("bands"), pins: $("pins"), playhead: $("playhead") },
  (ms) => playFrom(ms),
  (flag) => {
    choose(flag);
    play();
  },
);

function play() {
  if (open?.sound) audio.play().catch(() => {}); // refused without a gesture: the controls show it
}

function seek(ms) {
  audio.currentTime = Math.max(0, ms) / 1000;
  follow();
}

function playFrom(ms) {
  seek(ms);
  play();
}

function follow() {
  if (!open) return;
  const ms = audio.currentTime * 1000;
  wave.at(ms);
  transcript.sound(open.state, ms + BEFORE_MS);
}

function run() {
  follow();
  if (!audio.paused) requestAnimationFrame(run);
}

for (const kind of ["seeked", "timeupdate", "pause"]) audio.addEventListener(kind, follow);
audio.addEventListener("play", run);
audio.addEventListener("error", () => trouble("The recording of this call cannot be played."));

/** Goes to a flag's evidence, a little before its first word. */
function choose(flag) {
  open.flag = flag;
  wave.choose(flag);
  $("rule").value = flag?.rule ?? "";
  $("evidence").replaceChildren(
    ...(flag
      ? [
          el("span", { class: `strong ${flag.severity}` }, `${severity[flag.severity]} ${flag.severity}: `),
          el("span", { dir: "auto" }, flag.reason),
          flag.evidence.quote && el("q", { dir: "auto" }, flag.evidence.quote),
          el("span", { class: "pale" }, ` at ${clock(flag.evidence.start_ms)} (${flag.evidence.source || flag.rule})`),
        ].filter(Boolean)
      : ["No flag on this call."]),
  );
  seek(flag ? flag.evidence.start_ms - BEFORE_MS : 0);
  transcript.pin();
}

function jump(step) {
  const flags = inTime(open.flags);
  if (!flags.length) return;
  const at = flags.indexOf(open.flag);
  choose(flags[at < 0 ? 0 : (at + step + flags.length) % flags.length]);
  play();
}

/** The queue as links that stay while their words change: somebody may be on one of them. */
function drawQueue() {
  say($("no-queue"), queue.length ? "" : "No call is flagged. Flagged calls come here, riskiest first.");
  settle(
    $("queue"),
    queue.map((call) => {
      if (!items.has(call.call)) items.set(call.call, newItem(call.call));
      return write(items.get(call.call), call);
    }),
  );
}

function newItem(id) {
  const link = el("a", {
    class: "item",
    data: { call: id },
    onclick: (event) => {
      if (event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      go(id, link.dataset.rule, true);
    },
  });
  return { item: el("li", {}, link), link, drawn: "" };
}

function write(known, call) {
  const { item, link } = known;
  if (open?.summary.call === call.call) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
  const drawn = JSON.stringify(call);
  if (known.drawn === drawn) return item;
  known.drawn = drawn;
  const [flag] = riskiest(call.flags);
  const judged = call.reviews.at(-1)?.verdict;
  const more = call.flags.length - 1;
  link.href = routes.pages.review(call.call, flag?.rule);
  link.dataset.rule = flag?.rule ?? "";
  link.replaceChildren(
    el("span", { class: `strong ${flag?.severity}` }, flag ? `${severity[flag.severity]} ${flag.severity}` : ""),
    el("span", { class: "pale" }, judged ? ` ✓ ${judged}` : "", more > 0 ? ` +${more}` : ""),
    el("span", { class: "reason", dir: "auto" }, flag?.reason ?? ""),
    el("span", { class: "pale" }, el("bdi", {}, caller(call.metadata) || call.call), ` · ${when(call.started_at)}`),
  );
  return item;
}

function trouble(text) {
  say($("trouble"), text);
}

/** Opens a call; `gesture`: a person asked for it here, so that sound may start. */
async function go(id, rule, gesture) {
  const mine = {};
  going = mine;
  if (gesture) history.pushState(null, "", routes.pages.review(id, rule));
  trouble("");
  audio.pause();
  let summary;
  let entries;
  let peaks;
  let silent = ""; // why there is nothing to hear
  try {
    [summary, entries, peaks] = await Promise.all([
      routes.call(id),
      routes.log(id),
      routes.peaks(id).catch(({ status, message }) => {
        silent = status === 404 ? "There is no recording of this call." : `The recording cannot be read: ${message}`;
        return null;
      }),
    ]);
  } catch (error) {
    if (going === mine) trouble(`The call cannot be opened: ${error.message}`);
    return;
  }
  if (going !== mine) return; // another call was asked for meanwhile
  const state = fold(entries);
  const duration_ms = state.ended?.duration_ms ?? state.at_ms; // of a live call: as far as it has come
  open = { summary, state, flags: state.flags, flag: null, sound: Boolean(peaks) };
  $("desk").hidden = $("side").hidden = false;
  const name = caller(summary.metadata) || id;
  say($("title"), [name, topics[summary.topic] ?? plain(summary.topic)].filter(Boolean).join(" · "));
  say(
    $("about"),
    [
      when(summary.started_at),
      `${clock(duration_ms)}${state.ended ? "" : ", still live"}`,
      summary.metadata.agent && `agent ${summary.metadata.agent}`,
      summary.metadata.queue,
      state.rough && "rough text",
    ]
      .filter(Boolean)
      .join(" · "),
  );
  document.title = `${name} · Review`;
  verdict.begin(id, name, riskiest(state.flags), state.reviews);
  drawQueue();
  trouble(silent);
  const heard = (peaks?.peaks[0]?.length ?? 0) * (peaks?.ms_per_peak ?? 0);
  wave.show(state, peaks, Math.max(duration_ms, heard));
  transcript.clear();
  transcript.draw(state);
  if (peaks) {
    audio.src = routes.audioAddress(id);
  } else {
    audio.removeAttribute("src");
    audio.load(); // or the last call's sound stays
  }
  choose(state.flags.find((f) => f.rule === rule) ?? riskiest(state.flags)[0] ?? null);
  if (gesture) play();
}

$("rule").addEventListener("change", () => {
  const flag = open.flags.find((f) => f.rule === $("rule").value);
  if (flag) choose(flag);
});

$("next").addEventListener("click", async () => {
  await loadQueue();
  const here = open.summary.call;
  const at = queue.findIndex((call) => call.call === here);
  const next = [...queue.slice(at + 1), ...queue].find((call) => !call.reviews.length && call.call !== here);
  if (next) go(next.call, riskiest(next.flags)[0]?.rule, true);
  else verdict.tell("No other call waits for a verdict.");
});

async function loadQueue() {
  try {
    [queue, topics] = await Promise.all([routes.queue(), routes.topics()]);
    drawQueue();
  } catch (error) {
    say($("no-queue"), `The queue cannot be loaded: ${error.message}`);
  }
}

const keys = {
  " "() {
    if (audio.paused) play();
    else audio.pause();
  },
  j() {
    jump(-1);
  },
  l() {
    jump(1);
  },
  ArrowLeft() {
    seek(audio.currentTime * 1000 - 5_000);
  },
  ArrowRight() {
    seek(audio.currentTime * 1000 + 5_000);
  },
  "?"() {
    $("keys").showModal();
  },
  ...Object.fromEntries(["1", "2", "3", "4", "5"].map((n) => [n, () => verdict.score(n)])),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const radio = event.target instanceof HTMLInputElement && event.target.type === "radio";
  if (typing(event) && !(radio && /^[1-5jlJL?]$/.test(event.key))) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!keys[key] || (!open && key !== "?") || event.repeat) return;
  if (key === " " && event.target.closest("button, summary, audio")) return;
  event.preventDefault();
  keys[key]();
});

$("shortcuts").addEventListener("click", () => $("keys").showModal());
$("keys-close").addEventListener("click", () => $("keys").close());
addEventListener("popstate", () => {
  const now = new URLSearchParams(location.search);
  if (now.get("call")) go(now.get("call"), now.get("rule"), false);
});

verdict.onKept(loadQueue);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) loadQueue();
});

async function start() {
  await loadQueue();
  setInterval(loadQueue, LOOK_AGAIN_MS);
  if (asked.get("call")) await go(asked.get("call"), asked.get("rule"), false);
}

start();
