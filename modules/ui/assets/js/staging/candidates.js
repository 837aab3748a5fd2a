// Which pictures of the gallery are the candidates of one send.

// The newest send's pictures in the order of the strip: those of one job, or of one ladder, without grids. They must be
// made from `source`, the id of the picture on the canvas; a single one is no choice.
export function candidates(pictures, source) {
  const [newest] = pictures;
  if (!newest?.source || newest.source !== source) return [];
  const belongs = newest.ladder
    ? (picture) => picture.ladder === newest.ladder
    : (picture) => picture.job === newest.job && !picture.ladder;
  const found = pictures.filter((picture) => belongs(picture) && !picture.sheet && picture.source === source);
  return found.length > 1 ? found : [];
}

// The place after `by` steps, round and round.
export const around = (at, by, count) => (((at + by) % count) + count) % count;

// The words of the bar: "2 of 4 · 0.4".
export const placeText = (at, list) => [`${at + 1} of ${list.length}`, list[at].label].filter(Boolean).join(" · ");
