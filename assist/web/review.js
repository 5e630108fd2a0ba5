// The review page: the queue, one call opened at its evidence, and the verdict.

import { $, asked, el, say, typing } from "./dom.js";
import * as routes from "./routes.js";
import { fold } from "./state.js";
import { Transcript } from "./transcript.js";
import * as verdict from "./verdict.js";
import { Waveform } from "./waveform.js";
import { caller, clock, plain, severity, when } from "./words.js";

const BEFORE_MS = 300; // evidence starts with a word: hear it whole
const RANK = { high: 0, medium: 1, low: 2 };

const audio = $("audio");
let queue = [];
let topics = {};
let going = null; // the newest call asked for
let open = null; // {summary, state, flags, flag}

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
  audio.play().catch(() => {}); // refused without a gesture, or no recording: the controls show it
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
  transcript.pinned = true;
  if (flag) seek(flag.evidence.start_ms - BEFORE_MS);
}

function jump(step) {
  const flags = inTime(open.flags);
  if (!flags.length) return;
  const at = flags.indexOf(open.flag);
  choose(flags[at < 0 ? 0 : (at + step + flags.length) % flags.length]);
  play();
}

function drawQueue() {
  say($("no-queue"), queue.length ? "" : "No call is flagged. Flagged calls come here, riskiest first.");
  $("queue").replaceChildren(
    ...queue.map((call) => {
      const [flag] = riskiest(call.flags);
      const judged = call.reviews.at(-1)?.verdict;
      const here = open?.summary.call === call.call;
      return el(
        "li",
        {},
        el(
          "a",
          {
            class: "item",
            href: routes.pages.review(call.call, flag?.rule),
            "aria-current": here && "page",
            data: { call: call.call },
            onclick: (event) => {
              if (!event.metaKey && !event.ctrlKey) {
                event.preventDefault();
                go(call.call, flag?.rule, true);
              }
            },
          },
          el("span", { class: `strong ${flag?.severity}` }, flag ? `${severity[flag.severity]} ${flag.severity}` : ""),
          el(
            "span",
            { class: "pale" },
            judged ? ` ✓ ${judged}` : "",
            call.flags.length > 1 ? ` +${call.flags.length - 1}` : "",
          ),
          el("span", { class: "reason", dir: "auto" }, flag?.reason ?? ""),
          el(
            "span",
            { class: "pale" },
            el("bdi", {}, caller(call.metadata) || call.call),
            ` · ${when(call.started_at)}`,
          ),
        ),
      );
    }),
  );
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
  try {
    [summary, entries, peaks] = await Promise.all([
      routes.call(id),
      routes.log(id),
      routes.peaks(id).catch(() => null),
    ]);
  } catch (error) {
    if (going === mine) trouble(`The call cannot be opened: ${error.message}`);
    return;
  }
  if (going !== mine) return; // another call was asked for meanwhile
  const state = fold(entries);
  open = { summary, state, flags: state.flags, flag: null };
  $("desk").hidden = $("side").hidden = false;
  const name = caller(summary.metadata) || id;
  say($("title"), [name, topics[summary.topic] ?? plain(summary.topic)].filter(Boolean).join(" · "));
  say(
    $("about"),
    [
      when(summary.started_at),
      clock(summary.duration_ms),
      summary.metadata.agent && `agent ${summary.metadata.agent}`,
      summary.metadata.queue,
      state.rough && "rough text",
    ]
      .filter(Boolean)
      .join(" · "),
  );
  document.title = `${name} · Review`;
  verdict.begin(id, riskiest(state.flags), state.reviews);
  drawQueue();
  if (!peaks) trouble("There is no recording of this call.");
  const heard = (peaks?.peaks[0]?.length ?? 0) * (peaks?.ms_per_peak ?? 0);
  wave.show(state, peaks, Math.max(summary.duration_ms, heard));
  transcript.clear();
  transcript.draw(state);
  if (peaks) {
    audio.src = routes.audioAddress(id);
    await new Promise((ready) => {
      for (const kind of ["loadedmetadata", "error"]) audio.addEventListener(kind, ready, { once: true });
    });
  } else {
    audio.removeAttribute("src");
  }
  if (going !== mine) return;
  choose(state.flags.find((f) => f.rule === rule) ?? riskiest(state.flags)[0] ?? null);
  if (gesture) play();
}

$("rule").addEventListener("change", () => {
  const flag = open.flags.find((f) => f.rule === $("rule").value);
  if (flag) choose(flag);
});

$("next").addEventListener("click", () => {
  const next = queue.find((call) => !call.reviews.length && call.call !== open.summary.call);
  if (next) go(next.call, riskiest(next.flags)[0]?.rule, true);
  else verdict.tell("No other call waits for a verdict.");
});

async function loadQueue() {
  try {
    queue = await routes.queue();
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
  const radio = event.target instanceof HTMLInputElement && event.target.type === "radio";
  if (typing(event) && !(radio && /^[1-5jlJL?]$/.test(event.key))) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!keys[key] || (!open && key !== "?") || event.repeat) return;
  if (key === " " && event.target.closest("button, a, summary, audio")) return;
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

async function start() {
  topics = await routes.topics();
  await loadQueue();
  if (asked.get("call")) await go(asked.get("call"), asked.get("rule"), false);
}

start();
