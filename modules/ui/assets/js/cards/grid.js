// Which cards of a long list are in the window; the page holds only those. All sizes are CSS pixels.

const AROUND = 2; // rows above and below the window that are added in advance
const SHAPE = 1.32; // a card's height divided by its width

// How many columns of cards fit into `width`, and how large they are.
export function measured(width, least, gap) {
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const side = (width - gap * (columns - 1)) / columns;
  return { columns, row: Math.round(side * SHAPE) + gap };
}

// The first visible card and the one after the last, in a window `height` high at `top`; and the positions of their row
// and of the end.
export function shownOf(count, { columns, row }, top, height) {
  const rows = Math.ceil(count / columns);
  const last = Math.min(rows, Math.ceil((top + height) / row) + AROUND);
  const first = Math.max(0, Math.min(Math.floor(top / row), rows - 1) - AROUND);
  return { first: first * columns, end: Math.min(count, last * columns), at: first * row, total: rows * row };
}

// The scroll position that shows a card's row.
export function scrolledTo(index, { columns, row }, top, height) {
  const at = Math.floor(index / columns) * row;
  if (at < top) return at;
  return at + row > top + height ? at + row - height : top;
}

// The card that a key moves to from `index`; the same one at an edge, -1 above the first row, null for another key.
export function nextOf(key, index, count, columns, page) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  if (key === "PageUp" || key === "PageDown")
    return Math.max(0, Math.min(count - 1, index + (key === "PageUp" ? -page : page) * columns));
  if (!(key in steps)) return null;
  const next = index + steps[key];
  if (key === "ArrowUp" && next < 0) return -1;
  return next < 0 || next >= count ? index : next;
}
