// Figures into the words people read: times, moods, states. Numbers stay in the detail.

export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  return s >= 3600
    ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
    : `${two(Math.floor(s / 60))}:${two(s % 60)}`;
}

export const seconds = (ms) => (ms < 9_950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`);

export const signed = (score) => `${score < 0 ? "−" : "+"}${Math.abs(score).toFixed(2)}`;

export const plain = (id) => id.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());

/** The call's sentiment so far, -1..1; it is decayed, so half-way down is already far. */
export function mood(score) {
  if (score <= -0.45) return "very unhappy";
  if (score <= -0.15) return "unhappy";
  if (score < 0.25) return "even";
  return "pleased";
}

/** Stress in the voice, 0..1. */
export function stress(score) {
  if (score >= 0.75) return "very tense";
  if (score >= 0.5) return "tense";
  return "calm";
}

/** "calm → tense", or "tense, rising": how the last points went. `words` names a score; `up` and `down` name a trend. */
export function course(points, words, up, down) {
  if (!points.length) return "";
  const last = points.at(-1).score;
  const first = points[0].score;
  if (points.length > 2 && words(first) !== words(last) && points.length <= 4)
    return `${words(first)} → ${words(last)}`;
  const recent = points.slice(-4, -1).map((p) => p.score);
  if (!recent.length) return words(last);
  const step = last - recent.reduce((a, b) => a + b, 0) / recent.length;
  if (Math.abs(step) < 0.1) return words(last);
  return `${words(last)}, ${step > 0 ? up : down}`;
}

export const party = (name) => ({ agent: "Agent", customer: "Customer", system: "System" })[name] ?? name;

const parts = {
  recogniser: "words",
  mind: "mood, voice and topic",
  sentiment: "mood",
  stress: "voice",
  suggest: "suggestions",
  flag: "flags",
};
export const part = (name) => parts[name] ?? name.replaceAll("_", " ");

const shedding = [
  "",
  "Busy: words come later than usual",
  "Busy: only finished sentences are shown",
  "Busy: no new calls are taken",
];
export const degraded = ({ level, shed }) => {
  const said = shedding[level] ?? `Busy (level ${level})`;
  return shed.length && level > 3 ? `${said}: without ${shed.join(", ")}` : said;
};

const faulty = {
  no_audio: () => "No sound: the call is connected and carries none",
  dead: (who) => `No sound from the ${who}'s channel`,
  clipped: (who) => `The ${who}'s channel is distorted: far too loud`,
  duplicated: () => "Both channels carry the same sound: who says what is not certain",
  crossed: (who) => `Another voice echoes on the ${who}'s channel: check who said what`,
  roles: () => "Agent and customer may be the wrong way round",
};
/** The same in a word or two, for a list. */
export const faultName = (kind) =>
  ({ no_audio: "none", dead: "one channel silent", crossed: "echo", roles: "roles in doubt" })[kind] ??
  kind.replaceAll("_", " ");

/** What is wrong with the sound of some channels, as people say it. */
export const fault = ({ kind, parties }) =>
  faulty[kind]?.(parties.map((name) => party(name).toLowerCase()).join(" and ")) ?? plain(kind);

const endings = {
  bye: "ended",
  closed: "ended",
  lost: "connection to the phone system lost",
  drained: "ended by a server restart",
  interrupted: "cut off by a server stop",
};
export const ending = (reason) => endings[reason] ?? (reason.startsWith("error:") ? "ended by an error" : reason);

export const severity = { high: "▲", medium: "◆", low: "●" };

/** "today 14:05", or a date. */
export function when(rfc3339, now = new Date()) {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return "";
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === now.toDateString()) return `today ${time}`;
  return `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

/** Who a call is with, as far as anybody told us. */
export const caller = (metadata) => metadata.customer_name || metadata.ani || "";
