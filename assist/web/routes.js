// Every route of the server that the pages use, one function each.
// It knows no page; an error carries the server's code.

export class RouteError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status; // 0: the server was not reached
    this.code = code;
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new RouteError(0, "unreachable", "The server cannot be reached.");
  }
  const body = await answer.json().catch(() => null);
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

/** Calls that go on, newest first: a long one is not among the newest of all. */
export const live = async () => (await ask("/calls?live=true&limit=1000")).calls;
/** Those, then the newest that have ended. */
export async function calls() {
  const going = await live();
  const newest = (await ask("/calls")).calls;
  return [...going, ...newest.filter((call) => !going.some((other) => other.call === call.call))];
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
export const peaks = (id) => ask(`${of(id)}/peaks`);
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
  labels ??= ask("/topics")
    .then((body) => body.topics)
    .catch(() => {
      labels = null;
      return {};
    });
  return labels;
}

/** Links into the pages. */
export const pages = {
  overlay: (id) => `/overlay?call=${encodeURIComponent(id)}`,
  review: (id, rule) => `/review?call=${encodeURIComponent(id)}${rule ? `&rule=${encodeURIComponent(rule)}` : ""}`,
};
