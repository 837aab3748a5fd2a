// Messages about single files of a batch: files that failed, and remarks. Kept across reloads.

import { h } from "../core/dom.js";
import { read, write } from "../core/store.js";

const MOST = 200; // number listed

export class Remarks {
  // key: the name under which the batch is remembered.
  constructor(key) {
    this.key = key;
    this.list = h("ul", { className: "batch-remarks" });
    this.summary = h("span", {});
    this.element = h(
      "details",
      { className: "infotext-box batch-details", hidden: true, open: true },
      h("summary", {}, this.summary),
      this.list,
    );
    this.set(read(`${this.key}.remarks`, []));
  }

  // lines: {name, sentence, outcome} each; outcome "failed" means that the file could not be made.
  set(lines) {
    this.lines = lines;
    write(`${this.key}.remarks`, lines.length ? lines : null);
    this.list.replaceChildren(...lines.map((line) => this.row(line)));
    this.count();
  }

  add(line) {
    this.lines.push(line);
    if (this.lines.length > MOST) return;
    write(`${this.key}.remarks`, this.lines);
    this.list.append(this.row(line));
    this.count();
  }

  row({ name, sentence, outcome }) {
    // Most sentences already begin with the file's name.
    const plain = name && sentence.startsWith(`${name}: `) ? sentence.slice(name.length + 2) : sentence;
    return h(
      "li",
      { className: outcome === "failed" ? "bad" : "" },
      name ? h("b", { textContent: name }) : null,
      h("span", { textContent: plain }),
    );
  }

  count() {
    this.element.hidden = !this.lines.length;
    const failed = this.lines.filter((one) => one.outcome === "failed").length;
    const others = this.lines.length - failed;
    const words = [
      failed && `${failed} ${failed === 1 ? "file" : "files"} failed`,
      others && `${others} ${others === 1 ? "remark" : "remarks"}`,
    ].filter(Boolean);
    this.summary.textContent = words.join(", ");
  }
}
