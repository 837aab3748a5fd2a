// The difference of two loaded pictures, drawn.

import { differ, placed } from "./compared.js";

// Draws the difference of two image elements in the size of `after`, which `before` fills as the CSS object-fit `fit`
// says. Returns the share of pixels that are the same.
export function drawDifference(canvas, before, after, fit) {
  const size = { width: after.naturalWidth, height: after.naturalHeight };
  const natural = { width: before.naturalWidth, height: before.naturalHeight };
  const pixels = (surface, image, at) => {
    Object.assign(surface, size);
    const context = surface.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, at.x, at.y, at.width, at.height);
    return { context, drawn: context.getImageData(0, 0, size.width, size.height) };
  };
  const a = pixels(document.createElement("canvas"), before, placed(natural, size, fit));
  const b = pixels(canvas, after, { x: 0, y: 0, ...size });
  const share = differ(a.drawn.data, b.drawn.data);
  b.context.putImageData(b.drawn, 0, 0);
  return share;
}
