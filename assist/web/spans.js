// Who spoke when: speech of each party, both at once, and silence, from the turns of a call. Plain arithmetic.

const SILENCE_MS = 3_000;

/** Sorted [start, end] spans with those that touch joined. */
export function joined(spans) {
  const out = [];
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = out.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else if (end > start) out.push([start, end]);
  }
  return out;
}

/** What lies in both of two joined lists. */
export function common(a, b) {
  const out = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [start, end] = [Math.max(a[i][0], b[j][0]), Math.min(a[i][1], b[j][1])];
    if (start < end) out.push([start, end]);
    if (a[i][1] < b[j][1]) i += 1;
    else j += 1;
  }
  return out;
}

/** Turns to {agent, customer, overlap, silence}, each a list of [start_ms, end_ms]. */
export function speech(turns, duration_ms) {
  const of = (party) => joined(turns.filter((t) => t.party === party).map((t) => [t.start_ms, t.end_ms]));
  const [agent, customer] = [of("agent"), of("customer")];
  const silence = [];
  let from = 0;
  for (const [start, end] of [...joined([...agent, ...customer]), [duration_ms, duration_ms]]) {
    if (start - from >= SILENCE_MS) silence.push([from, start]);
    from = Math.max(from, end);
  }
  return { agent, customer, overlap: common(agent, customer), silence };
}
