// Which suggestion stands in which place. One next action, two articles; what stands there stays while somebody looks.
// It knows no page: who looks is told to it.

import { closes } from "./state.js";

export const PLACES = ["next", "first", "second"];
const STANDS_MS = 6_000; // a card may be read for this long before a newer one takes its place
const NEW_FOR_MS = 180_000; // a suggestion nobody had room for is not brought up after this

export const nobody = () => ({ next: null, first: null, second: null });

/**
 * The places for this moment. `shown`: {next, first, second} of {id, since_ms} or null, as returned before.
 * `looking`: the place under pointer or focus, or null. `now_ms` on the call's clock.
 * Returns {shown, waiting}: `waiting` counts next actions that have no room yet.
 */
export function arrange(shown, suggestions, now_ms, looking) {
  const open = [...suggestions.values()].filter((s) => !closes(s.mark) && !s.withdrawn);
  const after = { ...shown };
  for (const place of PLACES) {
    const standing = shown[place] && suggestions.get(shown[place].id);
    // What was taken back goes at once, but not from under somebody's eyes.
    if (!standing || closes(standing.mark) || (standing.withdrawn && place !== looking)) after[place] = null;
  }
  const actions = newest(
    open.filter((s) => s.kind !== "article"),
    now_ms,
  );
  const articles = newest(
    open.filter((s) => s.kind === "article"),
    now_ms,
  );
  const put = (place, id) => {
    after[place] = { id, since_ms: now_ms };
  };
  const settled = (place) => now_ms - after[place].since_ms >= STANDS_MS || now_ms < after[place].since_ms;

  const [best] = actions;
  if (best && !same(after.next, best, suggestions)) {
    if (!after.next ? looking === null || looking === "next" : looking === null && settled("next"))
      put("next", best.id);
  }

  const wanted = articles
    .slice(0, 2)
    .filter((s) => !same(after.first, s, suggestions) && !same(after.second, s, suggestions));
  for (const article of wanted) {
    const free = ["first", "second"].find(
      (place) => !after[place] && (looking === null || place === looking || place === "second"),
    );
    const stale = ["first", "second"].find(
      (place) =>
        after[place] &&
        looking === null &&
        settled(place) &&
        !articles.slice(0, 2).some((s) => same(after[place], s, suggestions)),
    );
    if (free ?? stale) put(free ?? stale, article.id);
  }
  return { shown: after, waiting: actions.filter((s) => !same(after.next, s, suggestions)).length };
}

/** Latest first, alerts before all; one per ref. */
function newest(open, now_ms) {
  const seen = new Set();
  return open
    .filter((s) => now_ms - s.at_ms <= NEW_FOR_MS)
    .sort((a, b) => (b.kind === "alert") - (a.kind === "alert") || b.seq - a.seq || a.rank - b.rank)
    .filter((s) => !seen.has(`${s.kind} ${s.ref}`) && seen.add(`${s.kind} ${s.ref}`));
}

function same(standing, suggestion, suggestions) {
  const other = standing && suggestions.get(standing.id);
  return Boolean(other) && other.kind === suggestion.kind && other.ref === suggestion.ref;
}
