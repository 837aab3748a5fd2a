// A question that only the person at the page can answer.

import { post } from "./api.js";
import { button, first, h } from "./dom.js";

// Resolves to whether `yes` was pressed; Esc and Cancel mean no. The focus returns to where it was.
export function ask(sentence, question, yes) {
  return new Promise((resolve) => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const element = h(
      "dialog",
      {
        className: "p-dialog p-ask",
        role: "alertdialog",
        "aria-labeledby": "ask_question",
        "aria-describedby": "ask_sentence",
      },
      h("div", { className: "p-dialog-head" }, h("h2", { id: "ask_question", textContent: question })),
      h("p", { id: "ask_sentence", textContent: sentence }),
      h(
        "div",
        { className: "p-ask-answers" },
        button({ text: "Cancel", id: "ask_no", onclick: () => element.close() }),
        button({ text: yes, id: "ask_yes", className: "p-strong", onclick: () => element.close("yes") }),
      ),
    );
    element.addEventListener("close", () => {
      resolve(element.returnValue === "yes");
      element.remove();
      before?.focus();
    });
    document.body.append(element);
    element.showModal();
    first(element, "#ask_yes").focus();
  });
}

// Posts a request for pictures. If LoRAs are missing, the server refuses it; it is made without them if the person
// agrees.
export async function postOrAsk(path, body) {
  try {
    return await post(path, body);
  } catch (error) {
    if (error.kind !== "MissingNetworks" || !(await ask(error.message, "Generate without it?", "Generate")))
      throw error;
    return post(path, { ...body, leave_out_missing: true });
  }
}
