// Suggestions below the query: a combobox with a list, as WAI-ARIA describes it.

import { h, say } from "./dom.js";
import { counted, percent } from "./format.js";

const PAUSE_MS = 120; // after a key, before the gateway is asked
const MIN_LENGTH = 2;
const MAX_LENGTH = 200;
const NUM_SUGGESTIONS = 8;
const SYNTAX = /[:"()[\]{}^~*\\]/; // a query with syntax is no beginning of a text

/**
 * A box of suggestions. `ask` gets the text, the size and a signal, and returns the gateway's answer;
 * `change` is called when it must be drawn again; `pick` gets the suggestion that was chosen.
 */
export function suggestBox({ ask, change, pick }) {
  let items = [];
  let note = "";
  let at = -1; // which one is marked; -1 for none
  let timer = 0;
  let latest = null;

  function close() {
    clearTimeout(timer);
    latest?.abort();
    const wasOpen = items.length > 0;
    items = [];
    at = -1;
    if (wasOpen) change();
  }

  function typed(text) {
    clearTimeout(timer);
    latest?.abort();
    at = -1;
    const words = text.trim();
    if (words.length < MIN_LENGTH || words.length > MAX_LENGTH || SYNTAX.test(words)) close();
    else timer = setTimeout(() => load(text), PAUSE_MS);
  }

  async function load(text) {
    latest = new AbortController();
    const { signal } = latest;
    try {
      const { suggestions, coverage } = await ask(text, NUM_SUGGESTIONS, signal);
      if (signal.aborted) return;
      items = suggestions.map((one) => one.text);
      note = coverage.is_full ? "" : `From ${percent(coverage.fraction)} of the documents.`;
      at = -1;
      change();
      say(items.length ? `${counted(items.length, "suggestion")}. ${note}` : "");
    } catch (error) {
      // Suggestions are a help; why there are none is for the search to say.
      if (!signal.aborted) close();
      if (error instanceof TypeError) throw error;
    }
  }

  function choose(text) {
    close();
    pick(text);
  }

  function onkeydown(event) {
    if (!items.length || event.isComposing) return;
    const last = items.length - 1;
    if (event.key === "ArrowDown") at = at === last ? -1 : at + 1;
    else if (event.key === "ArrowUp") at = at === -1 ? last : at - 1;
    else if (event.key === "Escape") close();
    else if (event.key === "Enter" && at >= 0) choose(items[at]);
    else return;
    event.preventDefault();
    change();
  }

  /** What makes an input the box's own. */
  const attributes = () => ({
    role: "combobox", "aria-autocomplete": "list", "aria-controls": "suggestions",
    "aria-expanded": String(items.length > 0),
    "aria-activedescendant": at >= 0 ? `suggestion-${at}` : null,
    onkeydown, onblur: close,
  });

  // The pointer must not take the focus, whose loss closes the list before the click.
  const list = () => h("div", { class: "suggestions", hidden: !items.length, onmousedown: (event) => event.preventDefault() },
    h("ul", { id: "suggestions", role: "listbox", "aria-label": "Suggestions" },
      items.map((text, nth) => h("li", { key: text, id: `suggestion-${nth}`, role: "option", "aria-selected": String(nth === at), onclick: () => choose(text) }, text))),
    note ? h("p", { class: "warn-text small" }, note) : null);

  return { attributes, list, typed, close };
}

/** A text as a query that finds it: what would be syntax is written as a phrase. */
export function asQuery(text) {
  return SYNTAX.test(text) || /(^|\s)[-+!]|\b(AND|OR|NOT|IN)\b/.test(text) ? `"${text.replace(/[\\"]/g, " ").trim()}"` : text;
}
