// Numbers as people write them: a comma as the decimal or the thousands separator. A number field drops unknown
// characters, so that "7,5" became 75.

const GROUPED = /^[+-]?\d{1,3}(,\d{3})+$/;
const isNumber = (target) => target instanceof HTMLInputElement && target.type === "number";
const isWhole = (input) => input.step !== "any" && Number.isInteger(Number(input.step || 1));

// Pasted or typed text with a decimal point. The last point or comma is the decimal separator; in an integer, commas
// before three digits each separate thousands.
export function plainNumber(text, whole = false) {
  const tight = text.replace(/[\s'’\u00a0\u202f]/g, "");
  const [comma, point] = [tight.lastIndexOf(","), tight.lastIndexOf(".")];
  if (comma < 0) return tight;
  if (point > comma || (whole && GROUPED.test(tight)) || tight.indexOf(",") !== comma) return tight.replaceAll(",", "");
  return tight.replaceAll(".", "").replace(",", ".");
}

export function setUpNumbers() {
  document.addEventListener(
    "beforeinput",
    (event) => {
      if (!isNumber(event.target) || event.data !== ",") return;
      event.preventDefault();
      document.execCommand("insertText", false, ".");
    },
    true,
  );
  document.addEventListener(
    "paste",
    (event) => {
      const text = event.clipboardData?.getData("text/plain").trim() ?? "";
      if (!isNumber(event.target) || !/[,\s'’]/.test(text)) return;
      event.preventDefault();
      document.execCommand("insertText", false, plainNumber(text, isWhole(event.target)));
    },
    true,
  );
}
