// Builds nodes and reads the address; every word reaches the page as text, never as markup.
// It knows nothing of calls.

/** el("p", {class: "why", title: "…", onclick: fn, data: {id: 3}}, "text", child) -> HTMLElement */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Writes `text` only where it differs, so that a quiet page stays still for screen readers. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Makes `nodes` the children of `list`, in this order: what stands right is not touched, and the focus stays. */
export function settle(list, nodes) {
  const held = document.activeElement;
  const wanted = new Set(nodes);
  for (const node of [...list.children]) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, n) => {
    if (list.children[n] !== node) list.insertBefore(node, list.children[n] ?? null);
  });
  if (held !== document.activeElement && list.contains(held)) held.focus({ preventScroll: true });
}

export const $ = (id) => document.getElementById(id);

export const asked = new URLSearchParams(location.search);

/** True while keys belong to a form field or to an open dialog. */
export function typing(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  const target = event.target;
  if (document.querySelector("dialog[open]")) return true;
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Runs `draw` at most once a frame, and once a second at the most where the page is hidden. */
export function oncePerFrame(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    const go = () => {
      due = false;
      draw();
    };
    if (document.hidden) setTimeout(go, 1000);
    else requestAnimationFrame(go);
  };
}
