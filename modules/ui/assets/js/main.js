// Receives Gradio's events, and assembles the page once its components exist.

import { Canvas } from "../canvas/canvas.js";
import { Batch } from "./batch/batch.js";
import { CardPanel } from "./cards/panel.js";
import { get } from "./core/api.js";
import { ControlLists } from "./control/lists.js";
import { InpaintArea } from "./form/area.js";
import { applyColors, setUpBrand } from "./core/colors.js";
import { byId, part } from "./core/dom.js";
import { setUpDropdowns } from "./core/dropdowns.js";
import { EngineStatus } from "./settings/engine.js";
import { Extras } from "./extras/extras.js";
import * as form from "./form/form.js";
import { History } from "./history/history.js";
import { Intents } from "./form/intents.js";
import { RegionRow } from "./form/regionrow.js";
import { setUpKeys } from "./core/keys.js";
import { Fetch } from "./merge/fetch.js";
import { Merge } from "./merge/merge.js";
import { followModel } from "./form/modeldefaults.js";
import { setUpNumbers } from "./core/numbers.js";
import { PngInfo } from "./source/pnginfo.js";
import { SettingsPage } from "./settings/settings.js";
import { Shown } from "./form/shown.js";
import { Source } from "./source/source.js";
import { config } from "./core/store.js";
import { Tab } from "./form/tab.js";
import { Staging } from "./staging/staging.js";
import { RunAll } from "./run/runall.js";
import { openedTab, openTab, setUpTabs } from "./core/tabs.js";
import { complain, toast } from "./core/toast.js";
import { undoButton } from "./form/undo.js";

applyColors();

const NAMES = ["txt2img", "img2img"];
const page = { tabs: {} };

const settle = async () => {
  while (!part("settings-head") || NAMES.some((name) => !part("result", name) || !byId(`${name}_apply`))) {
    await new Promise(requestAnimationFrame);
  }
};

// Called once by the page's load event.
export async function start() {
  await settle();
  applyColors(); // Gradio has set its own by now
  page.engine = new EngineStatus();
  setUpBrand();
  setUpDropdowns();
  setUpNumbers();
  setUpTabs();
  page.settings = new SettingsPage();
  page.lists = new ControlLists();
  page.engine.onRefresh = () => (page.settings.load(), page.lists.load(true)); // they offer files, too
  page.openTab = openTab;
  page.sendToInfo = (picture) => page.pnginfo.receive(picture);
  page.sendToExtras = (picture) => page.extras.receive(picture);
  page.modelDefaults = (name) => page.engine.defaults(name);
  page.canvas = new Canvas();
  page.canvas.onBring = (blob, isNoted) => page.source.bring(blob, isNoted);
  page.source = new Source(part("source", "img2img"), "img2img", {
    hint: "or paste it, or click to choose a file",
    stage: page.canvas,
    onChange: (picture, who) => (
      page.canvas.setPicture(picture, who),
      page.area?.setPicture(picture, who),
      page.intents?.setPicture(picture),
      page.tabs.img2img?.ladder.enable(Boolean(picture)),
      page.tabs.img2img?.estimate.refresh()
    ),
    tools: undoButton("img2img"),
  });
  page.intents = new Intents(page.canvas);
  page.pnginfo = new PngInfo(page);
  page.extras = new Extras(page);
  page.history = new History(page);
  page.merge = new Merge(page);
  page.fetch = new Fetch();
  page.cards = new CardPanel(page);
  page.shown = new Shown();
  for (const name of NAMES) page.tabs[name] = new Tab(name, page);
  for (const { name, jobs, progress } of Object.values(page.tabs)) new RunAll(name, jobs, progress);
  page.staging = new Staging(page);
  page.regions = new RegionRow(page.canvas, page.tabs.img2img.script);
  form.onChange(() => page.cards.mark());
  page.area = new InpaintArea(page.tabs.img2img.estimate, page.canvas);
  page.batch = new Batch(page);
  form.describe();
  NAMES.forEach((name) => form.restore(name));
  const estimateAnew = () => NAMES.forEach((name) => page.tabs[name].estimate.refresh());
  let isFirst = true;
  page.engine.onSelected = (name) => {
    const labels = followModel(page.engine);
    if (labels.length && !isFirst) toast(`Adopted from ${name}: ${labels.join(", ")}.`);
    isFirst = false;
    for (const tab of NAMES) page.tabs[tab].size.setModel(page.engine.sizes);
    page.shown.setModel(page.engine.chosen?.shown ?? "");
    page.cards.again();
    page.cards.mark();
    estimateAnew();
  };
  page.settings.onSaved = estimateAnew;
  document.addEventListener("server-back", estimateAnew);
  page.canvas.document.onChange((what) => what === "frame" && page.tabs.img2img.estimate.refresh());
  setUpKeys({
    openedTab,
    generate: (name) => byId(`${name}_generate`).click(),
    stop: (name, how) => {
      if (name === "extras") page.extras.stop(how);
      else if (page.tabs[name].running) page.tabs[name].progress.stop(how);
      else page.batch.end(how);
    },
    isRunning: (name) =>
      name === "extras"
        ? page.extras.running || page.extras.batch.run.running
        : page.tabs[name].running || (name === "img2img" && page.batch.running),
    sourceOf: (name) =>
      page.tabs[name]?.control.focused ??
      {
        img2img: page.batch.isOpen ? page.batch : page.source,
        extras: page.extras.place,
        pnginfo: page.pnginfo.source,
      }[name] ??
      null,
  });
  await adoptResumed().catch(complain);
  NAMES.forEach((name) => page.tabs[name].resume());
  page.extras.resume();
  await Promise.all([
    page.engine.load(),
    page.settings.load(),
    page.source.restore(),
    page.pnginfo.source.restore(),
    page.extras.source.restore(),
    page.shown.depth.restore(),
    page.batch.run.resume(),
    page.extras.batch.run.resume(),
    page.merge.resume(),
  ]).catch(complain);
  document.body.classList.add("started"); // for scripts that control the page
}

// Jobs that the server resumed after a restart, whichever page submitted them, are shown and followed here.
async function adoptResumed() {
  const jobs = (await get("/v1/jobs"))
    .filter((job) => job.resumed && ["queued", "running"].includes(job.status))
    .reverse();
  for (const { jobs: own } of [...NAMES.map((name) => page.tabs[name]), page.extras]) {
    if (own.adopt(jobs)) toast("Jobs from before the restart are running now.");
  }
}

// The events of the form. modules/ui/*.py names each of them.
export const changed = form.changed;
export const settingChanged = (name, value) => page.settings?.changed(name, value);
export const checkpointChosen = (name) => page.engine.choose(name);

export function generate(tab, ...values) {
  const fields = config.tabs[tab].map((field) => field.name);
  const given = Object.fromEntries(
    [...fields, ...config.switches].map((name, index) => [name, form.exact(tab, name, values[index])]),
  );
  page.tabs[tab].generate(given);
}

// The values that the hidden buttons put into Gradio's components.
export function take(what) {
  if (what === "checkpoint") return page.engine.take();
  if (what === "setting") return page.settings.take();
  return form.take(what);
}

// Gradio's components now have the values of take(what).
export function taken(what) {
  if (NAMES.includes(what)) form.taken(what);
}
