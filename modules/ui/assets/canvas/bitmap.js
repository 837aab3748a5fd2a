// The source picture as pixels for the screen: at full size, and a small copy of a large one for zooming out.

import { request } from "../js/core/api.js";
import { pixelsOf } from "../js/core/pictures.js";

const SMALL = 2048; // pixels on the small copy's longer side

export class Bitmap {
  constructor() {
    this.whole = this.small = null;
    this.id = "";
  }

  // Pixels of `picture` as the server decoded it; none without a picture. Throws if this browser lacks the memory.
  async load(picture) {
    this.close();
    this.id = picture?.id ?? "";
    if (!picture) return;
    const blob = await (await request("GET", pixelsOf(picture.id))).blob();
    const whole = await createImageBitmap(blob);
    if (this.id !== picture.id) return whole.close();
    const scale = SMALL / Math.max(whole.width, whole.height);
    if (scale < 1) {
      /** @type {ImageBitmapOptions} */
      const size = {
        resizeWidth: Math.round(whole.width * scale),
        resizeHeight: Math.round(whole.height * scale),
        resizeQuality: "medium",
      };
      const small = await createImageBitmap(whole, size);
      if (this.id !== picture.id) return (small.close(), whole.close());
      this.small = small;
    }
    this.whole = whole;
  }

  close() {
    this.whole?.close();
    this.small?.close();
    this.whole = this.small = null;
  }

  // Draws it through `view` (from the picture's pixels to the canvas's). size: the picture's {width, height}.
  draw(context, view, size) {
    if (!this.whole) return;
    const from = this.small && view.scale <= this.small.width / size.width ? this.small : this.whole;
    context.imageSmoothingEnabled = view.scale < 2;
    context.imageSmoothingQuality = "medium";
    const seen = {
      left: Math.max(0, -view.x / view.scale),
      top: Math.max(0, -view.y / view.scale),
      right: Math.min(size.width, (context.canvas.width - view.x) / view.scale),
      bottom: Math.min(size.height, (context.canvas.height - view.y) / view.scale),
    };
    if (seen.left >= seen.right || seen.top >= seen.bottom) return;
    // Whole pixels of the source, so that the visible part lines up exactly with the full picture.
    const [left, top, right, bottom] = [
      Math.floor(seen.left),
      Math.floor(seen.top),
      Math.min(size.width, Math.ceil(seen.right)),
      Math.min(size.height, Math.ceil(seen.bottom)),
    ];
    const [sx, sy] = [from.width / size.width, from.height / size.height];
    context.drawImage(
      from,
      left * sx,
      top * sy,
      (right - left) * sx,
      (bottom - top) * sy,
      left * view.scale + view.x,
      top * view.scale + view.y,
      (right - left) * view.scale,
      (bottom - top) * view.scale,
    );
  }

  // The pixels of a box of the picture, as RGBA.
  pixels(box) {
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(this.whole, box.left, box.top, width, height, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  }
}
