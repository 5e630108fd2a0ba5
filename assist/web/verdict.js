// The form on the right of the review page: what a reviewer makes of the open call, and what others made of it.
// It knows neither sound nor queue.

import { $, el, say } from "./dom.js";
import { log, review } from "./routes.js";
import { plain, severity } from "./words.js";

const form = $("form");
let about = null; // {call, name, reviews, filing: whether a verdict is on its way} of the call that is open

/** Empties the form for a call; `flags` riskiest first. */
export function begin(call, name, flags, reviews) {
  about = { call, name, reviews };
  file(false);
  $("rule").replaceChildren(
    ...flags.map((flag) => el("option", { value: flag.rule }, `${severity[flag.severity]} ${flag.reason}`)),
    el("option", { value: "" }, "The whole call"),
  );
  form.reset();
  $("reviewer").value = remembered();
  tell("");
  draw(reviews);
}

export const tell = (text) => say($("kept"), text);

export function score(value) {
  form.querySelector(`input[name="score"][value="${value}"]`).checked = true;
}

/** `kept()` runs after each verdict that the server has taken. */
export function onKept(kept) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const mine = about;
    if (mine.filing) return;
    const verdict = read();
    // Another call may be open when the answer comes: then it is told by the name of its own.
    const answer = (text) => tell(mine === about ? text : `${mine.name}: ${text}`);
    file(true);
    tell("Filing…");
    try {
      answer(await filed(mine.call, verdict));
      remember(verdict.reviewer);
      mine.reviews.push(verdict);
      if (mine === about) draw(mine.reviews);
      await kept();
    } catch (error) {
      answer(`✕ Not kept: ${error.message}`);
    }
    if (mine === about) file(false);
  });
}

/** Files a verdict and says how it was taken. Raises RouteError where it was not. */
async function filed(call, verdict) {
  try {
    await review(call, verdict);
    return "✓ Verdict kept.";
  } catch (error) {
    // A disk that refuses, an answer that never came: the server may hold the verdict, and it must not be sent again.
    const unsure = error.code === "store_failed" || error.status === 0;
    if (!unsure || !(await holds(call, verdict))) throw error;
    return error.status === 0
      ? "✓ Verdict kept."
      : "✓ Verdict taken. It waits for the server's disk: no need to file it again.";
  }
}

async function holds(call, verdict) {
  const entries = await log(call).catch(() => []);
  const told = ({ event }) => event.type === "Reviewed" && Object.keys(verdict).every((k) => event[k] === verdict[k]);
  return entries.some(told);
}

/** Not `disabled`, which would take the focus away. */
function file(filing) {
  about.filing = filing;
  $("file").setAttribute("aria-disabled", String(filing));
}

function read() {
  const values = new FormData(form);
  const points = values.get("score");
  return {
    verdict: values.get("verdict"),
    comment: values.get("comment").trim(),
    reviewer: values.get("reviewer").trim(),
    rule: values.get("rule"),
    score: points ? Number(points) : null,
  };
}

function draw(reviews) {
  $("reviews").replaceChildren(...[...reviews].reverse().map(row));
}

function row({ verdict, score: points, rule, comment, reviewer }) {
  const rest = `${points ? ` · ${points}/5` : ""} · ${rule ? plain(rule) : "whole call"}`;
  return el(
    "li",
    {},
    el("p", {}, el("span", { class: "strong" }, plain(verdict)), rest),
    comment && el("p", { dir: "auto" }, comment),
    el("p", { class: "pale" }, el("bdi", {}, reviewer)),
  );
}

// A page may be denied its storage; then the name is typed anew.
function remembered() {
  try {
    return localStorage.getItem("reviewer") ?? "";
  } catch {
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem("reviewer", name);
  } catch {
    // nothing is lost but convenience
  }
}
