// Which cards are shown, and in which order. Search words may match any text known about a model.

export const SORTS = {
  name: "Name",
  "name-down": "Name, Z to A",
  newest: "Newest first",
  oldest: "Oldest first",
  path: "Folder",
};
export const NO_FAMILY = "?";

const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const byName = (one, other) => names.compare(one.label, other.label) || names.compare(one.name, other.name);
const ORDERS = {
  name: byName,
  "name-down": (one, other) => byName(other, one),
  newest: (one, other) => other.changed - one.changed || byName(one, other),
  oldest: (one, other) => one.changed - other.changed || byName(one, other),
  path: (one, other) => names.compare(one.folder, other.folder) || byName(one, other),
};

const simple = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

// Everything that a search looks at in a card; computed once per card.
export const haystack = (card) =>
  simple(
    [
      card.label,
      card.name,
      card.alias,
      card.title,
      card.folder,
      card.base,
      card.family,
      card.words,
      ...card.tags,
      card.about,
      card.notes,
    ].join("\n"),
  );

// cards with `hay` from `haystack`. {search, folder, family, sort}
export function chosen(cards, { search = "", folder = "", family = "", sort = "name" }) {
  const terms = simple(search).split(/\s+/).filter(Boolean);
  return cards
    .filter(
      (card) => isBelow(card.folder, folder) && isOf(card, family) && terms.every((one) => card.hay.includes(one)),
    )
    .sort(ORDERS[sort] ?? byName);
}

const isBelow = (folder, parent) => !parent || folder === parent || folder.startsWith(`${parent}/`);
const isOf = (card, family) => !family || (card.family || NO_FAMILY) === family;

// The folders directly below `folder` that contain cards, with their number: [[path, name, count], …].
export function foldersBelow(cards, folder = "") {
  const counts = new Map();
  for (const card of cards) {
    if (!isBelow(card.folder, folder) || card.folder === folder) continue;
    const name = (folder ? card.folder.slice(folder.length + 1) : card.folder).split("/")[0];
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .sort(([one], [other]) => names.compare(one, other))
    .map(([name, count]) => [folder ? `${folder}/${name}` : name, name, count]);
}

// The model families of the cards, with their number: [[family, count], …], unknown families last.
export function familiesOf(cards) {
  const counts = new Map();
  for (const { family } of cards) counts.set(family || NO_FAMILY, (counts.get(family || NO_FAMILY) ?? 0) + 1);
  return [...counts].sort(
    ([one], [other]) => Number(one === NO_FAMILY) - Number(other === NO_FAMILY) || names.compare(one, other),
  );
}
