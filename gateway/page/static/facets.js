// Counts of a search's matches by fields, and the values that are chosen from them.

import { h } from "./dom.js";
import { count, counted } from "./format.js";
import { rangeName, rangesOf } from "./ranges.js";
import { countable } from "./schema.js";

const MAX_FACETS = 8;
const NUM_VALUES = 8;

/** The search that finds out, once for a collection, which of its fields are worth counting by, and where
 * the bounds of numbers and dates are; null if it has no field to count by. */
export function survey(collection, deadline) {
  const fields = countable(collection, MAX_FACETS);
  if (!fields.length) return null;
  const facets = fields.map(({ name, type }) => [name, isByValue(type) ? { size: 1 } : { stats: true }]);
  // Without a second phase, which does not change what matches, if the collection has such a profile.
  const profile = collection.rank_profiles.includes("bm25") ? "bm25" : null;
  return {
    query: "*", k: 1, fields: false, deadline_ms: deadline, rank_profile: profile, facets: Object.fromEntries(facets),
  };
}

/** The facets to ask for, by what the survey has found. */
export function wantedFacets(collection, surveyed) {
  const wanted = {};
  for (const { name, type } of countable(collection, MAX_FACETS)) {
    const { buckets, stats } = surveyed[name] ?? {};
    if (isByValue(type)) {
      // If no value occurs twice, as in a field of links, counts say nothing.
      if (buckets?.[0]?.count > 1) wanted[name] = { size: NUM_VALUES };
    } else {
      const ranges = rangesOf(type, stats);
      if (ranges.length) wanted[name] = { ranges };
    }
  }
  return wanted;
}

const isByValue = (type) => type === "keyword" || type === "boolean";

/** The choices of each field, as a search has them: a facet leaves out those of its own field. */
export function refined(chosen) {
  const fields = Map.groupBy(chosen, (one) => one.field);
  return Object.fromEntries([...fields].map(([name, choices]) => [name, choices.map((one) => one.value)]));
}

/** The choices of one facet, in the order of its answer. */
function choicesOf(name, type, asked, answer) {
  return (answer.buckets ?? []).map((bucket, at) => {
    const range = asked?.ranges?.[at];
    const label = range ? rangeName(type, range) : String(bucket.value);
    const value = range ?? bucket.value;
    return { field: name, label, bucket, value, key: JSON.stringify([name, value]) };
  });
}

/**
 * The panel: what was counted, to choose from. `toggle` gets a choice, `open` whether the panel was opened.
 * While it is closed, nothing is counted.
 */
export function facetPanel({ collection, asked, answer, chosen, isOpen, isBusy, refusal, toggle, open }) {
  const fields = countable(collection, Infinity);
  if (!fields.length) return null;
  const types = Object.fromEntries(fields.map(({ name, type }) => [name, type]));
  const facets = Object.entries(answer?.facets ?? {});
  return h("details", { key: "facets", class: "card facets", id: "facets", open: isOpen, ontoggle: (event) => open(event.target.open) },
    h("summary", null, h("h2", null, "Facets")),
    refusal ? h("p", { class: "notice warn", key: "refusal" }, refusal) : null,
    doubts(facets.map(([, one]) => one), answer),
    facets.map(([name, one]) => facet(name, one, choicesOf(name, types[name], asked[name], one), chosen, toggle)),
    isOpen && !isBusy && !facets.length && !refusal ? h("p", { class: "dim", key: "none" }, "No field has values to choose from.") : null,
    fields.length > MAX_FACETS ? h("p", { class: "dim small", key: "more" }, `${MAX_FACETS} of ${fields.length} fields`) : null);
}

/** What the counts leave out, which is the same for all of them. */
function doubts(answers, { coverage } = {}) {
  const unseen = Math.max(0, ...answers.map((one) => one.not_searched ?? 0));
  if (!unseen) return null;
  return h("p", { key: "doubts", class: "warn-text small" },
    `Counted in ${count(coverage.documents)} of ${counted(coverage.documents_total, "document")}: `
    + `each count may be higher by up to ${count(unseen)}.`);
}

function facet(name, answer, choices, chosen, toggle) {
  const shown = choices.filter(({ bucket, key }) => bucket.count || isChosen(chosen, key));
  if (!shown.length) return null;
  return h("section", { key: name, class: "facet", "aria-labelledby": `facet-${name}` },
    h("h3", { id: `facet-${name}` }, name),
    h("ul", null, shown.map((one) => h("li", { key: one.key },
      h("button", { type: "button", "aria-pressed": String(isChosen(chosen, one.key)), onclick: () => toggle(one) },
        h("span", { class: "facet-label" }, one.label || "(empty)"), h("span", { class: "num dim" }, countText(one.bucket)))))),
    answer.other ? h("p", { class: "dim small" }, `${count(answer.other)} with other values${answer.unlisted_at_most ? `, each on at most ${count(answer.unlisted_at_most)}` : ""}`) : null);
}

/** A count, or its bounds where there are more values than a shard returns. */
const countText = ({ count: least, error = 0 }) => (error ? `${count(least)}–${count(least + error)}` : count(least));

const isChosen = (chosen, key) => chosen.some((one) => one.key === key);

/** What was chosen, each with a button that takes it back. */
export function chosenFilters(chosen, toggle) {
  if (!chosen.length) return null;
  return h("p", { key: "chosen", class: "chosen" }, h("span", { class: "dim" }, "Only "),
    chosen.map((one) => h("button", { key: one.key, type: "button", class: "chip", "aria-label": `Remove the choice ${one.field}: ${one.label}`, onclick: () => toggle(one) },
      h("span", { class: "dim" }, `${one.field} `), one.label || "(empty)", h("span", { "aria-hidden": "true" }, " ×"))));
}
