// One source in full: its picture with every gate, its coordinates, flags, links and row.

let detailRow = null;
let detailPlace = 0;
let detailGate = "mean";
let detailSource = null;
const thumbnails = new Map(); // panel → canvas

const GATE_NAMES = { mean: "Mean" };
const gateName = (gate) => GATE_NAMES[gate] ?? `Gate ${gate}`;

function buildDetail() {
  for (const gate of page.gates) {
    const canvas = make("canvas", { width: SIZE, height: SIZE, "aria-hidden": "true" });
    const button = make("button", { type: "button" }, canvas, make("span", {}, gateName(gate)));
    button.addEventListener("click", () => {
      detailGate = gate;
      if (view.mode === "image") setMode("overlay");
      drawDetail();
    });
    thumbnails.set(gate, { canvas, button });
    byId("thumbnails").append(button);
  }
  byId("thumbnails").hidden = page.gates.length < 2;
  byId("previous").addEventListener("click", () => openDetail(detailPlace - 1));
  byId("next").addEventListener("click", () => openDetail(detailPlace + 1));
  byId("close-detail").addEventListener("click", () => byId("detail").close());
  byId("detail-select").addEventListener("change", (event) => select([detailRow], event.target.checked));
  buildZoom(byId("detail-canvas"));
  byId("detail-canvas").addEventListener("pointermove", readPixel);
  byId("detail-canvas").addEventListener("pointerleave", () => { byId("readout").textContent = ""; });
  byId("detail").addEventListener("close", () => {
    setAddress("");
    detailRow = null;
    if (labelling && filters.labelled !== "any") filtersChanged();
    goTo(Math.min(detailPlace, visible.length - 1));
  });
  byId("detail").addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=range], input[type=text], select, textarea")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (labelKey(event) || zoomKey(event)) event.preventDefault();
    else if (event.key === "ArrowLeft") openDetail(detailPlace - 1);
    else if (event.key === "ArrowRight") openDetail(detailPlace + 1);
    else if (event.key === " " && !event.target.matches("button, input, summary, a")) select([detailRow], !selected.has(detailRow));
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", openAddress);
}

/** Give the page an address without a step in the browser's history, where it may have one. */
function setAddress(hash) {
  try {
    history.replaceState(null, "", hash || window.location.pathname + window.location.search);
  } catch {} // a page that another holds in a frame has none of its own
}

/** Open the source that the page's address names, out of any filter. */
function openAddress() {
  const row = rowOfAddress(window.location.hash);
  byId("missing").hidden = row !== undefined;
  if (row === undefined) byId("missing").textContent = `The source of this address is not on this page: ${window.location.hash.slice(8)}`;
  if (row === null || row === undefined || row === detailRow) return;
  if (!visible.includes(row)) {
    resetFilters();
    byId("search").value = "";
    filtersChanged();
  }
  goTo(visible.indexOf(row));
  openDetail(visible.indexOf(row));
}

async function openDetail(place) {
  if (place < 0 || place >= visible.length) return;
  detailPlace = place;
  const row = (detailRow = visible[place]);
  const dialog = byId("detail");
  setCurrent(place);
  setAddress(addressOf(row));
  zoomOut();
  fillDetail(row);
  if (!dialog.open) {
    dialog.showModal();
    dialog.scrollTop = 0;
  }
  const source = await picture(row);
  if (detailRow !== row) return;
  detailSource = source;
  drawDetail();
}

function fillDetail(row) {
  byId("detail-name").textContent = nameOf(row);
  const verdict = classOf(row) ? `${classOf(row)} ${probabilityText(numberAt("probability", row))}` : "no class";
  const inCatalogue = columns.has("first_row") ? numberAt("first_row", row) : page.first + row;
  const place = `${grouped(detailPlace + 1)} of ${grouped(visible.length)} shown`;
  byId("detail-place").textContent = `${place} · row ${grouped(inCatalogue + 1)}`;
  byId("detail-verdict").textContent = ` · ${verdict}`;
  byId("detail-select").checked = selected.has(row);
  byId("previous").disabled = detailPlace === 0;
  byId("next").disabled = detailPlace === visible.length - 1;
  byId("readout").textContent = "";
  fillDetailVerdict(row);
  fillLabelling(row);
  fillPlace(row);
  const flags = flagsOf(row).map((flag) => make("div", {}, make("dt", {}, flag.words), make("dd", {}, flag.description)));
  byId("detail-flags").replaceChildren(...(flags.length ? flags : [make("p", { className: "note" }, "None.")]));
  fillRow(byId("input-row"), page.columns.filter((column) => column.input), row);
  fillRow(byId("result-row"), page.columns.filter((column) => !column.input), row);
}

