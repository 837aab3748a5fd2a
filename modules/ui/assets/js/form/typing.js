// What a person types while a script's values are on their way into Gradio's components, a tab of the form each. That
// takes milliseconds, on a busy machine half a second; the component would then show the script's value. What was typed
// last counts.

export class Typing {
  constructor() {
    /** @type {string[][]} names of the fields of each lot of values that is on its way, oldest first */
    this.underway = [];
    /** @type {Record<string, any>} what was typed into those fields since */
    this.last = {};
  }

  // Gradio has asked for values of these fields.
  handed(names) {
    this.underway.push(names);
  }

  typed(name, value) {
    if (this.underway.some((names) => names.includes(name))) this.last[name] = value;
  }

  // A script has put a value there after the typing.
  put(name) {
    delete this.last[name];
  }

  // Whether `value`, told by Gradio, is a script's that the typing has replaced.
  isOutdated(name, value) {
    return name in this.last && this.last[name] !== value;
  }

  // Gradio is through with the oldest lot: gives back what was typed over it.
  settled() {
    const names = this.underway.shift() ?? [];
    const typed = Object.entries(this.last).filter(([name]) => names.includes(name));
    for (const [name] of typed) delete this.last[name];
    return Object.fromEntries(typed);
  }
}

// take(value) is called for all that is typed into the number, text or checkbox of a component. An emptied number box
// means the number before (numberbox.js).
export function onTyped(block, take) {
  const typed = (/** @type {Event & {target: HTMLInputElement}} */ { target }) => {
    if (target.type === "textarea") take(target.value);
    else if (target.type === "checkbox") take(target.checked);
    else if (["number", "range"].includes(target.type) && target.value !== "") take(Number(target.value));
  };
  block.addEventListener("input", typed, true);
}
