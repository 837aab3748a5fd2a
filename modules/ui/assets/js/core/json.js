// JSON in which an integer that JavaScript would round becomes a string of its digits: seeds have up to 64 bits.

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g; // strings first, so that digits in them stay

const isDigits = (value) => typeof value === "string" && /^-?\d+$/.test(value);

// The number for a string of digits, or the digits if JavaScript cannot hold it exactly; null for other strings.
export function whole(text) {
  if (!isDigits(text)) return null;
  return Number.isSafeInteger(Number(text)) ? Number(text) : String(BigInt(text));
}

export function parsed(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text.replace(TOKEN, (token) => (typeof whole(token) === "string" ? `"${token}"` : token)));
}
