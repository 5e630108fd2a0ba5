// A line of the last minutes in SVG: every point is an element that can be read and pointed at.

import { svg } from "./dom.js";
import { clock, signed } from "./words.js";

const HEIGHT = 24;
const MARGIN = 4;

/**
 * Draws `points` [{at_ms, score, quote}] of the last `span_ms` into `picture` (an <svg>), between `low` and `high`.
 * The line at `level` is the calm one. `words` names the whole for those who cannot see it.
 */
export function spark(picture, points, { now_ms, span_ms, low, high, level, words }) {
  const width = picture.clientWidth || 120;
  const inside = points.filter((p) => p.at_ms >= now_ms - span_ms && p.at_ms <= now_ms);
  const key = `${width} ${words} ${Math.round(now_ms / 1000)} ${inside.length} ${inside.at(-1)?.at_ms}`;
  if (picture.dataset.drawn === key) return;
  picture.dataset.drawn = key;
  const x = (at_ms) => MARGIN + ((at_ms - (now_ms - span_ms)) / span_ms) * (width - 2 * MARGIN);
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
