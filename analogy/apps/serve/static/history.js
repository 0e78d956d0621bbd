// The results of this session, side by side.

const list = document.getElementById("made");
const MOST = 24;

export class History {
  /** The history calls `open(entry)` for an entry that the user chooses. */
  constructor(open) {
    this.entries = [];
    this.open = open;
  }

  /** Add an entry { number, words, aPrime, bs, ... }. The newest entry comes first. */
  add(entry) {
    this.entries.unshift(entry);
    for (const old of this.entries.splice(MOST)) {
      for (const picture of [old.aPrime, ...old.bs]) if (picture) URL.revokeObjectURL(picture.url);
    }
  }

  /** Show all entries, and mark the entry `current`, if it is not null. */
  show(current) {
    document.getElementById("history").hidden = false;
    list.replaceChildren(...this.entries.map((entry) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      if (entry === current) button.setAttribute("aria-current", "true");
      const picture = entry.aPrime ?? entry.bs[0];
      button.append(
        Object.assign(document.createElement("img"), { src: picture.url, alt: "", width: picture.width, height: picture.height }),
        Object.assign(document.createElement("b"), { textContent: `${entry.number}` }),
        Object.assign(document.createElement("span"), { textContent: `${entry.words}; ${entry.seconds.toFixed(1)} s` }),
      );
      button.addEventListener("click", () => this.open(entry));
      item.append(button);
      return item;
    }));
  }
}
