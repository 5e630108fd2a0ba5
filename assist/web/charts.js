// A line of the last minutes in SVG: every point is an element that can be read and pointed at.

import { svg } from "./dom.js";
import { clock, course, mood, signed, stress } from "./words.js";

export const SPAN_MS = 180_000;
const HEIGHT = 24;
const MARGIN = 4;

/** What is followed of a customer: how a score and a trend are called, and the range that is drawn. */
export const FOLLOWED = {
  mood: { named: mood, up: "improving", down: "worsening", low: -0.8, high: 0.8, level: 0 },
  voice: { named: stress, up: "rising", down: "easing", low: 0, high: 1, level: 0.5 },
};

/** How the last minutes went, in words; "" where nothing is known of them. `what`: one of `FOLLOWED`. */
export function trend(what, points, now_ms) {
  const { named, up, down } = FOLLOWED[what];
  const recent = points.filter((p) => p.at_ms <= now_ms && p.at_ms >= now_ms - SPAN_MS);
  return course(recent, named, up, down);
}

/**
 * Draws `points` [{at_ms, score, label, quote}] of the last minutes into `picture` (an <svg>). `what`: one of `FOLLOWED`;
 * the line at its `level` is the calm one. `words` names the whole for those who cannot see it. `width` in pixels.
 */
export function spark(picture, what, points, now_ms, words, width = picture.clientWidth || 120) {
  const { low, high, level } = FOLLOWED[what];
  const inside = points.filter((p) => p.at_ms >= now_ms - SPAN_MS && p.at_ms <= now_ms);
  const key = `${width} ${words} ${Math.round(now_ms / 1000)} ${inside.length} ${inside.at(-1)?.at_ms}`;
  if (picture.dataset.drawn === key) return;
  picture.dataset.drawn = key;
  const x = (at_ms) => MARGIN + ((at_ms - (now_ms - SPAN_MS)) / SPAN_MS) * (width - 2 * MARGIN);
  const y = (score) => MARGIN + ((high - Math.min(high, Math.max(low, score))) / (high - low)) * (HEIGHT - 2 * MARGIN);
  const round = (n) => n.toFixed(1);
  const line = inside.map((p) => `${round(x(p.at_ms))},${round(y(p.score))}`).join(" ");
  picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  picture.setAttribute("aria-label", words);
  picture.replaceChildren(
    svg("line", { class: "level", x1: 0, x2: width, y1: y(level), y2: y(level) }),
    svg("polyline", { points: line }),
    ...inside.map((p, i) =>
      svg(
        "circle",
        {
          cx: round(x(p.at_ms)),
          cy: round(y(p.score)),
          r: i === inside.length - 1 ? 3.5 : 2,
          "data-score": p.score,
          "data-at": p.at_ms,
        },
        svg("title", {}, `${clock(p.at_ms)}  ${p.label} (${signed(p.score)})${p.quote ? `  “${p.quote}”` : ""}`),
      ),
    ),
  );
}
