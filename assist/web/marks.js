// Sends what became of a suggestion, and keeps trying while the server cannot be reached.
// It knows no card.

import { waitMs } from "./log.js";
import { mark } from "./routes.js";

const MOST = 50;

export class Marks {
  #queue = [];
  #busy = false;

  /** `refused(message)`: the server will not have one of them. */
  constructor(call, refused) {
    this.call = call;
    this.refused = refused;
  }

  get unsent() {
    return this.#queue.length;
  }

  send(suggestion, ref, became) {
    this.#queue.push({ suggestion, ref, mark: became });
    if (this.#queue.length > MOST) {
      this.#queue.splice(1, 1); // the oldest but the one on its way
      this.refused("too many wait for the server");
    }
    if (!this.#busy) this.#work();
  }

  async #work() {
    this.#busy = true;
    for (let attempt = 0; this.#queue.length;) {
      try {
        await mark(this.call, this.#queue[0]);
        this.#queue.shift();
        attempt = 0;
      } catch (error) {
        if (error.status === 0 || error.status >= 500) {
          await new Promise((go) => setTimeout(go, waitMs(attempt++)));
        } else {
          this.#queue.shift();
          this.refused(error.message);
        }
      }
    }
    this.#busy = false;
  }
}
