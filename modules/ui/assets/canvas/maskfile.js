// Masks read from and written to files, and a smaller copy of a very large source.

import { h } from "../js/core/dom.js";
import { decoded } from "../js/core/pictures.js";

const COPY = 16e6; // pixels of the smaller copy

function contextOf(width, height) {
  return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
}

// A file's brightness, or its alpha channel if it has one, at the document's size: {readRow(y, into), width, height}.
export async function chosenMask(file, { width, height }) {
  const bitmap = await createImageBitmap(await decoded(file));
  const context = contextOf(width, height);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, width, height);
  const size = { width: bitmap.width, height: bitmap.height };
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  let hasAlpha = false;
  for (let at = 3; at < data.length && !hasAlpha; at += 4) hasAlpha = data[at] !== 255;
  const readRow = (y, into) => {
    for (let x = 0, at = y * width * 4; x < width; x++, at += 4) {
      into[x] = hasAlpha ? data[at + 3] : Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]);
    }
  };
  return { readRow, ...size };
}

// The transparent part of the picture becomes the mask; null if nothing is transparent.
export function alphaMask(bitmap, { width, height }) {
  if (!bitmap.whole) return null;
  const rowOf = (y) => bitmap.pixels({ left: 0, top: y, right: width, bottom: y + 1 });
  let hasAlpha = false;
  for (let y = 0; y < height && !hasAlpha; y++) {
    const row = rowOf(y);
    for (let at = 3; at < row.length && !hasAlpha; at += 4) hasAlpha = row[at] !== 255;
  }
  if (!hasAlpha) return null;
  return (y, into) => {
    const row = rowOf(y);
    for (let x = 0; x < width; x++) into[x] = 255 - row[x * 4 + 3];
  };
}

export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// A part of the picture as a file.
export async function cutOut(bitmap, box) {
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(bitmap.whole, box.left, box.top, width, height, 0, 0, width, height);
  return new File([await canvas.convertToBlob({ type: "image/png" })], "crop.png", { type: "image/png" });
}

export async function smallerCopy(bitmap) {
  const scale = Math.sqrt(COPY / (bitmap.width * bitmap.height));
  const [width, height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return new File([blob], "smaller copy.png", { type: "image/png" });
}
