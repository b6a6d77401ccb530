// Accuracy within a budget: steps, with a band of the 95% interval; a line that can be moved reads
// all of them at one budget.

const BANDS = 6;  // methods at most that get a band

function curveFigure(task, cost) {
  const { budgets, curves } = task.curves[cost], name = data.costs[cost];
  const title = `Accuracy within a budget of ${name}`;
  if (!curves.length) return figure(title, () => el("p", {}, "Not known of every run."));
  const x = axis(budgets.filter((b) => b > 0).length ? budgets.filter((b) => b > 0) : [1]);
  const bands = curves.length <= BANDS;
  const y = shareAxis([0, ...curves.flatMap((c) => (bands ? c.high : c.values))]);
  return figure(title, (width) => {
    const area = frame(width, x, y, `${name} that a run may take${UNITS[cost]}`);
    const line = svg("line", { class: "cross", y1: area.top, y2: area.bottom, visibility: "hidden" });
    const chart = svg(
      "svg",
      { width, height: HEIGHT, tabindex: 0, role: "slider", "aria-label": `${title}: which budget?`, "aria-valuemin": 0, "aria-valuemax": budgets.length - 1, "aria-valuenow": budgets.length - 1 },
      area.axes,
      bands ? curves.map((c) => svg("path", { class: `band ${colour(c.label)}`, "data-series": c.label, d: bandPath(c, budgets, area) })) : null,
      curves.map((c) => svg("path", { class: `curve ${colour(c.label)}`, "data-series": c.label, d: steps(c.values, budgets, area) })),
      line,
      svg("rect", { class: "catch", x: area.left, y: area.top, width: Math.max(area.right - area.left, 0), height: area.bottom - area.top }),
    );
    readable(chart, line, task.curves[cost], cost, x, area);
    return chart;
  });
}

function steps(values, budgets, area) {
  let path = `M${area.left},${area.bottom}`;
  values.forEach((value, index) => (path += `H${area.px(budgets[index])}V${area.py(value)}`));
  return `${path}H${area.right}`;
}
function bandPath(curve, budgets, area) {
  let back = "";
  for (let i = budgets.length - 1; i >= 0; i--)
    back += `V${area.py(curve.low[i])}H${area.px(budgets[i])}`;
  return `${steps(curve.high, budgets, area)}${back}V${area.bottom}Z`;
}

function readable(chart, line, { budgets, curves }, cost, x, area) {
  let at = budgets.length - 1;
  const words = () => curves.map((c) => [c.label, accuracyText({ value: c.values[at], low: c.low[at], high: c.high[at] })]);
  const show = (clientX, clientY) => {
    const px = area.px(budgets[at]);
    for (const name of ["x1", "x2"]) line.setAttribute(name, px);
    line.setAttribute("visibility", "visible");
    chart.setAttribute("aria-valuenow", at);
    chart.setAttribute("aria-valuetext", `${costText(cost, budgets[at])}: ${words().flat().join(" ")}`);
    const box = chart.getBoundingClientRect();
    showTip([`within ${costText(cost, budgets[at])}`, ...words()], clientX ?? box.left + px, clientY ?? box.top + area.top);
  };
  const hide = () => {
    line.setAttribute("visibility", "hidden");
    hideTip();
  };
  chart.addEventListener("pointermove", (event) => {
    const part = (event.clientX - chart.getBoundingClientRect().left - area.left) / (area.right - area.left);
    const wanted = x.inverse(Math.min(Math.max(part, 0), 1));
    const beyond = budgets.findIndex((budget) => budget > wanted);
    at = beyond < 0 ? budgets.length - 1 : Math.max(beyond - 1, 0);
    show(event.clientX, event.clientY);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("focus", () => chart.matches(":focus-visible") && show());
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const far = Math.max(1, Math.round(budgets.length / 10));
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: far, PageDown: -far, Home: -Infinity, End: Infinity }[event.key];
    if (!by) return;
    event.preventDefault();
    at = Math.min(Math.max(at + by, 0), budgets.length - 1);
    show();
  });
}
