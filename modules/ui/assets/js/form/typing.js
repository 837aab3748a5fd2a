// What a person types while a script's values are on their way into Gradio's components; one instance for each tab's
// form. That takes milliseconds, on a busy machine half a second; then the component would show the script's value. The
// text typed last wins.

export class Typing {
  constructor() {
    /** @type {string[][]} fields of each batch of values that is on its way, oldest first */
    this.underway = [];
    /** @type {Record<string, any>} what has been typed into those fields since then */
    this.last = {};
  }

  // Gradio has requested values of these fields.
  handed(names) {
    this.underway.push(names);
  }

  typed(name, value) {
    if (this.underway.some((names) => names.includes(name))) this.last[name] = value;
  }

  // A script has set a value there after the typing.
  put(name) {
    delete this.last[name];
  }

  // Whether `value`, reported by Gradio, is a script's value that the typing has replaced.
  isOutdated(name, value) {
    return name in this.last && this.last[name] !== value;
  }

  // Gradio has applied the oldest batch; returns what was typed over it.
  settled() {
    const names = this.underway.shift() ?? [];
    const typed = Object.entries(this.last).filter(([name]) => names.includes(name));
    for (const [name] of typed) delete this.last[name];
    return Object.fromEntries(typed);
  }
}

// take(value) is called for everything typed into a component's number box, text box or checkbox. An emptied number box
// means the previous number (numberbox.js).
export function onTyped(block, take) {
  const typed = (/** @type {Event & {target: HTMLInputElement}} */ { target }) => {
    if (target.type === "textarea") take(target.value);
    else if (target.type === "checkbox") take(target.checked);
    else if (["number", "range"].includes(target.type) && target.value !== "") take(Number(target.value));
  };
  block.addEventListener("input", typed, true);
}
