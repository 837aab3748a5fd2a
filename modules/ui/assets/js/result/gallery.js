// The pictures of one tab, newest job first, and the selected one; remembered in this browser.

import { read, write } from "../core/store.js";

const MOST = 80; // number of pictures listed; their files are never deleted

export class Gallery {
  constructor(tab) {
    this.tab = tab;
    // {job, index, seed, width, height, infotext, path, url, source, mode, label, ladder}
    this.pictures = read(`gallery.${tab}`, []);
    this.selected = this.pictures[0] ?? null;
    this.following = true; // whether a new picture is selected
    this.listeners = [];
  }

  onChange(action) {
    this.listeners.push(action);
  }

  changed() {
    write(`gallery.${this.tab}`, this.pictures);
    this.listeners.forEach((action) => action());
  }

  add(picture) {
    // A job's log is read again after a reload
    if (this.pictures.some((known) => known.url === picture.url)) return;
    const group = this.pictures.filter((known) => known.job === picture.job && (known.sheet || !picture.sheet)).length;
    // A job's pictures keep their order, grids first, before those of older jobs
    this.pictures.splice(group, 0, picture);
    this.pictures.splice(MOST);
    if (this.following) this.selected = picture;
    this.changed();
  }

  select(picture, byPerson = true) {
    this.selected = picture;
    if (byPerson) this.following = picture === this.pictures[0];
    this.listeners.forEach((action) => action());
  }

  step(by) {
    const at = this.pictures.indexOf(this.selected);
    const next = this.pictures[Math.min(Math.max(at + by, 0), this.pictures.length - 1)];
    if (next && next !== this.selected) this.select(next);
  }

  // Removes a picture whose file no longer exists.
  drop(picture) {
    this.pictures = this.pictures.filter((known) => known !== picture);
    if (this.selected === picture) this.selected = this.pictures[0] ?? null;
    this.changed();
  }

  clear() {
    this.pictures = [];
    this.selected = null;
    this.changed();
  }

  sameJob(picture) {
    return this.pictures.filter((known) => known.job === picture.job);
  }
}
