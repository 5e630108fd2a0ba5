// Plays a past call: what the panel knew at each moment of the recording, in step with the sound.
// It knows no page; it gives the state of the moment.

import { empty, fold } from "./state.js";

export class Replay {
  #entries;
  #audio;
  #tell;
  #at = 0;
  #state = empty();
  #all = false;

  /** `tell(state, sound_ms, again)`: what was known at `sound_ms`; `again` where the state began anew. */
  constructor(entries, audio, tell) {
    this.#entries = entries;
    this.#audio = audio;
    this.#tell = tell;
    for (const kind of ["seeked", "pause", "timeupdate", "ended"]) audio.addEventListener(kind, () => this.#step());
    audio.addEventListener("play", () => this.#run());
  }

  get sound_ms() {
    return this.#audio.currentTime * 1000;
  }

  /** The panel's own time: with everything shown, the end of the call. */
  get now_ms() {
    return this.#all ? Math.max(this.sound_ms, this.#entries.at(-1)?.at_ms ?? 0) : this.sound_ms;
  }

  /** Shows everything at once, or only what was known by now. */
  show(all) {
    this.#all = all;
    this.#step(true);
  }

  playFrom(ms) {
    this.#audio.currentTime = Math.max(0, ms) / 1000;
    this.#audio.play().catch(() => {}); // refused without a gesture, or no recording: the controls show it
  }

  toggle() {
    if (this.#audio.paused) this.#audio.play().catch(() => {});
    else this.#audio.pause();
  }

  #run() {
    if (this.#audio.paused) return;
    this.#step();
    requestAnimationFrame(() => this.#run());
  }

  #step(force = false) {
    const upto = this.#known(this.sound_ms);
    const again = force || upto < this.#at;
    if (again) {
      this.#at = 0;
      this.#state = empty();
    }
    if (upto > this.#at) fold(this.#entries.slice(this.#at, upto), this.#state);
    this.#at = upto;
    this.#tell(this.#state, this.sound_ms, again);
  }

  /** How many entries had been told by `now`; the first names the call and always counts. */
  #known(now) {
    if (this.#all || this.#audio.ended) return this.#entries.length;
    let low = Math.min(1, this.#entries.length);
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#entries[middle].at_ms <= now) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
