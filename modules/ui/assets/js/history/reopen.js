// Reopens a picture from the history in a form, with source and mask as they were.

import { post, request } from "../core/api.js";
import { complain, toast } from "../core/toast.js";
import { fill } from "../form/infotext.js";
import { remember, toastWithUndo } from "../form/undo.js";

const SIZES = ["width", "height", "resize_by"];
const marginsOf = (fields) =>
  Object.fromEntries(["left", "top", "right", "bottom"].map((side) => [side, fields[`outpaint_${side}`] ?? 0]));

// The form as it was: parameters, source, mask and frame, if there were any. Undo restores the form before that.
export async function reopen(page, picture, tab) {
  const { canvas } = page;
  try {
    const stored = await post(`/v1/history/${picture.sha256}/open`);
    const mask = stored.mask ? await (await request("GET", stored.mask.url)).blob() : null;
    const step = remember(tab, "send");
    const margins = tab === "img2img" && stored.source ? marginsOf(stored.fields) : null;
    const isGrown = margins !== null && Object.values(margins).some(Boolean);
    // If a frame extends the picture, it sets the size, and the infotext's size is the result's: do not stretch the
    // source to it.
    const isSizedByFrame = isGrown && !stored.fields.inpaint_full_res;
    if (isSizedByFrame) SIZES.forEach((name) => delete stored.fields[name]);
    const notes = [...fill(tab, stored, false), ...stored.missing];
    if (margins) {
      canvas.startOver(stored.source, () => page.source.set({ ...stored.source, name: stored.source.id }));
      canvas.setMode(stored.mask ? "inpaint" : "img2img");
      if (mask) await canvas.acts.loadMask(mask);
      if (isGrown)
        canvas.settings.set({
          outpaintFill: stored.fields.outpaint_fill,
          outpaintFeather: stored.fields.outpaint_feather,
        });
      canvas.frame.setMargins(margins);
      if (isSizedByFrame) page.tabs.img2img.size.detect();
    }
    page.openTab(tab);
    toastWithUndo(tab, [`Opened in ${tab}.`, ...notes].join(" "), step);
  } catch (error) {
    complain(error);
  }
}

// The source of a picture from Extras, ready to be enlarged in another way.
export async function reopenExtras(page, picture) {
  try {
    const { source, missing } = await post(`/v1/history/${picture.sha256}/open`);
    if (source) page.extras.take({ ...source, name: source.id });
    else toast(missing.join(" "));
  } catch (error) {
    complain(error);
  }
}
