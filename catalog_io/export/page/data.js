// The table: values, words, filters and order. Rows are counted from 0 on this page.

const page = JSON.parse(document.getElementById("data").textContent);
const columns = new Map(page.columns.map((column) => [column.name, column]));
const CLASSES = [...page.classes, ""];
const LOWEST = page.classes.length > 2 ? 0 : 0.5; // probability of a class
const MISSING = "–";

function numberAt(name, row) {
  const value = columns.get(name).values[row];
  if (value === null) return NaN;
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number(value);
}

function textAt(name, row) {
  const value = columns.get(name).values[row];
  return value === null ? "" : String(value);
}

const nameOf = (row) => textAt("name", row) || `Row ${page.first + row + 1}`;
const classOf = (row) => textAt("class", row);
const flagsOf = (row) => page.flags.filter((flag) => numberAt("flags", row) & flag.bit);
const hasPosition = (row) => Number.isFinite(numberAt("ra", row)) && Number.isFinite(numberAt("dec", row));

/** A value as its column wants it shown: with its format, else with as many digits as matter. */
function formatValue(column, value) {
  if (value === null || value === "") return MISSING;
  if (column.kind !== "number" || typeof value !== "number") return String(value);
  const format = /\.(\d+)([fe])/.exec(column.format);
  if (format) return format[2] === "f" ? value.toFixed(format[1]) : value.toExponential(Number(format[1]));
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(8)));
}

/** Right ascension in hours and declination in degrees, rounded to 0.01 s and 0.1 arcsec. */
function sexagesimal(ra, dec) {
  const pad = (value, digits) => String(value).padStart(digits, "0");
  const parts = (steps, perSecond, digits) => {
    const seconds = Math.floor(steps / perSecond);
    const fraction = pad(steps % perSecond, digits);
    return `${pad(Math.floor(seconds / 3600), 2)}:${pad(Math.floor(seconds / 60) % 60, 2)}:${pad(seconds % 60, 2)}.${fraction}`;
  };
  const hours = Math.round((((ra % 360) + 360) % 360) * 24000) % 8640000;
  return `${parts(hours, 100, 2)} ${dec < 0 ? "-" : "+"}${parts(Math.round(Math.abs(dec) * 36000), 10, 1)}`;
}

/** Arcsec a pixel of a row's cutout. */
function pixelScale(row) {
  const [a, b, c, d] = ["cd1_1", "cd1_2", "cd2_1", "cd2_2"].map((name) => numberAt(name, row));
  return Math.sqrt(Math.abs(a * d - b * c)) * 3600 || page.pixel_scale;
}

const degrees = (row) => `${numberAt("ra", row).toFixed(6)} ${numberAt("dec", row).toFixed(6)}`;

// Filters

const filters = { classes: new Set(CLASSES), low: LOWEST, high: 1, clean: false, flags: new Map(), text: "" };
const order = { column: "", descending: false };
let visible = Array.from({ length: page.rows }, (_, row) => row);

const filtersAreSet = () =>
  filters.classes.size < CLASSES.length || filters.low > LOWEST || filters.high < 1 || filters.clean || filters.flags.size > 0 || filters.text !== "";

function resetFilters() {
  Object.assign(filters, { classes: new Set(CLASSES), low: LOWEST, high: 1, clean: false, flags: new Map(), text: "" });
}

let haystacks = null;

/** What a search looks through: text columns, identifiers and class, in lower case; made when first needed. */
function haystack(row) {
  if (haystacks === null) {
    const searched = page.columns.filter((column) => column.kind !== "number" || column.name === "source_id");
    haystacks = Array.from({ length: page.rows }, (_, index) =>
      searched.map((column) => column.values[index] ?? "").join("\n").toLowerCase());
  }
  return haystacks[row];
}

function passes(row) {
  if (!filters.classes.has(classOf(row))) return false;
  if (filters.low > LOWEST || filters.high < 1) {
    const probability = numberAt("probability", row);
    if (!(probability >= filters.low && probability <= filters.high)) return false;
  }
  const flags = numberAt("flags", row);
  if (filters.clean && flags !== 0) return false;
  for (const [bit, wanted] of filters.flags) {
    if (Boolean(flags & bit) !== (wanted === "only")) return false;
  }
  return filters.text === "" || haystack(row).includes(filters.text.toLowerCase());
}

const keys = new Map();

/** A number for each row by which a column sorts; NaN, which sorts last, where it has no value. */
function sortKeys(name) {
  if (!keys.has(name)) {
    const { kind, values } = columns.get(name);
    const key = new Float64Array(page.rows);
    if (kind === "number") {
      for (let row = 0; row < page.rows; row++) key[row] = numberAt(name, row);
    } else {
      const collator = new Intl.Collator("en", { numeric: true });
      const compare = kind === "integer" ? (a, b) => (BigInt(a) < BigInt(b) ? -1 : BigInt(a) > BigInt(b) ? 1 : 0) : collator.compare;
      const present = [...new Set(values.filter((value) => value !== null && value !== ""))].sort(compare);
      const rank = new Map(present.map((value, index) => [value, index]));
      values.forEach((value, row) => { key[row] = rank.has(value) ? rank.get(value) : NaN; });
    }
    keys.set(name, key);
  }
  return keys.get(name);
}

function findVisible() {
  visible = [];
  for (let row = 0; row < page.rows; row++) if (passes(row)) visible.push(row);
  const direction = order.descending ? -1 : 1;
  if (order.column === "") {
    if (order.descending) visible.reverse();
    return;
  }
  const key = sortKeys(order.column);
  visible.sort((a, b) => {
    if (Number.isNaN(key[a]) || Number.isNaN(key[b])) return Number.isNaN(key[a]) - Number.isNaN(key[b]) || a - b;
    return direction * (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : 0) || a - b;
  });
}

// Making elements: text only, never markup

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);
const grouped = (value) => value.toLocaleString("en");

function announce(text) {
  byId("announce").textContent = text;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no permission, or no clipboard in this context
    const area = make("textarea", { value: text, className: "hidden" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce(`Copied ${text}`);
}

/** A button that shows a text and copies it (or another one) when it is clicked. */
function copyButton(className) {
  const button = make("button", { type: "button", className });
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    await copyText(button.dataset.text);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  });
  return button;
}

function setCopy(button, shown, text = shown) {
  button.textContent = shown;
  button.dataset.text = text;
  button.title = `Copy ${text}`;
}
