// Problems by methods: how much of a cell is filled is the share of right answers.

const CELL = 20;  // pixels of a column

// And of the names at the left, which are cut where the longest would take too much.
function namesOf(task) {
  const longest = Math.max(...task.evaluations.map((e) => [...e.label].length));
  return Math.min(Math.max(30 + 7.2 * longest, 70), innerWidth <= 560 ? 130 : 260);
}

function grid(task, number) {
  const kinds = {
    all: ["all problems", () => true],
    differ: ["where methods differ", (p) => new Set(p.right.map((right, i) => (p.of[i] ? right / p.of[i] : null)).filter((s) => s !== null)).size > 1],
    wrong: ["not always right", (p) => p.right.some((right, i) => right < p.of[i])],
  };
  const easiest = task.problems.map((problem, index) => ({ problem, index })).sort((a, b) => ease(b.problem) - ease(a.problem));
  const board = el("div", { class: "board" });
  const choice = el("select", { "aria-label": "Which problems" }, Object.entries(kinds).map(([key, [name, test]]) =>
    el("option", { value: key }, `${name} (${count(task.problems.filter(test).length)})`)));
  let perRow = 0;
  const draw = () => {
    const shown = easiest.filter(({ problem }) => kinds[choice.value][1](problem));
    board.replaceChildren(shown.length ? cells(task, number, shown, perRow) : el("p", {}, "None."));
  };
  choice.addEventListener("change", draw);
  new ResizeObserver(([entry]) => {
    const names = Math.ceil(namesOf(task));
    const found = Math.max(5, Math.floor((entry.contentRect.width - names) / CELL));
    if (found === perRow) return;
    board.style.setProperty("--names", `${names}px`);
    perRow = found;
    draw();
  }).observe(board);
  return [el("p", { class: "choice" }, "Show ", choice), board];
}
function ease(problem) {
  const shares = problem.right.map((right, i) => (problem.of[i] ? right / problem.of[i] : null)).filter((s) => s !== null);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

function cells(task, number, shown, perRow) {
  const found = [], rows = [], size = shown.length, last = task.evaluations.length - 1;
  for (let start = 0; start < size; start += perRow) {
    const part = shown.slice(start, start + perRow);
    task.evaluations.forEach((evaluation, method) => {
      const line = part.map(({ problem, index }, column) => {
        const node = cell(task, number, problem, index, method, shown);
        found[method * size + start + column] = node;
        return node;
      });
      const name = el("span", { role: "rowheader", title: evaluation.label }, mark(evaluation.label), el("bdi", {}, evaluation.label));
      rows.push(el("div", { role: "row", class: method === last ? "last" : null }, name, line));
    });
  }
  const all = el("div", { role: "grid", "aria-label": "Problems by methods; Enter opens the runs" }, rows);
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: size, ArrowUp: -size };
  roving(all, found, (at, key) => {
    const next = at + by[key], sideways = Math.abs(by[key]) === 1;
    return sideways && Math.floor(next / size) !== Math.floor(at / size) ? at : next;
  });
  return all;
}

function cell(task, number, problem, index, method, shown) {
  const { label } = task.evaluations[method], right = problem.right[method], of = problem.of[method];
  const words = of ? `${right} of ${of} right` : "not asked";
  const open = () => of && openRun({ task: number, problem: index, method, order: shown.map((s) => s.index) });
  const node = el(
    "button",
    { type: "button", role: "gridcell", tabindex: -1, class: of ? (right === of ? "cell full" : right ? "cell part" : "cell none") : "cell absent", "data-series": label, "aria-label": `${visible(problem.id)}, ${label}: ${words}`, onclick: open },
    el("span"),
  );
  node.firstChild.style.height = `${of ? Math.round((100 * right) / of) : 0}%`;
  return tipped(node, () => [visible(cut(problem.id, 120)), [label, words]]);
}
