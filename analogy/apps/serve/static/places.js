// The two places of the page for given pictures: one picture A, and one or several pictures B'.

/** Return the name of a picture for messages: its file name, if there is one, and its place. */
export function called(blob, place) {
  return blob.name ? `${blob.name}, as ${place},` : `the picture given as ${place}`;
}

/** Return { blob, url, width, height } of a picture for a place. Rejects with an error of one line. */
export async function opened(blob, place = "a result") {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(url);
    throw new Error(`${called(blob, place)} is not a picture that this browser can show; save it as JPEG, PNG or WebP`);
  }
  return { blob, url, width: image.naturalWidth, height: image.naturalHeight };
}

export class Place {
  /**
   * The place calls `changed(place)` after each change of its pictures, and `failed(words)` for a file that is not a picture.
   * It accepts up to `most` pictures if the element has a button `.add` and an input `.further`.
   */
  constructor(element, changed, failed) {
    this.element = element;
    this.input = element.querySelector("input");
    this.adding = element.querySelector(".add");
    this.further = element.querySelector(".further");
    this.words = `“${element.querySelector("figcaption span").textContent}”`;
    this.pictures = [];
    this.most = 1;
    this.changed = changed;
    this.failed = failed;
    this.input.addEventListener("change", () => this.#chosen(this.input, []));
    this.adding?.addEventListener("click", () => this.further.click());
    this.further?.addEventListener("change", () => this.#chosen(this.further, this.pictures));
    for (const kind of ["dragenter", "dragover"]) {
      element.addEventListener(kind, (event) => { event.preventDefault(); element.classList.add("over"); });
    }
    for (const kind of ["dragleave", "drop"]) {
      element.addEventListener(kind, () => element.classList.remove("over"));
    }
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      const dropped = [...event.dataTransfer.files];
      if (dropped.length) this.take(dropped, event.target === this.adding ? this.pictures : []);
      else this.failed("this is not a file; save the picture, and drop the file");
    });
  }

  /** Replace the pictures of the place. */
  set(pictures) {
    this.pictures = pictures;
    show(this.element, pictures);
    if (!this.adding) return;
    this.adding.hidden = !pictures.length || pictures.length >= this.most;
    this.element.querySelectorAll(".remove").forEach((button) => button.remove());
    if (pictures.length === 1) return;
    this.element.querySelectorAll(".frame img").forEach((image, index) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×", title: `Remove example ${index + 1}` });
      button.setAttribute("aria-label", button.title);
      button.style.gridArea = image.style.gridArea;
      button.addEventListener("click", () => {
        this.set(pictures.filter((_, other) => other !== index));
        this.changed(this);
      });
      image.parentElement.append(button);
    });
  }

  /** Append files to the pictures `kept`, and remove all other pictures of the place. */
  async take(blobs, kept = []) {
    if (kept.length + blobs.length > this.most) {
      this.failed(this.most > 1 ? `a job can have at most ${this.most} examples, and these are ${kept.length + blobs.length}; choose fewer` : "this place is for one picture; choose only one");
      return;
    }
    try {
      this.set([...kept, ...await Promise.all(blobs.map((blob) => opened(blob, this.words)))]);
    } catch (error) {
      this.failed(error.message);
      return;
    }
    this.changed(this);
  }

  /** Take the chosen files. Empty the input, so that the user can choose the same file again. */
  #chosen(input, kept) {
    const files = [...input.files];
    input.value = "";
    if (files.length) this.take(files, kept);
  }
}

/** Give the frame of a place the proportions of its pictures, in one or two columns. */
export function shape(place, pictures) {
  const count = pictures.length, ratio = pictures.reduce((sum, { width, height }) => sum + width / height, 0) / count;
  const columns = count === 1 || (count === 2 && ratio > 1) ? 1 : 2, rows = Math.ceil(count / columns);
  const { classList, style } = place.querySelector(".frame");
  place.style.setProperty("--ratio", (ratio * columns) / rows);
  style.setProperty("--rows", rows);
  classList.toggle("many", count > 1);
  classList.toggle("column", columns === 1);
  return columns;
}

/** Show these pictures in a place. */
export function show(place, pictures) {
  const [first, ...others] = place.querySelectorAll(".frame img");
  for (const image of others) image.remove();
  first.hidden = !pictures.length;
  if (!pictures.length) return;
  const columns = shape(place, pictures), words = (first.dataset.words ??= first.alt);
  let last = first;
  for (const [index, { url }] of pictures.entries()) {
    const image = index ? first.cloneNode() : first;
    image.src = url;
    image.alt = pictures.length > 1 ? `${words}: ${index + 1} of ${pictures.length}` : words;
    image.style.gridArea = `${Math.floor(index / columns) + 1} / ${(index % columns) + 1}`;
    if (index) last.after(image);
    last = image;
  }
}

/** Put a pasted picture into the place under the pointer or with the focus; if there is none, into the first empty place. */
export function takePasted(places) {
  document.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (!pasted) return;
    event.preventDefault();
    const meant = places.find((place) => place.element.matches(":hover, :focus-within"));
    (meant ?? places.find((place) => !place.pictures.length) ?? places[0]).take([pasted]);
  });
}
