// A run's threads over time: a row for every line of reasoning, by the clock in tokens or in seconds.

const ROW = 22, AXIS = 24;
const GLYPHS = { eos: "✓", stop: "✓", length: "✂", budget: "✂", cancelled: "⊘", error: "✗" };
const KINDS = { prompt: "prompt", sampled: "sampled", injected: "injected" };

// A thread and, in its place, those that go on for it are one row.
function linesOf(tree) {
  const byId = new Map(tree.threads.map((thread) => [thread.id, thread])), rowOf = new Map(), lines = [];
  for (const thread of tree.threads) {
    const parent = byId.get(thread.parent);
    if (thread.continues && parent) {
      rowOf.set(thread.id, rowOf.get(parent.id));
      rowOf.get(parent.id).threads.push(thread);
      continue;
    }
    const above = parent ? rowOf.get(parent.id) : null;
    const line = { threads: [thread], above, level: above ? above.level + 1 : 0, below: [] };
    if (above) above.below.push(line);
    rowOf.set(thread.id, line);
    lines.push(line);
  }
  const ordered = [], waiting = lines.filter((line) => !line.above).reverse();
  while (waiting.length) {
    const line = waiting.pop();
    line.row = ordered.push(line) - 1;
    waiting.push(...[...line.below].reverse());
  }
  return { ordered, rowOf };
}

function timeline(tree, unit, select) {
  const { ordered, rowOf } = linesOf(tree);
  const which = unit === "tokens" ? 0 : 1, span = unit === "tokens" ? "clock" : "time";
  const end = Math.max(which ? tree.seconds : tree.clock, which ? 1e-6 : 1);
  const box = el("div", { class: "timeline" });
  let width = 0, chosen = 0, pick = (row) => (chosen = row);
  const draw = () => {
    const names = width < 520 ? 72 : 128, right = width - 14;
    const x = (at) => names + (at / end) * (right - names);
    const rows = ordered.map((line) => rowNode(line, { x, names, right, which, span, width }, () => pick(line.row)));
    const chart = svg(
      "svg",
      { width, height: ordered.length * ROW + 6, role: "listbox", "aria-label": "Threads; arrow keys go from one to the next" },
      hatch(),
      svg("g", { class: "links", "aria-hidden": true }, ordered.map((line) => links(line, rowOf, x, which, span))),
      rows,
    );
    const focus = roving(chart, rows);
    pick = (row) => {
      chosen = row;
      rows.forEach((node, index) => node.setAttribute("aria-selected", String(index === row)));
      focus(row);
      select(ordered[row].threads);
    };
    box.replaceChildren(ruler(end, x, unit, width), chart);
    pick(chosen);
  };
  new ResizeObserver(([entry]) => {
    const found = Math.floor(entry.contentRect.width);
    if (found < 160 || found === width) return;
    width = found;
    draw();
  }).observe(box);
  return { box, choose: (id) => pick(rowOf.get(id).row) };
}

function ruler(end, x, unit, width) {
  const ticks = ticksOf(0, end, Math.max(2, Math.floor(width / 110)));
  return svg(
    "svg",
    { class: "ruler", width, height: AXIS, "aria-hidden": true },
    svg("text", { x: 4, y: 16 }, unit === "tokens" ? "tokens" : "seconds"),
    ticks.map((tick) => [
      svg("line", { class: "tick", x1: x(tick), x2: x(tick), y1: AXIS - 4, y2: AXIS }),
      svg("text", { x: x(tick), y: 16, "text-anchor": "middle" }, short(tick)),
    ]),
  );
}

