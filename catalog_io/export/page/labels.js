// Labelling: a key a label, kept in the browser as one goes, saved as a file or sent to the server that gave the page.

const labelling = page.labelling; // null: a page to look at
const STORE = labelling && `radio-ag labels ${labelling.id}`;
const CONFIDENCES = [["1", "certain"], ["0.75", "likely"], ["0.5", "guess"]];
const records = new Map(); // key of a source → its record; an empty label: taken away
const firstOpinions = new Map(); // row → another's record
const undone = []; // what to go back to: [row, the record before or null]
const unsent = new Map();
let who = labelling?.who ?? "";
let storeFails = false;

const keyOf = (row) => textAt("name", row) || `source ${sourceNumber(row)}`;
const sourceNumber = (row) => (labelling.number === null ? page.first + row : numberAt(labelling.number, row));
const labelOf = (row) => records.get(keyOf(row))?.label ?? "";
const isAsked = (row) => firstOpinions.size === 0 || firstOpinions.has(row);
const labelledHere = () => allRows.filter((row) => isAsked(row) && labelOf(row));

/** Take a record over if it is newer than ours. */
function takeRecord(record) {
  const key = record.name || `source ${record.source}`;
  const before = records.get(key);
  if (before && before.when >= record.when) return false;
  records.set(key, record);
  return true;
}

function readStore() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    if (stored.who && !who) who = stored.who;
    for (const record of stored.records ?? []) takeRecord(record);
  } catch {
    storeFails = true;
  }
}

function writeStore() {
  readStore(); // what another window has kept meanwhile
  try {
    localStorage.setItem(STORE, JSON.stringify({ who, records: [...records.values()] }));
    storeFails = false;
  } catch {
    storeFails = true;
  }
}

/** Keep a label: here, in the browser, and where the page is served, in its file. */
function keep(row, record) {
  records.set(keyOf(row), record);
  writeStore();
  if (labelling.served) {
    unsent.set(keyOf(row), record);
    send();
  }
  showLabels();
}

let sending = false;

async function send() {
  if (sending || !unsent.size) return;
  sending = true;
  const going = [...unsent];
  let wait = 0;
  try {
    const answer = await fetch("labels", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(going.map(([, record]) => record)) });
    if (!answer.ok) throw new Error(await answer.text());
    for (const [key, record] of going) if (unsent.get(key) === record) unsent.delete(key);
    byId("label-kept").textContent = unsent.size ? "" : "kept in the file";
  } catch (error) {
    byId("label-kept").textContent = `${grouped(unsent.size)} not yet in the file (${error.message}): kept in this browser, tried again`;
    wait = 3000;
  }
  sending = false;
  if (unsent.size) setTimeout(send, wait);
}

function recordOf(row, label, confidence, note) {
  const [ra, dec] = [numberAt("ra", row), numberAt("dec", row)];
  const finite = (value) => (Number.isFinite(value) ? value : null);
  return { name: textAt("name", row), source: sourceNumber(row), ra: finite(ra), dec: finite(dec), label, confidence, note, who, when: new Date().toISOString() };
}

/** Label the open source, and go to the next one that has none. */
function setLabel(label) {
  const row = detailRow;
  undone.push([row, records.get(keyOf(row)) ?? null]);
  keep(row, recordOf(row, label, Number(byId("confidence").value), byId("label-note").value.trim()));
  const first = firstOpinions.get(row);
  const words = first ? ` The first opinion was ${first.label}${first.label === label ? ", too." : "."}` : "";
  const next = nextUnlabelled(detailPlace);
  say(`${nameOf(row)}: ${label}.${words}${next === null ? " All that are shown are labelled." : ""}`);
  if (next === null) fillDetail(row);
  else openDetail(next);
}

function say(words) {
  byId("label-said").textContent = words;
}

function nextUnlabelled(place) {
  for (let step = 1; step < visible.length; step++) {
    const next = (place + step) % visible.length;
    if (!labelOf(visible[next])) return next;
  }
  return null;
}

function undo() {
  if (!undone.length) return;
  const [row, before] = undone.pop();
  keep(row, { ...(before ?? recordOf(row, "", 1, "")), when: new Date().toISOString() });
  say(`${nameOf(row)}: ${before?.label || "no label"} again.`);
  if (!visible.includes(row)) {
    resetFilters();
    filtersChanged();
  }
  openDetail(visible.indexOf(row));
}

/** A change of note or confidence of a source that has a label is one of its label. */
function labelDetailChanged() {
  if (detailRow === null || !labelOf(detailRow)) return;
  const before = records.get(keyOf(detailRow));
  const [confidence, note] = [Number(byId("confidence").value), byId("label-note").value.trim()];
  if (before.confidence === confidence && before.note === note) return;
  undone.push([detailRow, before]);
  keep(detailRow, recordOf(detailRow, before.label, confidence, note));
}

function fillLabelling(row) {
  if (!labelling) return;
  const record = labelOf(row) ? records.get(keyOf(row)) : null;
  const confidence = String(record?.confidence ?? 1);
  if (![...byId("confidence").options].some((option) => option.value === confidence)) byId("confidence").append(make("option", { value: confidence }, confidence));
  byId("confidence").value = confidence;
  byId("label-note").value = record?.note ?? "";
  for (const button of byId("label-buttons").children) button.setAttribute("aria-pressed", button.dataset.label === record?.label);
}

