// Compressed tiles: runs of equal bytes (mask) or pixels (sketch), for the history and for IndexedDB.

import { AREA, isWhole, whole } from "./tiles.js";

// tile or null -> {whole} | null | {channels, values, lengths} | {channels, raw}
export function packed(tile) {
  if (!tile) return null;
  if (isWhole(tile)) return { whole: true, bytes: 16 };
  const channels = tile.length / AREA;
  const pixels = channels === 1 ? tile : new Uint32Array(tile.buffer, tile.byteOffset, AREA);
  const most = Math.floor(AREA / 3); // number of runs above which they would be larger than the tile
  const values = new pixels.constructor(most);
  const lengths = new Uint32Array(most);
  let count = 0;
  for (let at = 0; at < AREA; ) {
    if (count === most) return { channels, raw: tile, bytes: tile.byteLength };
    const value = pixels[at];
    let end = at + 1;
    while (end < AREA && pixels[end] === value) end++;
    values[count] = value;
    lengths[count++] = end - at;
    at = end;
  }
  return {
    channels,
    values: values.slice(0, count),
    lengths: lengths.slice(0, count),
    bytes: count * (4 + values.BYTES_PER_ELEMENT),
  };
}

export function unpacked(small) {
  if (!small) return null;
  if (small.whole) return whole();
  if (small.raw) return small.raw;
  const tile = new Uint8Array(AREA * small.channels);
  const pixels = small.channels === 1 ? tile : new Uint32Array(tile.buffer);
  let at = 0;
  small.lengths.forEach((length, index) => {
    pixels.fill(small.values[index], at, at + length);
    at += length;
  });
  return tile;
}
