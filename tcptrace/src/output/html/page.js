// Adds to the page what text and drawings cannot do: the numbers under the pointer, one process instead of all, and a
// part of the time. Everything is read from the page: a plot's numbers are the rows of the table after it.
"use strict";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// The rows of the table that follows a plot.
function rowsOf(figure) {
  let next = figure.nextElementSibling;
  while (next && !next.matches("details.numbers")) next = next.nextElementSibling;
  return next ? [...next.querySelector("tbody").rows] : [];
}

function titlesOf(row) {
  return [...row.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
}

// The row at a position in the units of the drawing: rows are columns of it, or say where they are.
function rowAt(rows, x) {
  if (!rows.length) return undefined;
  if (!rows[0].dataset.x) return rows[Math.max(0, Math.min(rows.length - 1, Math.floor(x)))];
  return rows.reduce((best, row) => (Math.abs(row.dataset.x - x) < Math.abs(best.dataset.x - x) ? row : best));
}

function plot(figure) {
  const canvas = figure.querySelector(".canvas");
  const svg = canvas.querySelector("svg");
  const rows = rowsOf(figure);
  const cursor = canvas.appendChild(document.createElement("div"));
  cursor.className = "cursor";
  cursor.hidden = true;
  const tip = canvas.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  let position = null;

  function show(x) {
    const row = rowAt(rows, x);
    if (!row) return;
    const view = svg.viewBox.baseVal;
    const middle = row.dataset.x ? Number(row.dataset.x) : rows.indexOf(row) + 0.5;
    const share = (middle - view.x) / view.width;
    position = middle;
    const titles = titlesOf(row);
    const table = document.createElement("table");
    [...row.cells].forEach((cell, at) => {
      if (!cell.textContent) return;
      const line = table.insertRow();
      line.appendChild(document.createElement("th")).textContent = titles[at];
      line.insertCell().textContent = cell.textContent;
    });
    tip.replaceChildren(table);
    cursor.style.left = tip.style.left = `${share * 100}%`;
    tip.style.transform = share > 0.5 ? "translateX(calc(-100% - .6rem))" : "translateX(.6rem)";
    cursor.hidden = tip.hidden = false;
  }
  function hide() {
    cursor.hidden = tip.hidden = true;
  }
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const view = svg.viewBox.baseVal;
    show(view.x + ((event.clientX - box.left) / box.width) * view.width);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") hide();
    if (!by || !rows.length) return;
    event.preventDefault();
    const view = svg.viewBox.baseVal;
    const at = position === null ? (by > 0 ? -1 : rows.length) : rows.indexOf(rowAt(rows, position));
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    const x = next.dataset.x ? Number(next.dataset.x) : rows.indexOf(next) + 0.5;
    show(Math.max(view.x, Math.min(view.x + view.width - 0.5, x)));
    const cells = [...tip.querySelectorAll("tr")].map((line) => [...line.cells].map((cell) => cell.textContent).join(" "));
    document.getElementById("numbers").textContent = cells.join(", ");
  });
}

// One host: its toolbar, its parts, its time.
function host(section) {
  const form = section.querySelector(".toolbar");
  const { part, from, to } = form.elements;
  const parts = all(".part", section).map((element) => {
    const id = element.id || element.querySelector("h3.of").id;
    return { element, id };
  });
  const began = Number(section.dataset.begin);
  const width = Number(section.dataset.width);
  const isDated = "dated" in section.dataset;
  const buckets = Number(to.max);

  function time(column, step) {
    const text = new Date(began + column * width).toISOString();
    return text.slice(isDated ? 5 : 11, step < 1000 ? 23 : 19).replace("T", " ");
  }

  function choose(id) {
    const chosen = parts.find((one) => one.id === id) || parts[0];
    for (const { element } of parts) {
      element.hidden = element !== chosen.element;
      element.classList.toggle("chosen", !element.hidden && element !== parts[0].element);
      if (element.tagName === "DETAILS") element.open = !element.hidden;
    }
    part.value = chosen.id;
    const isAll = chosen === parts[0];
    const findings = all(".finding", section);
    for (const finding of findings) finding.hidden = !isAll && finding.dataset.part !== chosen.id;
    const hidden = findings.filter((finding) => finding.hidden).length;
    const note = section.querySelector(".hidden-findings");
    note.hidden = hidden === 0;
    note.textContent = `${hidden} of ${findings.length} findings are about other processes or the whole host, and are not shown.`;
    for (const row of all(".processes tbody tr", section)) {
      const link = row.querySelector("a.narrow");
      const isChosen = link && link.hash === `#${chosen.id}`;
      if (isChosen) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  function span() {
    const [first, last] = [from.valueAsNumber, to.valueAsNumber];
    const columns = last - first;
    for (const svg of all(".plot.time .canvas svg, .track", section)) {
      const view = svg.viewBox.baseVal;
      svg.setAttribute("viewBox", `${first} 0 ${columns} ${view.height}`);
    }
    for (const labels of all(".plot.time .x, .time-labels", section)) {
      [...labels.children].forEach((label, at) => {
        label.textContent = time(first + (columns * at) / 4, (columns * width) / 4);
      });
    }
    for (const figure of all(".plot.time", section)) {
      rowsOf(figure).forEach((row, at) => {
        row.hidden = at < first || at >= last;
      });
    }
    for (const [input, column] of [[from, first], [to, last]]) {
      input.ariaValueText = time(column, width);
      input.parentElement.querySelector("output").textContent = time(column, width);
    }
    const whole = first === 0 && last === buckets;
    form.querySelector("output.span").textContent = whole
      ? ""
      : `${time(first, width)} – ${time(last, width)}; durations, handshakes and findings are of the whole span`;
  }

  part.addEventListener("change", () => {
    location.hash = part.value;
  });
  from.addEventListener("input", () => {
    from.valueAsNumber = Math.min(from.valueAsNumber, to.valueAsNumber - 1);
    span();
  });
  to.addEventListener("input", () => {
    to.valueAsNumber = Math.max(to.valueAsNumber, from.valueAsNumber + 1);
    span();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => {
    choose(parts.find(({ element }) => !element.hidden).id);
    span();
  }));
  choose(location.hash.slice(1));
  span();
  form.hidden = false;
  return { has: (id) => parts.some((one) => one.id === id), choose };
}

// Findings are printed with their content, closed or not.
let opened = [];
addEventListener("beforeprint", () => {
  opened = all("details.finding:not([open]), details.glossary:not([open])");
  for (const element of opened) element.open = true;
});
addEventListener("afterprint", () => {
  for (const element of opened) element.open = false;
});

all(".plot").forEach(plot);
const hosts = all(".host").map(host);
addEventListener("hashchange", () => {
  const id = location.hash.slice(1);
  const one = hosts.find((candidate) => candidate.has(id));
  if (!one) return;
  one.choose(id);
  const bar = document.getElementById(id).closest(".host").querySelector(".toolbar");
  bar.scrollIntoView({ block: "start" });
});
