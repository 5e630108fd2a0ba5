// The overlay: finds its call, follows it live or replays it, and takes the agent's keys and clicks.

import { render } from "./article.js";
import { Cards } from "./cards.js";
import { $, asked, oncePerFrame, say, typing } from "./dom.js";
import { LogSocket } from "./log.js";
import { Marks } from "./marks.js";
import { drawHead, drawLatency, drawPlaybook } from "./panel.js";
import { Replay } from "./replay.js";
import * as routes from "./routes.js";
import { arrange, nobody } from "./slots.js";
import { apply, closes, empty, mark } from "./state.js";
import { Transcript } from "./transcript.js";

const LOOK_AGAIN_MS = 2_000;
const wanted = asked.get("call") ?? "live"; // a call's id, or "live": the newest, of `agent` where one is named

const view = {
  state: empty(),
  phase: "connecting",
  shown: nobody(),
  waiting: 0,
  topics: {},
  silent: false, // a past call whose sound cannot be played
  heardAt: performance.now(), // when the server last said anything
  clock: { call_ms: 0, at: performance.now() }, // the call's time, at this moment of ours
};
let socket = null;
let replay = null;
let marks = null;
let transcript = null;
let opening = null; // the article asked for last

const past = () => view.phase === "past";

function now_ms() {
  if (replay) return replay.now_ms;
  if (view.state.ended) return view.state.ended.duration_ms;
  if (!view.state.seq) return 0;
  return Math.max(view.state.at_ms, view.clock.call_ms + performance.now() - view.clock.at);
}

function draw() {
  const { state, phase } = view;
  const now = now_ms();
  if (phase !== "connecting") {
    const { shown, waiting } = arrange(view.shown, state.suggestions, now, cards.looking());
    Object.assign(view, { shown, waiting });
  }
  const heardAt = socket ? socket.heardAt : view.heardAt;
  const { silent, topics } = view;
  drawHead(state, { phase, silent, behind_ms: performance.now() - heardAt, now_ms: now, topics });
  cards.draw({
    shown: view.shown,
    waiting: view.waiting,
    suggestions: state.suggestions,
    turns: state.turns,
    quiet: quiet(),
    marks: !past(),
  });
  drawPlaybook(state.playbook);
  transcript?.draw(state);
  say($("no-words"), state.turns.size ? "" : noWords());
  drawLatency(state.latency);
  $("again").hidden = !(state.ended && !past());
}

const soon = oncePerFrame(draw);

function quiet() {
  const { state, phase } = view;
  if (phase === "waiting") return "Waiting for a call. It opens here by itself.";
  if (phase === "connecting") return "Connecting to the call.";
  if (phase === "failed") return "";
  if (state.ended && !past()) return "The call has ended.";
  if (state.paused) return "Paused: nothing is heard until the call goes on.";
  if (past() && !state.turns.size) return "Press play to see the call as it was seen.";
  if (!state.turns.size) return "Listening. The next action comes once the customer has said what they need.";
  return "Listening for what comes next.";
}

function noWords() {
  const { phase } = view;
  if (phase === "waiting" || phase === "connecting" || phase === "failed") return "";
  return past() ? "Words appear here as they were heard." : "No words yet. They appear here as they are heard.";
}

const cards = new Cards(
  { next: $("place-next"), first: $("place-first"), second: $("place-second") },
  (suggestion, what) => {
    if (what === "open") open(suggestion);
    else became(suggestion, what === "do" ? "used" : what);
    draw();
  },
);

function became(suggestion, what) {
  if (!marks) return;
  mark(view.state, { suggestion: suggestion.id, ref: suggestion.ref, mark: what });
  marks.send(suggestion.id, suggestion.ref, what);
}

async function open(suggestion) {
  const mine = {};
  opening = mine;
  say($("article-title"), suggestion.title);
  say($("article-about"), "Opening…");
  $("article-body").replaceChildren();
  $("article").showModal();
  if (!closes(suggestion.mark) && suggestion.mark !== "opened") became(suggestion, "opened");
  try {
    const article = await routes.article(suggestion.ref);
    if (opening !== mine) return;
    say($("article-title"), article.title);
    say($("article-about"), `Updated ${article.updated}`);
    $("article-body").replaceChildren(...render(article.body));
  } catch (error) {
    if (opening === mine) say($("article-about"), `It could not be opened: ${error.message}`);
  }
}

/** The newest live call for this panel. `ended`: one that has been shown; the list may hold it for a moment yet. */
async function newest(ended) {
  const agent = asked.get("agent");
  return (await routes.live()).find((c) => c.call !== ended && (!agent || c.metadata.agent === agent));
}

