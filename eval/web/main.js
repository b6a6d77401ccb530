// The page: what was measured, then for every task its tables, plots and problems.

function section(task, number) {
  const node = el("section", { id: `task-${number}`, class: "task" });
  const light = spotlight(node);
  const asked = Math.max(...task.evaluations.map((e) => e.questions), 0);
  const models = [...new Set(task.evaluations.map((e) => e.models.policy))];
  const repeats = new Set(task.evaluations.map((e) => Math.round((10 * e.samples) / e.questions) / 10));
  node.append(
    el("h2", {}, task.task),
    el("p", { class: "lead" }, `${plural(asked, "problem")}, ${[...repeats].sort((a, b) => a - b).join(" to ")} ${repeats.size === 1 && repeats.has(1) ? "run" : "runs"} each, ${plural(task.evaluations.length, "evaluation")}${models.length === 1 && models[0] ? ` of ${models[0]}` : ""}.`),
    ...(task.remarks.length ? [el("ul", { class: "remarks", "aria-label": "To be known" }, task.remarks.map((remark) => el("li", {}, visible(remark))))] : []),
  );
  if (!task.evaluations.length) return node;
  node.append(
    resultTable(task),
    el("p", { class: "quiet" }, "Shares are means over problems with 95% intervals for problems like these; costs are means over problems of one run. ◆ is on the Pareto front of that cost: nothing else here is as often right for less."),
    el("h3", {}, "Accuracy against cost"),
    legend(task, light),
    el("div", { class: "figures" }, Object.keys(data.costs).map((cost) => scatter(task, cost))),
    el("p", { class: "quiet" }, "Filled marks are on the Pareto front, which is the dashed line. Whiskers are 95% intervals over problems."),
    el("h3", {}, "Accuracy within a budget"),
    el("div", { class: "figures" }, Object.keys(data.costs).map((cost) => curveFigure(task, cost))),
    el("p", { class: "quiet" }, "The share of runs that were right and cost no more: what they would have scored had they been cut off there."),
    el("h3", {}, "Problems"),
    el("p", { class: "quiet" }, `A column is a problem, the easiest first; a cell is filled by its share of right answers. Open one to see its runs. ${trees()}${task.left_out ? ` ${plural(task.left_out, "problem")} more left out here.` : ""}${task.rows_left_out ? ` ${plural(task.rows_left_out, "run")} left out here, counted all the same.` : ""}`),
    ...grid(task, number),
    costTable(task),
    endTable(task),
    about(task),
  );
  return node;
}

function trees() {
  const { shown, kept } = data.trees;
  if (!kept) return "No thread trees were kept.";
  if (shown === kept) return `All ${count(kept)} thread trees are on this page.`;
  return `This page has ${count(shown)} of ${count(kept)} thread trees: in turns of problems on which methods differ, of problems answered wrongly, and of problems that all solved.`;
}

document.getElementById("report").replaceChildren(
  el("h1", {}, "Evaluation report"),
  ...(data.tasks.length > 1 ? [el("nav", { "aria-label": "Tasks" }, data.tasks.map((task, number) => el("a", { href: `#task-${number}` }, task.task)))] : []),
  ...data.tasks.map(section),
);
addEventListener("scroll", hideTip, { passive: true, capture: true });
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());

function follow() {
  const found = /^#run=(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(location.hash);
  if (!found) return;
  const [task, problem, method, repeat] = found.slice(1).map(Number);
  if (!data.tasks[task]?.problems[problem]?.of[method]) return;
  openRun({ task, problem, method, repeat, order: data.tasks[task].problems.map((_, index) => index) });
}
addEventListener("hashchange", follow);
follow();
