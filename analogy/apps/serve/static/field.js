// The view of the field: it shows the match of a place of A' in B', and of a place of B' in A'.

import { Pair } from "./pair.js";

const where = document.getElementById("field-where");
const LOUPE = 132, ENLARGED = 3;

/** Parse a .flo file (Middlebury's format) into { width, height, at(x, y) -> [dx, dy] }. */
export function parseFlo(buffer) {
  const [width, height] = new Int32Array(buffer, 4, 2);
  const values = new Float32Array(buffer, 12);
  return { width, height, at: (x, y) => values.subarray(2 * (y * width + x), 2 * (y * width + x) + 2) };
}

/** Return the match of a place. Both are [x, y] from 0 to 1. `other` is the working size of the other picture. */
export function matched(field, other, [x, y]) {
  const column = Math.floor(x * field.width), row = Math.floor(y * field.height);
  const [dx, dy] = field.at(column, row);
  return [(column + dx + 0.5) / other.width, (row + dy + 0.5) / other.height];
}

export class FieldView {
  constructor() {
    this.fields = null;
    this.loupes = [0, 1].map(() => Object.assign(document.createElement("canvas"), { className: "loupe", width: 2 * LOUPE, height: 2 * LOUPE, hidden: true }));
    this.pair = new Pair(
      document.getElementById("pair-field"),
      ["A′: the arrow keys move a point; a line shows its match in B′", "B′: the arrow keys move a point; a line shows its match in A′"],
      { moved: (side, place) => this.#point(side, place), pressed: (side, place) => this.#point(side, place), left: () => this.#leave() },
    );
    this.pair.element.append(...this.loupes);
    this.pair.draw = () => this.#draw();
    this.pointed = null;
    document.getElementById("field-originals").addEventListener("change", () => this.#show());
  }

  /**
   * Show a result. `pictures` is {a, aPrime, b, bPrime}, each {url, width, height}. `fields` is [field of A, field of B'],
   * with null for a direction that was not made. `sizes` holds the working sizes of A and B'.
   */
  open(pictures, fields, sizes) {
    Object.assign(this, { pictures, fields, sizes, pointed: null });
    this.#show();
  }

  #show() {
    const alone = document.getElementById("field-originals").checked;
    const { a, aPrime, b, bPrime } = this.pictures;
    this.pair.show([
      alone || !aPrime ? { ...a, name: "A" } : { ...aPrime, name: "A′" },
      alone || aPrime || !b ? { ...bPrime, name: "B′" } : { ...b, name: "B" },
    ]);
    where.textContent = "";
  }

  #point(side, place) {
    this.pointed = [side, place];
    this.pair.redraw();
  }

  #leave() {
    this.pointed = null;
    this.pair.redraw();
    for (const loupe of this.loupes) loupe.hidden = true;
  }

  #draw() {
    if (!this.pointed) return;
    const [side, place] = this.pointed, other = 1 - side;
    const field = this.fields[side];
    if (!field) {
      where.textContent = `This result has no field from ${side ? "B′" : "A"}; make both A′ and B to get it.`;
      return;
    }
    const match = matched(field, this.sizes[other], place);
    const ends = [];
    ends[side] = place;
    ends[other] = match;
    const [from, to] = [0, 1].map((each) => this.pair.at(each, ends[each]));
    this.pair.line(from, to);
    this.pair.ring(from, side ? 11 : 7);
    this.pair.ring(to, side ? 7 : 11);
    this.#enlarge(other, match);
    const { pictures } = this.pair;
    const pixels = ends.map(([x, y], each) => `${Math.floor(x * pictures[each].width)}, ${Math.floor(y * pictures[each].height)}`);
    where.textContent = `${pictures[side].name} ${pixels[side]} matches ${pictures[other].name} ${pixels[other]}`;
  }

  /** Show the surroundings of a place, enlarged, beside the place. */
  #enlarge(side, place) {
    const loupe = this.loupes[side], image = this.pair.sides[side].image, picture = this.pair.pictures[side];
    this.loupes[1 - side].hidden = true;
    loupe.hidden = false;
    const shown = image.getBoundingClientRect().width / picture.width; // CSS pixels per pixel of the picture
    const part = LOUPE / ENLARGED / shown;
    const context = loupe.getContext("2d");
    context.fillStyle = "#888";
    context.fillRect(0, 0, 2 * LOUPE, 2 * LOUPE);
    if (image.complete && image.naturalWidth) {
      const scale = image.naturalWidth / picture.width;
      context.drawImage(image, (place[0] * picture.width - part / 2) * scale, (place[1] * picture.height - part / 2) * scale, part * scale, part * scale, 0, 0, 2 * LOUPE, 2 * LOUPE);
    }
    const [x, y] = this.pair.at(side, place);
    loupe.style.left = `${x + (place[0] > 0.5 ? -LOUPE - 22 : 22)}px`;
    loupe.style.top = `${y + (place[1] > 0.5 ? -LOUPE - 22 : 22)}px`;
  }
}