function fillDetailVerdict(row) {
  const verdict = make("p", { className: "verdict large" });
  fillVerdict(verdict, row);
  const meter = make("div", { className: "meter" }, make("span", { className: "spread" }), make("span", { className: "mark" }));
  fillMeter(meter, row);
  const ends = make("div", { className: "meter-ends", hidden: meter.hidden, "aria-hidden": "true" }, make("span", {}, "FRI"), make("span", {}, "FRII"));
  const facts = make("dl", { className: "facts" });
  const fact = (name, value, unit) => {
    if (Number.isFinite(value)) facts.append(make("div", {}, make("dt", {}, name), make("dd", {}, `${Number(value.toPrecision(3))}${unit}`)));
  };
  fact("Flux density", numberAt("total_flux", row) * 1e3, " mJy");
  fact("Peak", numberAt("peak", row) * 1e3, " mJy/beam");
  fact("Noise", numberAt("rms", row) * 1e3, " mJy/beam");
  fact("S/N", numberAt("snr", row), "");
  fact("Extent", extentOf(row), "″");
  if (numberAt("n_components", row) > 1) {
    fact("Components", numberAt("n_components", row), "");
    fact("Association", numberAt("association", row), "");
  }
  fact("Islands", numberAt("n_islands", row), "");
  byId("verdict").replaceChildren(verdict, meter, ends, facts);
}

