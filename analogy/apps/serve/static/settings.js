// The controls of the settings, made from the list of settings of the service.

const FIRST = ["weight", "ratio", "uniformity", "seed", "photo", "keep_colors"];
const WORDS = {
  weight: "How much of your picture's shapes", ratio: "Bigger shapes", uniformity: "How much of the painting", seed: "Seed", photo: "As photographs", keep_colors: "Keep colours",
  inversion: "Inversion", inversion_steps: "Steps of the inversion", search_iterations: "Search iterations",
  max_pixels: "Largest working size", direction: "What to make", painting: "Painting",
};

const SLID = ["ratio", "uniformity"];
const PICTURES = { uniformity: { words: "A photo in the style of a painting with the uniformity 0, 0.3 and 1; a higher value uses more of the painting", values: [0, 0.3, 1] } };

export class Settings {
  /** Fill the form. `info` is the answer of /v1/settings. */
  constructor(info) {
    this.infos = info.settings;
    this.controls = new Map();
    this.presets = new Map(info.presets.map((each) => [each.name, each.settings]));
    const box = document.getElementById("presets");
    for (const each of info.presets) box.append(this.#preset(each));
    for (const each of this.infos) {
      document.getElementById(FIRST.includes(each.name) ? "knobs" : "more").append(this.#knob(each));
    }
    const knobs = document.getElementById("knobs");
    for (const name of FIRST) knobs.append(document.getElementById(`knob-${name}`));
    this.values = {};
  }

  /** Return name -> value of all settings. */
  get values() {
    return Object.fromEntries([...this.controls].map(([name, control]) => [name, control.read()]));
  }

  /** Show these values, and the defaults of all other settings. */
  set values(changed) {
    for (const info of this.infos) this.controls.get(info.name).write(changed[info.name] ?? info.default);
  }

  /** Return in words how settings differ from the defaults. */
  describe(values) {
    const words = [];
    for (const info of this.infos) {
      if (values[info.name] === info.default) continue;
      words.push(typeof info.default === "boolean" ? WORDS[info.name].toLowerCase() : `${WORDS[info.name].toLowerCase()}: ${values[info.name]}`);
    }
    return words.join(", ") || "the defaults";
  }

  #preset(each) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "preset", value: each.name, checked: each.name === "photo-to-style" });
    // A click on the preset that is already chosen sets its values again. There would be no event "change".
    input.addEventListener("click", () => { this.values = { ...each.settings, seed: this.values.seed }; });
    const image = Object.assign(document.createElement("img"), { src: `static/presets/${each.name}.webp`, alt: "", width: 160, height: 160 });
    image.addEventListener("error", () => { image.hidden = true; }); // this preset has no picture
    const title = Object.assign(document.createElement("b"), { textContent: each.title });
    const help = Object.assign(document.createElement("span"), { textContent: each.help });
    label.append(input, image, title, help);
    return label;
  }

  #knob(info) {
    const knob = document.createElement("div");
    knob.className = "knob";
    knob.id = `knob-${info.name}`;
    const [control, read, write, more] = this.#control(info);
    control.id = `set-${info.name}`;
    control.setAttribute("aria-describedby", `help-${info.name}`);
    const head = Object.assign(document.createElement("label"), { className: "head", htmlFor: control.id, textContent: WORDS[info.name] ?? info.name });
    if (typeof info.default === "boolean") head.prepend(control);
    if (typeof info.default === "boolean") head.classList.add("check");
    const help = Object.assign(document.createElement("p"), { id: `help-${info.name}`, textContent: info.help });
    knob.append(head);
    if (typeof info.default !== "boolean") knob.append(more?.row ?? control);
    if (more?.output) head.append(more.output);
    knob.append(help);
    if (PICTURES[info.name]) knob.append(this.#picture(info.name, PICTURES[info.name]));
    this.controls.set(info.name, { read, write });
    return knob;
  }

  /** Return a figure that shows the effect of a setting at some of its values. */
  #picture(name, { words, values }) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    figure.className = "values";
    caption.append(...values.map((value) => Object.assign(document.createElement("span"), { textContent: value })));
    figure.append(Object.assign(document.createElement("img"), { src: `static/${name}.webp`, alt: words }), caption);
    return figure;
  }

  /** Return [element, read, write, other elements] of the control of a setting. */
  #control(info) {
    if (typeof info.default === "boolean") {
      const box = Object.assign(document.createElement("input"), { type: "checkbox" });
      return [box, () => box.checked, (value) => { box.checked = value; }];
    }
    const steps = info.choices?.every(Number.isInteger) ? [info.choices[0], info.choices.at(-1), 1] : SLID.includes(info.name) ? [info.low, info.high, 0.05] : null;
    if (steps) {
      const range = Object.assign(document.createElement("input"), { type: "range" });
      [range.min, range.max, range.step] = steps;
      // The right end means bigger shapes, and so the lowest ratio.
      const turned = (value) => (info.name === "ratio" ? Number((info.low + info.high - value).toFixed(2)) : Number(value));
      const output = document.createElement("output");
      const tell = () => { output.textContent = turned(range.value); };
      range.addEventListener("input", tell);
      return [range, () => turned(range.value), (value) => { range.value = turned(value); tell(); }, { output }];
    }
    if (info.choices) {
      const select = document.createElement("select");
      const words = { both: "both, A′ and B", ab: "A′ alone", ba: "B alone" };
      for (const choice of info.choices) select.append(new Option(words[choice] ?? choice, choice));
      return [select, () => select.value, (value) => { select.value = value; }];
    }
    const number = Object.assign(document.createElement("input"), { type: "number", min: info.low, max: info.high, required: true });
    const more = {};
    if (info.name === "seed") {
      const other = Object.assign(document.createElement("button"), { type: "button", textContent: "Another" });
      other.addEventListener("click", () => { number.value = Math.floor(Math.random() * 10000); });
      more.row = Object.assign(document.createElement("div"), { className: "row" });
      more.row.append(number, other);
    }
    return [number, () => (number.value === "" ? null : Number(number.value)), (value) => { number.value = value; }, more];
  }
}
