// The hits of a search, each with what matched in it.

import { h } from "./dom.js";
import { marked, textOf } from "./marks.js";
import { TEXTS, TITLES } from "./schema.js";

export function hit(one) {
  const stored = one.fields;
  const strings = Object.entries(stored ?? {}).filter(([name, value]) => name !== "id" && typeof value === "string" && value);
  const first = (names) => names.find((name) => strings.some(([known]) => known === name));
  const title = first(TITLES) ?? strings[0]?.[0];
  const text = first(TEXTS.filter((name) => name !== title)) ?? strings.find(([name]) => name !== title)?.[0];
  const rest = Object.entries(stored ?? {}).filter(([name]) => !["id", title, text].includes(name));
  return h("li", { key: `${one.shard} ${one.id}` },
    h("div", { class: "hit-head" },
      h("h3", null, title ? whole(stored[title], one.highlights?.[title]) : one.id),
      h("span", { class: "dim num" }, one.sort ? sortText(one.sort) : one.score.toFixed(4))),
    text ? h("p", { class: "hit-text" }, partly(stored[text], one.highlights?.[text])) : null,
    elsewhere(one.highlights, [title, text]),
    h("p", { class: "hit-end" },
      h("code", null, one.id), h("span", { class: "dim" }, ` shard ${one.shard}`),
      stored === null ? h("span", { class: "warn-text" }, " no fields") : null,
      one.legs ? h("span", { class: "dim" }, ` ${placesOf(one.legs)}`) : null,
      rest.slice(0, 8).map(([name, value]) => h("span", { class: "pair", key: name },
        h("span", { class: "dim" }, name), ` ${typeof value === "string" ? value : JSON.stringify(value)}`))));
}

/** A title, marked if its highlights have all of it. */
function whole(text, snippets) {
  return snippets?.length === 1 && textOf(snippets[0]) === text ? marked(snippets) : text;
}

/** The parts of a text that match; its beginning if none does. */
const partly = (text, snippets) => (snippets?.length ? marked(snippets) : text);

/** What matched in fields that are not shown otherwise. */
function elsewhere(highlights, shown) {
  const others = Object.entries(highlights ?? {}).filter(([name]) => !shown.includes(name));
  return others.map(([name, snippets]) => h("p", { class: "hit-text", key: `in ${name}` },
    h("span", { class: "dim" }, `${name}: `), marked(snippets.slice(0, 1))));
}

/** Where the legs of a hybrid search have placed a hit. */
const placesOf = (legs) => Object.entries(legs).map(([name, { rank }]) => `${name} #${rank}`).join(", ");

/** The values by which a hit was sorted. */
const sortText = (values) => values.map((one) => (one === null ? "no value" : String(one))).join(", ");
