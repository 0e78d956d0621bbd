// The two places into which pictures are dropped, pasted or chosen.

/** A picture that the user has given: { blob, url, width, height }. Rejects with one line. */
export async function opened(blob) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(url);
    throw new Error("not a picture that this browser can show; save it as JPEG, PNG or WebP");
  }
  return { blob, url, width: image.naturalWidth, height: image.naturalHeight };
}

export class Place {
  /** `changed(picture)` is told of each new picture, `failed(words)` of each that cannot be one. */
  constructor(element, changed, failed) {
    this.element = element;
    this.image = element.querySelector("img");
    this.input = element.querySelector("input");
    this.picture = null;
    this.changed = changed;
    this.failed = failed;
    this.input.addEventListener("change", () => this.input.files.length && this.take(this.input.files[0]));
    for (const kind of ["dragenter", "dragover"]) {
      element.addEventListener(kind, (event) => { event.preventDefault(); element.classList.add("over"); });
    }
    for (const kind of ["dragleave", "drop"]) {
      element.addEventListener(kind, () => element.classList.remove("over"));
    }
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      const [dropped] = event.dataTransfer.files;
      if (dropped) this.take(dropped);
      else this.failed("what was dropped is not a file; save the picture, and drop that");
    });
  }

  async take(blob) {
    try {
      this.picture = await opened(blob);
    } catch (error) {
      this.failed(error.message);
      return;
    }
    show(this.image, this.picture.url, this.element, this.picture);
    this.changed(this.picture);
  }
}

/** Show a picture in a place; its frame takes the picture's proportions. */
export function show(image, url, place, size) {
  image.src = url;
  image.hidden = false;
  place.style.setProperty("--ratio", size.width / size.height);
}

/** A picture that is pasted goes to the place under the pointer or the focus, or else to the first that is empty. */
export function takePasted(places) {
  document.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (!pasted) return;
    event.preventDefault();
    const meant = places.find((place) => place.element.matches(":hover, :focus-within"));
    (meant ?? places.find((place) => !place.picture) ?? places[0]).take(pasted);
  });
}
