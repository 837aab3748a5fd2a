// The PNG Info tab: what a picture says about how it was made, and buttons that send it to other tabs.

import { putIntoImg2img } from "../result/actions.js";
import { get, post } from "../core/api.js";
import { button, h, part } from "../core/dom.js";
import { copyButton, fill, pretty } from "../form/infotext.js";
import { uploadFrom } from "../core/pictures.js";
import { Source } from "./source.js";
import { complain } from "../core/toast.js";
import { remember, toastWithUndo, undoButton } from "../form/undo.js";

export class PngInfo {
  // page: {source, canvas, tabs, extras, openTab}: img2img's source and canvas, Extras, and the function that opens a
  // tab.
  constructor(page) {
    this.page = page;
    this.info = null;
    const left = h("div", { className: "pnginfo-left" });
    this.right = h("div", { className: "pnginfo-right", "aria-live": "polite" });
    part("pnginfo").replaceChildren(h("div", { className: "pnginfo" }, left, this.right));
    this.source = new Source(left, "pnginfo", {
      hint: "to read how it was made: paste it, or click to choose a file",
      word: "Picture",
      isAlone: true,
      onChange: (picture) => this.show(picture),
      tools: undoButton("pnginfo"),
    });
    this.report = h("div", { className: "pnginfo-report", role: "status" });
    this.show(null);
    document.addEventListener("server-back", () => this.source.picture && !this.info && this.show(this.source.picture));
  }

  async show(picture) {
    this.info = null;
    this.report.replaceChildren();
    if (!picture) {
      this.right.replaceChildren(
        h("p", {
          className: "p-soft",
          textContent:
            "Pictures made here, or by another program that stores its parameters in the file, " +
            "show their prompt, seed and settings.",
        }),
      );
      return;
    }
    try {
      const info = await get(`/v1/pictures/${picture.id}/info`);
      if (this.source.picture !== picture) return;
      this.info = info;
      const notes = info.notes.length ? h("p", { className: "p-soft", textContent: info.notes.join(" ") }) : "";
      this.right.replaceChildren(
        h(
          "div",
          { className: "pnginfo-text" },
          pretty(info.infotext),
          info.infotext ? copyButton(() => info.infotext) : null,
        ),
        notes,
        this.actions(info),
        this.report,
        this.items(info.items),
      );
    } catch (error) {
      this.right.replaceChildren(h("p", { className: "p-error", role: "alert", textContent: error.message }));
    }
  }

  actions(info) {
    const row = h("div", { className: "actions-row" });
    if (info.infotext) {
      row.append(
        button({
          icon: "sendall",
          text: "Send to txt2img",
          id: "pnginfo_send_to_txt2img",
          title: "Fill the txt2img form from these parameters",
          onclick: () => this.send("txt2img", true, false),
        }),
        button({
          icon: "reuse",
          text: "Reproduce",
          id: "pnginfo_reproduce",
          title: "Make this picture again from its parameters and check whether it is identical",
          onclick: () => this.reproduce(),
        }),
        button({
          icon: "sendall",
          text: "Send to img2img",
          id: "pnginfo_send_to_img2img",
          title: "Send the picture and its parameters to img2img",
          className: "p-strong",
          onclick: () => this.send("img2img", true, true),
        }),
      );
    }
    row.append(
      button({
        icon: "send",
        text: "Picture to img2img",
        id: "pnginfo_picture_to_img2img",
        title: "Send only the picture, as the img2img source",
        onclick: () => this.send("img2img", false, true),
      }),
      button({
        icon: "ruler",
        text: "Extras",
        id: "pnginfo_send_to_extras",
        title: "Send to Extras: enlarge it, sharpen it, take noise away",
        onclick: () => this.page.extras.take(this.source.picture),
      }),
    );
    return row;
  }

  // Makes the picture again as a job and shows the differences. If its source was not kept, img2img's source is used.
  async reproduce() {
    const picture = this.source.picture;
    const query = { picture: picture.id };
    const say = (...lines) => {
      if (this.source.picture === picture)
        this.report.replaceChildren(...lines.map((line) => h("p", { textContent: line })));
    };
    say("Waiting in the queue …");
    try {
      const job = await post("/v1/reproduce", query).catch((error) => {
        const ownSource = this.page.source.picture;
        if (error.field !== "source" || !ownSource) throw error;
        query.source = ownSource.id;
        return post("/v1/reproduce", query);
      });
      const done = await this.ended(job.url, (now) =>
        say(
          now.status === "running"
            ? `Reproducing: ${Math.round(now.progress.fraction * 100)} %`
            : "Waiting in the queue …",
        ),
      );
      if (done.status !== "finished")
        throw new Error(done.status === "failed" ? "The job failed; see the log." : "The job was interrupted.");
      const report = await get(`${job.report}?${new URLSearchParams(query)}`);
      say(...(report.identical ? ["Identical: every pixel is the same."] : report.sentences));
    } catch (error) {
      const cure = {
        source: "Load the picture it was made from into img2img, then press Reproduce again.",
        mask: "Masks can be given on the command line: python webui.py reproduce PICTURE --mask FILE.",
      }[error.field];
      say([error.message, cure].filter(Boolean).join(" "));
    }
  }

  async ended(url, onProgress) {
    for (;;) {
      const now = await get(url);
      if (!["queued", "running"].includes(now.status)) return now;
      onProgress(now);
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
  }

  items(items) {
    const rows = Object.entries(items ?? {});
    if (!rows.length) return "";
    return h(
      "details",
      { className: "infotext-box" },
      h("summary", {}, h("span", { textContent: `Other entries in the file (${rows.length})` })),
      h(
        "dl",
        { className: "pnginfo-items" },
        ...rows.map(([key, value]) =>
          h("div", {}, h("dt", { textContent: key }), h("dd", { textContent: String(value) })),
        ),
      ),
    );
  }

  send(tab, withFields, withPicture) {
    const step = remember(tab, "send");
    const notes = withFields ? fill(tab, this.info, false) : [];
    if (withPicture) putIntoImg2img(this.source.picture, "img2img", this.page);
    else this.page.openTab(tab);
    toastWithUndo(tab, [`Sent to ${tab}.`, ...notes].join(" "), step);
  }

  // A result is shown here.
  async receive(picture) {
    try {
      const uploaded = await uploadFrom(picture.url);
      this.source.set({ ...uploaded, name: picture.path });
      this.page.openTab("pnginfo");
    } catch (error) {
      complain(error);
    }
  }
}
