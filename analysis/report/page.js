// The page of a report: draws its charts, and sorts, filters and pages its table.
"use strict";

const PAGE = 100; // rows on the screen at once
const PRINTED = 1000; // rows on paper at most
const PAPER = 670; // pixels: the width of A4, upright, without its margins
const PAPER_WIDE = 1040; // the same, of A4 on its side

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// --- the table ---

const points = read("points");
const columns = points.columns;
const outcome = columns.find((column) => column.name === "outcome");
const state = { sort: null, down: false, text: "", outcomes: new Set(), filters: new Map(), page: 0 };
let order = [...Array(points.rows).keys()];
let shown = order;
let haystacks = null; // what each row says, in small letters; made when first asked for

function formatter(form) {
  if (!form) return (value) => value;
  const digits = form.kind === "g"
    ? { maximumSignificantDigits: form.digits }
    : { minimumFractionDigits: form.digits, maximumFractionDigits: form.digits };
  const sign = form.sign ? "exceptZero" : "auto";
  return new Intl.NumberFormat("en-US", { useGrouping: form.group, signDisplay: sign, ...digits }).format;
}

for (const column of columns) {
  column.write = formatter(column.form);
  column.long = !column.form && column.texts.some((text) => text.length > 40);
}

// What a cell holds: a number, a text, or null where it is unknown.
function value(column, row) {
  const kept = column.values[row];
  return kept === null || column.form ? kept : column.texts[kept];
}

function said(column, row) {
  const kept = value(column, row);
  return kept === null ? "" : column.write(kept);
}

function haystack(row) {
  haystacks ??= order.map(() => null);
  haystacks[row] ??= columns.map((column) => said(column, row)).join("\n").toLowerCase();
  return haystacks[row];
}

// A filter is conditions with commas between, all of which must hold: >=2 <8 =ok !x, or a part of a
// text; a number alone is that number. = and ! alone are for what is unknown and what is known.
// Returns null where a number is missing.
function condition(column, words) {
  const [, sign, rest] = /^(>=|<=|>|<|=|!)?\s*(.*)$/s.exec(words.trim());
  if (rest === "") {
    if (sign === "=") return (kept) => kept === null;
    if (sign === "!") return (kept) => kept !== null;
    return sign ? null : () => true;
  }
  if (column.form) {
    const wanted = Number(rest.replaceAll(",", ""));
    if (Number.isNaN(wanted)) return null;
    const tests = {
      ">=": (kept) => kept >= wanted, "<=": (kept) => kept <= wanted, ">": (kept) => kept > wanted,
      "<": (kept) => kept < wanted, "!": (kept) => kept !== wanted,
    };
    const test = tests[sign] ?? ((kept) => kept === wanted);
    return (kept) => kept !== null && test(kept);
  }
  const wanted = rest.toLowerCase();
  if (sign === "=") return (kept) => kept !== null && kept.toLowerCase() === wanted;
  if (sign === "!") return (kept) => kept === null || !kept.toLowerCase().includes(wanted);
  return (kept) => kept !== null && kept.toLowerCase().includes(wanted);
}

function conditions(column, text) {
  const all = (column.form ? text.split(",") : [text]).map((words) => condition(column, words));
  return all.includes(null) ? null : (kept) => all.every((test) => test(kept));
}

function filter() {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const tests = [...state.filters];
  shown = order.filter((row) =>
    (!state.outcomes.size || state.outcomes.has(value(outcome, row)))
    && tests.every(([column, test]) => test(value(column, row)))
    && words.every((word) => haystack(row).includes(word)));
  state.page = 0;
  draw();
}

function sort(column) {
  state.down = state.sort === column ? !state.down : false;
  state.sort = column;
  const side = state.down ? -1 : 1;
  order = [...Array(points.rows).keys()].sort((a, b) => {
    const one = column.values[a], other = column.values[b]; // texts are numbered in their order
    if (one === null || other === null) return (one === null) - (other === null) || a - b;
    return side * (one - other) || a - b;
  });
  for (const head of document.querySelectorAll("#points-table th[data-name]")) {
    const own = head.dataset.name === column.name;
    head.setAttribute("aria-sort", own ? (state.down ? "descending" : "ascending") : "none");
  }
  filter();
}

function rows(from, to) {
  const visible = columns.filter((column) => column.shown);
  return shown.slice(from, to).map((row) => element("tr", {}, ...visible.map((column) =>
    column.long ? longCell(said(column, row)) : element("td", {
      className: column.form ? "number" : "", textContent: said(column, row),
    }))));
}

// Two lines of a long text; all of it is under the pointer, and shown by a click.
function longCell(text) {
  const fold = element("div", { className: "fold", title: text, textContent: text });
  fold.addEventListener("click", () => fold.classList.toggle("open"));
  return element("td", { className: "long" }, fold);
}

function draw() {
  const count = shown.length, from = state.page * PAGE, to = Math.min(from + PAGE, count);
  byId("points-body").replaceChildren(...rows(from, to));
  const all = count === points.rows ? "" : ` of ${points.rows.toLocaleString("en-US")}`;
  byId("count").textContent = `${count.toLocaleString("en-US")}${all} points`;
  byId("range").textContent = count ? `${from + 1}–${to}` : "";
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = to >= count;
}

