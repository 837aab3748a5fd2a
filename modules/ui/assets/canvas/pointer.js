// Pointers, wheel and fingers on the stage: which of them draw, and which move the picture.

const STILL = 6; // CSS pixels that the first finger may have moved when the second arrives: then both move the picture
const PALM = 800; // milliseconds after a pen's touch during which fingers do not draw
const ERASER_BUTTON = 32;

export class Pointer {
  // keys: {isPanning, isControl}, the keys that are held down.
  constructor(view, tools, settings, keys, frame) {
    this.view = view;
    this.tools = tools;
    this.settings = settings;
    this.keys = keys;
    this.frame = frame;
    this.touches = new Map();
    this.drawing = null; // id of the pointer that draws
    this.panning = null; // {id, x, y}
    this.framing = null; // id of the pointer that drags the frame
    this.penAt = -Infinity;
    this.isPenDown = false;
    this.cursor = null;
    /** @type {(at: {x: number, y: number} | null) => void} shows the brush's outline */
    this.onCursor = () => {};
    const { element } = view;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    element.addEventListener("pointerup", (event) => this.up(event));
    element.addEventListener("pointercancel", (event) => this.up(event, true));
    element.addEventListener("lostpointercapture", (event) => this.up(event));
    element.addEventListener("pointerleave", () => this.showCursor(null));
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("auxclick", (event) => event.preventDefault());
  }

  at(event) {
    // While the frame is dragged, the message above the stage grows and shrinks: positions are measured from where the
    // stage was at the start.
    const box = this.framing === null ? this.view.element.getBoundingClientRect() : this.framedAt;
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  point(event) {
    const { x, y } = this.at(event);
    const pen = event.pointerType === "pen";
    return {
      ...this.view.camera.toPicture(x, y),
      pressure: event.pressure,
      isPen: pen,
      alt: event.altKey,
      shift: event.shiftKey,
      isEraser: pen && (event.buttons & ERASER_BUTTON) !== 0,
    };
  }

  get draws() {
    return (
      this.tools.document.painted !== null &&
      this.tools.document.picture !== null &&
      this.settings.tool !== "hand" &&
      !this.keys.isPanning
    );
  }

  down(event) {
    if (!this.tools.document.picture || event.target.closest("button")) return;
    this.view.element.focus({ preventScroll: true });
    if (event.pointerType === "pen") this.beginPen(event);
    if (event.pointerType === "touch") {
      if (this.isPenDown) return;
      this.touches.set(event.pointerId, { ...this.at(event), startX: event.clientX, startY: event.clientY });
      if (this.touches.size === 2) return this.beginPinch();
      if (this.touches.size > 2 || event.timeStamp - this.penAt < PALM) return;
    }
    if (this.drawing !== null || this.panning || this.framing !== null) return;
    this.view.element.setPointerCapture(event.pointerId);
    const sides = event.button === 0 && !this.keys.isPanning ? this.frame.hit(this.at(event), event.pointerType) : null;
    if (sides) {
      this.framedAt = this.view.element.getBoundingClientRect();
      this.framing = event.pointerId;
      this.frame.begin(sides, this.view.camera.toPicture(this.at(event).x, this.at(event).y));
    } else if (event.button === 1 || !this.draws) this.panning = { id: event.pointerId, ...this.at(event) };
    else if (event.button === 0 || event.button === 5) {
      this.drawing = event.pointerId;
      this.moved = 0;
      this.tools.down(this.point(event));
    }
    this.showCursor(event);
    event.preventDefault();
  }

  // A hand on the screen was there before the pen: what it drew or moved is undone.
  beginPen(event) {
    Object.assign(this, { penAt: event.timeStamp, isPenDown: true, pinch: null });
    if (this.touches.has(this.drawing)) {
      this.tools.cancel();
      this.drawing = null;
    }
    if (this.touches.has(this.panning?.id)) this.panning = null;
    this.touches.clear();
  }

  // Two fingers: if the first has hardly moved, what it drew is undone.
  beginPinch() {
    if (this.drawing !== null) {
      if (this.moved < STILL) this.tools.cancel();
      else this.tools.up();
    }
    this.drawing = this.panning = null;
    this.pinch = this.fingers();
  }

  fingers() {
    const [one, other] = [...this.touches.values()];
    return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2, gap: Math.hypot(one.x - other.x, one.y - other.y) };
  }

  move(event) {
    if (event.pointerType === "pen") this.penAt = event.timeStamp;
    const at = this.at(event);
    const touch = this.touches.get(event.pointerId);
    if (touch) {
      this.moved = Math.max(this.moved ?? 0, Math.hypot(event.clientX - touch.startX, event.clientY - touch.startY));
      Object.assign(touch, at);
      if (this.touches.size === 2 && this.pinch) {
        const now = this.fingers();
        this.view.camera.pan(now.x - this.pinch.x, now.y - this.pinch.y);
        if (this.pinch.gap > 0) this.view.camera.zoom(now.gap / this.pinch.gap, now.x, now.y);
        this.pinch = now;
        return;
      }
    }
    if (this.framing === event.pointerId) this.frame.move(this.view.camera.toPicture(at.x, at.y));
    else if (this.panning?.id === event.pointerId) {
      this.view.camera.pan(at.x - this.panning.x, at.y - this.panning.y);
      Object.assign(this.panning, at);
    } else if (this.drawing === event.pointerId) {
      const events = event.getCoalescedEvents?.() ?? [];
      this.tools.move((events.length ? events : [event]).map((one) => this.point(one)));
    }
    this.showCursor(event);
  }

  up(event, isCancelled = false) {
    if (event.pointerType === "pen") this.isPenDown = false;
    this.touches.delete(event.pointerId);
    if (this.touches.size < 2) this.pinch = null;
    if (this.panning?.id === event.pointerId) this.panning = null;
    if (this.framing === event.pointerId) {
      this.framing = null;
      this.frame.end();
    }
    if (this.drawing !== event.pointerId) return;
    this.drawing = null;
    if (isCancelled && event.pointerType === "touch" && this.moved < STILL) this.tools.cancel();
    else this.tools.up();
  }

  // Alt and wheel zoom, Ctrl and wheel resize the brush, as in A1111. A touchpad's pinch arrives as a wheel event with
  // Ctrl although no key is held: it zooms. In full screen nothing scrolls, so the wheel alone zooms.
  wheel(event) {
    const isPinch = event.ctrlKey && !this.keys.isControl;
    const isZoom = event.altKey || isPinch || this.isWholeScreen();
    if (!this.tools.document.picture || !(isZoom || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const turn = event.deltaY || event.deltaX;
    if (!isPinch && (event.ctrlKey || event.metaKey)) {
      this.settings.grow(turn < 0 ? 1.12 : 1 / 1.12);
      return this.showCursor(event);
    }
    const { x, y } = this.at(event);
    this.view.camera.zoom(isPinch ? Math.exp(-turn / 100) : turn < 0 ? 1.2 : 1 / 1.2, x, y);
    this.showCursor(event);
  }

  isWholeScreen() {
    return this.view.element.closest(".canvas-whole") !== null;
  }

  // The ring that shows the area under the brush.
  showCursor(event) {
    const sides =
      event && this.drawing === null && !this.panning ? this.frame.hit(this.at(event), event.pointerType) : null;
    this.view.element.style.cursor = this.frame.cursor(sides);
    const shows = event && event.pointerType !== "touch" && this.draws && !sides;
    this.cursor = shows ? this.at(event) : null;
    this.onCursor?.(this.cursor);
  }
}
