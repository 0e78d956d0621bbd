// The view of the regions, which the user paints over A and B' in plain colours without smooth edges.

import { Pair } from "./pair.js";

const COLOURS = [[0xe4, 0x57, 0x2e], [0x2e, 0x86, 0xab], [0xf2, 0xc1, 0x4e], [0x4f, 0x9d, 0x69], [0x8e, 0x5b, 0xa6], [0x8b, 0x5e, 0x34]];
const NAMES = ["red", "blue", "yellow", "green", "violet", "brown"];
const SIDE = 512; // longest side of the painted labels, in pixels; they are enlarged to the size of the picture for the job
const brush = document.getElementById("brush");
const count = document.querySelector("#tab-regions .count");

export class RegionsView {
  constructor() {
    this.colour = 1; // 0 erases; a higher number paints COLOURS[colour - 1]
    this.last = null;
    this.pair = new Pair(
      document.getElementById("pair-regions"),
      ["A: the arrow keys move the brush, Space paints", "B′: the arrow keys move the brush, Space paints"],
      { moved: (...at) => this.#move(...at), pressed: (...at) => this.#press(...at), released: () => { this.last = null; this.#count(); } },
    );
    this.layers = this.pair.sides.map(({ pane }) => {
      const canvas = document.createElement("canvas");
      pane.append(canvas);
      return { canvas, labels: new Uint8Array(0) };
    });
    this.pair.draw = () => this.#draw();
    const box = document.getElementById("paints");
    [...NAMES, "eraser"].forEach((name, index) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "paint", checked: index === 0 });
      input.setAttribute("aria-label", name);
      input.addEventListener("change", () => { this.colour = (index + 1) % (COLOURS.length + 1); });
      label.append(input, Object.assign(document.createElement("span"), { className: index < COLOURS.length ? `paint-${index}` : "eraser", title: name }));
      box.append(label);
    });
    document.getElementById("paint-clear").addEventListener("click", () => this.clear());
  }

  open(a, bPrime) {
    this.pair.show([{ ...a, name: "A" }, { ...bPrime, name: "B′" }]);
    this.clear();
  }

  clear() {
    this.layers.forEach((layer, side) => {
      const { width, height } = this.pair.pictures[side];
      const scale = Math.min(1, SIDE / Math.max(width, height));
      layer.canvas.width = Math.max(1, Math.round(width * scale));
      layer.canvas.height = Math.max(1, Math.round(height * scale));
      layer.labels = new Uint8Array(layer.canvas.width * layer.canvas.height);
      this.#paint(layer);
    });
    this.#count();
  }

  /** Paint the regions of two label pictures. The colour of the first pixel of the first one means unpainted. */
  async load(blobs) {
    const colours = new Map();
    for (const [side, blob] of blobs.entries()) {
      const { canvas, labels } = this.layers[side];
      const small = new OffscreenCanvas(canvas.width, canvas.height), context = small.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(await createImageBitmap(blob), 0, 0, canvas.width, canvas.height);
      const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
      for (const [index, colour] of pixels.entries()) {
        if (!colours.has(colour)) colours.set(colour, colours.size % (COLOURS.length + 1));
        labels[index] = colours.get(colour);
      }
      this.#paint(this.layers[side]);
    }
    this.#count();
  }

  get used() {
    return this.layers.some(({ labels }) => labels.some((label) => label));
  }

  /** Return label pictures (PNG) of the sizes of A and B', or null if nothing is painted. */
  async masks() {
    if (!this.used) return null;
    return Promise.all(this.layers.map(({ canvas, labels }, side) => {
      const { width, height } = this.pair.pictures[side];
      const full = new OffscreenCanvas(width, height), context = full.getContext("2d");
      const pixels = context.createImageData(width, height), colours = new Uint32Array(pixels.data.buffer);
      const codes = [0xff000000, ...COLOURS.map(([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0)];
      for (let y = 0; y < height; y++) {
        const row = Math.floor(((y + 0.5) * canvas.height) / height) * canvas.width;
        for (let x = 0; x < width; x++) colours[y * width + x] = codes[labels[row + Math.floor(((x + 0.5) * canvas.width) / width)]];
      }
      context.putImageData(pixels, 0, 0);
      return full.convertToBlob({ type: "image/png" });
    }));
  }

  #press(side, place) {
    this.last = place;
    this.#stroke(side, place);
  }

  #move(side, place, event) {
    this.pointer = [side, place];
    if (event.buttons === 1 && this.last) this.#stroke(side, place);
    this.pair.redraw();
  }

  /** Paint a line from the last place of the brush to this place. */
  #stroke(side, place) {
    const { canvas, labels } = this.layers[side], { width, height } = canvas;
    const radius = (Number(brush.value) / 400) * Math.max(width, height);
    const [x1, y1] = [place[0] * width, place[1] * height], [x0, y0] = [this.last[0] * width, this.last[1] * height];
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(1, radius / 3)));
    for (let step = 0; step <= steps; step++) {
      const cx = x0 + ((x1 - x0) * step) / steps, cy = y0 + ((y1 - y0) * step) / steps;
      for (let y = Math.max(0, Math.floor(cy - radius)); y < Math.min(height, cy + radius); y++) {
        for (let x = Math.max(0, Math.floor(cx - radius)); x < Math.min(width, cx + radius); x++) {
          if ((x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2 <= radius * radius) labels[y * width + x] = this.colour;
        }
      }
    }
    this.last = place;
    this.#paint(this.layers[side]);
  }

  #paint({ canvas, labels }) {
    const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    labels.forEach((label, index) => { if (label) pixels.data.set([...COLOURS[label - 1], 255], 4 * index); });
    context.putImageData(pixels, 0, 0);
  }

  #draw() {
    if (!this.pointer) return;
    const [side, place] = this.pointer, box = this.pair.sides[side].pane.getBoundingClientRect();
    this.pair.ring(this.pair.at(side, place), (Number(brush.value) / 400) * Math.max(box.width, box.height));
  }

  #count() {
    const used = new Set(this.layers.flatMap(({ labels }) => [...new Set(labels)]));
    used.delete(0);
    count.textContent = used.size || "";
  }
}
