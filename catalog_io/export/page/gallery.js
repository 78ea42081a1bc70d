// The gallery: cards for the sources in view, and for the current one; the others are not in the document.

const GAP = 14;
const TEXT_HEIGHT = 132; // of a card, below its picture
const MARGIN = 500; // pixels beyond the window for which cards are made
const DECODERS = 4;

const gallery = byId("gallery");
const cards = new Map(); // place in `visible` → card
const spare = [];
const grid = { columns: 1, width: 0, height: 0 };
let current = 0; // place in `visible` of the card that the keyboard is on
let pending = []; // cards whose pictures are to be drawn
let drawing = 0;

function buildCard() {
  const canvas = make("canvas", { width: SIZE, height: SIZE, "aria-hidden": "true" });
  const reason = make("p", { className: "reason" });
  const check = make("input", { type: "checkbox" });
  const open = make("button", { type: "button", className: "name" });
  const verdict = make("p", { className: "verdict" });
  const measures = make("p", { className: "measures" });
  const coordinates = copyButton("copy");
  const flags = make("p", { className: "words" });
  const meter = make("div", { className: "meter", "aria-hidden": "true" }, make("span", { className: "spread" }), make("span", { className: "mark" }));
  const label = make("p", { className: "label", hidden: true });
  const shot = make("div", { className: "picture" }, canvas, reason, label, make("label", { className: "pick" }, check));
  const element = make("article", { className: "card" }, shot,
    make("div", { className: "text" }, make("h3", {}, open), verdict, meter, coordinates, measures, flags));
  const card = { element, canvas, reason, check, open, verdict, meter, coordinates, measures, flags, label, row: -1, place: -1 };
  canvas.addEventListener("click", () => openDetail(card.place));
  reason.addEventListener("click", () => openDetail(card.place));
  open.addEventListener("click", () => openDetail(card.place));
  check.addEventListener("change", () => select([card.row], check.checked));
  element.addEventListener("focusin", () => setCurrent(card.place));
  return card;
}

function fillCard(card, place) {
  const row = visible[place];
  card.place = place;
  card.element.setAttribute("aria-posinset", place + 1);
  card.element.setAttribute("aria-setsize", visible.length);
  if (card.row !== row) {
    card.row = row;
    card.element.dataset.row = row;
    card.element.setAttribute("aria-label", `${nameOf(row)}, ${classOf(row) || "no class"}`);
    card.open.textContent = nameOf(row);
    card.check.setAttribute("aria-label", `Select ${nameOf(row)}`);
    fillVerdict(card.verdict, row);
    fillMeter(card.meter, row);
    card.coordinates.hidden = !hasPosition(row);
    if (hasPosition(row)) setCopy(card.coordinates, sexagesimal(numberAt("ra", row), numberAt("dec", row)));
    card.measures.textContent = measuresOf(row).join(" · ");
    card.flags.textContent = flagsOf(row).map((flag) => flag.words).join(" · ");
    card.flags.title = flagsOf(row).map((flag) => `${flag.words}: ${flag.description}`).join("\n");
    requestPicture(card);
  }
  fillLabel(card.label, row);
  card.check.checked = selected.has(row);
  card.element.classList.toggle("selected", card.check.checked);
  const line = Math.floor(place / grid.columns);
  const column = place % grid.columns;
  card.element.style.transform = `translate(${column * (grid.width + GAP)}px, ${line * (grid.height + GAP)}px)`;
  card.element.style.width = `${grid.width}px`;
  setFocusable(card);
}

/** Class, probability and its spread. */
function fillVerdict(element, row) {
  const name = classOf(row);
  if (!name) {
    element.replaceChildren(make("span", { className: "class none" }, "no class"));
    return;
  }
  const [probability, spread] = [numberAt("probability", row), numberAt("p_std", row)];
  element.replaceChildren(make("span", { className: `class ${classStyle(name)}` }, name), make("span", { className: "probability" }, probabilityText(probability)));
  const certain = probability >= 0.995 && spread < 0.005; // which "> 0.99" says
  if (Number.isFinite(spread) && !certain) element.append(make("span", { className: "plus-minus" }, `± ${spreadText(spread)}`));
}

/** Flux density, size and components of a source, those that are known. */
function measuresOf(row) {
  const short = (value, unit) => (Number.isFinite(value) ? [`${Number(value.toPrecision(3))}${unit}`] : []);
  const [components, association] = [numberAt("n_components", row), numberAt("association", row)];
  const words = [...short(numberAt("total_flux", row) * 1e3, " mJy"), ...short(extentOf(row), "″")];
  if (components > 1) words.push(`${components} components${Number.isFinite(association) ? `, ${probabilityText(association)}` : ""}`);
  return words;
}

const extentOf = (row) => numberAt(columns.has("las") ? "las" : "size", row);

/** A line from FRI to FRII with a mark at the probability of FRII and a band of one standard deviation. */
function fillMeter(meter, row) {
  const probability = page.classes.length > 2 || !columns.has("p_frii") ? NaN : numberAt("p_frii", row);
  const spread = numberAt("p_std", row) || 0;
  meter.hidden = !Number.isFinite(probability);
  if (meter.hidden) return;
  const [low, high] = [Math.max(probability - spread, 0), Math.min(probability + spread, 1)];
  meter.firstChild.style.left = `${100 * low}%`;
  meter.firstChild.style.width = `${100 * (high - low)}%`;
  meter.lastChild.style.left = `${100 * probability}%`;
  meter.className = `meter ${classStyle(classOf(row))}`;
}

