// Which of the live calls needs somebody most, and what for. It knows no page and no clock.

import { clock, mood, stress } from "./words.js";

const WAITS_MS = 5_000; // shorter pauses are how people talk
const SILENT_MS = 20_000;
const LONG_MS = 20_000;

const FLAG = { high: 6, medium: 3, low: 1 };
const MOOD = { "very unhappy": 3, unhappy: 1 };
const VOICE = { "very tense": 2, tense: 1 };

/**
 * How long nobody has spoken, ms; 0 while somebody does, before anybody has, and where nothing is to be heard: in a
 * pause, and in writing. `at_ms`: now, on the call's clock.
 */
export function silence(call, at_ms) {
  if (!call.said || call.paused || call.written || Object.keys(call.speaking).length) return 0;
  return Math.max(0, at_ms - call.said.end_ms);
}

/** "Customer waits 12 s", where the agent owes an answer; "Silent for 00:40"; or nothing. */
export function wait(call, at_ms) {
  const ms = silence(call, at_ms);
  const long = ms < 60_000 ? `${Math.floor(ms / 1000)} s` : clock(ms);
  if (call.said?.party === "customer") return ms >= WAITS_MS ? `Customer waits ${long}` : "";
  return ms >= SILENT_MS ? `Silent for ${long}` : "";
}

/** The more, the more it needs somebody: flags, mood, voice, faults of the sound, a customer who waits. */
export function need(call, at_ms) {
  const flag = Math.max(0, ...call.flags.map(({ severity }) => FLAG[severity]));
  const felt = (call.sentiment !== null && MOOD[mood(call.sentiment)]) || 0;
  const voice = (call.voices.length && VOICE[stress(call.voices.at(-1).score)]) || 0;
  const waits = call.said?.party === "customer" && silence(call, at_ms) >= LONG_MS ? 2 : 0;
  return flag + felt + voice + waits + (call.faults.length ? 2 : 0);
}
