// The page: what was given, what is being made, and what is shown of it.

import * as compare from "./compare.js";
import { FieldView, parseFlo } from "./field.js";
import { History } from "./history.js";
import { PinsView } from "./pins.js";
import { opened, Place, show, takePasted } from "./places.js";
import { RegionsView } from "./regions.js";
import * as service from "./service.js";
import { Settings } from "./settings.js";

const $ = (id) => document.getElementById(id);
const TABS = ["compare", "field", "pins", "regions"];
const DOWNLOADS = [
  ["Pictures", [["a_prime.png", "A′"], ["b.png", "B"], ["montage.png", "all beside each other"]]],
  ["Field from A", [["flow_ab.npz", ".npz"], ["flow_ab.flo", ".flo"], ["flowAB.txt", ".txt"]]],
  ["Field from B′", [["flow_ba.npz", ".npz"], ["flow_ba.flo", ".flo"], ["flowBA.txt", ".txt"]]],
  ["How it was made", [["settings.json", "settings.json"]]],
];

const places = ["place-a", "place-b-prime"].map((id) => new Place($(id), given, fail));
const field = new FieldView(), pins = new PinsView(), regions = new RegionsView();
const history = new History(open);
let settings, limits, running = null, current = null, number = 0;

takePasted(places);
TABS.forEach((name, index) => {
  $(`tab-${name}`).addEventListener("click", () => choose(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const usable = TABS.filter((each) => !$(`tab-${each}`).disabled);
    const next = usable[(usable.indexOf(TABS[index]) + step + usable.length) % usable.length];
    choose(next);
    $(`tab-${next}`).focus();
  });
});
$("start").addEventListener("click", start);
$("cancel").addEventListener("click", () => running && service.remove(running).catch((error) => fail(error.message)));
$("example").addEventListener("click", useExample);
$("settings").addEventListener("submit", (event) => { event.preventDefault(); start(); });
addEventListener("pagehide", () => running && service.abandon(running));
$("fine").open = matchMedia("(min-width: 721px)").matches;
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());

service.offer().then((all) => { settings = new Settings(all); limits = all; ready(); }, (error) => fail(error.message));

function fail(words) {
  $("error").textContent = words;
  if (words) say("");
}

function say(words) {
  $("said").textContent = words;
}

async function useExample() {
  fail("");
  try {
    const [a, bPrime, ...masks] = await Promise.all(["a", "b_prime", "mask_a", "mask_b"].map(service.example));
    await Promise.all([places[0].take(a), places[1].take(bPrime)]);
    await regions.load(masks);
    choose("regions");
  } catch (error) {
    fail(error.message);
  }
}

/** A picture has come to one of the places. */
function given(picture) {
  fail("");
  const pixels = picture.width * picture.height;
  if (limits && pixels > limits.input_pixels) {
    fail(`this picture has ${(pixels / 1e6).toFixed(1)} megapixels, and this service takes ${limits.input_pixels / 1e6}; make it smaller`);
  }
  const [a, bPrime] = places.map((place) => place.picture);
  for (const [id, like] of [["place-a-prime", a], ["place-b", bPrime]]) {
    if (!like) continue;
    $(id).style.setProperty("--ratio", like.width / like.height);
    if (like === picture) $(id).querySelector("img").hidden = true;
  }
  $("results").hidden = true;
  ready();
  if (!a || !bPrime) return;
  $("work").hidden = false;
  pins.open(a, bPrime);
  regions.open(a, bPrime);
  enable(false);
  choose("pins");
}

function ready() {
  $("start").disabled = !settings || running !== null || !places.every((place) => place.picture);
}

/** Whether there is anything to compare. */
function enable(made) {
  $("tab-compare").disabled = $("tab-field").disabled = !made;
}

function choose(name) {
  for (const each of TABS) {
    $(`tab-${each}`).setAttribute("aria-selected", each === name);
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
    $(`view-${each}`).hidden = each !== name;
  }
  for (const view of [field, pins, regions]) view.pair.redraw();
}

async function start() {
  if ($("start").disabled || !$("settings").reportValidity()) return;
  fail("");
  say("");
  const [a, bPrime] = places.map((place) => place.picture), values = settings.values;
  const pictures = { a: a.blob, b_prime: bPrime.blob }, fields = { settings: JSON.stringify(values), levels: "true", flow: "true" };
  const guided = [];
  busy("");
  try {
    const masks = await regions.masks();
    if (masks) {
      [pictures.mask_a, pictures.mask_b] = masks;
      guided.push("regions");
    }
    if (pins.pins.length) {
      fields.pins = JSON.stringify(pins.pixels);
      guided.push(pins.pins.length === 1 ? "1 pin" : `${pins.pins.length} pins`);
    }
    const job = await service.begin(pictures, fields);
    busy(job.id);
    const last = await service.follow(job.id, (state) => progress(state, a, bPrime));
    if (last.state === "failed") throw new Error(last.error);
    if (last.state === "cancelled") {
      say("Cancelled.");
      if (current) display(current); else restore();
    } else {
      await finish(last, { a, bPrime, values, words: [settings.describe(values), ...guided].join(", ") });
    }
  } catch (error) {
    fail(error.message);
    restore();
  }
  busy(null);
}

