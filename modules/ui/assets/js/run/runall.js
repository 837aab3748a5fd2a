// Generate's context menu with "Generate forever", the number of jobs on Generate, and the button that ends them all.

import { button, byId, h } from "../core/dom.js";
import { complain, toast } from "../core/toast.js";
import { badge, endedText, goesOn } from "./line.js";

export class RunAll {
  // jobs, progress: of the same tab.
  constructor(tab, jobs, progress) {
    this.tab = tab;
    this.jobs = jobs;
    this.progress = progress;
    this.isEndless = false;
    this.generate = byId(`${tab}_generate`);
    this.all = button({
      text: "All",
      title: "Interrupt all: end the running job and cancel the waiting ones of this tab",
      id: `${tab}_interrupt_all`,
      className: "run-all",
      onclick: () => this.interruptAll().catch(complain),
    });
    this.all.setAttribute("aria-label", "Interrupt all");
    progress.buttons.append(this.all);
    this.entry = h("button", {
      type: "button",
      role: "menuitem",
      className: "run-entry",
      id: `${tab}_generate_forever`,
      onclick: () => (this.hideMenu(), this.setEndless(!this.isEndless)),
    });
    this.menu = h("div", { className: "run-menu", role: "menu", "aria-label": "Generate", hidden: true }, this.entry);
    document.body.append(this.menu); // the row of Generate has no room for it
    this.listen();
    jobs.onChange(() => this.changed());
    this.refresh();
  }

  listen() {
    this.generate.addEventListener("contextmenu", (event) => (event.preventDefault(), this.showMenu()));
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !this.menu.contains(target)) this.menu.hidden = true;
    });
    const leave = (event) => {
      if (event.key !== "Escape" || this.menu.hidden) return;
      event.preventDefault();
      event.stopPropagation(); // the page's own Esc interrupts the job
      this.hideMenu();
    };
    addEventListener("keydown", leave, true);
  }

  showMenu() {
    const box = this.generate.getBoundingClientRect();
    this.menu.hidden = false;
    const isLow = box.bottom + this.menu.offsetHeight + 8 > innerHeight;
    Object.assign(this.menu.style, {
      left: `${Math.min(box.left, innerWidth - this.menu.offsetWidth - 8)}px`,
      top: `${isLow ? box.top - this.menu.offsetHeight - 4 : box.bottom + 4}px`,
    });
    this.entry.focus();
  }

  hideMenu() {
    this.menu.hidden = true;
    this.generate.focus();
  }

  setEndless(on) {
    this.isEndless = on;
    this.refresh();
    if (on && !this.jobs.current) this.generate.click();
  }

  changed() {
    this.refresh();
    if (!goesOn(this.isEndless, this.jobs.list.length, this.jobs.ended)) return;
    this.jobs.ended = "";
    this.generate.click();
  }

  refresh() {
    const count = this.jobs.list.length;
    const mark = badge(count, this.isEndless);
    if (mark) this.generate.dataset.badge = mark;
    else delete this.generate.dataset.badge;
    this.generate.title = count > 1 ? `${count} jobs run or wait` : "";
    this.all.hidden = count < 2 && !this.isEndless;
    this.entry.textContent = this.isEndless ? "Stop generating forever" : "Generate forever";
  }

  async interruptAll() {
    const wasEndless = this.isEndless;
    this.isEndless = false;
    const waiting = this.jobs.list.length - 1;
    await this.jobs.cancelWaiting(); // first, or the next one would start
    await this.progress.stop("interrupt");
    toast(endedText(waiting, wasEndless));
    this.refresh();
  }
}
