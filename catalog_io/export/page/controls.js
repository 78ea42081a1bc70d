// Controls: what is filtered, in which order, and how pictures look.

const MODES = { image: "Image", overlay: "Overlay", attention: "Attention" };
const linked = new Map(); // name of a setting → its controls, in the panel and in the detail view

function filtersChanged() {
  findVisible();
  current = 0;
  byId("nothing").hidden = visible.length > 0;
  byId("reset").hidden = !filtersAreSet();
  byId("count").textContent = visible.length === page.rows
    ? `${grouped(page.rows)} sources` : `${grouped(visible.length)} of ${grouped(page.rows)} sources`;
  for (const chip of byId("classes").children) {
    chip.setAttribute("aria-pressed", filters.classes.has(chip.dataset.class));
    chip.querySelector(".count").textContent = grouped(visible.filter((row) => classOf(row) === chip.dataset.class).length);
  }
  byId("clean").checked = filters.clean;
  byId("label-show").value = filters.labelled;
  layOutGallery();
  drawCharts();
  showSelection();
}

function backToTop() {
  const start = byId("top").offsetHeight;
  if (window.scrollY > start) window.scrollTo(0, 0);
}

function changed() {
  backToTop();
  filtersChanged();
}

function buildFilters() {
  for (const name of CLASSES) {
    const chip = make("button", { type: "button", className: `chip ${classStyle(name)}`, "aria-pressed": "true" },
      make("span", {}, name || "No class"), make("span", { className: "count" }));
    chip.dataset.class = name;
    chip.addEventListener("click", () => {
      if (filters.classes.has(name)) filters.classes.delete(name);
      else filters.classes.add(name);
      changed();
    });
    byId("classes").append(chip);
  }
  buildFlags(changed);
  for (const end of ["low", "high"]) {
    byId(end).addEventListener("input", (event) => {
      const value = event.target.valueAsNumber;
      if (Number.isFinite(value)) filters[end] = value;
      changed();
    });
  }
  byId("clean").addEventListener("change", (event) => { filters.clean = event.target.checked; changed(); });
  let typing = 0;
  const search = () => {
    clearTimeout(typing);
    const text = byId("search").value.trim();
    if (text === filters.text) return;
    filters.text = text;
    changed();
  };
  byId("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, 120);
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // browsers empty the box at Escape
    search();
    byId("search").blur();
    goTo(current);
  });
  for (const end of ["low", "high"]) byId(end).min = Math.floor(LEAST * 100) / 100;
  byId("low").value = byId("low").min;
  byId("reset").addEventListener("click", () => {
    resetFilters();
    byId("search").value = "";
    [byId("low").value, byId("high").value] = [byId("low").min, "1"];
    changed();
    byId("search").focus();
  });
}

function buildSort() {
  const group = (label, described) => {
    const list = make("optgroup", { label });
    for (const column of described) list.append(make("option", { value: column.name }, column.unit ? `${column.name} (${column.unit})` : column.name));
    return list;
  };
  const input = page.columns.filter((column) => column.input);
  if (labelling) byId("sort").append(make("option", { value: ASKED }, "as labels are asked"));
  byId("sort").append(make("option", { value: "" }, "row"), group("Classification", page.columns.filter((column) => !column.input)));
  if (input.length) byId("sort").append(group("Input", input));
  const show = () => {
    byId("direction").textContent = order.descending ? "↓" : "↑";
    byId("direction").setAttribute("aria-label", order.descending ? "Descending; make ascending" : "Ascending; make descending");
  };
  byId("sort").value = order.column;
  byId("sort").addEventListener("change", (event) => { order.column = event.target.value; changed(); });
  byId("direction").addEventListener("click", () => {
    order.descending = !order.descending;
    show();
    changed();
  });
  show();
}

// How pictures look: the same settings in the panel and in the detail view

function setView(name, value) {
  view[name] = value;
  for (const control of linked.get(name) ?? []) {
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }
  if (name === "size") layOutGallery();
  redrawPictures();
  drawDetail();
}

function setMode(mode) {
  view.mode = mode;
  for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", button.dataset.mode === mode);
  redrawPictures();
  drawDetail();
}

function link(name, control, read) {
  control.addEventListener("input", () => setView(name, read(control)));
  linked.set(name, [...(linked.get(name) ?? []), control]);
  return control;
}

