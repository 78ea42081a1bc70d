// Selected sources, and their rows as CSV.

const selected = new Set();

function select(rows, on) {
  for (const row of rows) {
    if (on) selected.add(row);
    else selected.delete(row);
  }
  showSelection();
}

function showSelection() {
  byId("selection").hidden = selected.size === 0;
  byId("selected-count").textContent = `${grouped(selected.size)} selected`;
  const all = visible.length > 0 && visible.every((row) => selected.has(row));
  byId("select-shown").textContent = all ? "Unselect all shown" : "Select all shown";
  byId("select-shown").dataset.on = all ? "" : "yes";
  markSelectedCards();
  if (detailRow !== null) byId("detail-select").checked = selected.has(detailRow);
}

/** RFC 4180: a field with a comma, a quote or a line break is quoted; a missing value is empty. */
function csvField(value) {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvOf(rows) {
  const lines = [page.columns.map((column) => csvField(column.name))];
  for (const row of rows) lines.push(page.columns.map((column) => csvField(column.values[row])));
  return lines.map((fields) => fields.join(",")).join("\r\n") + "\r\n";
}

/** Save the selected rows, in the order of the table. */
function downloadSelection() {
  const rows = [...selected].sort((a, b) => a - b);
  const address = URL.createObjectURL(new Blob([csvOf(rows)], { type: "text/csv" }));
  make("a", { href: address, download: "radio-ag-selection.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  announce(`${grouped(rows.length)} rows saved`);
}