function rowNode(line, { x, names, right, which, span }, act) {
  const top = line.row * ROW, middle = top + ROW / 2, first = line.threads[0], last = line.threads.at(-1);
  const tokens = sum(line.threads.flatMap((t) => t.segments.filter((s) => s.origin === "sampled").map((s) => s.tokens)));
  const answer = line.threads.some((t) => t.answer), critical = line.threads.some((t) => t.critical);
  const words = [`thread ${first.id}`, `${count(tokens)} tokens`, last.finish ?? "open", critical ? "on the critical path" : null, answer ? "the answer came from it" : null];
  const glyph = answer && ["eos", "stop"].includes(last.finish) ? "★" : GLYPHS[last.finish] ?? "…";
  const indent = Math.min(line.level, 5) * (names > 100 ? 10 : 5), room = Math.floor((names - 24 - indent) / 6.8);
  const bars = line.threads.flatMap((thread) => threadBars(thread, { x, which, span, middle }));
  const node = svg(
    "g",
    { class: `line${critical ? " critical" : ""}${answer ? " answer" : ""}`, role: "option", tabindex: -1, "aria-selected": "false", "aria-label": words.filter(Boolean).join(", "), onclick: () => { node.focus(); act(); }, onkeydown: pressed(act) },
    svg("rect", { class: "back", x: 1, y: top + 1, width: right + 11, height: ROW - 1, rx: 3 }),
    svg("text", { class: `glyph ${last.finish ?? "open"}`, x: 6 + indent, y: middle + 4 }, glyph),
    svg("text", { class: "id", x: 22 + indent, y: middle + 4 }, clipId(first.id, room)),
    svg("line", { class: "life", x1: x(first.born[which]), x2: x(last.end[which]), y1: middle, y2: middle }),
    bars,
  );
  return tipped(node, () => [words[0], ["sampled", `${count(tokens)} tokens`], ["ended", last.finish ?? NONE], ...first.notes.slice(0, 4).map((n) => [visible(cut(n.name, 40)), cut(value(n.value), 60)])]);
}
const clipId = (id, room) => (id.length > room ? `…${id.slice(-(room - 1))}` : id);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

function threadBars(thread, { x, which, span, middle }) {
  const waits = thread.waits.map((wait) => bar("waiting", x(wait[span][0]), x(wait[span][1]), middle, 4, 0));
  const segments = thread.segments.map((segment) => {
    const [from, to] = segment[span];
    const moment = segment.origin !== "sampled";  // takes no time of its own: a mark
    return moment
      ? bar(segment.origin, x(from) - 2, x(from) + 2, middle, 8, 0)
      : bar("sampled", x(from), x(to), middle, 6, segment.tokens ? 1.5 : 0);
  });
  const notes = thread.notes.map((note) => {
    const at = x(note.at[which]);
    return svg("path", { class: "note", d: `M${at},${middle - 9}l3.5,3.5l-3.5,3.5l-3.5,-3.5z` });
  });
  return [...waits, ...segments.filter(Boolean).sort((a, b) => order(a) - order(b)), ...notes];
}
const order = (node) => (node?.classList.contains("sampled") ? 0 : 1);
function bar(kind, from, to, middle, half, least) {
  const width = Math.max(to - from, least);
  return width > 0 ? svg("rect", { class: kind, x: from, y: middle - half, width, height: 2 * half, rx: 1.5 }) : null;
}

// From a parent down to a child when it begins, and back up when the parent has waited for it.
function links(line, rowOf, x, which, span) {
  const middle = line.row * ROW + ROW / 2, found = [];
  if (line.above) {
    const from = line.above.row * ROW + ROW / 2, at = x(line.threads[0].born[which]);
    found.push(svg("path", { class: line.threads[0].kept ? "fork" : "spawn", d: `M${at},${from}V${middle}` }));
  }
  for (const thread of line.threads)
    for (const wait of thread.waits) {
      const at = x(wait[span][1]), ends = wait.for.map((id) => rowOf.get(id)).filter(Boolean);
      if (!ends.length) continue;
      const lowest = Math.max(...ends.map((e) => e.row));
      found.push(svg("path", { class: "join", d: `M${at},${lowest * ROW + ROW / 2}V${middle}` }));
      for (const child of ends)
        found.push(svg("path", { class: "join", d: `M${x(child.threads.at(-1).end[which])},${child.row * ROW + ROW / 2}H${at}` }));
    }
  return found;
}

function hatch() {
  return svg("defs", {}, svg("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { class: "ground", width: 5, height: 5 }), svg("line", { class: "stroke", x1: 0, x2: 0, y1: 0, y2: 5 })));
}
