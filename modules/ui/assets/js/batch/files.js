// The files of a batch before the upload: chosen, dropped (folders too) or picked as a folder, named by their paths.

import { request } from "../core/api.js";
import { postOrAsk } from "../core/ask.js";

const PICTURES = /\.(png|jpe?g|webp|gif|bmp|tiff?|avif)$/i;
/** @type {[one: string, many: string, pattern: RegExp][]} */
const KINDS = [
  ["picture", "pictures", PICTURES],
  ["text", "texts", /\.txt$/i],
  ["CSV", "CSVs", /\.csv$/i],
  ["zip", "zips", /\.zip$/i],
];
const LARGEST = 256 * 2 ** 20; // bytes of one file; the server's limit
const AT_ONCE = 3; // parallel uploads
const HIDDEN = /(^|\/)(\.[^/]*|__MACOSX|Thumbs\.db)(\/|$)/i;

// [{name, file}] from an <input type=file>: paths are relative to the chosen folder, whose name is given separately.
export function chosen(list) {
  const files = [...list].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
  const folder = files[0]?.file.webkitRelativePath.split("/")[0] ?? "";
  return {
    folder,
    files: folder ? files.map(({ name, file }) => ({ name: name.slice(folder.length + 1), file })) : files,
  };
}

// The same for dropped items. Folders are read recursively; a single one gives its name.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const only = entries.length === 1 && entries[0].isDirectory ? entries[0] : null;
  const files = [];
  for (const entry of entries) await readEntry(entry, files);
  return {
    folder: only?.name ?? "",
    files: only ? files.map(({ name, file }) => ({ name: name.slice(only.name.length + 1), file })) : files,
  };
}

async function readEntry(entry, files) {
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    files.push({ name, file: await new Promise((done, failed) => entry.file(done, failed)) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // a hundred at a time
    if (!some.length) return;
    for (const one of some) await readEntry(one, files);
  }
}

// A growing set of files, keyed by name: a second file with the same name replaces the first.
export class Files {
  constructor() {
    this.byName = new Map();
  }

  get list() {
    return [...this.byName].map(([name, file]) => ({ name, file }));
  }

  get size() {
    return this.byName.size;
  }

  add(files) {
    for (const { name, file } of files) if (!HIDDEN.test(name)) this.byName.set(name, file);
  }

  clear() {
    this.byName.clear();
  }

  // "12 pictures, 3 texts · 48 MB"
  described() {
    const names = [...this.byName.keys()];
    /** @type {[count: number, one: string, many: string][]} */
    const counted = KINDS.map(([one, many, pattern]) => [names.filter((name) => pattern.test(name)).length, one, many]);
    const others = names.length - counted.reduce((sum, [count]) => sum + count, 0);
    const words = [...counted, [others, "other file, skipped", "other files, skipped"]]
      .filter(([count]) => count)
      .map(([count, one, many]) => `${count} ${count === 1 ? one : many}`);
    const bytes = [...this.byName.values()].reduce((sum, file) => sum + file.size, 0);
    const size = bytes < 2 ** 20 ? `${Math.ceil(bytes / 1024)} KB` : `${Math.round(bytes / 2 ** 20)} MB`;
    return `${words.join(", ")} · ${size}`;
  }
}

async function hashOf(bytes) {
  if (!globalThis.crypto?.subtle) return ""; // only in a secure context
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function isHere(id, signal) {
  const response = await fetch(`/v1/batches/files/${id}`, { method: "HEAD", signal });
  return response.ok;
}

// Uploads one file, unless the server has it; returns its id. `known`: ids that this page has uploaded before.
async function bringOne(name, file, known, signal) {
  if (file.size > LARGEST) throw new Error(`${name} has ${Math.round(file.size / 2 ** 20)} MB; the limit is 256 MB.`);
  const bytes = await file.arrayBuffer().catch(() => {
    throw new Error(`${name} could not be read. Was it moved or deleted?`);
  });
  const id = await hashOf(bytes);
  if (id && known.has(id) && (await isHere(id, signal))) return id;
  const answer = await (
    await request("POST", "/v1/batches/files", {
      body: bytes,
      signal,
      headers: { "Content-Type": "application/octet-stream" },
    })
  ).json();
  known.add(answer.id);
  return answer.id;
}

// Uploads the files, a few at a time, calling onProgress(done, total) after each. → {brought: [{name, id}], failed}.
export async function bring(files, known, onProgress, signal) {
  const waiting = [...files.entries()];
  const brought = [];
  const failed = [];
  let done = 0;
  const carry = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [at, { name, file }] = next;
      try {
        brought[at] = { name, id: await bringOne(name, file, known, signal) };
      } catch (error) {
        if (signal.aborted || error.status) throw error;
        failed.push(error.message);
      }
      onProgress((done += 1), files.length);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, carry));
  return { brought: brought.filter(Boolean), failed };
}

export const begin = (body) => postOrAsk("/v1/batches", body);
