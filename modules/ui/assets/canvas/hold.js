// A document's name belongs to one page at a time, for as long as that page lives: by a Web Lock or, if the browser has
// none (plain http from another machine), by asking the other pages.

const PATIENCE = 150; // milliseconds for a page to answer another one
const PAUSE = 60; // milliseconds between two attempts

let channel = null;
const mine = new Set(); // names that this page holds
const asking = new Map(); // name -> this page's bid for it

// Takes a name; returns false if another page holds it.
export async function hold(name, tries) {
  for (let turn = 0; turn < tries; turn++) {
    if (turn) await pause(PAUSE);
    if (await (navigator.locks ? takenByLock(name) : takenByBid(name))) return true;
  }
  return false;
}

export async function isHeld(name) {
  if (!navigator.locks) return mine.has(name) || !(await nobodyHas(name, -1));
  return (await navigator.locks.query()).held.some((lock) => lock.name === name);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const takenByLock = (name) =>
  new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : undefined;
    });
  });

async function takenByBid(name) {
  const bid = Math.random();
  asking.set(name, bid);
  const isFree = await nobodyHas(name, bid);
  asking.delete(name);
  if (isFree) mine.add(name);
  return isFree;
}

// If two pages ask at the same time, the higher bid gets the name.
async function nobodyHas(name, bid) {
  channel ??= listening();
  let isFree = true;
  const hear = ({ data }) => {
    if (data.name === name && data.taken) isFree = false;
  };
  channel.addEventListener("message", hear);
  channel.postMessage({ name, bid });
  await pause(PATIENCE);
  channel.removeEventListener("message", hear);
  return isFree;
}

function listening() {
  const opened = new BroadcastChannel(`palimpsest:${location.port || "80"}`);
  opened.addEventListener("message", ({ data: { name, bid, taken } }) => {
    if (!taken && (mine.has(name) || asking.get(name) > bid)) opened.postMessage({ name, taken: true });
  });
  return opened;
}
