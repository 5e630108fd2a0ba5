// The form on the right of the review page: what a reviewer makes of the open call, and what others made of it.
// It knows neither sound nor queue.

import { $, el, say } from "./dom.js";
import { review } from "./routes.js";
import { plain, severity } from "./words.js";

const form = $("form");
let about = null; // {call, reviews} of the call that is open

/** Empties the form for a call; `flags` riskiest first. */
export function begin(call, flags, reviews) {
  about = { call, reviews };
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

/** `kept()` runs after each verdict that the server has kept. */
export function onKept(kept) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { call, reviews } = about;
    const verdict = read();
    $("file").disabled = true;
    try {
      await review(call, verdict);
      remember(verdict.reviewer);
      reviews.push(verdict);
      if (about.call === call) {
        tell("✓ Verdict kept.");
        draw(reviews);
      }
      await kept();
    } catch (error) {
      tell(`✕ Not kept: ${error.message}`);
    }
    $("file").disabled = false;
  });
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
