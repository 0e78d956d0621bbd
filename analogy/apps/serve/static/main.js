// The page: it takes pictures, begins jobs, and shows their progress and results.

import * as compare from "./compare.js";
import { FieldView, parseFlo } from "./field.js";
import { History } from "./history.js";
import { PinsView } from "./pins.js";
import { called, opened, Place, shape, show, takePasted } from "./places.js";
import { RegionsView } from "./regions.js";
import * as service from "./service.js";
import { Settings } from "./settings.js";

const $ = (id) => document.getElementById(id);
const TABS = ["compare", "field", "pins", "regions"];

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
// A field with an invalid number may be in a closed part of the form.
$("settings").addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);
addEventListener("pagehide", () => running && service.abandon(running));
$("fine").open = matchMedia("(min-width: 721px)").matches;
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());

service.info().then((all) => { settings = new Settings(all); limits = all; places[1].most = all.examples; ready(); }, (error) => fail(error.message));

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
    await Promise.all([places[0].take([a]), places[1].take([bPrime])]);
    await regions.load(masks);
    choose("regions");
  } catch (error) {
    fail(error.message);
  }
}

/** React to a change of the pictures in a place. */
function given(place) {
  fail("");
  for (const { blob, width, height } of place.pictures) {
    const pixels = width * height;
    if (limits && pixels > limits.input_pixels) {
      fail(`${called(blob, place.words)} has ${(pixels / 1e6).toFixed(1)} megapixels, and this service allows at most ${limits.input_pixels / 1e6}; make the picture smaller`);
    }
  }
  shape($(place === places[0] ? "place-a-prime" : "place-b"), place.pictures);
  for (const id of ["place-a-prime", "place-b"]) show($(id), []);
  $("results").hidden = true;
  ready();
  const [[a], examples] = places.map((each) => each.pictures);
  if (!a || !examples.length) return;
  $("work").hidden = false;
  guide(a, examples);
  enable(false);
  choose("pins");
}

/** Show these pictures for pins and regions, and remove all pins and regions. Both need a single example. */
function guide(a, examples) {
  pins.open(a, examples[0]);
  regions.open(a, examples[0]);
  for (const view of ["pins", "regions"]) $(`view-${view}`).classList.toggle("several", examples.length > 1);
}

function ready() {
  $("start").disabled = !settings || running !== null || !places.every((place) => place.pictures.length);
}

/** Return whether the places show the pictures of an entry of the history. */
function has(entry) {
  const [[a], examples] = places.map((place) => place.pictures);
  return a === entry.a && examples.length === entry.examples.length && examples.every((each, index) => each === entry.examples[index]);
}

/** Enable the views that need a result, or disable them. */
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
  const [[a], examples] = places.map((place) => place.pictures), values = settings.values;
  const pictures = { a: [a.blob], b_prime: examples.map((each) => each.blob) }, fields = { settings: JSON.stringify(values), levels: "true", flow: "true" };
  const guided = examples.length > 1 ? [`${examples.length} examples`] : [];
  busy("");
  try {
    const masks = await regions.masks();
    if (masks) {
      [pictures.mask_a, pictures.mask_b] = masks.map((mask) => [mask]);
      guided.push("regions");
    }
    if (pins.pins.length) {
      fields.pins = JSON.stringify(pins.pixels);
      guided.push(pins.pins.length === 1 ? "1 pin" : `${pins.pins.length} pins`);
    }
    const job = await service.begin(pictures, fields);
    busy(job.id);
    const last = await service.follow(job.id, (state) => progress(state, { a, examples }));
    if (last.state === "failed") throw new Error(last.error);
    if (last.state === "cancelled") {
      say("Cancelled.");
      restore();
    } else {
      await finish(last, { a, examples, values, words: [settings.describe(values), ...guided].join(", ") });
    }
  } catch (error) {
    // The service may still work on the job, which this page no longer follows.
    if (running) service.abandon(running).catch(() => {});
    fail(error.message);
    restore();
  }
  busy(null);
}

/** Record the id of the running job: "" before the job has an id, or null if no job runs. */
function busy(id) {
  running = id;
  $("cancel").hidden = !id;
  $("progress").hidden = id === null;
  $("example").hidden = id !== null;
  if (id === "") progress({ state: "queued", stage: "", done: 0, ahead: 0, levels: {} }, null);
  ready();
}

/** Show the progress of a job and, if the places still show its pictures, the picture of its newest level. */
function progress(job, pictures) {
  $("bar").value = job.done;
  $("stage-name").textContent = job.state === "queued" ? (job.ahead ? `waiting for ${job.ahead} other ${job.ahead === 1 ? "job" : "jobs"}` : "waiting") : job.stage;
  const level = Object.keys(job.levels).map(Number).sort()[0];
  if (!level || progress.shown === job.levels[level] || !has(pictures)) return;
  progress.shown = job.levels[level];
  const onlyB = job.settings.direction === "ba", like = onlyB ? pictures.examples[0] : pictures.a, place = $(onlyB ? "place-b" : "place-a-prime");
  show(place, [{ ...like, url: job.levels[level] }]);
  if (progress.chosen !== job.id) {
    progress.chosen = job.id;
    const forming = { key: "forming", name: onlyB ? "B, forming" : "A′, forming", ...like, url: job.levels[level] };
    compare.setChoices([{ ...like, key: "given", name: onlyB ? "B′" : "A" }, forming], "given", "forming");
    choose("compare");
  }
  compare.showForming(job.levels[level]);
}

/** Show the last result again if it was made from the present pictures, else empty places. */
function restore() {
  if (current && has(current)) {
    display(current);
    return;
  }
  for (const id of ["place-a-prime", "place-b"]) show($(id), []);
  if (!$("work").hidden) choose("pins");
}

