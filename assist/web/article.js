// An article's text as nodes: the little Markdown that articles are written in (paragraphs, "- ", "1. ", "## ").
// Anything else stays the characters it is.

import { el } from "./dom.js";

const RULES = [
  { kind: "h3", at: /^#{1,6} +/ },
  { kind: "ul", at: /^[-*] +/ },
  { kind: "ol", at: /^\d{1,3}[.)] +/ },
];

/** Markdown text to an array of HTML elements. */
export function render(body) {
  const blocks = [];
  let open = null; // the list or paragraph that the next line may continue
  for (const line of body.split(/\r?\n/)) {
    if (!line.trim()) {
      open = null;
      continue;
    }
    const rule = RULES.find(({ at }) => at.test(line));
    const text = rule ? line.replace(rule.at, "") : line.trim();
    if (rule?.kind === "h3") {
      blocks.push({ tag: "h3", lines: [[text]] });
      open = null;
    } else if (rule) {
      if (open?.tag !== rule.kind) blocks.push((open = { tag: rule.kind, lines: [] }));
      open.lines.push([text]);
    } else if (open) {
      open.lines.at(-1).push(text);
    } else {
      blocks.push((open = { tag: "p", lines: [[text]] }));
    }
  }
  return blocks.map(({ tag, lines }) => {
    const texts = lines.map((words) => words.join(" "));
    if (tag === "ul" || tag === "ol") return el(tag, {}, ...texts.map((text) => el("li", { dir: "auto" }, text)));
    return el(tag, { dir: "auto" }, texts[0]);
  });
}
