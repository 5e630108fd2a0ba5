// Follows one call's log over a websocket: in order, no hole, no double, through any number of dropped connections.
// It does not know what an entry means, save that CallEnded is the last of a call.

const SILENT_AFTER_MS = 12_000; // the server's heartbeat comes every 5 s
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 8_000;
const TOLD_ALL = 1000; // a websocket's normal close
const HOPELESS = new Set(["unknown_call", "bad_message"]);

/** Wait before attempt `n` (0, 1, …): doubling, capped, the upper half at random so that pages do not return as one. */
export function waitMs(n, random = Math.random) {
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** n);
  return longest / 2 + (random() * longest) / 2;
}

/**
 * tell.entry(entry)     each entry once, by seq
 * tell.status(status)   {phase: connecting | live | reconnecting | ended | failed, attempt, code, message}
 * tell.clock(now_ms)    the call's clock, as the server's heartbeat has it
 * tell.reset()          the server's log is not the one we had heard: forget everything, it comes again from 1
 */
export class LogSocket {
  #address;
  #tell;
  #socket = null;
  #attempt = 0;
  #timer = 0;
  #watch = 0;
  #finished = false;
  #error = null;

  constructor(address, tell, after = 0) {
    this.#address = address;
    this.#tell = tell;
    this.seq = after;
    this.heardAt = performance.now();
    this.wake = () => {
      if (!document.hidden) this.#hurry();
    };
    addEventListener("online", this.wake);
    document.addEventListener("visibilitychange", this.wake);
    this.#connect("connecting");
  }

  close() {
    this.#finished = true;
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.wake);
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    this.#socket?.close();
  }

  #status(phase) {
    this.#tell.status({
      phase,
      attempt: this.#attempt,
      code: this.#error?.code ?? "",
      message: this.#error?.message ?? "",
    });
  }

  #connect(phase) {
    this.#error = null;
    this.#status(phase);
    const socket = new WebSocket(this.#address(this.seq));
    this.#socket = socket;
    socket.onmessage = (message) => {
      if (socket === this.#socket) this.#hear(message.data);
    };
    socket.onclose = ({ code }) => this.#lost(socket, code);
    this.#listen();
  }

  #listen() {
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#watch = setTimeout(() => {
      socket.close();
      this.#lost(socket);
    }, SILENT_AFTER_MS);
  }

  #hear(data) {
    const message = JSON.parse(data);
    this.heardAt = performance.now();
    this.#listen();
    if (message.event) this.#take(message);
    else if (message.type === "live") {
      this.#attempt = 0;
      this.#status("live");
    } else if (message.type === "heartbeat") this.#tell.clock(message.now_ms);
    else if (message.type === "error") this.#error = message;
  }

  #take(entry) {
    if (entry.seq <= this.seq) return;
    if (entry.seq > this.seq + 1) {
      this.#socket.close();
      this.#lost(this.#socket);
      return;
    }
    this.seq = entry.seq;
    this.#tell.entry(entry);
    if (entry.event.type === "CallEnded") {
      this.#status("ended");
      this.close();
    }
  }

  #lost(socket, code) {
    if (socket !== this.#socket || this.#finished) return;
    this.#socket = null;
    clearTimeout(this.#watch);
    if (HOPELESS.has(this.#error?.code)) {
      this.#status("failed");
      this.close();
      return;
    }
    // All was told and CallEnded was not in it: after a crash the log ended otherwise than we had heard it.
    if (this.#error?.code === "future_cursor" || code === TOLD_ALL) {
      this.seq = 0;
      this.#tell.reset();
    }
    this.#status("reconnecting");
    this.#timer = setTimeout(() => this.#connect("reconnecting"), waitMs(this.#attempt++));
  }

  #hurry() {
    if (this.#finished || this.#socket) return;
    clearTimeout(this.#timer);
    this.#connect("reconnecting");
  }
}
