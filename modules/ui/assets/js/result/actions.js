// Actions on the selected picture: save, zip, show its folder, download, send to another tab.

import { post } from "../core/api.js";
import { button, download, h } from "../core/dom.js";
import { fill } from "../form/infotext.js";
import { uploadFrom } from "../core/pictures.js";
import { complain, toast } from "../core/toast.js";
import { enlarge } from "./enlarge.js";
import { remember, toastWithUndo } from "../form/undo.js";

export async function save(picture) {
  try {
    const answer = await post("/v1/outputs/save", { paths: [picture.path] });
    toast(`Saved as ${answer.saved[0]}.`, { area: "outputs" });
  } catch (error) {
    complain(error, "outputs");
  }
}

async function openFolder(picture) {
  try {
    const answer = await post("/v1/outputs/open", { path: picture.path });
    if (answer.folder) toast(`The picture is in ${answer.folder}`, { area: "outputs" });
  } catch (error) {
    complain(error, "outputs");
  }
}

function zip(gallery) {
  const paths = gallery.sameJob(gallery.selected).map((picture) => `path=${encodeURIComponent(picture.path)}`);
  download(`/v1/outputs/zip?${paths.join("&")}`);
}

// Makes `picture` img2img's source, in `mode` of the canvas. img2img starts without the previous mask, sketch and
// frame; Inpaint asks what to do with an old mask. The form takes the picture's size, as in A1111.
export function putIntoImg2img(picture, mode, { source, canvas, tabs, openTab }) {
  if (mode === "img2img") canvas.startOver(picture, () => source.set(picture));
  else source.set(picture);
  canvas.setMode(mode);
  tabs.img2img.size.take(picture);
  openTab("img2img");
}

// Sends on a picture that the server has saved. withParameters also fills the form from its infotext.
export async function sendToImg2img(picture, page, { withParameters = false, mode = "img2img" } = {}) {
  try {
    const uploaded = await uploadFrom(picture.url);
    // Spelled out: a picture of ours keeps its full prompts even if a style contains the same words.
    const reading = withParameters ? await post("/v1/infotext", { text: picture.infotext, spelled_out: true }) : null;
    const step = remember("img2img", "send");
    const notes = reading ? fill("img2img", reading, false) : [];
    putIntoImg2img({ ...uploaded, name: picture.path }, mode, page);
    const done =
      mode === "inpaint"
        ? "The picture is in Inpaint. Paint over what you want to redraw."
        : withParameters
          ? "The picture and its parameters are in img2img."
          : "The picture is now the img2img source.";
    toastWithUndo("img2img", [done, ...notes].join(" "), step);
  } catch (error) {
    complain(error, "form");
  }
}

// The row of buttons under the picture. page: {source, canvas, tabs, openTab, sendToInfo, sendToExtras}.
export function actionRow(tab, gallery, page) {
  const selected = (action) => () => gallery.selected && action(gallery.selected);
  const send = (withParameters) => selected((picture) => sendToImg2img(picture, page, { withParameters }));
  return h(
    "div",
    { className: "actions-row", id: `image_buttons_${tab}` },
    h(
      "div",
      { className: "actions-group" },
      button({
        icon: "send",
        text: "Send to img2img",
        id: `${tab}_send_to_img2img`,
        className: "p-strong",
        title:
          tab === "img2img"
            ? "Continue from this result: use it as the source"
            : "Use this picture as the img2img source",
        onclick: send(false),
      }),
      button({
        icon: "brush",
        text: "Inpaint",
        id: `${tab}_send_to_inpaint`,
        title: "Send to inpaint: use this picture as the source and paint over what to redraw",
        onclick: selected((picture) => sendToImg2img(picture, page, { mode: "inpaint" })),
      }),
      button({
        icon: "sendall",
        text: "with parameters",
        id: `${tab}_send_to_img2img_all`,
        title: "Send the picture and fill the form from its parameters",
        onclick: send(true),
      }),
      button({
        icon: "fill",
        text: "Enlarge",
        id: `${tab}_enlarge`,
        title: "Make it larger: 2×, 4×, 8×, or to 4K and more",
        onclick: selected((picture) => enlarge(picture, page)),
      }),
      button({
        icon: "ruler",
        text: "Extras",
        id: `${tab}_send_to_extras`,
        title: "Send to Extras: enlarge it, sharpen it, take noise away",
        onclick: selected((picture) => page.sendToExtras(picture)),
      }),
    ),
    h(
      "div",
      { className: "actions-group" },
      button({
        icon: "save",
        text: "Save",
        id: `save_${tab}`,
        title: "Copy to outputs/saved and add it to the log there",
        onclick: selected(save),
      }),
      button({
        icon: "zip",
        text: "Zip",
        id: `save_zip_${tab}`,
        title: "Download all pictures of this job as a zip",
        onclick: selected(() => zip(gallery)),
      }),
      button({
        icon: "download",
        title: "Download this picture",
        id: `${tab}_download`,
        onclick: selected((picture) => download(picture.url, picture.path.split("/").at(-1))),
      }),
      button({
        icon: "folder",
        title: "Open the folder of this picture",
        id: `${tab}_open_folder`,
        onclick: selected(openFolder),
      }),
      button({
        icon: "info",
        title: "Send to PNG Info",
        id: `${tab}_send_to_pnginfo`,
        onclick: selected((picture) => page.sendToInfo(picture)),
      }),
    ),
  );
}
