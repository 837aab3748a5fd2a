// Requests to the server: every refusal becomes one sentence that can be shown as it is.

import { parsed } from "./json.js";

export class Refusal extends Error {
  constructor(sentence, field = "", status = 0, kind = "") {
    super(sentence);
    this.field = field;
    this.status = status;
    this.kind = kind;
  }
}

export const GONE = "The server is not responding. Is it still running? The page will keep trying.";

async function refusal(response) {
  try {
    const body = await response.json();
    if (typeof body.detail === "string") {
      return new Refusal(
        [body.detail, body.hint].filter(Boolean).join(" "),
        body.field ?? "",
        response.status,
        body.error ?? "",
      );
    }
  } catch {
    // not JSON: the status below describes it
  }
  return new Refusal(
    `The server answered with status ${response.status}; see its log for details.`,
    "",
    response.status,
  );
}

export async function request(method, path, options = {}) {
  let response;
  try {
    response = await fetch(path, { method, ...options });
  } catch {
    throw new Refusal(GONE);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export const get = async (path) => parsed(await (await request("GET", path)).text());

export async function post(path, body = {}) {
  const options = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return parsed(await (await request("POST", path, options)).text());
}

export const remove = (path) => request("DELETE", path);