/** Finds the call asked for; waits where there is none yet. */
async function find() {
  let unknown = false; // the server has said so: the list is looked at, for which nobody complains
  for (;;) {
    try {
      if (wanted !== "live" && !unknown) return await routes.call(wanted);
      const found =
        wanted === "live"
          ? await newest(asked.get("ended"))
          : (await routes.calls()).calls.find((c) => c.call === wanted);
      if (found) return found;
      view.phase = "waiting";
    } catch (error) {
      unknown = error.status === 404;
      if (unknown) view.phase = "waiting";
      else if (error.status === 0 || error.status >= 500) view.phase = "reconnecting";
      else throw error;
    }
    draw();
    await new Promise((go) => setTimeout(go, LOOK_AGAIN_MS));
  }
}

function follow(id) {
  transcript = new Transcript($("scroller"), $("transcript"), $("newest"));
  marks = new Marks(id, (message) => {
    view.state.unkept = `A mark was not kept: ${message}`;
    soon();
  });
  socket = new LogSocket((after) => routes.eventsAddress(id, after), {
    entry(entry) {
      apply(view.state, entry);
      if (entry.at_ms > now_ms() - 50) view.clock = { call_ms: entry.at_ms, at: performance.now() };
      if (view.phase === "live") soon(); // what comes before is drawn at once when all of it is there
    },
    clock(call_ms) {
      view.clock = { call_ms, at: performance.now() };
    },
    status({ phase, message }) {
      view.phase = phase;
      if (phase === "failed") view.state.failure = message;
      if (phase === "ended" && wanted === "live") awaitNext(id);
      draw();
    },
    reset() {
      Object.assign(view, { state: empty(), shown: nobody() });
      transcript.clear();
    },
  });
}

/** A panel that shows the newest live call goes on to the next one by itself, once nothing is read or on its way. */
async function awaitNext(ended) {
  for (;;) {
    await new Promise((go) => setTimeout(go, LOOK_AGAIN_MS));
    const next = await newest(ended).catch(() => null);
    if (!next || marks.unsent || document.querySelector("dialog[open]")) continue;
    asked.set("ended", ended);
    location.replace(`?${asked}`);
    return;
  }
}

async function rerun(id) {
  view.phase = "past";
  const entries = await routes.log(id);
  transcript = new Transcript($("scroller"), $("transcript"), $("newest"), (turn) =>
    replay.playFrom(turn.start_ms - 100),
  );
  const audio = $("audio");
  const written = entries[0]?.event.encoding === "text"; // nothing to play: all of it is shown
  if (!written) audio.src = routes.audioAddress(id);
  $("player").hidden = written;
  document.body.classList.add("past");
  const moment = (state, ms, again) => {
    if (again) {
      view.shown = nobody();
      transcript.clear();
    }
    view.state = state;
    draw();
    transcript.sound(state, ms);
  };
  replay = new Replay(entries, audio, moment);
  const all = $("show-all");
  all.checked = written || asked.has("all");
  const show = () => {
    transcript.follows = all.checked;
    replay.show(all.checked);
  };
  all.addEventListener("change", show);
  audio.addEventListener("error", () => {
    view.silent = true;
    all.checked = true;
    show();
  });
  show();
}

const keys = {
  Enter() {
    const at = cards.focused() ?? "next";
    const suggestion = cards.drawn[at];
    if (suggestion?.kind === "article") cards.press(at, "open");
    else if (suggestion && !past()) cards.press(at, "do");
  },
  Escape() {
    if ($("latency").open) $("latency").open = false;
    else if (!past()) cards.press(cards.focused() ?? "next", "dismissed");
  },
  ArrowDown() {
    cards.move(1);
  },
  ArrowUp() {
    cards.move(-1);
  },
  u() {
    if (cards.focused() && !past()) cards.press(cards.focused(), "used");
  },
  n() {
    if (cards.focused() && !past()) cards.press(cards.focused(), "not_useful");
  },
  End() {
    transcript?.pin();
  },
  " "() {
    replay?.toggle();
  },
  "?"() {
    $("keys").showModal();
  },
};

addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const target = event.target;
  if (!keys[key] || event.repeat) return;
  if ((key === "Enter" || key === " ") && target.closest("button, a, summary, input, audio")) return;
  if (key.startsWith("Arrow") && target.closest(".scroller, audio")) return;
  if (key === " " && !replay) return;
  event.preventDefault();
  keys[key]();
});

$("shortcuts").addEventListener("click", () => $("keys").showModal());
$("keys-close").addEventListener("click", () => $("keys").close());
$("article-close").addEventListener("click", () => $("article").close());
$("latency").addEventListener("toggle", () => drawLatency(view.state.latency));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

async function start() {
  routes.topics().then((topics) => {
    view.topics = topics;
    soon();
  });
  setInterval(soon, 1000); // the clock, and cards whose time has come
  draw();
  const found = await find();
  $("again").href = routes.pages.overlay(found.call);
  view.state.metadata = found.metadata;
  if (found.ended) await rerun(found.call);
  else follow(found.call);
}

start().catch((error) => {
  view.phase = "failed";
  view.state.failure = error.message;
  draw();
});
