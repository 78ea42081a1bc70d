// Summary charts: probability histogram, flag counts, sky. Faint: all sources; full: those that pass the filters.

const BINS = 25;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawCharts() {
  drawHistogram();
  drawFlagCounts();
  drawSky();
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sources by class in equal bins of probability, from the least that a class can have to 1. */
function binned(rows) {
  const bins = new Map(page.classes.map((name) => [name, new Array(BINS).fill(0)]));
  for (const row of rows) {
    const probability = numberAt("probability", row);
    if (bins.has(classOf(row)) && probability >= LEAST) {
      bins.get(classOf(row))[Math.min(Math.floor(((probability - LEAST) / (1 - LEAST)) * BINS + 1e-9), BINS - 1)] += 1;
    }
  }
  return bins;
}

const inBin = (bins, bin) => [...bins.values()].reduce((sum, counts) => sum + counts[bin], 0);

const allRows = Array.from({ length: page.rows }, (_, row) => row);
const allBins = binned(allRows);

function drawHistogram() {
  const [left, right, top, bottom] = [4, 256, 14, 78];
  const highest = Math.max(1, ...Array.from({ length: BINS }, (_, bin) => inBin(allBins, bin)));
  const width = (right - left) / BINS;
  const height = (value) => (value / highest) * (bottom - top);
  const shown = binned(visible);
  const chart = byId("histogram");
  chart.replaceChildren();
  for (let bin = 0; bin < BINS; bin++) {
    const x = left + bin * width;
    const bar = (name, base, value) => svg("rect", { class: name, x: x + 0.5, width: width - 1, y: bottom - height(base + value), height: height(value) });
    chart.append(bar("all", 0, inBin(allBins, bin)));
    let base = 0;
    for (const [name, counts] of shown) {
      chart.append(bar(classStyle(name), base, counts[bin]));
      base += counts[bin];
    }
  }
  chart.append(svg("line", { class: "axis", x1: left, x2: right, y1: bottom + 0.5, y2: bottom + 0.5 }));
  for (const value of [...Array.from({ length: 5 }, (_, tick) => LEAST + ((1 - LEAST) * tick) / 5), 1]) {
    const anchor = value === LEAST ? "start" : value === 1 ? "end" : "middle";
    chart.append(svg("text", { x: left + ((value - LEAST) / (1 - LEAST)) * (right - left), y: bottom + 14, "text-anchor": anchor }, value.toFixed(LEAST === 0.5 ? 1 : 2)));
  }
  chart.append(svg("text", { x: left, y: 9 }, `${grouped(highest)} in the fullest bin`));
  const counts = [...shown].map(([name, values]) => `${grouped(values.reduce((sum, value) => sum + value, 0))} ${name}`);
  chart.setAttribute("aria-label", `Histogram of the probability of the class: ${counts.join(", ")} shown`);
}

const flagCounts = new Map(page.flags.map((flag) => [flag.bit, allRows.filter((row) => numberAt("flags", row) & flag.bit).length]));

/** A bar, a count and a choice for each flag that some source carries; made once, filled by `drawFlagCounts`. */
function buildFlags(changed) {
  const most = Math.max(1, ...flagCounts.values());
  for (const flag of page.flags.filter(({ bit }) => flagCounts.get(bit) > 0)) {
    const choice = make("select", { "aria-label": `Sources that are flagged ${flag.words}` });
    for (const [value, words] of [["any", "any"], ["only", "only"], ["hide", "hide"]]) choice.append(make("option", { value }, words));
    choice.addEventListener("change", () => {
      if (choice.value === "any") filters.flags.delete(flag.bit);
      else filters.flags.set(flag.bit, choice.value);
      changed();
    });
    const all = make("span", { className: "bar all" });
    const shown = make("span", { className: "bar shown" });
    all.style.width = `${(100 * flagCounts.get(flag.bit)) / most}%`;
    const item = make("li", { title: flag.description }, make("span", { className: "words" }, flag.words),
      make("span", { className: "bars", "aria-hidden": "true" }, all, shown), make("span", { className: "count" }), choice);
    item.dataset.bit = flag.bit;
    item.dataset.most = most;
    byId("flags").append(item);
  }
  if (!byId("flags").childElementCount) byId("flags").append(make("li", { className: "note" }, "No source is flagged."));
}

function drawFlagCounts() {
  for (const item of byId("flags").querySelectorAll("[data-bit]")) {
    const bit = Number(item.dataset.bit);
    const count = visible.reduce((sum, row) => sum + Boolean(numberAt("flags", row) & bit), 0);
    item.querySelector(".shown").style.width = `${(100 * count) / Number(item.dataset.most)}%`;
    item.querySelector(".count").textContent = grouped(count);
    item.querySelector("select").value = filters.flags.get(bit) ?? "any";
  }
  byId("clean-count").textContent = grouped(visible.filter((row) => numberAt("flags", row) === 0).length);
}

// Sky: the whole of it in the equal-area projection of Hammer, or a patch of it where the sources lie close together.

const placed = allRows.filter(hasPosition);
const skyPoints = []; // of the last drawing: [x, y, row]

function patchOfSky() {
  const radians = Math.PI / 180;
  let [x, y, z] = [0, 0, 0];
  for (const row of placed) {
    const [ra, dec] = [numberAt("ra", row) * radians, numberAt("dec", row) * radians];
    x += Math.cos(dec) * Math.cos(ra);
    y += Math.cos(dec) * Math.sin(ra);
    z += Math.sin(dec);
  }
  const ra = ((Math.atan2(y, x) / radians) + 360) % 360;
  const dec = Math.atan2(z, Math.hypot(x, y)) / radians;
  const east = (row) => ((((numberAt("ra", row) - ra + 180) % 360) + 360) % 360) - 180;
  const spread = Math.max(0, ...placed.map((row) => Math.max(Math.abs(east(row)) * Math.cos(dec * radians), Math.abs(numberAt("dec", row) - dec))));
  return { ra, dec, east, radius: Math.max(spread * 1.08, 0.01), small: spread < 25 && Math.abs(dec) + spread < 80 };
}

const patch = patchOfSky();
const skyCentre = patch.ra > 90 && patch.ra < 270 ? 180 : 0;

function hammer(ra, dec) {
  const longitude = (((((ra - skyCentre + 180) % 360) + 360) % 360) - 180) * (Math.PI / 360); // half of it
  const latitude = dec * (Math.PI / 180);
  const root = Math.sqrt(1 + Math.cos(latitude) * Math.cos(longitude));
  return [(-2 * Math.cos(latitude) * Math.sin(longitude)) / root, Math.sin(latitude) / root]; // within ±2, ±1
}

function drawSky() {
  const canvas = byId("sky");
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.font = `20px ${style("--sans")}`;
  context.lineWidth = 1.5;
  context.strokeStyle = style("--line");
  context.fillStyle = style("--muted");
  const place = patch.small ? patchGrid(context, width, height) : wholeGrid(context, width, height);
  const shown = new Set(visible);
  const colours = Object.fromEntries(CLASSES.map((name) => [name, style(name ? `--${classStyle(name)}` : "--muted")]));
  const radius = placed.length > 3000 ? 2 : placed.length > 300 ? 3 : 4.5;
  skyPoints.length = 0;
  const dots = (rows, alpha, colour) => {
    context.globalAlpha = alpha;
    for (const row of rows) {
      const [x, y] = place(numberAt("ra", row), numberAt("dec", row), row);
      context.fillStyle = colour(row);
      context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      if (alpha > 0.5) skyPoints.push([x, y, row]);
    }
  };
  dots(placed.filter((row) => !shown.has(row)), 0.25, () => colours[""]);
  dots(placed.filter((row) => shown.has(row)), 0.85, (row) => colours[classOf(row)]);
  context.globalAlpha = 1;
  canvas.setAttribute("aria-label", `Positions of ${grouped(skyPoints.length)} sources shown, around ${patch.ra.toFixed(1)} ${patch.dec.toFixed(1)} degrees`);
}

function wholeGrid(context, width, height) {
  const scale = Math.min(width / 4, height / 2) - 4;
  const place = (ra, dec) => {
    const [x, y] = hammer(ra, dec);
    return [width / 2 + x * scale, height / 2 - y * scale];
  };
  const trace = (points) => {
    context.beginPath();
    points.forEach(([ra, dec], index) => context[index ? "lineTo" : "moveTo"](...place(ra, dec)));
    context.stroke();
  };
  const steps = Array.from({ length: 61 }, (_, step) => step / 60);
  for (let offset = -180; offset <= 180; offset += 60) {
    const ra = skyCentre + Math.max(-179.999, Math.min(179.999, offset));
    trace(steps.map((step) => [ra, -90 + 180 * step]));
  }
  for (const dec of [-60, -30, 0, 30, 60]) trace(steps.map((step) => [skyCentre - 179.999 + 359.998 * step, dec]));
  context.textAlign = "center";
  for (const offset of [-120, -60, 0, 60, 120]) {
    const [x, y] = place(skyCentre + offset, -30);
    outlined(context, `${(((skyCentre + offset) % 360) + 360) % 360 / 15}h`, x, y + 22);
  }
  return place;
}

/** Text on a rim of the ground's colour. */
function outlined(context, text, x, y) {
  context.save();
  context.strokeStyle = style("--ground");
  context.lineWidth = 6;
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
  context.restore();
}

function patchGrid(context, width, height) {
  const [left, bottom] = [74, height - 32];
  const scale = Math.min((width - left - 8) / 2, (bottom - 8) / 2) / patch.radius; // pixels a degree
  const [middle, centre] = [(left + width - 8) / 2, (8 + bottom) / 2];
  const squeeze = Math.cos((patch.dec * Math.PI) / 180);
  const [east, north] = [(width - 8 - left) / 2 / scale, (bottom - 8) / 2 / scale];
  context.strokeRect(left, 8, width - 8 - left, bottom - 8);
  const step = (span) => {
    const size = 10 ** Math.floor(Math.log10(span));
    return span / size >= 5 ? 2 * size : span / size >= 2 ? size : size / 2;
  };
  const ticks = (from, to, size) => Array.from({ length: Math.floor(to / size) - Math.ceil(from / size) + 1 }, (_, n) => (Math.ceil(from / size) + n) * size);
  const digits = (size) => Math.max(0, -Math.floor(Math.log10(size)));
  const raStep = step((2 * east) / squeeze / 1.5);
  context.textAlign = "center";
  for (const ra of ticks(patch.ra - east / squeeze, patch.ra + east / squeeze, raStep)) {
    const x = middle - (ra - patch.ra) * squeeze * scale;
    context.strokeRect(x, 8, 0, bottom - 8);
    if (x > left + 20 && x < width - 30) context.fillText(`${(((ra % 360) + 360) % 360).toFixed(digits(raStep))}°`, x, height - 8);
  }
  const decStep = step(2 * north);
  context.textAlign = "right";
  for (const dec of ticks(patch.dec - north, patch.dec + north, decStep)) {
    const y = centre - (dec - patch.dec) * scale;
    context.strokeRect(left, y, width - 8 - left, 0);
    if (y > 16) context.fillText(`${dec.toFixed(digits(decStep))}°`, left - 6, y + 7);
  }
  return (_, dec, row) => [middle - patch.east(row) * squeeze * scale, centre - (dec - patch.dec) * scale];
}

/** The source shown nearest to a click on the sky, or null. */
function sourceOnSky(event) {
  const canvas = byId("sky");
  const box = canvas.getBoundingClientRect();
  const [x, y] = [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  let [nearest, distance] = [null, 24];
  for (const [px, py, row] of skyPoints) {
    const away = Math.hypot(px - x, py - y);
    if (away < distance) [nearest, distance] = [row, away];
  }
  return nearest;
}
