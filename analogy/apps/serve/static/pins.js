// The view of the pins. A pin joins a place of A with a place of B', and is drawn as a line.

import { Pair } from "./pair.js";

const list = document.getElementById("pin-list");
const hint = document.getElementById("hint-pins");
const count = document.querySelector("#tab-pins .count");
const NEAR = 14; // distance from an end of a pin, in CSS pixels, within which a click picks up that end

export class PinsView {
  constructor() {
    this.pins = []; // each [place in A, place in B'], with places [x, y] from 0 to 1
    this.begun = null; // [side, place] of a pin with only one end so far
    this.held = null; // [index, side] of the end that is being dragged
    this.pair = new Pair(
      document.getElementById("pair-pins"),
      ["A: the arrow keys move a point, Enter sets the end of a pin", "B′: the arrow keys move a point, Enter sets the end of a pin"],
      { moved: (...at) => this.#move(...at), pressed: (...at) => this.#press(...at), released: () => { this.held = null; this.#list(); } },
    );
    this.pair.draw = () => this.#draw();
    document.getElementById("pin-add").addEventListener("click", () => { this.pins.push([[0.5, 0.5], [0.5, 0.5]]); this.#changed(); });
    document.getElementById("pin-clear").addEventListener("click", () => this.clear());
  }

  /** Show two pictures, and remove all pins. */
  open(a, bPrime) {
    this.pair.show([{ ...a, name: "A" }, { ...bPrime, name: "B′" }]);
    this.clear();
  }

  clear() {
    this.pins = [];
    this.begun = null;
    this.#changed();
  }

  /** Return the pins as rows [xa, ya, xb, yb], in pixels. */
  get pixels() {
    const sizes = this.pair.pictures;
    return this.pins.map((pin) => pin.flatMap(([x, y], side) => [Math.floor(x * sizes[side].width), Math.floor(y * sizes[side].height)]));
  }

  #press(side, place) {
    const [x, y] = this.pair.at(side, place);
    const near = this.pins.findIndex((pin) => { const [px, py] = this.pair.at(side, pin[side]); return Math.hypot(px - x, py - y) < NEAR; });
    if (near >= 0) {
      this.held = [near, side];
    } else if (this.begun && this.begun[0] !== side) {
      const ends = [];
      ends[side] = place;
      ends[1 - side] = this.begun[1];
      this.pins.push(ends);
      this.begun = null;
      this.#changed();
    } else {
      this.begun = [side, place];
      hint.textContent = `Now click the match of this place in ${side ? "A" : "B′"}.`;
      this.pair.redraw();
    }
  }

  #move(side, place) {
    this.pointer = [side, place];
    if (this.held && this.held[1] === side) this.pins[this.held[0]][side] = place;
    this.pair.redraw();
  }

  #changed() {
    hint.textContent = "Click a place in A, and then its match in B′. Drag an end of a pin to move it.";
    count.textContent = this.pins.length || "";
    this.#list();
    this.pair.redraw();
  }

  #draw() {
    this.pins.forEach((pin, index) => {
      const ends = pin.map((place, side) => this.pair.at(side, place));
      this.pair.line(...ends);
      for (const [cx, cy] of ends) {
        this.pair.add("circle", { class: "pin", cx, cy, r: 9 });
        this.pair.add("text", { x: cx, y: cy }, index + 1);
      }
    });
    const end = this.begun && this.pair.at(...this.begun);
    if (end) this.pair.ring(end, 8);
    if (end && this.pointer && this.pointer[0] !== this.begun[0]) this.pair.line(end, this.pair.at(...this.pointer));
    const focused = this.pair.sides.findIndex((each) => each.pane.matches(":focus-visible"));
    if (focused >= 0) this.pair.ring(this.pair.at(focused, this.pair.points[focused]), 5);
  }

  #list() {
    const sizes = this.pair.pictures;
    list.replaceChildren(...this.pins.map((pin, index) => {
      const item = document.createElement("li");
      item.append(Object.assign(document.createElement("b"), { textContent: index + 1 }));
      pin.forEach((place, side) => {
        item.append(side ? "to B′" : "A");
        place.forEach((value, axis) => {
          const most = axis ? sizes[side].height : sizes[side].width;
          const input = Object.assign(document.createElement("input"), { type: "number", min: 0, max: most - 1, value: Math.floor(value * most) });
          input.setAttribute("aria-label", `Pin ${index + 1}, ${axis ? "y" : "x"} in ${side ? "B′" : "A"}`);
          input.addEventListener("change", () => {
            const pixel = Math.min(most - 1, Math.max(0, Math.round(Number(input.value))));
            input.value = pixel;
            place[axis] = (pixel + 0.5) / most;
            this.pair.redraw();
          });
          item.append(input);
        });
      });
      const away = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
      away.setAttribute("aria-label", `Remove pin ${index + 1}`);
      away.addEventListener("click", () => { this.pins.splice(index, 1); this.#changed(); });
      item.append(away);
      return item;
    }));
  }
}