function drawHeads() {
  const visible = columns.filter((column) => column.shown);
  byId("points-heads").replaceChildren(...visible.map((column) => {
    const button = element("button", { type: "button", textContent: column.name });
    button.addEventListener("click", () => sort(column));
    const head = element("th", { scope: "col", className: column.form ? "number" : "" }, button);
    head.dataset.name = column.name;
    const way = state.sort === column ? (state.down ? "descending" : "ascending") : "none";
    head.setAttribute("aria-sort", way);
    return head;
  }));
  byId("filters").replaceChildren(...visible.map((column) => {
    const field = element("input", { type: "text", size: 4, value: column.typed ?? "" });
    field.setAttribute("aria-label", `filter ${column.name}`);
    field.placeholder = column.form ? ">=" : "";
    field.addEventListener("input", () => narrow(column, field));
    return element("th", {}, field);
  }));
}

function narrow(column, field) {
  column.typed = field.value;
  const test = field.value.trim() === "" ? undefined : conditions(column, field.value);
  field.setAttribute("aria-invalid", test === null);
  if (test) state.filters.set(column, test);
  else state.filters.delete(column);
  filter();
}

function addOutcomes() {
  const counts = new Map();
  for (const row of order) counts.set(value(outcome, row), (counts.get(value(outcome, row)) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  byId("outcomes").append(...sorted.map(([name, count]) => {
    const button = element("button", { type: "button", textContent: `${name ?? "unknown"} ${count}` });
    button.dataset.outcome = name;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      if (!state.outcomes.delete(name)) state.outcomes.add(name);
      button.setAttribute("aria-pressed", state.outcomes.has(name));
      filter();
    });
    return button;
  }));
}

function addColumnChoice() {
  const boxes = columns.map((column) => {
    const box = element("input", { type: "checkbox", checked: column.shown });
    box.addEventListener("change", () => show([column], box.checked));
    column.box = box;
    return element("label", {}, box, ` ${column.name}`);
  });
  const first = columns.filter((column) => column.shown);
  const every = element("button", { type: "button", textContent: "all" });
  every.addEventListener("click", () => show(columns, true));
  const few = element("button", { type: "button", textContent: "those that differ" });
  few.addEventListener("click", () => { show(columns, false); show(first, true); });
  byId("choice").append(every, " ", few, element("div", {}, ...boxes));
}

function show(some, whether) {
  for (const column of some) {
    column.shown = column.box.checked = whether;
    if (!whether) { column.typed = ""; state.filters.delete(column); }
  }
  drawHeads();
  filter();
}

// A text that a spreadsheet would take for a formula gets a quote before it.
function csvCell(column, row) {
  const kept = value(column, row);
  if (kept === null) return "";
  if (column.form) return String(kept);
  const text = /^[=+\-@\t\r]/.test(kept) ? `'${kept}` : kept;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const visible = columns.filter((column) => column.shown);
  const lines = shown.map((row) => visible.map((column) => csvCell(column, row)).join(","));
  return [visible.map((column) => column.name).join(","), ...lines].join("\r\n") + "\r\n";
}

function download() {
  const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  element("a", { href: url, download: "points.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function startTable() {
  addOutcomes();
  addColumnChoice();
  byId("search").addEventListener("input", (event) => { state.text = event.target.value; filter(); });
  byId("previous").addEventListener("click", () => { state.page -= 1; draw(); });
  byId("next").addEventListener("click", () => { state.page += 1; draw(); });
  byId("csv").addEventListener("click", download);
  drawHeads();
  draw();
}

// --- the charts ---

const charts = read("charts");
const touch = matchMedia("(pointer: coarse)").matches;
const drawn = [];

// One after the other, so that the page answers meanwhile.
function drawCharts(number = 0) {
  document.documentElement.dataset.charts = number;
  if (number === charts.length) return;
  const { id, data, layout } = charts[number];
  const narrowed = innerWidth < 600 ? { font: { size: 10 } } : {};
  // A finger that moves over a chart scrolls the page.
  const own = { ...layout, ...narrowed, dragmode: touch ? false : "zoom" };
  Plotly.newPlot(id, data, own, { responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover" })
    .then(() => { drawn.push(byId(id)); setTimeout(drawCharts, 0, number + 1); });
}

// --- paper ---

function tableToPaper() {
  byId("points-body").replaceChildren(...rows(0, PRINTED));
  // Letters on paper are two thirds of those on the screen; a table that is still wider shrinks.
  const wide = byId("points-table").scrollWidth * (2 / 3);
  document.documentElement.style.setProperty("--shrink", Math.min(1, PAPER_WIDE / wide));
  const cut = shown.length > PRINTED;
  const [first, all] = [PRINTED, shown.length].map((count) => count.toLocaleString("en-US"));
  byId("cut").textContent = cut ? `The first ${first} of ${all} rows.` : "";
}

function toPaper() {
  if (points.rows) tableToPaper();
  for (const chart of drawn) Plotly.relayout(chart, { width: PAPER, autosize: false });
}

function toScreen() {
  for (const chart of drawn) Plotly.relayout(chart, { width: null, autosize: true });
  if (points.rows) draw();
}

addEventListener("beforeprint", toPaper);
addEventListener("afterprint", toScreen);
if (points.rows) startTable();
drawCharts();
