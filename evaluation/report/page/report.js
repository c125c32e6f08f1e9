"use strict";
// Rows without a value come last in both orders of sorting.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return heads[column].classList.contains("number")
      ? (cell.dataset.v === undefined ? null : Number(cell.dataset.v)) : cell.textContent;
  };
  const compared = (a, b) => typeof a === "number" ? a - b
    : a.localeCompare(b, undefined, { numeric: true });
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const after = before === null ? head.dataset.first : before === "ascending" ? "descending" : "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", after);
    const sign = after === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compared(a, b));
    body.append(...rows.map(([, row]) => row));
  }));
}
for (const input of document.querySelectorAll("input.filter-rows")) {
  const rows = input.closest(".filter").nextElementSibling.querySelectorAll("tbody tr");
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });
}
