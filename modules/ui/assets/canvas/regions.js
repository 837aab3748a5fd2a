// Boxes over the picture that can be moved, resized and removed: where something was detected, or what to redraw.

import { childrenOf, h, icon } from "../js/core/dom.js";

const LEAST = 8; // picture pixels per side
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `box` moved by (x, y) pixels within a picture of that size; isResized: only its right and bottom sides move.
export function moved(box, x, y, { width, height }, isResized = false) {
  const { left, top, right, bottom } = box;
  if (isResized) {
    return {
      left,
      top,
      right: Math.min(width, Math.max(left + LEAST, right + x)),
      bottom: Math.min(height, Math.max(top + LEAST, bottom + y)),
    };
  }
  const across = Math.min(width - right, Math.max(-left, x));
  const down = Math.min(height - bottom, Math.max(-top, y));
  return { left: left + across, top: top + down, right: right + across, bottom: bottom + down };
}

export class Regions {
  constructor(document, view) {
    this.document = document;
    this.view = view;
    this.boxes = [];
    this.listeners = [];
    this.of = null; // id of the picture that the boxes belong to
    this.dragged = null; // {index, box, x, y, isResized}
    this.layer = h("div", { className: "canvas-regions" });
    view.element.append(this.layer);
    view.camera.onChange(() => this.place());
    document.onChange((what) => {
      if (what === "picture" && document.picture?.id !== this.of) this.set([]);
    });
  }

  onChange(action) {
    this.listeners.push(action);
  }

  set(boxes) {
    if (!boxes.length && !this.boxes.length) return;
    this.of = this.document.picture?.id ?? null;
    this.boxes = boxes;
    this.layer.replaceChildren(...boxes.map((_, index) => this.element(index)));
    this.place();
    this.notify();
  }

  notify() {
    this.listeners.forEach((action) => action(this.boxes));
  }

  // A quarter of the picture's shorter side, in the middle of the visible part.
  add() {
    const { camera } = this.view;
    const { width, height } = this.document;
    const side = Math.max(LEAST, Math.round(Math.min(width, height) / 4));
    const { x, y } = camera.toPicture(camera.width / 2, camera.height / 2);
    const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)];
    const at = { left: 0, top: 0, right: Math.min(side, width), bottom: Math.min(side, height) };
    this.set([...this.boxes, moved(at, left, top, this.document)]);
  }

  remove(index) {
    this.set(this.boxes.filter((_, place) => place !== index));
  }

  element(index) {
    const element = h(
      "div",
      {
        className: "canvas-region",
        tabindex: "0",
        role: "group",
        "aria-label": `Box ${index + 1}: drag to move; the arrow keys move it, Shift and the arrow keys resize it`,
        onpointerdown: (event) => this.begin(event, index),
        onpointermove: (event) => this.drag(event),
        onpointerup: () => (this.dragged = null),
        onpointercancel: () => (this.dragged = null),
        onkeydown: (event) => this.key(event, index),
      },
      h("div", { className: "canvas-region-corner" }),
      h(
        "button",
        {
          type: "button",
          className: "canvas-region-remove",
          title: "Remove this box",
          "aria-label": `Remove box ${index + 1}`,
          onclick: () => this.remove(index),
        },
        icon("close"),
      ),
    );
    return element;
  }

  begin(event, index) {
    event.stopPropagation(); // otherwise the stage would paint
    if (event.button !== 0 || event.target.closest("button")) return;
    const isResized = event.target.classList.contains("canvas-region-corner");
    event.currentTarget.setPointerCapture(event.pointerId);
    this.dragged = { index, box: this.boxes[index], x: event.clientX, y: event.clientY, isResized };
  }

  drag(event) {
    if (!this.dragged) return;
    const { index, box, x, y, isResized } = this.dragged;
    const { scale } = this.view.camera;
    const by = [Math.round((event.clientX - x) / scale), Math.round((event.clientY - y) / scale)];
    this.change(index, moved(box, ...by, this.document, isResized));
  }

  key(event, index) {
    if (event.key === "Delete" || event.key === "Backspace") this.remove(index);
    else if (event.key in KEYS)
      this.change(index, moved(this.boxes[index], ...KEYS[event.key], this.document, event.shiftKey));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  change(index, box) {
    this.boxes = this.boxes.map((each, place) => (place === index ? box : each));
    this.place();
    this.notify();
  }

  place() {
    const { camera } = this.view;
    this.boxes.forEach(({ left, top, right, bottom }, index) => {
      const { x, y } = camera.toStage(left, top);
      const { style } = childrenOf(this.layer)[index];
      Object.assign(style, {
        left: `${x}px`,
        top: `${y}px`,
        width: `${(right - left) * camera.scale}px`,
        height: `${(bottom - top) * camera.scale}px`,
      });
    });
  }
}
