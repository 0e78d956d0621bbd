// Two pictures side by side, with lines and marks over them. Places in a picture are [x, y] from 0 to 1.

const SVG = "http://www.w3.org/2000/svg";

export class Pair {
  /**
   * Fill `element`. The pair calls `moved(side, place, event)` when the pointer, or the point that the arrow keys move, is
   * at a place of the picture `side` (0 or 1). It calls `pressed` and `released` in the same way, and `left(side)` when
   * the pointer leaves.
   */
  constructor(element, words, { moved = () => {}, pressed = () => {}, released = () => {}, left = () => {} }) {
    this.element = element;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.points = [[0.5, 0.5], [0.5, 0.5]];
    this.sides = [0, 1].map((side) => this.#side(side, words, { moved, pressed, released, left }));
    element.append(...this.sides.map((each) => each.figure), this.svg);
    new ResizeObserver(() => this.redraw()).observe(element);
    this.draw = () => {};
  }

  /** Show two pictures { url, width, height, name }. */
  show(pictures) {
    pictures.forEach((picture, side) => {
      const { figure, image, title } = this.sides[side];
      figure.style.setProperty("--ratio", picture.width / picture.height);
      image.src = picture.url;
      image.alt = picture.name;
      title.textContent = picture.name;
    });
    this.pictures = pictures;
    this.redraw();
  }

  redraw() {
    this.svg.replaceChildren();
    if (this.pictures && this.element.offsetParent) this.draw();
  }

  /** Return the position [x, y], in CSS pixels from the corner of the element, of a place in the picture `side`. */
  at(side, [x, y]) {
    const own = this.sides[side].pane.getBoundingClientRect(), all = this.element.getBoundingClientRect();
    return [own.left - all.left + x * own.width, own.top - all.top + y * own.height];
  }

  line(from, to) {
    for (const kind of ["under", "over"]) {
      this.add("line", { class: kind, x1: from[0], y1: from[1], x2: to[0], y2: to[1] });
    }
  }

  ring([cx, cy], r) {
    for (const kind of ["under", "over"]) this.add("circle", { class: kind, cx, cy, r });
  }

  add(kind, attributes, text = "") {
    const element = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    this.svg.append(element);
    return element;
  }

  /** Return the place of a pointer event in the picture `side`; outside the picture, the nearest place inside. */
  place(side, event) {
    const box = this.sides[side].pane.getBoundingClientRect();
    const inside = (value) => Math.min(1 - 1e-6, Math.max(0, value));
    return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }

  #side(side, words, handlers) {
    const figure = Object.assign(document.createElement("figure"), { className: "side" });
    const pane = Object.assign(document.createElement("div"), { className: "pane", tabIndex: 0 });
    pane.setAttribute("role", "application");
    pane.setAttribute("aria-label", words[side]);
    pane.setAttribute("aria-roledescription", "picture with a point that the arrow keys move");
    const image = document.createElement("img");
    const title = document.createElement("p");
    pane.append(image);
    figure.append(pane, title);
    pane.addEventListener("pointermove", (event) => handlers.moved(side, (this.points[side] = this.place(side, event)), event));
    pane.addEventListener("pointerdown", (event) => {
      pane.setPointerCapture(event.pointerId);
      handlers.pressed(side, (this.points[side] = this.place(side, event)), event);
    });
    pane.addEventListener("pointerup", (event) => handlers.released(side, this.place(side, event), event));
    pane.addEventListener("pointercancel", (event) => handlers.released(side, this.place(side, event), event));
    pane.addEventListener("pointerleave", () => handlers.left(side));
    pane.addEventListener("blur", () => handlers.left(side));
    pane.addEventListener("focus", (event) => pane.matches(":focus-visible") && handlers.moved(side, this.points[side], event));
    pane.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.01;
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      const place = this.points[side];
      if (moves) {
        this.points[side] = place.map((value, axis) => Math.min(1 - 1e-6, Math.max(0, value + step * moves[axis])));
        handlers.moved(side, this.points[side], event);
      } else if (event.key === "Enter" || event.key === " ") {
        handlers.pressed(side, place, event);
        handlers.released(side, place, event);
      } else {
        return;
      }
      event.preventDefault();
    });
    return { figure, pane, image, title };
  }
}
