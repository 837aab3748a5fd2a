// JSON in which a whole number that JavaScript would round comes as a string of its digits: seeds have up to 64 bits.

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g; // texts first, so that digits in them stay theirs

const isDigits = (value) => typeof value === "string" && /^-?\d+$/.test(value);

// The number that a text of digits stands for, or the digits where no number of JavaScript is it; null for other texts.
export function whole(text) {
  if (!isDigits(text)) return null;
  return Number.isSafeInteger(Number(text)) ? Number(text) : String(BigInt(text));
}

export function parsed(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text.replace(TOKEN, (token) => (typeof whole(token) === "string" ? `"${token}"` : token)));
}
