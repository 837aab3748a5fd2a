// The history's thumbnails, and the labels of pictures there.

import { h } from "../core/dom.js";
import { pixelsOf } from "../core/pictures.js";

export const nameOf = (picture) => picture.path.split("/").at(-1);
export const promptOf = (picture) => picture.infotext.split("\n")[0].slice(0, 200) || "no prompt";

export function thumb(picture, onclick) {
  const image = h("img", {
    src: picture.thumbnail ?? picture.reduced ?? picture.url,
    alt: promptOf(picture),
    loading: "lazy",
    draggable: "true",
  });
  return h(
    "button",
    {
      type: "button",
      className: "thumb history-thumb",
      role: "option",
      "data-sha256": picture.sha256,
      title: `${nameOf(picture)}: ${promptOf(picture)}`,
      onclick,
    },
    image,
  );
}

// A source that came from outside.
export function brought({ sha256, url }) {
  if (!url)
    return h("span", {
      className: "p-soft",
      textContent: `a picture that no longer exists (${sha256.slice(0, 10)}…)`,
    });
  return h(
    "span",
    { className: "thumb history-brought", title: "An uploaded picture" },
    h("img", { src: pixelsOf(sha256), alt: "The uploaded picture", loading: "lazy" }),
  );
}