/** Progress and counts, and the label on each card. */
function showLabels() {
  if (!labelling) return;
  const asked = allRows.filter(isAsked);
  const done = labelledHere();
  byId("label-progress").max = Math.max(asked.length, 1);
  byId("label-progress").value = done.length;
  const counts = new Map(labelling.labels.map(({ name }) => [name, 0]));
  for (const row of done) counts.set(labelOf(row), (counts.get(labelOf(row)) ?? 0) + 1);
  byId("label-count").textContent = `${grouped(done.length)} of ${grouped(asked.length)} labelled`;
  byId("label-counts").textContent = [...counts].map(([name, count]) => `${name} ${grouped(count)}`).join(" · ");
  byId("label-start").textContent = done.length ? "Go on labelling" : "Start labelling";
  byId("label-place").textContent = byId("label-count").textContent;
  byId("undo").disabled = undone.length === 0;
  if (storeFails) byId("label-kept").textContent = "This browser keeps nothing: save before you close the page.";
  for (const card of cards.values()) fillLabel(card.label, card.row);
  if (detailRow !== null) fillLabelling(detailRow);
}

function fillLabel(element, row) {
  const label = labelling && row >= 0 ? labelOf(row) : "";
  element.hidden = !label;
  element.textContent = label;
}

/** The labels as ECSV, with the columns that `radio-ag labels` and `radio-ag train` read. */
function ecsv(all) {
  const types = { source: "int64", ra: "float64", dec: "float64", confidence: "float64" };
  const names = ["name", "source", "ra", "dec", "label", "confidence", "note", "who", "when"];
  const described = names.map((name) => `# - {name: ${name}, ${name === "ra" || name === "dec" ? "unit: deg, " : ""}datatype: ${types[name] ?? "string"}}`);
  const field = (record, name) => (record[name] === null ? "nan" : record[name] === "" ? '""' : csvField(record[name]));
  const rows = all.map((record) => names.map((name) => field(record, name)).join(","));
  return ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:", ...described, "# schema: astropy-2.0", names.join(","), ...rows].join("\n") + "\n";
}

function saveLabels() {
  const all = [...records.values()].filter((record) => record.label);
  const address = URL.createObjectURL(new Blob([ecsv(all)], { type: "text/plain" }));
  make("a", { href: address, download: "labels.ecsv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  announce(`${grouped(all.length)} labels saved`);
}

function labelKey(event) {
  if (!labelling) return false;
  const label = labelling.labels.find(({ key }) => key === event.key.toLowerCase());
  if (label) setLabel(label.name);
  else if (event.key === "u" || event.key === "Backspace") undo();
  else if (event.key === "n") byId("label-note").focus();
  else if (event.key === "c") {
    byId("confidence").selectedIndex = (byId("confidence").selectedIndex + 1) % CONFIDENCES.length;
    labelDetailChanged();
    say(`Confidence: ${byId("confidence").selectedOptions[0].textContent}.`);
  } else return false;
  return true;
}

function startLabelling() {
  const next = nextUnlabelled(-1) ?? (visible.length ? 0 : null);
  if (next !== null) openDetail(labelOf(visible[0]) ? next : 0);
}

function buildLabelling() {
  if (!labelling) return;
  for (const record of labelling.second) {
    const row = rowsByName.get(record.name) ?? allRows.find((other) => !record.name && sourceNumber(other) === record.source);
    if (row !== undefined) firstOpinions.set(row, record);
  }
  for (const record of labelling.given) takeRecord(record);
  readStore();
  order.column = ASKED;
  view.mode = "image";
  document.body.classList.add("blind");
  byId("label-bar").hidden = byId("labelling").hidden = byId("label-keys").hidden = false;
  for (const { name, key } of labelling.labels) {
    const button = make("button", { type: "button", className: "quiet", "aria-pressed": "false" }, make("kbd", {}, key), ` ${name}`);
    button.dataset.label = name;
    button.addEventListener("click", () => setLabel(name));
    byId("label-buttons").append(button);
  }
  for (const [value, words] of CONFIDENCES) byId("confidence").append(make("option", { value }, words));
  byId("confidence").addEventListener("change", labelDetailChanged);
  byId("label-note").addEventListener("change", labelDetailChanged);
  byId("label-note").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    byId("label-note").blur();
    byId("detail-name").focus();
  });
  byId("undo").addEventListener("click", undo);
  byId("label-start").addEventListener("click", startLabelling);
  byId("label-save").addEventListener("click", saveLabels);
  byId("label-show").addEventListener("change", (event) => { filters.labelled = event.target.value; changed(); });
  byId("see-network").addEventListener("change", (event) => document.body.classList.toggle("blind", !event.target.checked));
  byId("who").value = who;
  byId("who").addEventListener("input", (event) => { who = event.target.value.trim(); writeStore(); });
  window.addEventListener("storage", (event) => {
    if (event.key !== STORE) return;
    readStore();
    showLabels();
  });
  if (labelling.served) meetServer();
  showLabels();
}

/** Take what the file has, and send what it lacks: it may be newer than the page, or older than the browser. */
async function meetServer() {
  try {
    const inFile = await (await fetch("labels")).json();
    const newest = new Map(inFile.map((record) => [record.name || `source ${record.source}`, record.when]));
    for (const record of inFile) takeRecord(record);
    for (const [key, record] of records) if (record.when > (newest.get(key) ?? (record.label ? "" : "~"))) unsent.set(key, record);
  } catch (error) {
    byId("label-kept").textContent = `the file does not answer (${error.message})`;
  }
  showLabels();
  send();
}
