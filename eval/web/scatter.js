// Accuracy against a cost, with 95% intervals of both, and the Pareto front as a staircase.

function scatter(task, cost) {
  const points = task.evaluations.filter((evaluation) => evaluation[cost]);
  const name = data.costs[cost];
  if (!points.length) return figure(`Accuracy against ${name}`, () => el("p", {}, "Not known."));
  const x = axis(points.flatMap((p) => [p[cost].value, p[cost].low ?? p[cost].value, p[cost].high ?? p[cost].value]).filter((v) => v > 0));
  const best = points.filter((p) => task.pareto[cost].includes(p.label));
  const y = shareAxis(points.flatMap((p) => [p.accuracy.low, p.accuracy.high, p.accuracy.value]));
  return figure(`Accuracy against ${name}`, (width) => {
    const area = frame(width, x, y, `${name} of a run${UNITS[cost]}`);
    const groups = points.map((p) => point(p, cost, best.includes(p), area));
    const chart = svg(
      "svg",
      { width, height: HEIGHT, role: "group", "aria-label": `Accuracy against ${name}; arrow keys go from method to method` },
      area.axes,
      front(best, cost, area),
      groups,
      labels(points, points.length > NAMED ? best : points, cost, area),
    );
    roving(chart, groups);
    return chart;
  });
}

function point(p, cost, best, area) {
  const px = area.px(p[cost].value), py = area.py(p.accuracy.value);
  const whisker = (x1, y1, x2, y2) => svg("line", { class: "whisker", x1, y1, x2, y2 });
  const bars = [whisker(px, area.py(p.accuracy.low), px, area.py(p.accuracy.high))];
  if (p[cost].low !== null) bars.push(whisker(area.px(p[cost].low), py, area.px(p[cost].high), py));
  const lines = () => [
    p.label,
    ["accuracy", accuracyText(p.accuracy)],
    [data.costs[cost], costText(cost, p[cost].value)],
    ["", interval(p[cost].low, p[cost].high, cost === "seconds" ? digits : count)],
    ["samples", `${count(p.samples)} of ${plural(p.questions, "problem")}`],
    ...(best ? [["", "on the Pareto front"]] : []),
  ].filter((line) => typeof line === "string" || line[1]);
  const node = svg(
    "g",
    { class: `point ${colour(p.label)}${best ? " best" : ""}`, "data-series": p.label, role: "img", "aria-label": lines().flat().filter(Boolean).join(" ") },
    bars,
    svg("circle", { class: "halo", cx: px, cy: py, r: 11 }),
    svg("path", { class: "dot", d: shape(p.label), transform: `translate(${px},${py})` }),
  );
  return tipped(node, lines);
}

function front(best, cost, area) {
  const sorted = [...best].sort((a, b) => a[cost].value - b[cost].value);
  if (!sorted.length) return null;
  let path = "", level = null;
  for (const p of sorted) {
    const px = area.px(p[cost].value), py = area.py(p.accuracy.value);
    path += level === null ? `M${px},${py}` : `H${px}V${py}`;
    level = py;
  }
  return svg("path", { class: "front", d: `${path}H${area.right}` });
}

const NAMED = 6;  // methods at most that are all named, else those on the front

// Names beside the points where there is room for them; the legend has them all.
function labels(points, named, cost, area) {
  const taken = points.map((p) => box(area.px(p[cost].value) - 8, area.py(p.accuracy.value) - 8, 16, 16));
  const found = [];
  for (const p of named) {
    const px = area.px(p[cost].value), py = area.py(p.accuracy.value);
    const text = cut(p.label, 26), width = 6.6 * [...text].length;
    const places = [[px + 10, py - 17], [px + 10, py + 5], [px - 10 - width, py - 17], [px - 10 - width, py + 5]];
    const place = places.find(([x, y]) => {
      const here = box(x, y, width, 13);
      return x > area.left && x + width < area.right + 8 && y > area.top - 12 && y + 13 < area.bottom && !taken.some((other) => overlap(here, other));
    });
    if (!place) continue;
    taken.push(box(place[0], place[1], width, 13));
    found.push(svg("text", { class: `label ${colour(p.label)}`, "data-series": p.label, x: place[0], y: place[1] + 11 }, text));
  }
  return svg("g", { "aria-hidden": true }, found);
}
const box = (x, y, width, height) => ({ x, y, width, height });
const overlap = (a, b) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
