"use strict";
// Sorting and filtering for every table that asks for it; without this script the tables stand as they are.

const by = {
  number: (a, b) => a - b,
  text: (a, b) => a.localeCompare(b, undefined, { numeric: true }),
};

/** What a column's cells are sorted by: numbers where any cell has one, else their text; null comes last. */
function sortKeys(rows, column) {
  const cells = rows.map((row) => row.cells[column]);
  if (cells.some((cell) => cell.dataset.value)) {
    return [by.number, cells.map((cell) => (cell.dataset.value ? Number(cell.dataset.value) : null))];
  }
  return [by.text, cells.map((cell) => (cell.textContent === "—" ? null : cell.textContent))];
}

/** Rows in their order along a column; rows without a value last, whichever way. */
function sorted(rows, column, sign) {
  const [compare, keys] = sortKeys(rows, column);
  const order = [...rows.keys()].sort((i, j) => {
    if (keys[i] === null || keys[j] === null) return (keys[i] === null) - (keys[j] === null) || i - j;
    return sign * compare(keys[i], keys[j]) || i - j;
  });
  return order.map((i) => rows[i]);
}

/** A click sorts upwards, a second one downwards, a third one as the study has it. */
function makeSortable(table, rows) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "" }[header.getAttribute("aria-sort")] ?? "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) header.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(rows, column, next === "ascending" ? 1 : -1) : rows));
    });
  });
}

/** Whether a row has a word: a number is found as a whole, anything else also within a word; a hyphen is a minus. */
function has(text, word) {
  if (!/^−?\d+(\.\d+)?$/.test(word)) return text.includes(word);
  return text.split(/[^\d.e+−]+/).includes(word);
}

/** A field above the table that leaves the rows with every word in it. */
function makeFilterable(table, rows) {
  const plain = (text) => text.toLowerCase().replaceAll("-", "−");
  const texts = rows.map((row) => plain([...row.cells].map((cell) => cell.textContent).join(" ")));
  const tools = document.createElement("div");
  const field = document.createElement("input");
  const count = document.createElement("output");
  tools.className = "tools";
  field.type = "search";
  field.placeholder = "Filter rows, e.g. " + example(rows[0]);
  field.setAttribute("aria-label", "Filter the rows of: " + table.getAttribute("aria-label"));
  field.addEventListener("input", () => {
    const words = plain(field.value).split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => (row.hidden = !words.every((word) => has(texts[i], word))));
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
  tools.append(field, count);
  table.closest(".scroll").before(tools);
}

/** What one might look for: the short words of a row's first cells. */
function example(row) {
  const texts = [...row.cells].map((cell) => cell.textContent);
  return texts.filter((text) => text.length < 12).slice(0, 2).join(" ") || texts[0].split(" ")[0];
}

for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length > 1) {
    makeSortable(table, rows);
    makeFilterable(table, rows);
  }
}