/** Only the current card and what is in it can be reached with Tab. */
function setFocusable(card) {
  const index = card.place === current ? 0 : -1;
  for (const element of [card.element, card.check, card.open, card.coordinates]) element.tabIndex = index;
}

function markSelectedCards() {
  for (const card of cards.values()) {
    card.check.checked = selected.has(card.row);
    card.element.classList.toggle("selected", card.check.checked);
  }
}

function setCurrent(place) {
  const before = cards.get(current);
  current = place;
  if (before) setFocusable(before);
  if (cards.has(place)) setFocusable(cards.get(place));
}

/** The places whose cards are needed now. */
function neededPlaces() {
  const offset = gallery.getBoundingClientRect().top;
  const lineHeight = grid.height + GAP;
  const first = Math.max(0, Math.floor((-offset - MARGIN) / lineHeight)) * grid.columns;
  const last = Math.min(visible.length, (Math.floor((window.innerHeight - offset + MARGIN) / lineHeight) + 1) * grid.columns);
  const places = new Set();
  for (let place = first; place < last; place++) places.add(place);
  if (current < visible.length) places.add(current);
  return places;
}

function updateGallery() {
  const needed = neededPlaces();
  for (const [place, card] of cards) {
    if (needed.has(place)) continue;
    cards.delete(place);
    card.element.remove();
    spare.push(card);
  }
  for (const place of [...needed].sort((a, b) => a - b)) {
    if (cards.has(place)) continue;
    const card = spare.pop() ?? buildCard();
    cards.set(place, card);
    fillCard(card, place);
    const after = [...cards.keys()].filter((other) => other > place).sort((a, b) => a - b)[0];
    gallery.insertBefore(card.element, after === undefined ? null : cards.get(after).element);
  }
}

/** Lay the grid out for the present width and fill every card anew; after a filter, a sort or a change of size. */
function layOutGallery() {
  const width = gallery.clientWidth;
  const wish = Math.min(view.size, Math.floor((width - GAP) / 2));
  grid.columns = Math.max(1, Math.round((width + GAP) / (wish + GAP)));
  grid.width = Math.floor((width - GAP * (grid.columns - 1)) / grid.columns);
  grid.height = grid.width + TEXT_HEIGHT;
  const lines = Math.ceil(visible.length / grid.columns);
  gallery.style.height = `${Math.max(0, lines * (grid.height + GAP) - GAP)}px`;
  if (current >= visible.length) current = 0;
  for (const place of [...cards.keys()]) {
    if (place >= visible.length) {
      cards.get(place).element.remove();
      spare.push(cards.get(place));
      cards.delete(place);
    }
  }
  updateGallery();
  for (const [place, card] of cards) fillCard(card, place);
}

function requestPicture(card) {
  card.canvas.getContext("2d").clearRect(0, 0, SIZE, SIZE);
  card.reason.textContent = "";
  pending.push(card);
  drawPending();
}

/** Draw what waits, a few at a time; a card that has left the window or shows another source by then is passed over. */
async function drawPending() {
  if (drawing >= DECODERS) return;
  drawing += 1;
  while (pending.length) {
    const card = pending.shift();
    const row = card.row;
    if (cards.get(card.place) !== card) continue;
    const source = await picture(row);
    if (card.row === row) drawCard(card, source);
  }
  drawing -= 1;
  if (drawing === 0 && !performance.getEntriesByName("first-view").length) performance.mark("first-view");
}

function drawCard(card, source) {
  const mode = source.maps.mean || view.mode === "image" ? view.mode : "image";
  const drawn = draw(card.canvas, source, mode);
  card.reason.textContent = drawn ? "" : source.reason || (mode === "attention" ? "no attention map" : "no image");
}

function redrawPictures() {
  pending = [...cards.values()];
  drawPending();
}

/** Move the keyboard to a place, scrolling as little as needed. */
function goTo(place) {
  if (place < 0 || place >= visible.length) return;
  setCurrent(place);
  const line = Math.floor(place / grid.columns);
  const head = byId("top").getBoundingClientRect().bottom;
  const top = gallery.getBoundingClientRect().top + line * (grid.height + GAP);
  if (top < head + GAP) window.scrollBy(0, top - head - GAP);
  else if (top + grid.height > window.innerHeight) window.scrollBy(0, top + grid.height + GAP - window.innerHeight);
  updateGallery();
  cards.get(place).element.focus({ preventScroll: true });
}

function galleryKey(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns };
  const onCard = event.target.classList.contains("card");
  if (event.key in steps) goTo(current + steps[event.key]);
  else if (event.key === "Home") goTo(0);
  else if (event.key === "End") goTo(visible.length - 1);
  else if (event.key === "Enter" && onCard) openDetail(current);
  else if (event.key === " " && onCard) select([visible[current]], !selected.has(visible[current]));
  else return;
  event.preventDefault();
}
