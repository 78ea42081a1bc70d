// Pictures: decoding a source's images when they are needed, and drawing them with a stretch and a colour map.

const view = { mode: "overlay", strength: 0.6, stretch: "sqrt", colours: "grey", clip: false, contour: false, levels: Array.from({ length: 6 }, (_, step) => page.clip * 2 ** step), size: 190 };
const SIZE = page.size;
const KEPT = 400; // decoded sources, about 60 kB each

// Colours at equal steps, from dark to bright.
const RAMPS = {
  grey: ["#000000", "#ffffff"],
  "grey, inverted": ["#ffffff", "#000000"],
  viridis: ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
  inferno: ["#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"],
  cividis: ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"],
};
const STRETCHES = {
  linear: (t) => t,
  sqrt: Math.sqrt,
  asinh: (t) => Math.asinh(30 * t) / Math.asinh(30),
  log: (t) => Math.log1p(1000 * t) / Math.log1p(1000),
};

function colourTable(colours) {
  const table = new Uint8ClampedArray(256 * 3);
  const anchors = colours.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  for (let code = 0; code < 256; code++) {
    const place = (code / 255) * (anchors.length - 1);
    const below = Math.min(Math.floor(place), anchors.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      const low = anchors[below][channel];
      table[3 * code + channel] = low + (anchors[below + 1][channel] - low) * (place - below);
    }
  }
  return table;
}

const TABLES = Object.fromEntries(Object.entries(RAMPS).map(([name, colours]) => [name, colourTable(colours)]));
const attentionColours = () => TABLES[view.colours === "inferno" ? "viridis" : "inferno"];

// Decoding

