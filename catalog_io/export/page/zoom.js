// Pan and zoom of the open source's picture: wheel, drag, pinch, buttons and keys.

const DEEPEST = 16;
const frame = { ...WHOLE }; // the square of the picture that is shown
const pointers = new Map(); // those that are down: id → place in the picture's pixels and on the canvas

/** The place in the picture, in its pixels, that is under a pointer. */
function pictureAt(event) {
  const box = byId("detail-canvas").getBoundingClientRect();
  return [frame.left + ((event.clientX - box.left) * frame.side) / box.width, frame.top + ((event.clientY - box.top) * frame.side) / box.height];
}

function zoomOut() {
  Object.assign(frame, WHOLE);
  byId("detail-canvas").style.touchAction = "pan-y";
  showZoom();
}

function showZoom() {
  const whole = frame.side === SIZE;
  byId("zoom-out").disabled = byId("zoom-fit").disabled = whole;
  byId("zoom-in").disabled = frame.side <= SIZE / DEEPEST;
  byId("detail-canvas").style.touchAction = whole ? "pan-y" : "none"; // a whole picture lets the dialog scroll
}

/** Show a square of the picture, kept inside it. */
function setFrame(left, top, side) {
  frame.side = Math.min(Math.max(side, SIZE / DEEPEST), SIZE);
  frame.left = Math.min(Math.max(left, 0), SIZE - frame.side);
  frame.top = Math.min(Math.max(top, 0), SIZE - frame.side);
  showZoom();
  drawDetail();
}

/** Zoom by a factor about a place of the picture, which stays where it is on the screen. */
function zoomBy(factor, [x, y] = [frame.left + frame.side / 2, frame.top + frame.side / 2]) {
  const side = Math.min(Math.max(frame.side / factor, SIZE / DEEPEST), SIZE);
  const part = side / frame.side;
  setFrame(x - (x - frame.left) * part, y - (y - frame.top) * part, side);
}

function buildZoom(canvas) {
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) / 400), pictureAt(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoomBy(2, pictureAt(event)));
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, pictureAt(event));
    canvas.setPointerCapture(event.pointerId);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointermove", dragFrame);
  byId("zoom-in").addEventListener("click", () => zoomBy(1.5));
  byId("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  byId("zoom-fit").addEventListener("click", () => setFrame(0, 0, SIZE));
}

/** Keep under each pointer what was there when it went down: one moves the picture, two zoom it as well. */
function dragFrame(event) {
  if (!pointers.has(event.pointerId)) return;
  const [held, now] = [pointers.get(event.pointerId), pictureAt(event)];
  if (pointers.size === 2) {
    const [id] = [...pointers.keys()].filter((other) => other !== event.pointerId);
    const still = pointers.get(id); // where the other one is: it has not moved since its own event
    zoomBy(Math.hypot(now[0] - still[0], now[1] - still[1]) / Math.max(Math.hypot(held[0] - still[0], held[1] - still[1]), 1e-3), still);
    pointers.set(event.pointerId, pictureAt(event));
  } else {
    setFrame(frame.left + held[0] - now[0], frame.top + held[1] - now[1], frame.side);
  }
}

/** Zoom or move by a key; whether it was one of these. */
function zoomKey(event) {
  const step = frame.side / 5;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key === "+" || event.key === "=") zoomBy(1.5);
  else if (event.key === "-") zoomBy(1 / 1.5);
  else if (event.key === "0") setFrame(0, 0, SIZE);
  else if (event.shiftKey && event.key in moves) setFrame(frame.left + moves[event.key][0], frame.top + moves[event.key][1], frame.side);
  else return false;
  return true;
}