function buildPictureControls(box, inDetail) {
  const slider = (name, words, min, max, step) => make("label", {}, make("span", {}, words),
    link(name, make("input", { type: "range", min, max, step, value: view[name] }), (control) => control.valueAsNumber));
  const choice = (name, words, options) => {
    const control = make("select", {}, ...options.map((option) => make("option", { value: option }, option)));
    control.value = view[name];
    return make("label", {}, make("span", {}, words), link(name, control, () => control.value));
  };
  const check = (name, words) => make("label", { className: "check" },
    link(name, make("input", { type: "checkbox", checked: view[name] }), (control) => control.checked), words);
  box.append(choice("stretch", "Stretch", Object.keys(STRETCHES)), choice("colours", "Colours", Object.keys(RAMPS)));
  if (page.gates.length) box.append(slider("strength", "Overlay", "0", "1", "0.05"));
  if (!inDetail) box.append(slider("size", "Picture size", "120", "320", "10"));
  box.append(check("clip", `Hide below ${page.clip} rms, as the network sees it`));
  if (inDetail) box.append(check("contour", "Contours"), make("label", {}, make("span", {}, "at (rms)"), levelsControl()));
}

/** A box for the levels of the contours, in rms; what cannot be read is marked and changes nothing. */
function levelsControl() {
  const control = make("input", { type: "text", id: "levels", value: view.levels.join(" "), autocomplete: "off", spellcheck: false, inputMode: "decimal" });
  control.addEventListener("input", () => {
    const levels = control.value.split(/[\s,;]+/).filter(Boolean).map(Number);
    const readable = levels.length > 0 && levels.length <= 30 && levels.every((level) => level > 0 && Number.isFinite(level));
    control.setCustomValidity(readable ? "" : "numbers above 0, such as 3 6 12");
    control.setAttribute("aria-invalid", !readable);
    if (!readable) return;
    view.levels = levels;
    setView("contour", true);
  });
  return control;
}

function buildModes() {
  if (!page.gates.length) view.mode = "image";
  for (const box of document.querySelectorAll("[data-control=mode]")) {
    box.hidden = !page.gates.length;
    for (const [mode, words] of Object.entries(MODES)) {
      const button = make("button", { type: "button", "aria-pressed": String(mode === view.mode) }, words);
      button.dataset.mode = mode;
      button.addEventListener("click", () => setMode(mode));
      box.append(button);
    }
  }
}

function nextMode() {
  if (!page.gates.length) return;
  const modes = Object.keys(MODES);
  setMode(modes[(modes.indexOf(view.mode) + 1) % modes.length]);
  announce(MODES[view.mode]);
}

// The page's own looks

function buildTheme() {
  const themes = ["auto", "light", "dark"];
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    byId("theme").replaceChildren(make("span", { className: "wide-only" }, "Theme: "), theme);
    byId("theme").setAttribute("aria-label", `Theme: ${theme}`);
    byId("theme").dataset.theme = theme;
  };
  byId("theme").addEventListener("click", () => {
    show(themes[(themes.indexOf(byId("theme").dataset.theme) + 1) % themes.length]);
    drawSky();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSky);
  show("auto");
}

function buildPanel() {
  const show = (open) => {
    document.body.classList.toggle("panel-open", open);
    byId("open-panel").setAttribute("aria-expanded", open);
    (open ? byId("close-panel") : byId("open-panel")).focus();
  };
  byId("open-panel").addEventListener("click", () => show(true));
  byId("close-panel").addEventListener("click", () => show(false));
  byId("panel").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.classList.contains("panel-open")) show(false);
  });
  byId("sky").addEventListener("click", (event) => {
    const row = sourceOnSky(event);
    if (row === null) return;
    if (document.body.classList.contains("panel-open")) show(false);
    goTo(visible.indexOf(row));
  });
}

function buildPages() {
  byId("subtitle").textContent = page.links.length > 1
    ? `Sources ${grouped(page.first + 1)}–${grouped(page.first + page.rows)} of ${grouped(page.total)} · ${page.created}` : page.created;
  if (page.links.length < 2) return;
  byId("pages").hidden = false;
  const step = (words, number) => (number in page.links ? make("a", { href: page.links[number] }, words) : make("span", { className: "off" }, words));
  const choice = make("select", { "aria-label": "Page" }, ...page.links.map((_, number) => make("option", { value: number }, `Page ${number + 1} of ${page.links.length}`)));
  choice.value = page.page;
  choice.addEventListener("change", () => { window.location.href = page.links[Number(choice.value)]; });
  byId("pages").append(step("Previous", page.page - 1), choice, step("Next", page.page + 1));
}

function buildHelp() {
  byId("open-help").addEventListener("click", () => byId("help").showModal());
  byId("close-help").addEventListener("click", () => byId("help").close());
  const lines = page.provenance.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
  byId("provenance").append(make("tbody", {}, ...lines));
}

function pageKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const dialog = document.querySelector("dialog[open]");
  if (event.key === "o") nextMode();
  else if (dialog) return;
  else if (event.key === "/") byId("search").focus();
  else if (event.key === "?") byId("help").showModal();
  else if (event.key.startsWith("Arrow") && event.target === document.body) goTo(current);
  else return;
  event.preventDefault();
}
