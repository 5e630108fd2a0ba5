// Entries to what the pages show: fold the log and look. The same entries always give the same state.
// It knows no page, no socket and no clock but the call's own.

const PART_ABSENT_MS = 60_000; // a part that failed is named until it works again, or this long

export function empty() {
  return {
    call: "",
    seq: 0,
    at_ms: 0,
    startedAt: "",
    metadata: {},
    platform: "",
    recogniser: "",
    rough: false,
    turns: new Map(), // utterance id -> turn; its stage is a transcript's, or lost: it was not understood
    order: [], // utterance ids by start
    touched: new Set(), // utterance ids changed since a view last looked; the view clears it
    sentiment: [],
    stress: [], // points {at_ms, start_ms, end_ms, score, label, utterance, quote}, customer
    // only; sentiment's `score` is the call's so far, `turn` this turn's
    topic: null, // {id, at_ms}: the heaviest of topics
    topics: new Map(), // id -> sum of scores, as in the server's summary
    suggestions: new Map(), // id -> suggestion with at_ms, seq, rank, mark
    playbook: null,
    flags: [],
    reviews: [],
    paused: null,
    faults: new Map(), // kind and parties -> {kind, parties}: what is wrong with the sound now
    swapped: false, // the platform had named agent and customer the wrong way round
    degraded: { level: 0, shed: [] },
    missed: null, // the party whose leg should be here
    faltered: new Map(), // part -> {at_ms, message}
    latency: {}, // event type -> {at_ms, stages}
    ended: null,
  };
}

/** Folds one entry in; mutates and returns `state`. An event type it has never heard of is counted and skipped. */
export function apply(state, entry) {
  state.call = entry.call;
  state.seq = entry.seq;
  state.at_ms = Math.max(state.at_ms, entry.at_ms);
  const { event } = entry;
  const stages = entry.latency_ms ?? {};
  if (Object.keys(stages).length && !(event.type === "Transcribed" && event.transcript.stage !== "final")) {
    state.latency[event.type] = { at_ms: entry.at_ms, stages };
  }
  taken[event.type]?.(state, event, entry);
  for (const [part, { at_ms }] of state.faltered) {
    if (state.at_ms - at_ms > PART_ABSENT_MS) state.faltered.delete(part);
  }
  return state;
}

export const fold = (entries, state = empty()) => entries.reduce(apply, state);

function weigh(state, label, score, at_ms) {
  state.topics.set(label, (state.topics.get(label) ?? 0) + score);
  const [id] = [...state.topics].reduce((best, next) => (next[1] > best[1] ? next : best));
  state.topic = { id, at_ms };
}

