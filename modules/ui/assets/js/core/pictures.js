// Uploads a picture once: it is named by the hash of its bytes, and known pictures are not sent again.

import { Refusal, request } from "./api.js";

const LARGEST = 256 * 2 ** 20; // bytes, the server's limit; checked here so that nobody waits for a long upload in vain
const UNREADABLE = "The file could not be read. Was it moved or deleted?";

const tooLarge = (size) =>
  new Refusal(`The file has ${Math.round(size / 2 ** 20)} MB; the limit is 256 MB. Make it smaller.`, "init_images");

async function hashOf(bytes) {
  if (!globalThis.crypto?.subtle) return ""; // only in a secure context: 127.0.0.1 is one, a LAN address is not
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function isThere(id) {
  try {
    await request("HEAD", `/v1/pictures/${id}`);
    return true;
  } catch (error) {
    if (error.status >= 400 && error.status < 500) return false;
    throw error;
  }
}

// blob -> {id, width, height, format, notes, url}. `known` maps ids to earlier answers of this kind.
export async function upload(blob, known = {}) {
  if (blob.size > LARGEST) throw tooLarge(blob.size);
  const bytes = await blob.arrayBuffer().catch(() => {
    throw new Refusal(UNREADABLE, "init_images");
  });
  const id = await hashOf(bytes);
  if (id && known[id] && (await isThere(id))) return known[id];
  const headers = { "Content-Type": blob.type || "application/octet-stream" };
  return (await request("POST", "/v1/pictures", { body: bytes, headers })).json();
}

// The URL of the picture as the server decoded it. Browsers rotate and color some files differently; the person must
// see and paint on the same pixels that the server works on.
export const pixelsOf = (id) => `/v1/pictures/${id}/pixels`;

// A file as the server decodes it.
export async function decoded(file) {
  const { id } = await upload(file);
  return (await request("GET", pixelsOf(id))).blob();
}

// Turns a picture that the server saved into one that it accepts as a source.
export async function uploadFrom(url) {
  const response = await request("GET", url);
  const size = Number(response.headers.get("Content-Length"));
  if (size > LARGEST) {
    await response.body?.cancel(); // before gigabytes are loaded
    throw tooLarge(size);
  }
  return upload(await response.blob());
}

// The first picture among dropped or pasted items: a file, or the URL of one of our own pictures.
export async function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) return file;
  const address = transfer?.getData("text/uri-list") || "";
  if (!address.startsWith(location.origin)) return null;
  return (await request("GET", address)).blob();
}
