// The tables: results, what they cost, how runs ended, and under what they ran.

function table(caption, columns, evaluations) {
  const head = el("tr", {}, columns.map(({ name, hint }) => el("th", { scope: "col", title: hint }, name)));
  const body = evaluations.map((evaluation) =>
    el(
      "tr",
      { "data-series": evaluation.label },
      columns.map(({ cell }, index) =>
        el(index ? "td" : "th", index ? {} : { scope: "row" }, cell(evaluation)),
      ),
    ),
  );
  const whole = el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, body));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, whole);
}
const METHOD = { name: "method", cell: (e) => el("span", { class: "method" }, mark(e.label), el("bdi", {}, e.label)) };

function resultTable(task) {
  const bounds = task.evaluations.flatMap((e) => [e.accuracy.low, e.accuracy.high]);
  const range = shareAxis(bounds);
  const cost = (name) => ({
    name: `${data.costs[name]}${name === "seconds" ? ", s" : ""}`,
    hint: "mean of a run; ◆ on the Pareto front",
    cell: (e) => (e[name] ? [name === "seconds" ? digits(e[name].value) : count(e[name].value), best(task, name, e)] : NONE),
  });
  return table("Results", [
    METHOD,
    { name: "share right [95%]", hint: "mean over problems; the interval is for problems like these", cell: (e) => accuracyText(e.accuracy) },
    { name: `${Math.round(100 * range.min)} to ${Math.round(100 * range.max)}%`, cell: (e) => forest(e, range) },
    cost("critical_path"),
    cost("total_tokens"),
    { name: "longest sequence", hint: "tokens of the longest context, mean of a run", cell: (e) => count(e.longest_sequence) },
    cost("seconds"),
    { name: "threads", hint: "mean of a run", cell: (e) => e.threads.toFixed(1) },
    { name: "samples", cell: (e) => (e.finished ? count(e.samples) : `${count(e.samples)} of ${count(e.expected)}`) },
  ], task.evaluations);
}
function best(task, cost, e) {
  return el("span", { class: "best", title: "on the Pareto front" }, task.pareto[cost].includes(e.label) ? " ◆" : "");
}
function forest(e, range) {
  const width = 120, x = (value) => 6 + range.scale(value) * (width - 12);
  return svg(
    "svg",
    { class: `forest ${colour(e.label)}`, width, height: 14, "aria-hidden": true },
    svg("line", { class: "rule", x1: 6, x2: width - 6, y1: 7, y2: 7 }),
    svg("line", { class: "whisker", x1: x(e.accuracy.low), x2: x(e.accuracy.high), y1: 7, y2: 7 }),
    svg("path", { class: "dot", d: shape(e.label), transform: `translate(${x(e.accuracy.value)},7) scale(.8)` }),
  );
}

function costTable(task) {
  const each = (name, of) => ({ name, cell: (e) => count(of(e) / e.samples) });
  const paid = [
    { name: `${data.currency} a run`, cell: (e) => money(e.money?.per_run) },
    { name: "a right answer", cell: (e) => money(e.money?.per_right_answer) },
    { name: "in all", cell: (e) => money(e.money?.total) },
  ];
  return table("Cost: mean of a run", [
    METHOD,
    each("prompt", (e) => e.tokens.prompt),
    each("of it cached", (e) => e.tokens.cached),
    each("sampled", (e) => e.tokens.sampled),
    { name: "wall clock, s", cell: (e) => (e.seconds ? digits(e.seconds.value) : NONE) },
    { name: "runs at once", hint: "on average, while the seconds were measured", cell: (e) => (e.at_once ? e.at_once.toFixed(1) : NONE) },
    ...(data.currency ? paid : []),
  ], task.evaluations);
}
function endTable(task) {
  const shares = Object.entries(data.shares).map(([key, name]) => ({ name, cell: (e) => percent(e.shares[key]) }));
  return table("How runs ended: share of all", [METHOD, ...shares, { name: "errors", cell: (e) => count(e.errors) }], task.evaluations);
}

function about(task) {
  return el(
    "details",
    {},
    el("summary", {}, "Under what these ran"),
    task.evaluations.map((e, index) => {
      const { folder, sessions, config, trees } = task.about[index], last = sessions.at(-1);
      const facts = [
        ["folder", folder],
        ["model", Object.entries(e.models).map(([role, model]) => (role === "policy" ? model : `${role}: ${model}`)).join(", ")],
        ["started", sessions.map((session) => session.started).join(", ") || NONE],
        ["commit", last?.commit ? `${last.commit.slice(0, 12)}${last.modified ? ", modified" : ""}` : NONE],
        ["versions", last ? Object.entries({ python: last.python, ...last.versions }).map((pair) => pair.join(" ")).join(", ") : NONE],
        ["machine", last ? `${last.cpu}, ${plural(last.cpus, "CPU")}` : NONE],
        ["reproducible", last ? Object.values(last.reproducible ?? {}).join(", ") : NONE],
        ["thread trees", trees ? "kept" : "not kept"],
      ];
      return el("div", { class: "about" }, el("h4", {}, el("span", { class: "method" }, mark(e.label), el("bdi", {}, e.label))), factList(facts), el("pre", {}, visible(config)));
    }),
  );
}
function factList(facts) {
  return el("dl", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, el("bdi", {}, value)))));
}
