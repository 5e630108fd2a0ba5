// Every route of the server that the pages use, one function each.
// It knows no page; an error carries the server's code.

export class RouteError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status; // 0: the server was not reached
    this.code = code;
  }
}

const ANSWER_MS = 30_000;
const RENDERED_MS = 300_000; // a long call's sound is made when it is first asked for, one call after the other
const LABELS_MS = 3_000; // what only makes words nicer holds nothing up for longer, once a minute
const LABELS_AGAIN_MS = 60_000;

async function ask(path, options = {}, within_ms = ANSWER_MS) {
  const unreachable = () => new RouteError(0, "unreachable", "The server cannot be reached.");
  const signal = AbortSignal.timeout(within_ms);
  let answer;
  try {
    answer = await fetch(path, { signal, ...options });
  } catch {
    throw unreachable();
  }
  const body = await answer.json().catch(() => null);
  if (body === null && signal.aborted) throw unreachable();
  if (!answer.ok && !(path === "/readyz" && body)) {
    throw new RouteError(
      answer.status,
      body?.code ?? "internal",
      body?.message ?? `The server answered ${answer.status}.`,
    );
  }
  return body;
}

const post = (path, value) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

const LOG_PAGE = 10_000;

const of = (call) => `/calls/${encodeURIComponent(call)}`;

const going = () => ask("/calls?live=true&limit=1000");
/** Calls that go on, newest first: a long one is not among the newest of all. */
export const live = async () => (await going()).calls;
/** Those, then the newest that have ended; and the server's clock when it was asked, ms since 1970. */
export async function calls() {
  const { calls: known, at } = await going();
  const newest = (await ask("/calls")).calls;
  const past = newest.filter((call) => !known.some((other) => other.call === call.call));
  return { calls: [...known, ...past], now_ms: Date.parse(at) };
}
export const call = (id) => ask(of(id));
/** All entries so far, however many answers they take. */
export async function log(id) {
  const found = [];
  for (;;) {
    const after = found.at(-1)?.seq ?? 0;
    const { entries } = await ask(`${of(id)}/log?after=${after}&limit=${LOG_PAGE}`);
    found.push(...entries);
    if (entries.length < LOG_PAGE) return found;
  }
}
export const peaks = (id) => ask(`${of(id)}/peaks`, {}, RENDERED_MS);
export const audioAddress = (id) => `${of(id)}/audio`;
export const mark = (id, value) => post(`${of(id)}/marks`, value);
export const review = (id, value) => post(`${of(id)}/reviews`, value);
export const queue = async () => (await ask("/review/queue")).calls;
export const article = (id) => ask(`/articles/${encodeURIComponent(id)}`);
export const ready = () => ask("/readyz");

export function eventsAddress(id, after) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${location.host}${of(id)}/events?after=${after}`;
}

let labels = null;
/** {topic id: label}; an empty object where the server does not answer, so that ids are shown instead. */
export async function topics() {
  labels ??= ask("/topics", {}, LABELS_MS)
    .then((body) => body.topics)
    .catch(() => {
      setTimeout(() => (labels = null), LABELS_AGAIN_MS);
      return {};
    });
  return labels;
}

/** Links into the pages. */
export const pages = {
  overlay: (id) => `/overlay?call=${encodeURIComponent(id)}`,
  review: (id, rule) => `/review?call=${encodeURIComponent(id)}${rule ? `&rule=${encodeURIComponent(rule)}` : ""}`,
};