/** Whether a job runs; its id, as soon as there is one. */
function busy(id) {
  running = id;
  $("cancel").hidden = !id;
  $("progress").hidden = id === null;
  $("example").hidden = id !== null;
  if (id === "") progress({ state: "queued", stage: "", done: 0, ahead: 0, levels: {} });
  ready();
}

/** What is shown of a job that goes on: the newest level is A' as far as it is known. */
function progress(job, a, bPrime) {
  $("bar").value = job.done;
  $("stage-name").textContent = job.state === "queued" ? (job.ahead ? `${job.ahead} before this` : "waiting") : job.stage;
  const level = Object.keys(job.levels).map(Number).sort()[0];
  if (!level || progress.shown === job.levels[level]) return;
  progress.shown = job.levels[level];
  const onlyB = job.settings.direction === "ba", like = onlyB ? bPrime : a, place = $(onlyB ? "place-b" : "place-a-prime");
  show(place.querySelector("img"), job.levels[level], place, like);
  if (level === 5) {
    const forming = { key: "forming", name: onlyB ? "B, forming" : "A′, forming", ...like, url: job.levels[level] };
    compare.offer([{ ...like, key: "given", name: onlyB ? "B′" : "A" }, forming], "given", "forming");
    choose("compare");
  }
  compare.showForming(job.levels[level]);
}

/** Without a result: the empty places. */
function restore() {
  if (current && places[0].picture === current.a && places[1].picture === current.bPrime) {
    display(current);
    return;
  }
  for (const id of ["place-a-prime", "place-b"]) $(id).querySelector("img").hidden = true;
  if (!$("work").hidden) choose("pins");
}

/** A job is done: fetch what it made, keep it, show it. */
async function finish(job, made) {
  const fetched = async (name) => (job.files[name] ? opened(await service.file(job.files[name])) : null);
  const flow = async (name) => (job.files[name] ? parseFlo(await (await service.file(job.files[name])).arrayBuffer()) : null);
  const [aPrime, b, ab, ba] = await Promise.all([fetched("a_prime.png"), fetched("b.png"), flow("flow_ab.flo"), flow("flow_ba.flo")]);
  const entry = { ...made, number: ++number, aPrime, b, fields: [ab, ba], files: job.files, seconds: job.seconds, settings: job.settings };
  history.add(entry);
  display(entry);
  say(`Done in ${job.seconds.toFixed(1)} seconds.`);
}

/** Show a result everywhere. */
function display(entry) {
  current = entry;
  for (const [id, picture] of [["place-a-prime", entry.aPrime], ["place-b", entry.b]]) {
    if (picture) show($(id).querySelector("img"), picture.url, $(id), picture);
    else $(id).querySelector("img").hidden = true;
  }
  const shown = [{ ...entry.a, key: "A", name: "A" }, { ...entry.bPrime, key: "B′", name: "B′" }];
  if (entry.b) shown.unshift({ ...entry.b, key: "B", name: "B" });
  if (entry.aPrime) shown.unshift({ ...entry.aPrime, key: "A′", name: "A′" });
  for (const other of history.entries) {
    if (other !== entry && other.aPrime && other.a === entry.a) shown.push({ ...other.aPrime, key: `${other.number}`, name: `A′ of ${other.number}` });
  }
  compare.offer(shown, ...(entry.aPrime ? ["A", "A′"] : ["B′", "B"]));
  field.open(entry, entry.fields, [working(entry.a, entry.settings), working(entry.bPrime, entry.settings)]);
  enable(true);
  choose("compare");
  $("downloads").replaceChildren(...DOWNLOADS.flatMap(([title, files]) => {
    const there = files.filter(([name]) => entry.files[name]);
    const value = document.createElement("dd");
    for (const [name, words] of there) {
      const link = Object.assign(document.createElement("a"), { href: entry.files[name], download: name, textContent: words });
      link.setAttribute("aria-label", words.startsWith(".") ? `${title}, ${words}` : words);
      value.append(link);
    }
    return there.length ? [Object.assign(document.createElement("dt"), { textContent: title }), value] : [];
  }));
  $("results").hidden = false;
  history.show(entry);
}

/** An entry of the history: its pictures, its settings, its result. */
function open(entry) {
  const same = places[0].picture === entry.a && places[1].picture === entry.bPrime;
  places.forEach((place, index) => {
    place.picture = index ? entry.bPrime : entry.a;
    show(place.image, place.picture.url, place.element, place.picture);
  });
  if (!same) {
    pins.open(entry.a, entry.bPrime);
    regions.open(entry.a, entry.bPrime);
  }
  settings.values = entry.values;
  display(entry);
  $("work").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

/** Columns and rows of a picture as the network sees it (`working_size` in Python). */
function working({ width, height }, { max_pixels: most, ratio }) {
  const scale = Math.min(1, Math.sqrt(most / (width * height))) * ratio;
  return { width: Math.max(16, Math.round(width * scale)), height: Math.max(16, Math.round(height * scale)) };
}
