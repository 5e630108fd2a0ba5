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

const of = (call) => `/calls/${encodeURIComponent(call)}`;

export const calls = async () => (await ask("/calls")).calls;
export const call = (id) => ask(of(id));
export const log = async (id, after = 0) => (await ask(`${of(id)}/log?after=${after}`)).entries;
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