const pictures = new Map(); // row → promise of a picture, the most recently used last
const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** The lines of a chunk, once the browser has read that far in the file. */
async function chunkLines(number) {
  for (;;) {
    const element = byId(`images-${number}`);
    if (element && (element.nextElementSibling || document.readyState !== "loading")) return element.textContent.split("\n");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function picture(row) {
  const promise = pictures.get(row) ?? decode(row);
  pictures.delete(row);
  pictures.set(row, promise);
  if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  return promise;
}

/** A source's images: ``cutout`` and ``maps`` hold codes 0–255 with the values that they stand for; either may lack. */
async function decode(row) {
  const lines = await chunkLines(Math.floor(row / page.chunk));
  const line = JSON.parse(lines[row % page.chunk]);
  const result = { reason: line.reason, cutout: null, maps: {} };
  if (!line.webp) return result;
  const bytes = Uint8Array.from(atob(line.webp), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/webp" }), { colorSpaceConversion: "none" });
  scratch.canvas.width = bitmap.width;
  scratch.canvas.height = bitmap.height;
  scratch.drawImage(bitmap, 0, 0);
  const panel = (name) => {
    const [left, top, size] = page.panels[name];
    const { data } = scratch.getImageData(left, top, size, size);
    return Uint8Array.from({ length: size * size }, (_, pixel) => data[4 * pixel]);
  };
  if (line.cutout) {
    const [low, high, softening] = line.cutout;
    result.cutout = { codes: panel("cutout"), flux: fluxTable(low, high, softening), noise: -low / 2, high };
  }
  for (const gate of page.gates) {
    if (line[gate]) result.maps[gate] = { codes: enlarge(panel(gate)), low: line[gate][0], high: line[gate][1] };
  }
  bitmap.close();
  return result;
}

function fluxTable(low, high, softening) {
  const [start, end] = [Math.asinh(low / softening), Math.asinh(high / softening)];
  return Float64Array.from({ length: 256 }, (_, code) => softening * Math.sinh(start + ((end - start) * code) / 255));
}

/** A map on the cutout's pixels, bilinear between the centres of its own. */
function enlarge(codes) {
  const small = Math.sqrt(codes.length);
  const large = new Uint8Array(SIZE * SIZE);
  const places = Array.from({ length: SIZE }, (_, pixel) => {
    const place = Math.min(Math.max(((pixel + 0.5) * small) / SIZE - 0.5, 0), small - 1);
    const below = Math.min(Math.floor(place), small - 2);
    return [below, place - below];
  });
  for (let y = 0; y < SIZE; y++) {
    const [row, down] = places[y];
    for (let x = 0; x < SIZE; x++) {
      const [column, right] = places[x];
      const at = row * small + column;
      const upper = codes[at] + (codes[at + 1] - codes[at]) * right;
      const lower = codes[at + small] + (codes[at + small + 1] - codes[at + small]) * right;
      large[y * SIZE + x] = Math.round(upper + (lower - upper) * down);
    }
  }
  return large;
}

// Drawing

/** Brightness 0–255 of each code of a cutout under the present stretch. */
function brightnessTable(cutout) {
  const black = view.clip ? 0 : -cutout.noise;
  const threshold = view.clip ? page.clip * cutout.noise : -Infinity;
  const stretch = STRETCHES[view.stretch];
  return Uint8Array.from(cutout.flux, (flux) => {
    if (flux <= threshold) return 0;
    return Math.round(255 * stretch(Math.min(Math.max((flux - black) / (cutout.high - black), 0), 1)));
  });
}

const WHOLE = { left: 0, top: 0, side: SIZE }; // a square of a picture, in its pixels

/** Draw a square of a picture on a canvas of any size; false if there is nothing to draw. */
function draw(canvas, source, mode = view.mode, gate = "mean", frame = WHOLE) {
  const map = source.maps[gate];
  const cutout = mode === "attention" ? null : source.cutout;
  const overlay = mode === "image" ? null : map;
  const context = canvas.getContext("2d");
  if (!cutout && !overlay) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return false;
  }
  const image = new ImageData(SIZE, SIZE);
  const brightness = cutout && brightnessTable(cutout);
  const [under, over] = [TABLES[view.colours], attentionColours()];
  for (let pixel = 0; pixel < SIZE * SIZE; pixel++) {
    const shade = cutout ? 3 * brightness[cutout.codes[pixel]] : 0;
    const weight = overlay ? (cutout ? (view.strength * overlay.codes[pixel]) / 255 : 1) : 0;
    const tint = overlay ? 3 * overlay.codes[pixel] : 0;
    for (let channel = 0; channel < 3; channel++) {
      const base = cutout ? under[shade + channel] : 0;
      image.data[4 * pixel + channel] = base + (over[tint + channel] - base) * weight;
    }
    image.data[4 * pixel + 3] = 255;
  }
  if (canvas.width === SIZE) {
    context.putImageData(image, 0, 0);
  } else {
    scratch.canvas.width = scratch.canvas.height = SIZE;
    scratch.putImageData(image, 0, 0);
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = frame.side > SIZE / 6; // below, one wants to see the pixels
    context.drawImage(scratch.canvas, frame.left, frame.top, frame.side, frame.side, 0, 0, canvas.width, canvas.height);
  }
  return true;
}

/** Where a cutout crosses a brightness, by marching squares, in pixels of the picture. */
function contourOf(cutout, level) {
  const flux = (x, y) => cutout.flux[cutout.codes[y * SIZE + x]] - level;
  const path = new Path2D();
  for (let y = 0; y < SIZE - 1; y++) {
    for (let x = 0; x < SIZE - 1; x++) {
      const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]].map(([i, j]) => [i, j, flux(i, j)]);
      const crossings = [];
      corners.forEach(([i, j, here], side) => {
        const [k, l, there] = corners[(side + 1) % 4];
        if (here > 0 !== there > 0) {
          const part = here / (here - there);
          crossings.push([i + (k - i) * part + 0.5, j + (l - j) * part + 0.5]);
        }
      });
      for (let n = 0; n + 1 < crossings.length; n += 2) {
        path.moveTo(...crossings[n]);
        path.lineTo(...crossings[n + 1]);
      }
    }
  }
  return path;
}
