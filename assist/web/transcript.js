// The words of a call as a list that keeps up with long calls, stays at its newest line (or at the sounding one)
// until somebody scrolls away, and never moves a row. It draws turns of the state and knows no log.

import { el, say } from "./dom.js";
import { clock, party } from "./words.js";

const NEAR_PX = 24;

export class Transcript {
  /**
   * `scroller` holds `list`; `newest` is the button back. `onpick(turn)`: what a click on a row does, null for nothing.
   * `follows`: keep the sounding row in sight rather than the last one.
   */
  constructor(scroller, list, newest, onpick = null) {
    Object.assign(this, { scroller, list, newest, onpick, follows: false, pinned: true, missed: 0, top: 0 });
    this.rows = new Map(); // utterance id -> {item, text, turn}
    this.current = null;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    newest.addEventListener("click", () => {
      this.pin();
      scroller.focus({ preventScroll: true });
    });
    const grown = new ResizeObserver(() => {
      if (this.pinned && !this.follows) this.#toEnd();
    });
    grown.observe(list);
    grown.observe(scroller);
    if (onpick) list.addEventListener("click", (event) => this.#pick(event));
    list.classList.toggle("plays", Boolean(onpick));
  }

  clear() {
    this.rows.clear();
    this.list.replaceChildren();
    this.current = null;
    this.missed = 0;
  }

  /** Brings the rows of `state.touched` up to date and clears it. */
  draw(state) {
    const { touched, turns, order } = state;
    if (!touched.size) return;
    const before = this.rows.size;
    for (const id of touched) this.#drawOne(id, turns, order);
    touched.clear();
    if (this.follows) return;
    if (this.pinned) this.#toEnd();
    else if (this.rows.size > before) this.#miss(this.rows.size - before);
  }

  #drawOne(id, turns, order) {
    const known = this.rows.get(id);
    if (!turns.has(id)) {
      if (known) this.#drop(id, known);
      return;
    }
    const moved = known && known.turn.party !== turns.get(id).party; // roles were put right: it is another row
    if (moved) this.#drop(id, known);
    const { item } = this.#write(turns.get(id));
    if (known && !moved) return;
    let after = order.lastIndexOf(id) + 1;
    while (after < order.length && !this.rows.has(order[after])) after += 1;
    this.list.insertBefore(item, this.rows.get(order[after])?.item ?? null);
  }

  #drop(id, row) {
    row.item.remove();
    this.rows.delete(id);
  }

  #write(turn) {
    let row = this.rows.get(turn.id);
    if (!row) {
      row = this.#row(turn);
      this.rows.set(turn.id, row);
    }
    row.turn = turn;
    if (row.item.dataset.stage !== turn.stage) row.item.dataset.stage = turn.stage;
    say(row.text, turn.text);
    return row;
  }

  #row(turn) {
    const text = el("p", { dir: "auto" });
    const at = clock(turn.start_ms);
    const who = el("abbr", { class: "who", title: party(turn.party) }, party(turn.party)[0]);
    const time = this.onpick
      ? el("button", { class: "at", type: "button", "aria-label": `Play from ${at}` }, at)
      : el("span", { class: "at" }, at);
    const item = el("li", { class: `turn ${turn.party}`, data: { utterance: turn.id } }, who, text, time);
    return { item, text, turn };
  }

  /** Marks the turn that sounds at `ms` and, where the list follows the sound, keeps it in sight. */
  sound({ turns, order }, ms) {
    let low = 0;
    let high = order.length; // the last turn that starts at or before ms
    while (low < high) {
      const middle = (low + high) >> 1;
      if (turns.get(order[middle]).start_ms <= ms) low = middle + 1;
      else high = middle;
    }
    const id = order[low - 1] ?? null;
    if (id === this.current) return;
    this.rows.get(this.current)?.item.removeAttribute("aria-current");
    this.current = id;
    this.rows.get(id)?.item.setAttribute("aria-current", "true");
    if (this.follows && this.pinned) this.#toCurrent();
  }

  pin() {
    this.pinned = true;
    this.missed = 0;
    this.newest.hidden = true;
    if (this.follows) this.#toCurrent();
    else this.#toEnd();
  }

  #unpin(words) {
    this.pinned = false;
    say(this.newest, words);
    this.newest.hidden = false;
  }

  #miss(rows) {
    this.missed += rows;
    this.#unpin(`↓ ${this.missed} new`);
  }

  #toEnd() {
    this.#scroll(this.scroller.scrollHeight);
  }

  #toCurrent() {
    const item = this.rows.get(this.current)?.item;
    if (!item) return;
    const row = item.getBoundingClientRect();
    const sight = this.scroller.getBoundingClientRect();
    if (row.top >= sight.top + NEAR_PX && row.bottom <= sight.bottom - NEAR_PX) return;
    this.#scroll(this.scroller.scrollTop + row.top - sight.top - (sight.height - row.height) / 3);
  }

  #scroll(to) {
    this.scroller.scrollTop = to;
    this.top = this.scroller.scrollTop;
  }

  // Only a person scrolls elsewhere: rows that grow, or are laid out late, move the end away but never the top.
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const moved = scrollTop - this.top;
    this.top = scrollTop;
    if (this.follows) {
      if (Math.abs(moved) > 2) this.#unpin("↕ Back to the sound");
    } else if (scrollHeight - scrollTop - clientHeight < NEAR_PX) {
      this.pinned = true;
      this.missed = 0;
      this.newest.hidden = true;
    } else if (moved < -1) {
      this.#unpin("↓ Newest");
    }
  }

  #pick(event) {
    const item = event.target.closest("li.turn");
    if (!item || !getSelection().isCollapsed) return;
    this.onpick(this.rows.get(item.dataset.utterance).turn);
    if (this.follows) this.pin();
  }
}
