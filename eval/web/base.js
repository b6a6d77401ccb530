"use strict";
// Elements, numbers, keys. What was read from files becomes text nodes and attributes, never markup.

const data = JSON.parse(document.getElementById("data").textContent);
const NONE = "–";

function make(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (name, props = {}, ...children) => make(document.createElement(name), props, children);
const svg = (name, props = {}, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", name), props, children);

const numbers = (digits) => new Intl.NumberFormat("en-US", { maximumFractionDigits: digits });
const whole = numbers(0), precise = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
const count = (value) => (value === null || value === undefined ? NONE : whole.format(value));
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
// Three digits, the last of them also where it is zero, so that a column can be read downwards.
const digits = (value) => (value >= 1000 || value === 0 ? whole.format(value) : Number(value).toPrecision(3));
function seconds(value) {
  if (value === null || value === undefined) return NONE;
  return `${digits(value)} s`;
}
function money(value) {
  if (value === null || value === undefined) return NONE;
  const digits = value === 0 || value >= 1 ? 2 : Math.min(2 - Math.floor(Math.log10(value)), 12);
  return value.toFixed(digits);
}
const UNITS = { critical_path: ", tokens", total_tokens: "", seconds: ", s" };
const costText = (cost, value) => (cost === "seconds" ? seconds(value) : `${count(value)} tokens`);
function short(value) {
  if (value >= 1e6) return `${precise.format(value / 1e6)}M`;
  if (value >= 1e4) return `${precise.format(value / 1e3)}k`;
  return value >= 100 ? whole.format(value) : precise.format(value);
}
function interval(low, high, text) {
  return low === null || high === null ? "" : `[${text(low)}, ${text(high)}]`;
}
function accuracyText(accuracy) {
  const bounds = interval(accuracy.low, accuracy.high, (x) => (100 * x).toFixed(1));
  return `${percent(accuracy.value)} ${bounds}`;
}
function cut(text, room) {
  const characters = [...text];
  return characters.length > room ? `${characters.slice(0, room - 1).join("")}…` : text;
}

// What is compressed in the page, read when it is first asked for.
const unpacked = new Map();
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, inflate(document.getElementById(id).textContent));
  return unpacked.get(id);
}
async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// One of many items can be reached by Tab, the others from there by arrow keys. `step(index, key)`
// gives the next index; without it every arrow is one item forwards or backwards.
function roving(root, items, step) {
  const BY = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const go = (index) => {
    for (const item of items) item.setAttribute("tabindex", "-1");
    items[index].setAttribute("tabindex", "0");
  };
  items.forEach((item, index) => item.addEventListener("focus", () => go(index)));
  root.addEventListener("keydown", (event) => {
    const at = items.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    let next = null;
    if (event.key === "Home") next = 0;
    else if (event.key === "End") next = items.length - 1;
    else if (event.key in BY) next = step ? step(at, event.key) : at + BY[event.key];
    if (next === null) return;
    event.preventDefault();
    if (items[next]) items[next].focus();
  });
  if (items.length) go(0);
  return go;
}
function pressed(act) {
  return (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act(event);
  };
}

// Words beside the pointer, or beside what has the focus. `lines` are [name, value] or a title.
const tip = document.getElementById("tip");
function showTip(lines, x, y) {
  tip.replaceChildren(
    ...lines.map((line) =>
      typeof line === "string"
        ? el("strong", {}, line)
        : el("div", {}, el("span", {}, line[0]), el("b", {}, line[1])),
    ),
  );
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 14 + box.width > innerWidth ? x - 14 - box.width : x + 14;
  const top = y + 14 + box.height > innerHeight ? y - 10 - box.height : y + 14;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - box.width - 4))}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}
function hideTip() {
  tip.hidden = true;
}
function tipped(node, lines) {
  node.addEventListener("pointermove", (event) => showTip(lines(), event.clientX, event.clientY));
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("focus", () => {
    if (!node.matches(":focus-visible")) return;
    const box = node.getBoundingClientRect();
    showTip(lines(), box.right - 8, box.bottom - 8);
  });
  node.addEventListener("blur", hideTip);
  return node;
}

// A method has one colour and one shape on the whole page.
const SHAPES = [
  "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0", "M-4.5,-4.5h9v9h-9z", "M0,-6l5.6,10h-11.2z",
  "M0,-6.4l6.4,6.4l-6.4,6.4l-6.4,-6.4z", "M0,6l5.6,-10h-11.2z", "M-1.8,-5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7z",
];
const seriesOf = (label) => data.labels.indexOf(label);
const colour = (label) => `c${seriesOf(label) % 8}`;
const shape = (label) => SHAPES[(seriesOf(label) + Math.floor(seriesOf(label) / 8)) % SHAPES.length];
function mark(label) {
  return svg(
    "svg",
    { class: `mark ${colour(label)}`, viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": true },
    svg("path", { d: shape(label) }),
  );
}
