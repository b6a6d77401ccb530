// The runs on one problem, side by side, and the thread tree of one of them, in a dialog.

const dialog = document.getElementById("run");
const FIELDS = ["method", "repeat", "answer", "correct", "tree", "path", "total", "longest", "prompt", "cached", "threads", "peak", "seconds", "ttft", "finish", "limit", "error"];
const SHOWN = 300;  // decisions that the list of a run has at most
let unit = "tokens", opened = 0;

async function openRun(place) {
  const { task: number, problem: index, order } = place, turn = ++opened;
  const task = data.tasks[number], problem = task.problems[index];
  const rows = (await unpack(task.rows))[index].map((values) => Object.fromEntries(FIELDS.map((name, i) => [name, values[i]])));
  if (turn !== opened) return;
  rows.sort((a, b) => a.method - b.method || a.repeat - b.repeat);
  const body = el("div", { class: "body" });
  const title = el("h2", { id: "run-title", tabindex: -1 }, el("bdi", {}, visible(cut(problem.id, 160))));
  const at = order.indexOf(index);
  const turnTo = (step, name) =>
    el("button", { type: "button", disabled: !(at + step in order), onclick: () => openRun({ ...place, problem: order[at + step], repeat: undefined }) }, name);
  dialog.replaceChildren(
    el("header", {}, title, el("nav", { "aria-label": "Problems" }, turnTo(-1, "← previous"), turnTo(1, "next →"), el("button", { type: "button", class: "close", onclick: () => dialog.close() }, "close"))),
    runList(task, rows, place, (row) => showRun(body, task, number, index, row)),
    body,
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  title.focus();
}
dialog.addEventListener("close", () => {
  hideTip();
  history.replaceState(null, "", location.pathname + location.search);
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

function runList(task, rows, place, show) {
  const buttons = rows.map((row) => {
    const { label } = task.evaluations[row.method];
    return el(
      "button",
      { type: "button", role: "radio", "aria-checked": "false", class: `run ${row.correct ? "right" : "wrong"}${row.tree ? "" : " bare"}`, "aria-label": `${label}, repeat ${row.repeat}: ${row.correct ? "right" : "wrong"}${row.tree ? "" : ", no tree on this page"}`, onclick: () => choose(row) },
      `${row.correct ? "✓" : "✗"} ${row.repeat}`,
    );
  });
  const list = el("div", { class: "runs", role: "radiogroup", "aria-label": "Runs" }, task.evaluations.map((e, method) => {
    const own = buttons.filter((_, i) => rows[i].method === method);
    const missing = task.problems[place.problem].of[method] - own.length;
    return el("div", {}, el("span", { class: "method" }, mark(e.label), el("bdi", {}, e.label)), own.length || missing ? own : el("span", { class: "quiet" }, "not asked"), missing ? el("span", { class: "quiet" }, `${plural(missing, "more run")} not on this page`) : null);
  }));
  const go = roving(list, buttons);
  const choose = (row) => {
    buttons.forEach((button, index) => button.setAttribute("aria-checked", String(rows[index] === row)));
    go(rows.indexOf(row));
    const button = buttons[rows.indexOf(row)], above = button.offsetTop - list.offsetTop;
    if (above < list.scrollTop || above + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = above - 6;
    show(row);
  };
  const own = rows.filter((row) => row.method === place.method);
  const first = own.find((row) => row.repeat === place.repeat) ?? own.find((row) => row.tree && !row.correct) ?? own.find((row) => row.tree) ?? own[0] ?? rows[0];
  if (first) queueMicrotask(() => choose(first));
  return list;
}

async function showRun(body, task, number, index, row) {
  const { label } = task.evaluations[row.method];
  body.dataset.run = `${row.method}/${row.repeat}`;
  history.replaceState(null, "", `#run=${number}.${index}.${row.method}.${row.repeat}`);
  const verdict = el("p", { class: `verdict ${row.correct ? "right" : "wrong"}` },
    el("strong", {}, row.correct ? "✓ right" : "✗ wrong"), " ",
    row.answer === null ? "no answer" : el("bdi", { class: "answer" }, visible(row.answer)));
  const facts = factList([
    ["method", `${label}, repeat ${row.repeat}`],
    ["critical path", `${count(row.path)} tokens`],
    ["total", `${count(row.total)} tokens`],
    ["longest sequence", `${count(row.longest)} tokens`],
    ["prompts", `${count(row.prompt)} tokens, ${count(row.cached)} cached`],
    ["threads", `${count(row.threads)}, ${count(row.peak)} at once`],
    ["time", `${seconds(row.seconds)}, first token after ${seconds(row.ttft)}`],
    ["ended", row.finish ?? NONE],
    ...(row.limit ? [["reached", `budget.${row.limit}`]] : []),
    ...(row.error ? [["error", visible(cut(row.error, 600))]] : []),
  ]);
  const place = el("div", { class: "tree" }, el("p", { class: "quiet" }, "reading the tree …"));
  body.replaceChildren(verdict, facts, place);
  if (!row.tree) {
    const { trees, folder } = task.about[row.method];
    const why = trees ? `This run's thread tree is not on this page, which holds ${plural(data.trees.shown, "tree")} of ${count(data.trees.kept)}; all of them are in ${folder}/trees.jsonl.` : `No thread trees were kept in ${folder}.`;
    place.replaceChildren(el("p", { class: "quiet" }, why));
    return;
  }
  const tree = await unpack(row.tree);
  if (body.dataset.run === `${row.method}/${row.repeat}`) place.replaceChildren(...treeView(tree));
}

function treeView(tree) {
  const detail = el("section", { class: "detail", "aria-label": "The thread", "aria-live": "polite" });
  const holder = el("div", { class: "holder" });
  const decided = el("div");
  const draw = () => {
    const { box, choose } = timeline(tree, unit, (threads) => detail.replaceChildren(...threads.map(threadView)));
    holder.replaceChildren(box);
    decided.replaceChildren(...decisions(tree, unit, choose));
  };
  const choices = ["tokens", "seconds"].map((name) =>
    el("label", {}, el("input", { type: "radio", name: "unit", value: name, checked: name === unit, onchange: () => { unit = name; draw(); } }), name));
  const key = [["prompt", "prompt"], ["sampled", "sampled"], ["critical", "on the critical path"], ["answer", "the answer came from it"], ["injected", "injected"], ["waiting", "waiting"], ["note", "decision"]].map(([kind, name]) =>
    el("span", {}, svg("svg", { width: 18, height: 12, "aria-hidden": true }, swatch(kind)), name));
  draw();
  return [
    el("div", { class: "bar" }, el("fieldset", {}, el("legend", {}, "clock in"), choices), el("div", { class: "key" }, key)),
    el("div", { class: "panes" }, el("div", {}, holder, decided), detail),
  ];
}
// What was decided in the whole run, in the order of the clock: votes, scores, rejections.
function decisions(tree, unit, choose) {
  const which = unit === "tokens" ? 0 : 1;
  const all = tree.threads.flatMap((thread) => thread.notes.map((note) => ({ ...note, id: thread.id })));
  if (!all.length) return [];
  all.sort((a, b) => a.at[which] - b.at[which]);
  const line = (note) =>
    el("li", {},
      el("span", { class: "at" }, which ? seconds(note.at[1]) : count(note.at[0])),
      el("button", { type: "button", "aria-label": `show thread ${note.id}`, onclick: () => choose(note.id) }, note.id),
      el("span", {}, el("b", {}, visible(cut(note.name, 200))), " ", el("bdi", {}, cut(value(note.value), 300))));
  const left = all.length - SHOWN;
  return [
    el("section", { class: "decisions", "aria-label": "Decisions of the run" },
      el("h3", {}, plural(all.length, "decision")),
      el("ol", {}, all.slice(0, SHOWN).map(line)),
      left > 0 ? el("p", { class: "quiet" }, `${count(left)} more stand beside their threads.`) : null),
  ];
}
function swatch(kind) {
  if (kind === "note") return svg("path", { class: "note", d: "M9,2l4,4l-4,4l-4,-4z" });
  const narrow = kind === "prompt" || kind === "injected";
  const rect = svg("rect", { class: ["critical", "answer"].includes(kind) ? "sampled" : kind, x: narrow ? 7 : 1, y: narrow ? 0 : 2, width: narrow ? 4 : 16, height: narrow ? 12 : 8, rx: 1.5 });
  return svg("g", { class: ["critical", "answer"].includes(kind) ? `line ${kind}` : null }, rect);
}

function threadView(thread) {
  const how = thread.parent === null ? "the root" : thread.continues ? `goes on for ${thread.parent}` : thread.kept ? `forked from ${thread.parent}, sees ${plural(thread.kept, "token")} of it` : `spawned by ${thread.parent}`;
  const sampled = sum(thread.segments.filter((s) => s.origin === "sampled").map((s) => s.tokens));
  const facts = [how, `on ${visible(thread.model)}`, `${plural(sampled, "token")} sampled`, `${seconds(thread.end[1] - thread.born[1])}`, `ended: ${thread.finish ?? "never"}`, thread.critical ? "critical path" : null, thread.answer ? "the answer came from it" : null];
  return el(
    "article",
    {},
    el("h3", {}, `thread ${thread.id}`),
    el("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    thread.detail ? el("p", { class: "failure" }, el("bdi", {}, visible(cut(thread.detail, 2000)))) : null,
    thread.notes.length ? el("ul", { class: "notes", "aria-label": "Decisions" }, thread.notes.map((note) => el("li", {}, el("b", {}, visible(cut(note.name, 200))), " ", el("bdi", {}, value(note.value))))) : null,
    thread.segments.map(segmentView),
    thread.waits.map((wait) => el("p", { class: "quiet" }, `waited for ${several(wait.for)}: ${seconds(wait.time[1] - wait.time[0])}, ${plural(wait.clock[1] - wait.clock[0], "token")} of the clock`)),
  );
}
function several(ids) {
  return ids.length > 8 ? `${ids.slice(0, 3).join(", ")} … ${ids.at(-1)}, ${ids.length} threads` : ids.join(", ");
}
function segmentView(segment) {
  const sampled = segment.origin === "sampled";
  const facts = [
    plural(segment.tokens, "token"),
    sampled ? seconds(segment.time[1] - segment.time[0]) : null,
    sampled ? `after ${plural(segment.prompt, "token")} of context, ${count(segment.cached)} cached` : null,
    segment.logprob === null ? null : `mean logprob ${(segment.logprob || 0).toFixed(3).replace("-0.000", "0.000")}`,
    segment.finish ? `ended: ${segment.finish}${segment.stop === null ? "" : ` at ${visible(cut(segment.stop, 40))}`}` : null,
  ];
  return el("div", { class: `segment ${segment.origin}` },
    el("p", {}, el("b", {}, segment.origin), " ", facts.filter(Boolean).join(" · ")),
    written(segment.text, `${segment.origin} text`));
}
