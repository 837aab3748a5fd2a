// Position of the picture on the stage: a scale (CSS pixels per picture pixel) and the position of its corner.

const LEAST = 0.01;
const MOST = 32;
const MARGIN = 8; // CSS pixels around a fitted picture

export class Camera {
  constructor() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.width = 1;
    this.height = 1;
    this.ratio = 1;
    this.isFitted = true;
    this.listeners = [];
  }

  onChange(action) {
    this.listeners.push(action);
  }

  set(scale, x, y, isFitted = false) {
    Object.assign(this, { scale, x, y, isFitted });
    this.listeners.forEach((action) => action());
  }

  // The stage's size in CSS pixels, and the number of screen pixels per CSS pixel.
  resize(width, height, ratio, content) {
    const [dx, dy] = [(width - this.width) / 2, (height - this.height) / 2];
    Object.assign(this, { width, height, ratio });
    if (this.isFitted) this.fit(content);
    else this.set(this.scale, this.x + dx, this.y + dy);
  }

  // content: the box of the picture's pixels that must be fully visible.
  fit(content) {
    const [width, height] = [content.right - content.left, content.bottom - content.top];
    const scale = Math.min((this.width - 2 * MARGIN) / width, (this.height - 2 * MARGIN) / height, 8);
    this.set(
      scale,
      (this.width - width * scale) / 2 - content.left * scale,
      (this.height - height * scale) / 2 - content.top * scale,
      true,
    );
  }

  // One screen pixel per picture pixel, centered on the middle of the stage.
  actual() {
    this.zoomTo(1 / this.ratio, this.width / 2, this.height / 2);
  }

  // The point under (x, y) on the stage stays there.
  zoomTo(zoom, x, y) {
    const scale = Math.min(MOST, Math.max(LEAST, zoom));
    this.set(scale, x - ((x - this.x) * scale) / this.scale, y - ((y - this.y) * scale) / this.scale);
  }

  zoom(by, x = this.width / 2, y = this.height / 2) {
    this.zoomTo(this.scale * by, x, y);
  }

  pan(dx, dy) {
    this.set(this.scale, this.x + dx, this.y + dy);
  }

  // From the stage's CSS pixels to the picture's pixels, and back.
  toPicture(x, y) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  toStage(x, y) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }
}
