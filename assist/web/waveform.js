// A call as one picture: two channels with speech, overlap and silence, mood and voice as bands, flags as pins.
// It knows no sound: where it is clicked is told, where the sound is gets shown.

import { el, svg } from "./dom.js";
import { speech } from "./spans.js";
import { exchanged } from "./state.js";
import { clock, severity, signed } from "./words.js";

const LANE_PX = 48;
const BAND = 20;
const STEP_MS = 5_000;
const LABEL_PX = 44;
const PIN_PX = 24;

export class Waveform {
  /** `parts`: {wave, canvas, bands, pins, playhead}; `onseek(ms)`; `onflag(flag)`. */
  constructor(parts, onseek, onflag) {
    Object.assign(this, parts);
    this.onseek = onseek;
    this.onflag = onflag;
    this.duration_ms = 1;
    this.data = null;
    this.wave.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const { left, width } = this.wave.getBoundingClientRect();
      onseek(((event.clientX - left) / width) * this.duration_ms);
    });
    this.wave.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -STEP_MS, ArrowRight: STEP_MS }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      onseek(Math.max(0, this.now_ms + step));
    });
    this.now_ms = 0;
    new ResizeObserver(() => this.#paint()).observe(this.wave);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  /** `peaks`: {ms_per_peak, parties, peaks} or null where there is no recording; `state`: the folded log. */
  show(state, peaks, duration_ms) {
    this.duration_ms = Math.max(1, duration_ms);
    const turns = state.order.map((id) => state.turns.get(id));
    if (state.swapped && peaks) peaks = { ...peaks, parties: peaks.parties.map(exchanged) };
    this.data = { peaks, spans: speech(turns, duration_ms) };
    this.wave.setAttribute("aria-valuemax", Math.round(duration_ms / 1000));
    this.#bands(state);
    this.#pins(state.flags);
    this.#paint();
    this.at(0);
  }

  at(ms) {
    this.now_ms = ms;
    this.playhead.style.insetInlineStart = `${Math.min(100, (ms / this.duration_ms) * 100)}%`;
    this.wave.setAttribute("aria-valuenow", Math.round(ms / 1000));
    this.wave.setAttribute("aria-valuetext", clock(ms));
  }

  #bands({ sentiment, stress }) {
    const width = 1000;
    const x = (ms) => (ms / this.duration_ms) * width;
    const bar = (point, top, height, kind, score) =>
      svg(
        "rect",
        {
          class: kind,
          x: x(point.start_ms).toFixed(2),
          width: Math.max(1.5, x(point.end_ms - point.start_ms)).toFixed(2),
          y: top,
          height,
          "data-score": score,
        },
        svg("title", {}, `${clock(point.start_ms)}  ${point.label} (${signed(score)})`),
      );
    const half = BAND / 2;
    this.bands.setAttribute("viewBox", `0 0 ${width} ${2 * BAND}`);
    this.bands.replaceChildren(
      svg("line", { x1: 0, x2: width, y1: half, y2: half }),
      svg("line", { x1: 0, x2: width, y1: 2 * BAND - 0.5, y2: 2 * BAND - 0.5 }),
      ...sentiment.map((p) => {
        const tall = Math.max(1, Math.min(1, Math.abs(p.turn)) * (half - 1));
        return bar(p, p.turn < 0 ? half : half - tall, tall, p.turn < 0 ? "down" : "up", p.turn);
      }),
      ...stress.map((p) => {
        const tall = Math.max(1, Math.min(1, p.score) * (BAND - 3));
        return bar(p, 2 * BAND - 1 - tall, tall, "tense", p.score);
      }),
    );
  }

  #pins(flags) {
    this.pins.replaceChildren(
      ...flags.map((flag) => {
        const words = `${flag.severity} flag at ${clock(flag.evidence.start_ms)}: ${flag.reason}`;
        const pin = el(
          "button",
          {
            type: "button",
            class: `pin ${flag.severity}`,
            title: words,
            "aria-label": words,
            data: { rule: flag.rule, at: flag.evidence.start_ms },
            onclick: () => this.onflag(flag),
          },
          severity[flag.severity],
        );
        pin.style.insetInlineStart = `${Math.min(100, (flag.evidence.start_ms / this.duration_ms) * 100)}%`;
        return pin;
      }),
    );
  }

  choose(flag) {
    for (const pin of this.pins.children) {
      if (pin.dataset.rule === flag?.rule) pin.setAttribute("aria-current", "true");
      else pin.removeAttribute("aria-current");
    }
  }

  /** Pins too near to one another go above each other, so that each can be reached. */
  #stack(width) {
    const ends = []; // where the last pin of each row ends, px
    for (const pin of [...this.pins.children].sort((a, b) => a.dataset.at - b.dataset.at)) {
      const left = (pin.dataset.at / this.duration_ms) * width;
      let row = ends.findIndex((end) => end <= left);
      if (row < 0) row = ends.length;
      ends[row] = left + PIN_PX;
      pin.style.insetBlockEnd = `${row * PIN_PX}px`;
    }
    this.pins.style.height = `${Math.max(1, ends.length) * PIN_PX}px`;
  }

  #paint() {
    const { width } = this.wave.getBoundingClientRect();
    if (!width || !this.data) return;
    this.#stack(width);
    const scale = devicePixelRatio || 1;
    const height = 2 * LANE_PX;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const colour = (name) => getComputedStyle(this.wave).getPropertyValue(`--${name}`).trim();
    const x = (ms) => (ms / this.duration_ms) * width;
    const fill = (spans, name, top, tall) => {
      pen.fillStyle = colour(name);
      for (const [start, end] of spans) pen.fillRect(x(start), top, Math.max(1, x(end) - x(start)), tall);
    };
    const { spans, peaks } = this.data;
    fill(spans.silence, "raised", 0, height);
    ["agent", "customer"].forEach((party, lane) => {
      const middle = lane * LANE_PX + LANE_PX / 2;
      fill(spans[party], party, (lane + 1) * LANE_PX - 3, 2);
      pen.fillStyle = colour(party);
      if (peaks) this.#lane(pen, peaks.peaks[peaks.parties.indexOf(party)] ?? [], peaks.ms_per_peak, middle, width);
    });
    fill(spans.overlap, "overlap", LANE_PX - 4, 7);
    pen.fillStyle = colour("pale");
    pen.font = `11px ${getComputedStyle(this.wave).fontFamily}`;
    pen.textAlign = "center";
    for (const [start, end] of spans.silence) {
      if (x(end) - x(start) > LABEL_PX)
        pen.fillText(`${Math.round((end - start) / 1000)} s`, (x(start) + x(end)) / 2, LANE_PX / 2);
    }
  }

  /** One column a pixel: the loudest peak in it. */
  #lane(pen, values, ms_per_peak, middle, width) {
    const per = this.duration_ms / ms_per_peak / width;
    for (let column = 0; column < width; column += 1) {
      let loudest = 0;
      for (
        let i = Math.floor(column * per);
        i < Math.max((column + 1) * per, column * per + 1) && i < values.length;
        i += 1
      ) {
        if (values[i] > loudest) loudest = values[i];
      }
      const tall = Math.max(0.5, (loudest / 255) * (LANE_PX / 2 - 4));
      pen.fillRect(column, middle - tall, 0.8, 2 * tall);
    }
  }
}