/** Fetch the results of a job that is done, add them to the history, and show them if the places still show its pictures. */
async function finish(job, made) {
  const fetched = async (name) => (job.files[name] ? opened(await service.file(job.files[name])) : null);
  const flow = async (name) => (job.files[name] ? parseFlo(await (await service.file(job.files[name])).arrayBuffer()) : null);
  const names = numbered("b", made.examples.length).map((name) => `${name}.png`);
  const [aPrime, ab, ba, ...bs] = await Promise.all([fetched("a_prime.png"), flow("flow_ab.flo"), flow("flow_ba.flo"), ...names.map(fetched)]);
  const entry = { ...made, number: ++number, aPrime, bs: bs.filter(Boolean), fields: [ab, ba], files: job.files, seconds: job.seconds, settings: job.settings };
  history.add(entry);
  const words = `Done in ${job.seconds.toFixed(1)} seconds.`;
  if (has(entry)) {
    display(entry);
    say(words);
  } else {
    history.show(null);
    say(`${words} The result is below, under “Results of this session”, since you have changed the pictures.`);
  }
}

/** Show a result in all views. */
function display(entry) {
  current = entry;
  const { a, examples, bs } = entry, several = examples.length > 1;
  show($("place-a-prime"), entry.aPrime ? [entry.aPrime] : []);
  show($("place-b"), bs);
  const named = (pictures, name) => pictures.map((picture, index) => ({ ...picture, key: name + ordinal(index, examples.length), name: name + ordinal(index, examples.length) }));
  const shown = [...named(bs, "B"), { ...a, key: "A", name: "A" }, ...named(examples, "B′")];
  if (entry.aPrime) shown.unshift({ ...entry.aPrime, key: "A′", name: "A′" });
  for (const other of history.entries) {
    if (other !== entry && other.aPrime && other.a === a) shown.push({ ...other.aPrime, key: `${other.number}`, name: `A′ of ${other.number}` });
  }
  const first = ordinal(0, examples.length);
  compare.setChoices(shown, ...(entry.aPrime ? ["A", "A′"] : [`B′${first}`, `B${first}`]));
  $("view-field").classList.toggle("several", several);
  if (!several) field.open({ a, aPrime: entry.aPrime, b: bs[0], bPrime: examples[0] }, entry.fields, [working(a, entry.settings), working(examples[0], entry.settings)]);
  enable(true);
  choose("compare");
  const ofB = numbered("b", examples.length).map((name) => `${name}.png`);
  const picture = entry.aPrime ? "a_prime.png" : ofB[0];
  // The page has these pictures in memory, and the service deletes its files after some time.
  const kept = Object.fromEntries(bs.map((b, index) => [ofB[index], b.url]));
  if (entry.aPrime) kept["a_prime.png"] = entry.aPrime.url;
  const address = (name) => kept[name] ?? entry.files[name];
  Object.assign($("take"), { href: address(picture), download: picture });
  $("downloads").replaceChildren(...downloads(examples.length).flatMap(([title, files]) => {
    const there = files.filter(([name]) => entry.files[name]);
    const value = document.createElement("dd");
    for (const [name, words] of there) {
      const link = Object.assign(document.createElement("a"), { href: address(name), download: name, textContent: words });
      link.setAttribute("aria-label", words.startsWith(".") ? `${title}, ${words}` : words);
      value.append(link);
    }
    return there.length ? [Object.assign(document.createElement("dt"), { textContent: title }), value] : [];
  }));
  $("results").hidden = false;
  history.show(entry);
}

/** Open an entry of the history: show its pictures, settings and result. */
function open(entry) {
  if (!has(entry)) {
    places[0].set([entry.a]);
    places[1].set(entry.examples);
    guide(entry.a, entry.examples);
  }
  settings.values = entry.values;
  display(entry);
  $("work").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

/** Return a name for each example: the name itself if there is one example, or numbered from 1. */
function numbered(name, count) {
  return count === 1 ? [name] : Array.from({ length: count }, (_, index) => `${name}_${index + 1}`);
}

/** Return the number of an example to put behind a name, or "" if there is one example. */
function ordinal(index, count) {
  return count === 1 ? "" : ` ${index + 1}`;
}

/** Return the files that a result can have, with a label for each, in groups. */
function downloads(count) {
  const at = (index) => ordinal(index, count), flo = (index) => (count === 1 ? ".flo" : `.flo to B′${at(index)}`);
  return [
    ["Pictures", [["a_prime.png", "A′"], ...numbered("b", count).map((name, index) => [`${name}.png`, `B${at(index)}`]), ["montage.png", "all side by side"]]],
    ["Field from A", [["flow_ab.npz", ".npz"], ...numbered("flow_ab", count).map((name, index) => [`${name}.flo`, flo(index)]), ["flowAB.txt", ".txt"]]],
    ...numbered("ba", count).map((name, index) => [`Field from B′${at(index)}`, [[`flow_${name}.npz`, ".npz"], [`flow_${name}.flo`, ".flo"], [`flow${name.toUpperCase()}.txt`, ".txt"]]]),
    ["Settings", [["settings.json", "settings.json"]]],
  ];
}

/** Return the working size of a picture (`working_size` in Python). */
function working({ width, height }, { max_pixels: most, ratio }) {
  const scale = Math.min(1, Math.sqrt(most / (width * height))) * ratio;
  const rounded = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)); // halves to even, as in Python
  return { width: Math.max(16, rounded(width * scale)), height: Math.max(16, rounded(height * scale)) };
}
