// The frame that plots share: axes, ticks, and drawing anew when the page's width changes.

const MARGIN = { left: 40, right: 16, top: 26, bottom: 42 };
const HEIGHT = 268;

function ticksOf(min, max, most) {
  const rough = (max - min) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(min / step - 1e-9); i * step <= max * (1 + 1e-9); i++) found.push(i * step || 0);
  return found;
}
function logTicks(min, max, most) {
  const found = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++)
    for (const n of [1, 2, 5]) found.push(n * 10 ** power);
  const within = found.filter((n) => n >= min * 0.999 && n <= max * 1.001);
  const decades = within.filter((n) => Number.isInteger(Math.round(Math.log10(n) * 1e6) / 1e6));
  return within.length <= most || decades.length < 2 ? within : decades;
}

// An axis over these values: logarithmic where they span much, else from zero or around them.
function axis(values, zero = true) {
  let min = Math.min(...values), max = Math.max(...values);
  const log = zero && min > 0 && max / min >= 8;
  if (log) [min, max] = [min / 1.25, max * 1.25];
  else if (zero) [min, max] = [0, max * 1.08 || 1];
  const scale = log
    ? (value) => Math.log(Math.max(value, min) / min) / Math.log(max / min)
    : (value) => (value - min) / (max - min);
  const inverse = log ? (part) => min * (max / min) ** part : (part) => min + part * (max - min);
  return { min, max, log, scale, inverse, ticks: (most) => (log ? logTicks : ticksOf)(min, max, most) };
}
function shareAxis(values) {
  const min = Math.max(0, Math.floor(10 * Math.min(...values) - 0.01) / 10);
  const max = Math.min(1, Math.ceil(10 * Math.max(...values) + 0.01) / 10);
  const [low, high] = max - min < 0.2 ? [Math.max(0, max - 0.2), Math.max(max, 0.2)] : [min, max];
  const scale = (value) => (value - low) / (high - low);
  return { min: low, max: high, scale, ticks: (most) => ticksOf(low, high, most) };
}

function frame(width, x, y, xName) {
  const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
  const px = (value) => MARGIN.left + x.scale(value) * (right - MARGIN.left);
  const py = (value) => bottom - y.scale(value) * (bottom - MARGIN.top);
  const axes = svg("g", { class: "axes", "aria-hidden": true });
  for (const tick of y.ticks(5)) {
    const at = Math.round(py(tick)) + 0.5;
    axes.append(
      svg("line", { class: "rule", x1: MARGIN.left, x2: right, y1: at, y2: at }),
      svg("text", { x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" }, `${Math.round(100 * tick)}`),
    );
  }
  for (const tick of x.ticks(Math.max(2, Math.floor(width / 70)))) {
    const at = Math.round(px(tick)) + 0.5;
    axes.append(
      svg("line", { class: "tick", x1: at, x2: at, y1: bottom, y2: bottom + 4 }),
      svg("text", { x: at, y: bottom + 17, "text-anchor": "middle" }, short(tick)),
    );
  }
  axes.append(
    svg("line", { class: "base", x1: MARGIN.left, x2: right, y1: bottom + 0.5, y2: bottom + 0.5 }),
    svg("text", { class: "name", x: 4, y: 13 }, "share right, %"),
    svg(
      "text",
      { class: "name", x: (MARGIN.left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" },
      `${xName}${x.log ? ", log scale" : ""}`,
    ),
  );
  return { axes, px, py, left: MARGIN.left, right, top: MARGIN.top, bottom };
}

function figure(caption, draw) {
  const canvas = el("div", { class: "canvas" });
  let width = 0;
  new ResizeObserver(([entry]) => {
    const found = Math.floor(entry.contentRect.width);
    if (found < 120 || found === width) return;
    width = found;
    canvas.replaceChildren(draw(width));
  }).observe(canvas);
  return el("figure", {}, el("figcaption", {}, caption), canvas);
}

// Hovering over a method, or pressing it in a legend, lets the others step back.
function spotlight(section) {
  let pinned = null;
  const show = (label) => {
    for (const node of section.querySelectorAll("[data-series]"))
      node.classList.toggle("dim", label !== null && node.dataset.series !== label);
  };
  const light = (label) => show(label === null ? pinned : label);
  light.pin = (label) => {
    pinned = pinned === label ? null : label;
    show(pinned);
    return pinned;
  };
  return light;
}
function legend(task, light) {
  const buttons = task.evaluations.map(({ label }) =>
    el(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        onpointerenter: () => light(label),
        onpointerleave: () => light(null),
        onclick: () => {
          const pinned = light.pin(label);
          buttons.forEach((button, index) =>
            button.setAttribute("aria-pressed", String(task.evaluations[index].label === pinned)),
          );
        },
      },
      mark(label),
      label,
    ),
  );
  return el("div", { class: "legend", role: "group", "aria-label": "Highlight a method" }, buttons);
}