const taken = {
  CallStarted(state, event) {
    state.startedAt = event.started_at;
    state.metadata = event.metadata ?? {};
    state.platform = event.platform;
    state.recogniser = event.recogniser;
    state.rough = event.rough ?? false;
  },

  Transcribed(state, { transcript }) {
    const { utterance, party, start_ms, end_ms, text, stage = "final" } = transcript;
    const before = state.turns.get(utterance);
    if (before?.stage === "final" || (before?.stage === "lost" && stage !== "final")) return;
    if (stage === "final") state.faltered.delete("recogniser");
    if (!text.trim()) {
      if (stage !== "final" || !before) return; // heard, and nothing understood (yet): no row for it
      state.turns.delete(utterance);
      state.order.splice(state.order.lastIndexOf(utterance), 1);
    } else {
      if (!before) place(state, utterance, start_ms);
      const start = before ? before.start_ms : start_ms; // a row never changes its place
      state.turns.set(utterance, { id: utterance, party, start_ms: start, end_ms, text, stage });
    }
    state.touched.add(utterance);
  },

  Withdrawn(state, { utterance }) {
    for (const [id, suggestion] of state.suggestions)
      if (suggestion.utterance === utterance && suggestion.mark === null)
        state.suggestions.set(id, { ...suggestion, withdrawn: true });
    const turn = state.turns.get(utterance);
    if (!turn || turn.stage !== "speculative") return;
    state.turns.set(utterance, { ...turn, stage: "partial" });
    state.touched.add(utterance);
  },

  Noticed(state, { utterance, party, findings }, entry) {
    state.faltered.delete("mind");
    for (const { analyser, label, score, evidence, detail } of findings) {
      state.faltered.delete(analyser);
      if (label === "none") continue;
      const { start_ms, end_ms, quote, source } = evidence;
      const point = { at_ms: end_ms || entry.at_ms, start_ms, end_ms, score, label, utterance, quote, source };
      if (analyser === "sentiment") Object.assign(point, { turn: score, score: detail.call ?? score });
      if (analyser === "topic") weigh(state, label, score, entry.at_ms);
      else if (party === "customer" && analyser === "sentiment") state.sentiment.push(point);
      else if (party === "customer" && analyser === "stress") state.stress.push(point);
    }
  },

  Suggested(state, { utterance, suggestions }, entry) {
    state.faltered.delete("suggest");
    suggestions.forEach((suggestion, rank) => {
      const told = { utterance, at_ms: entry.at_ms, seq: entry.seq, rank, mark: null, withdrawn: false };
      state.suggestions.set(suggestion.id, { ...suggestion, ...told });
    });
  },

  Marked: mark,

  PlaybookMoved(state, { playbook, title, steps }) {
    state.playbook = { id: playbook, title, steps };
  },
  Flagged(state, { flag }) {
    state.flags.push(flag);
  },
  Reviewed(state, event, entry) {
    state.reviews.push({ ...event, seq: entry.seq });
  },
  Faltered(state, { part, message, utterance }, entry) {
    state.faltered.set(part, { at_ms: entry.at_ms, message });
    const turn = part === "recogniser" && state.turns.get(utterance);
    if (!turn || turn.stage === "final") return;
    state.turns.set(utterance, { ...turn, stage: "lost" }); // no final will come
    state.touched.add(utterance);
  },
  Degraded(state, { level, shed }) {
    state.degraded = { level, shed };
  },
  Paused(state, { reason }) {
    state.paused = { reason: reason ?? "" };
  },
  Resumed(state) {
    state.paused = null;
  },
  LegJoined(state, { party }) {
    if (state.missed === party) state.missed = null;
  },
  LegMissing(state, { party }) {
    state.missed = party;
  },
  ChannelFaulted(state, { kind, parties }) {
    state.faults.set(`${kind} ${parties}`, { kind, parties });
  },
  ChannelMended(state, { kind, parties }) {
    state.faults.delete(`${kind} ${parties}`);
  },
  RolesSwapped(state) {
    state.swapped = true;
    for (const [id, turn] of state.turns) {
      state.turns.set(id, { ...turn, party: exchanged(turn.party) });
      state.touched.add(id);
    }
    state.sentiment = []; // it was the agent's
    state.stress = [];
  },
  CallEnded(state, { reason, duration_ms }) {
    state.ended = { reason, duration_ms };
    Object.assign(state, { missed: null, paused: null, degraded: { level: 0, shed: [] } }); // nothing of it is now
    state.faults.clear();
    state.faltered.clear();
  },
};

export const exchanged = (party) => ({ agent: "customer", customer: "agent" })[party] ?? party;

/** Notes what became of a suggestion; earlier ones of the same article or action go with it. */
export function mark(state, { suggestion, ref, mark: became }) {
  const marked = state.suggestions.get(suggestion);
  if (!marked) return;
  for (const other of state.suggestions.values()) {
    const same =
      other.id === suggestion || (other.ref === ref && other.kind === marked.kind && other.seq <= marked.seq);
    if (same && !closes(other.mark)) other.mark = became;
  }
}

/** A mark after which a card is gone; an opened article stays. */
export const closes = (mark) => mark !== null && mark !== "opened";

function place(state, utterance, start_ms) {
  let at = state.order.length;
  while (at > 0 && state.turns.get(state.order[at - 1]).start_ms > start_ms) at -= 1;
  state.order.splice(at, 0, utterance);
}
