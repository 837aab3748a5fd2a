// What a result is compared with, and the difference of two pictures. Plain values in and out.

export const GAIN = 4; // a difference is shown this many times stronger, or a faint one would not be seen
const SAME = 2; // levels of 255 by which a channel may differ in pixels that count as the same

// The picture that `selected` is compared with: the pinned one, or else its own source. null if there is neither.
// fits: resize_mode -> CSS object-fit, how the source fills the result's frame.
export function reference(selected, pinned, { fits, pixelsOf }) {
  if (!selected) return null;
  if (pinned && pinned.url !== selected.url)
    return {
      url: pinned.reduced ?? pinned.url,
      fit: "contain",
      before: named("A", pinned),
      after: named("B", selected),
    };
  if (!selected.source) return null;
  return {
    url: pixelsOf(selected.source),
    fit: fits[selected.mode] ?? "fill",
    before: "before",
    after: "after",
  };
}

const named = (letter, { label }) => (label ? `${letter} · ${label}` : letter);

// Where object-fit places a picture in a frame: {x, y, width, height}.
export function placed(picture, frame, fit) {
  if (fit === "fill") return { x: 0, y: 0, ...frame };
  const [across, down] = [frame.width / picture.width, frame.height / picture.height];
  const scale = fit === "cover" ? Math.max(across, down) : Math.min(across, down);
  const [width, height] = [picture.width * scale, picture.height * scale];
  return { x: (frame.width - width) / 2, y: (frame.height - height) / 2, width, height };
}

// Writes the difference of two pictures, RGBA bytes of one length, over `b`: black where they are the same. Returns the
// share of pixels that are the same.
export function differ(a, b, gain = GAIN) {
  let same = 0;
  for (let at = 0; at < b.length; at += 4) {
    let most = 0;
    for (let channel = at; channel < at + 3; channel += 1) {
      const by = Math.abs(a[channel] - b[channel]);
      most = Math.max(most, by);
      b[channel] = Math.min(255, by * gain);
    }
    b[at + 3] = 255;
    if (most <= SAME) same += 1;
  }
  return b.length ? (same * 4) / b.length : 1;
}

// The share as a text that does not say "100 %" of pictures that differ somewhere.
export function shareText(share) {
  const percent = share === 1 ? 100 : Math.min(99, Math.floor(share * 100));
  return `${percent} % of the pixels are the same`;
}
