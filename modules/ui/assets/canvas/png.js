// Gray PNG files: a mask of only black and white takes one bit per pixel, one with grays eight.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const UP = 2; // the filter "Up" (difference from the row above): most rows of a mask are alike
const CHUNK = 1 << 18; // bytes passed to the compressor at a time

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(...parts) {
  let value = 0xffffffff;
  for (const part of parts) for (const byte of part) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

const number = (value) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);

function chunk(name, data) {
  const kind = new TextEncoder().encode(name);
  return [number(data.length), kind, data, number(crc(kind, data))];
}

// readRow(y, into) writes a row's values 0 … 255 into `into`; isSoft: whether there are values besides 0 and 255.
export async function grayPng(width, height, readRow, isSoft) {
  const squeezer = new CompressionStream("deflate");
  const squeezed = new Response(squeezer.readable).arrayBuffer();
  const writer = squeezer.writable.getWriter();
  const across = isSoft ? width : Math.ceil(width / 8);
  const values = new Uint8Array(width);
  let above = new Uint8Array(across);
  let row = new Uint8Array(across);
  const rows = Math.max(1, Math.floor(CHUNK / (across + 1)));
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    const block = new Uint8Array(count * (across + 1));
    for (let y = 0; y < count; y++) {
      readRow(top + y, values);
      if (isSoft) row.set(values);
      else toBits(values, row);
      const at = y * (across + 1);
      block[at] = UP;
      for (let x = 0; x < across; x++) block[at + 1 + x] = row[x] - above[x];
      [above, row] = [row, above];
    }
    await writer.write(block);
  }
  await writer.close();
  const header = Uint8Array.of(...number(width), ...number(height), isSoft ? 8 : 1, 0, 0, 0, 0);
  const parts = [
    Uint8Array.from(SIGNATURE),
    ...chunk("IHDR", header),
    ...chunk("IDAT", new Uint8Array(await squeezed)),
    ...chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob(parts, { type: "image/png" });
}

function toBits(values, row) {
  row.fill(0);
  for (let x = 0; x < values.length; x++) if (values[x] & 128) row[x >> 3] |= 128 >> (x & 7);
}