function fillPlace(row) {
  const box = byId("coordinates");
  byId("links").replaceChildren();
  if (!hasPosition(row)) {
    box.replaceChildren(make("p", { className: "note" }, "No position."));
    return;
  }
  const [ra, dec] = [numberAt("ra", row), numberAt("dec", row)];
  const [hours, plain, address] = [copyButton("copy"), copyButton("copy"), copyButton("copy")];
  setCopy(hours, sexagesimal(ra, dec));
  setCopy(plain, degrees(row));
  setCopy(address, "Address of this source", window.location.href.replace(/#.*/, "") + addressOf(row));
  box.replaceChildren(hours, plain, address);
  const [a, d] = [ra.toFixed(6), dec.toFixed(6)];
  const aladin = `https://aladin.cds.unistra.fr/AladinLite/?target=${encodeURIComponent(`${a} ${d}`)}&fov=${((pixelScale(row) * SIZE) / 3600).toFixed(3)}`;
  const links = {
    "Aladin Lite": aladin,
    "optical, DSS2": `${aladin}&survey=${encodeURIComponent("CDS/P/DSS2/color")}`,
    ...(dec > -30 && { "optical, Pan-STARRS": `${aladin}&survey=${encodeURIComponent("CDS/P/PanSTARRS/DR1/color-z-zg-g")}` }),
    "Legacy Survey": `https://www.legacysurvey.org/viewer?ra=${a}&dec=${d}&layer=ls-dr10&zoom=14&mark=${a},${d}`,
    NED: `https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search&in_csys=Equatorial&in_equinox=J2000&ra=${a}d&dec=${d}d&radius=1`,
    SIMBAD: `https://simbad.cds.unistra.fr/simbad/sim-coo?Coord=${encodeURIComponent(`${a} ${dec < 0 ? "" : "+"}${d}`)}&CooFrame=ICRS&Radius=1&Radius.unit=arcmin`,
  };
  for (const [name, href] of Object.entries(links)) {
    byId("links").append(make("li", {}, make("a", { href, target: "_blank", rel: "noopener noreferrer" }, name)));
  }
}

function fillRow(table, described, row) {
  const lines = described.map((column) => {
    const value = formatValue(column, column.values[row]);
    return make("tr", { title: column.description }, make("th", { scope: "row" }, column.name), make("td", {}, value === MISSING || !column.unit ? value : `${value} ${column.unit}`));
  });
  table.replaceChildren(make("tbody", {}, ...lines));
  if (!lines.length) table.replaceChildren(make("tbody", {}, make("tr", {}, make("td", {}, "No other columns."))));
}

function drawDetail() {
  if (detailRow === null || !detailSource) return;
  const canvas = byId("detail-canvas");
  const mode = detailSource.maps[detailGate] ? view.mode : "image";
  const drawn = draw(canvas, detailSource, mode, detailGate, frame);
  byId("detail-reason").hidden = drawn && Boolean(detailSource.cutout);
  byId("detail-reason").textContent = detailSource.reason || (drawn ? "" : "no attention map");
  const words = { image: "Cutout", overlay: "Cutout with attention", attention: "Attention" }[mode];
  canvas.setAttribute("aria-label", `${words} of ${nameOf(detailRow)}`);
  if (drawn) annotate(canvas.getContext("2d"), canvas.width);
  for (const [gate, { canvas: small, button }] of thumbnails) {
    draw(small, detailSource, "attention", gate);
    button.setAttribute("aria-pressed", gate === detailGate);
    button.disabled = !detailSource.maps[gate];
  }
  drawLegend(mode);
}

/** Contours, scale bar, beam, and which way North and East are. */
function annotate(context, size) {
  const scale = size / frame.side;
  if (view.contour && detailSource.cutout) drawContours(context, scale);
  context.lineWidth = 2;
  context.font = `600 15px ${style("--sans")}`;
  context.strokeStyle = context.fillStyle = "#ffffff";
  context.shadowColor = "#000000";
  context.shadowBlur = 5;
  const arcsec = scale / pixelScale(detailRow);
  const bar = [60, 30, 10, 5, 2, 1].find((length) => length * arcsec < size / 2.2) ?? 1;
  const length = bar * arcsec;
  context.beginPath();
  context.moveTo(18, size - 18);
  context.lineTo(18 + length, size - 18);
  context.moveTo(size - 22, 48);
  context.lineTo(size - 22, 22);
  context.moveTo(size - 22, 48);
  context.lineTo(size - 48, 48);
  context.stroke();
  context.textAlign = "center";
  context.fillText(bar === 60 ? "1′" : `${bar}″`, 18 + length / 2, size - 26);
  context.fillText("N", size - 22, 17);
  context.fillText("E", size - 57, 53);
  drawBeam(context, size, arcsec);
  context.shadowBlur = 0;
}

/** Contours at multiples of the noise; each is traced once for a source. */
function drawContours(context, scale) {
  const { cutout } = detailSource;
  cutout.contours ??= new Map();
  context.save();
  context.setTransform(scale, 0, 0, scale, -frame.left * scale, -frame.top * scale);
  context.strokeStyle = view.mode === "attention" || view.colours !== "grey, inverted" ? "#ffffffcc" : "#000000cc";
  context.lineWidth = 1.2 / scale;
  for (const level of view.levels) {
    if (!cutout.contours.has(level)) cutout.contours.set(level, contourOf(cutout, level * cutout.noise));
    context.stroke(cutout.contours.get(level));
  }
  context.restore();
}

/** The beam at half its maximum, in the lower right corner; `arcsec` is pixels of the canvas an arcsec. */
function drawBeam(context, size, arcsec) {
  const beam = beamOf(detailRow);
  byId("detail-canvas").dataset.beam = beam ? beam.join(" ") : "";
  if (!beam || !detailSource.cutout) return;
  const [major, minor] = [(beam[0] * arcsec) / 2, (beam[1] * arcsec) / 2];
  context.beginPath();
  context.ellipse(size - 18 - major, size - 18 - major, minor, major, (-beam[2] * Math.PI) / 180, 0, 2 * Math.PI);
  context.stroke();
  context.globalAlpha = 0.4;
  context.fill();
  context.globalAlpha = 1;
}

/** Colour bars: the image's in mJy/beam under the present stretch, the attention's in its own units. */
function drawLegend(mode) {
  const bar = (table, low, high, words) => {
    const canvas = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    const image = new ImageData(256, 1);
    for (let code = 0; code < 256; code++) image.data.set([...table.subarray(3 * code, 3 * code + 3), 255], 4 * code);
    canvas.getContext("2d").putImageData(image, 0, 0);
    return make("div", {}, make("span", {}, words), make("span", { className: "end" }, low), canvas, make("span", { className: "end" }, high));
  };
  const bars = [];
  const short = (value) => String(Number(value.toPrecision(3)));
  const { cutout, maps } = detailSource;
  if (cutout && mode !== "attention") {
    bars.push(bar(TABLES[view.colours], short(view.clip ? 0 : -cutout.noise * 1e3), `${short(cutout.high * 1e3)} mJy/beam`, `Image, ${view.stretch}`));
  }
  const map = maps[detailGate];
  if (map && mode !== "image") bars.push(bar(attentionColours(), short(map.low), short(map.high), `Attention, ${gateName(detailGate).toLowerCase()}`));
  byId("legend").replaceChildren(...bars);
}

/** Position, brightness and attention under the pointer. */
function readPixel(event) {
  if (!detailSource) return;
  const [x, y] = pictureAt(event);
  if (!(x >= 0 && y >= 0 && x < SIZE && y < SIZE)) return;
  const pixel = Math.floor(y) * SIZE + Math.floor(x);
  const { cutout, maps } = detailSource;
  const map = maps[detailGate];
  const parts = [];
  const [ra, dec] = positionAt(detailRow, x, y);
  if (Number.isFinite(ra) && Number.isFinite(dec)) parts.push(sexagesimal(ra, dec));
  if (cutout) parts.push(`≈ ${Number((cutout.flux[cutout.codes[pixel]] * 1e3).toPrecision(2))} mJy/beam`);
  if (map) parts.push(`attention ${(map.low + ((map.high - map.low) * map.codes[pixel]) / 255).toPrecision(2)}`);
  byId("readout").textContent = parts.join(" · ");
}
