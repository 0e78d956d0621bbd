// A slider between two pictures.

const wipe = document.getElementById("wipe");
const at = document.getElementById("wipe-at");
const selects = { left: document.getElementById("compare-left"), right: document.getElementById("compare-right") };
const images = { left: document.getElementById("wipe-left"), right: document.getElementById("wipe-right") };
let choices = new Map();

function place() {
  wipe.style.setProperty("--at", `${at.value}%`);
}

function look() {
  for (const side of ["left", "right"]) {
    const chosen = choices.get(selects[side].value);
    if (!chosen) continue;
    images[side].src = chosen.url;
    images[side].alt = chosen.name;
    if (side === "right") wipe.style.setProperty("--ratio", chosen.width / chosen.height);
  }
  at.setAttribute("aria-valuetext", `${Math.round(at.value)} % ${selects.left.selectedOptions[0]?.text ?? ""}`);
}

at.addEventListener("input", () => { place(); look(); });
selects.left.addEventListener("change", look);
selects.right.addEventListener("change", look);
place();

/** What can be compared: a list of { key, name, url, width, height }; and what is shown at first. */
export function offer(pictures, left, right) {
  choices = new Map(pictures.map((each) => [each.key, each]));
  for (const [side, chosen] of [["left", left], ["right", right]]) {
    selects[side].replaceChildren(...pictures.map((each) => new Option(each.name, each.key)));
    selects[side].value = chosen;
  }
  look();
}

/** Show a picture on the right side that is not done yet. */
export function showForming(url) {
  images.right.src = url;
}
