// What the fields of a collection are good for in the page. Pure.

export const TITLES = ["title", "name", "headline", "subject", "label", "path", "url"];
export const TEXTS = ["text", "abstract", "summary", "description", "body", "content", "doc"];

const WITH_COLUMNS = ["keyword", "boolean", "integer", "float", "date"];

/** The fields of a collection, with the type of each and a text field's weight. */
export function fieldsOf(collection) {
  return Object.entries(collection?.fields ?? {}).map(([name, one]) => (
    typeof one === "string" ? { name, type: one, weight: 1 } : { name, ...one }));
}

/** Fields by which hits can be sorted. */
export function sortable(collection) {
  return fieldsOf(collection).filter(({ type }) => WITH_COLUMNS.includes(type));
}

/** Fields by which hits can be counted: those with values, then numbers and dates; `limit` of them. */
export function countable(collection, limit) {
  const rank = (type) => Math.max(WITH_COLUMNS.indexOf(type), 1);
  return sortable(collection).sort((a, b) => rank(a.type) - rank(b.type)).slice(0, limit);
}

export const RANKINGS = { text: "text", vector: "vector", hybrid: "text and vector" };

/** The vector field whose vectors are made of texts, so that a query's text can be compared; null without. */
export function embedded(collection) {
  return fieldsOf(collection).find(({ type, embed }) => type === "vector" && embed)?.name ?? null;
}

/** The text field whose values are suggested as queries: a title, or else the weightiest. */
export function suggested(collection) {
  const texts = fieldsOf(collection).filter(({ type }) => type === "text");
  const title = TITLES.map((name) => texts.find((one) => one.name === name)).find(Boolean);
  return (title ?? texts.sort((a, b) => b.weight - a.weight)[0])?.name ?? null;
}
