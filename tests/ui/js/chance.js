// Random numbers that are the same in each run, and shapes of test data made from them.

// A generator of integers from 0 to below `most` (Park and Miller 1988).
export function chance(seed) {
  let state = seed;
  return (most) => {
    state = (state * 48271) % 2147483647;
    return state % most;
  };
}

// The rows of a mask or picture as text, one character per pixel: "." for 0, "#" for 255, else "+".
export function drawn(values, width) {
  const rows = [];
  for (let at = 0; at < values.length; at += width) {
    rows.push(
      Array.from(values.slice(at, at + width), (value) => (value === 0 ? "." : value === 255 ? "#" : "+")).join(""),
    );
  }
  return rows;
}

// The values of such a drawing: "#" is 255, everything else 0.
export const valuesOf = (rows) => Uint8Array.from(rows.join(""), (mark) => (mark === "#" ? 255 : 0));
