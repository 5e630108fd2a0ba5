// Draws the cards in their three places and says who is looking at which.
// It decides nothing: slots.js says what stands where, the page says what a button does.

import { el, say } from "./dom.js";
import { PLACES } from "./slots.js";
import { clock, party } from "./words.js";

const LOOKS_FOR_MS = 30_000; // a pointer or focus this long at rest reads nothing
const TOO_NEW_MS = 350; // a key or click this soon was meant for what stood here before

const heads = { action: "Next", step: "Next step", alert: "⚠ Alert", article: "" };

export class Cards {
  /** `places`: the three elements by name. `act(suggestion, what)`: what is do | open | used | not_useful | dismissed. */
  constructor(places, act) {
    this.places = places;
    this.act = act;
    this.drawn = { next: null, first: null, second: null }; // the suggestion in each place
    this.since = { next: 0, first: 0, second: 0 };
    this.over = null;
    this.stirredAt = 0;
    this.done = "";
    for (const place of PLACES) {
      places[place].addEventListener("pointerenter", () => {
        this.over = place;
      });
      places[place].addEventListener("pointerleave", () => {
        if (this.over === place) this.over = null;
      });
    }
    for (const kind of ["pointermove", "pointerdown", "keydown"]) {
      addEventListener(
        kind,
        () => {
          this.stirredAt = performance.now();
        },
        { passive: true },
      );
    }
  }

  /** The place with the focus, or null. */
  focused() {
    const at = document.activeElement?.closest?.(".place");
    return at && document.hasFocus() ? at.dataset.place : null;
  }

  /** The place somebody looks at, or null. */
  looking() {
    if (performance.now() - this.stirredAt > LOOKS_FOR_MS) return null;
    const place = this.focused() ?? this.over;
    return place && this.drawn[place] ? place : null;
  }

  /** `view`: {shown, waiting, suggestions, turns, quiet: what an empty panel says, marks: whether marking is possible}. */
  draw({ shown, waiting, suggestions, turns, quiet, marks }) {
    for (const place of PLACES) {
      const suggestion = shown[place] ? suggestions.get(shown[place].id) : null;
      if (suggestion !== this.drawn[place]) this.#put(place, suggestion, turns, marks);
    }
    const next = this.places.next;
    if (this.drawn.next) say(next.querySelector(".waiting"), waiting ? `${waiting} more waiting` : "");
    else this.#empty(next, this.done ? `${this.done} ${quiet}` : quiet);
  }

  #empty(place, text) {
    if (place.firstElementChild?.classList.contains("empty")) say(place.firstElementChild, text);
    else place.replaceChildren(el("p", { class: "empty" }, text));
  }

  #put(place, suggestion, turns, marks) {
    const node = this.places[place];
    const held = node.contains(document.activeElement);
    this.drawn[place] = suggestion;
    this.since[place] = performance.now();
    node.replaceChildren(...(suggestion ? [this.#card(place, suggestion, turns, marks)] : []));
    if (suggestion && place === "next") this.done = "";
    if (held) (node.querySelector(".card") ?? node).focus({ preventScroll: true });
  }

  #card(place, suggestion, turns, marks) {
    const { kind, title, why, quote, source, id } = suggestion;
    const button = (what, label, style = "") =>
      el("button", { type: "button", class: style, data: { what }, onclick: () => this.press(place, what) }, label);
    const article = kind === "article";
    const proof = this.#proof(suggestion, turns);
    const buttons = article
      ? [
          button("open", "Open"),
          marks && button("used", "Useful", "quiet"),
          marks && button("not_useful", "Not useful", "quiet"),
        ]
      : [marks && button("do", kind === "alert" ? "Seen" : "Do", "loud"), marks && button("dismissed", "Not now")];
    return el(
      "article",
      {
        class: `card ${kind}`,
        tabindex: 0,
        data: { suggestion: id, ref: suggestion.ref },
        "aria-labelledby": `title-${place}`,
        "aria-describedby": proof && `proof-${place}`,
      },
      heads[kind] &&
        el("p", { class: "kind" }, el("span", { class: "strong" }, heads[kind]), el("span", { class: "waiting pale" })),
      el("h2", { id: `title-${place}`, class: article ? "" : "loudest", dir: "auto", title }, title),
      article && quote && el("p", { class: "quote", dir: "auto" }, `“${quote}”`),
      el("p", { class: "why pale", dir: "auto" }, why),
      !article && kind !== "alert" && quote && el("p", { class: "quote", dir: "auto" }, `Say: “${quote}”`),
      el(
        "div",
        { class: "buttons" },
        ...buttons,
        article &&
          source &&
          source !== `article:${suggestion.ref}` &&
          el("span", { class: "source pale", dir: "auto", title: source }, source),
      ),
      proof && el("p", { class: "proof", id: `proof-${place}`, role: "note" }, ...proof),
    );
  }

  /** The customer's own words behind a suggestion. */
  #proof({ evidence, score }, turns) {
    const turn = turns.get(evidence.utterance);
    const quote = evidence.quote || turn?.text || "";
    if (!quote && !evidence.source) return null;
    const at = evidence.start_ms || turn?.start_ms;
    const from = [turn && party(turn.party), at && clock(at)].filter(Boolean).join(" ");
    const figure = [evidence.source, Number.isFinite(score) && `score ${score.toFixed(2)}`].filter(Boolean).join(", ");
    return [
      quote && el("span", { dir: "auto", class: "said" }, `${from ? `${from}: ` : ""}“${quote}”`),
      el("span", { class: "pale", dir: "auto" }, figure),
    ];
  }

  /** Does `what` with the card in `place`, unless it has only just come there. */
  press(place, what) {
    const suggestion = this.drawn[place];
    if (!suggestion || performance.now() - this.since[place] < TOO_NEW_MS) return;
    if (place === "next" && what !== "open")
      this.done = what === "do" ? `✓ ${suggestion.kind === "alert" ? "Seen" : "Done"}: ${suggestion.title}.` : "";
    this.act(suggestion, what);
  }

  /** Moves the focus to the next card up (-1) or down (1). */
  move(step) {
    const filled = PLACES.filter((place) => this.drawn[place]);
    if (!filled.length) return;
    const at = filled.indexOf(this.focused());
    const to = at < 0 ? 0 : Math.min(filled.length - 1, Math.max(0, at + step));
    this.places[filled[to]].querySelector(".card").focus();
  }
}
