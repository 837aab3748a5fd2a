// One download, followed by its events from the start; it continues whether or not a page is open.

import { Again } from "../core/again.js";
import { post } from "../core/api.js";
import { h } from "../core/dom.js";
import { parsed } from "../core/json.js";
import { complain } from "../core/toast.js";
import { Meter, sized } from "./meter.js";

const NAMES = ["queued", "started", "staged", "stepped", "file_saved", "warned", "finished", "failed"];

export class Download {
  // job: {id, ahead}.  ended(): called when the file is there, or when the download has failed.
  constructor({ id, ahead }, name, ended) {
    this.id = id;
    this.ended = ended;
    this.number = 0;
    this.again = new Again();
    this.meter = new Meter(`fetch_${id}`, () => post(`/v1/fetch/${id}/interrupt`).catch(complain));
    this.message = h("div", { className: "p-soft", role: "status" });
    this.element = h(
      "div",
      { className: "fetch-download" },
      h("div", { className: "fetch-title", textContent: name }),
      this.meter.element,
      this.message,
    );
    this.meter.queued(ahead ?? 0);
    this.listen();
  }

  listen() {
    const stream = new EventSource(`/v1/fetch/${this.id}/events?after=${this.number}`);
    for (const name of NAMES) stream.addEventListener(name, (event) => this.hear(name, event, stream));
    stream.onerror = () => {
      stream.close();
      this.again.retry(() => this.listen());
    };
  }

  hear(name, event, stream) {
    this.again.worked();
    this.number = Number(event.lastEventId) || this.number;
    const data = parsed(event.data);
    if (name === "warned") this.message.textContent = data.message;
    if (name === "file_saved") this.message.textContent = `Saved ${data.name} (${sized(data.size)}).`;
    if (name === "failed") this.message.textContent = [data.message, data.hint].filter(Boolean).join(" ");
    if (name === "finished" && data.interrupted) this.message.textContent = "Stopped. Fetch it again to resume.";
    if (name !== "finished" && name !== "failed") return name === "queued" || this.meter.update(data.progress);
    this.message.classList.toggle("p-error", name === "failed");
    stream.close();
    this.meter.hide();
    this.ended();
  }
}
