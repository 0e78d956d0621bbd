// The view that compares two pictures with a slider.

const wipe = document.getElementById("wipe");
const at = document.getElementById("wipe-at");
const selects = { left: document.getElementById("compare-left"), right: document.getElementById("compare-right") };
const images = { left: document.getElementById("wipe-left"), right: document.getElementById("wipe-right") };
let choices = new Map();

function place() {
  wipe.style.setProperty("--at", `${at.value}%`);
}

function update() {
  for (const side of ["left", "right"]) {
    const chosen = choices.get(selects[side].value);
    if (!chosen) continue;
    images[side].src = chosen.url;
    images[side].alt = chosen.name;
    if (side === "right") wipe.style.setProperty("--ratio", chosen.width / chosen.height);
  }
  at.setAttribute("aria-valuetext", `${Math.round(at.value)} % ${selects.left.selectedOptions[0]?.text ?? ""}`);
}

at.addEventListener("input", () => { place(); update(); });
selects.left.addEventListener("change", update);
selects.right.addEventListener("change", update);
place();

/** Set the pictures to choose from, each { key, name, url, width, height }. The keys `left` and `right` are shown first. */
export function setChoices(pictures, left, right) {
  choices = new Map(pictures.map((each) => [each.key, each]));
  for (const [side, chosen] of [["left", left], ["right", right]]) {
    selects[side].replaceChildren(...pictures.map((each) => new Option(each.name, each.key)));
    selects[side].value = chosen;
  }
  update();
}

/** Show the unfinished picture of a level in place of that of the level before. */
export function showForming(url) {
  const forming = choices.get("forming");
  if (!forming) return;
  forming.url = url;
  update();
}
