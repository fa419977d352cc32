// The view of a search: what is asked, the hits, what share of the documents they are from and why,
// and the same request for other clients.

import { Failure, call, hasKey } from "./api.js";
import { coverage } from "./covered.js";
import { h, patch, say } from "./dom.js";
import { chosenFilters, facetPanel, refined, survey, wantedFacets } from "./facets.js";
import { count, counted, ms, percent } from "./format.js";
import { hit } from "./hits.js";
import { RANKINGS, embedded, sortable, suggested } from "./schema.js";
import { asCommand, asCurl, asPython } from "./snippets.js";
import { asQuery, suggestBox } from "./suggest.js";
import { timeline } from "./timeline.js";

const DEADLINES = [5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000, 30000];
const WIDE = matchMedia("(min-width: 1081px)");
const HIGHLIGHT = { snippets: 3, snippet_chars: 200 };
const SPARED = ["facets", "highlight", "did_you_mean"];
const SNIPPETS = { curl: asCurl, Python: asPython, CLI: asCommand };

export function searchView(root, parameters) {
  const abort = new AbortController();
  const state = {
    collections: null,
    collection: parameters.get("collection"),
    query: parameters.get("q") ?? "",
    profile: "",
    filter: "",
    chosen: [], // values that were chosen from facets
    ranking: "text", // by text, by vector, or by both
    sort: "", // a field and its direction; "" for the best first
    isCounting: WIDE.matches, // on a phone, the hits come first
    surveys: {}, // what the survey of each collection has found
    facetsRefusal: "",
    k: 10,
    deadlines: DEADLINES,
    deadline: 300,
    minimum: 0,
    isBusy: false,
    asked: null, // the body of the last search, and its collection
    answer: null,
    failure: null,
    snippet: "curl",
    copied: false,
  };
  let latest = null; // aborts a search that another has replaced
  const box = suggestBox({
    ask: (prefix, size, signal) => {
      const field = suggested(described());
      if (!field) return { suggestions: [], coverage: { is_full: true } };
      return call("GET", `${pathOf(state.collection)}/suggest?${new URLSearchParams({ field, prefix, size })}`, undefined, signal);
    },
    change: () => render(),
    pick: (text) => { change({ query: asQuery(text) }); search(); },
  });

  const render = () => patch(root, form(), failure(), state.answer ? results() : hint());
  const change = (members) => { Object.assign(state, members); render(); };

  async function load() {
    try {
      const { collections } = await call("GET", "v1/collections", undefined, abort.signal);
      const known = collections.some((one) => one.name === state.collection);
      change({ collections, collection: known ? state.collection : collections[0]?.name ?? null });
      if (state.collection) await loadDeadline();
      if (state.query && state.collection) await search();
    } catch (error) { fail(error); }
  }

  /** The deadline of searches that name none: the slider begins there. */
  async function loadDeadline() {
    const { deadline_ms: deadline } = await call("GET", `${pathOf(state.collection)}/coverage-curve`, undefined, abort.signal);
    const deadlines = [...new Set([...DEADLINES, deadline])].sort((a, b) => a - b);
    change({ deadlines, deadline });
  }

  async function search() {
    latest?.abort();
    latest = new AbortController();
    const { signal } = latest;
    box.close();
    const parameters = new URLSearchParams({ collection: state.collection, q: state.query });
    history.replaceState(null, "", `#search?${parameters}`);
    change({ isBusy: true, failure: null, asked: { collection: state.collection, body: bodyOf({}) } });
    try {
      const facets = state.isCounting ? await facetsToAsk(signal) : {};
      const answer = await send(bodyOf(facets), signal);
      change({ answer, isBusy: false });
      say(`${counted(answer.hits.length, "hit")}, coverage ${percent(answer.coverage.fraction)}`);
    } catch (error) {
      if (signal.aborted || abort.signal.aborted) return;
      // Below the minimum coverage, the problem has what was found.
      state.answer = error.problem?.coverage ? error.problem : null;
      state.isBusy = false;
      fail(error);
    }
  }

  function bodyOf(facets) {
    const { ranking } = state;
    const vector = { field: embedded(described()) };
    return {
      query: state.query, k: state.k, deadline_ms: state.deadline, rank_profile: state.profile || null,
      filter: state.filter, minimum_coverage: state.minimum, explain: true,
      ...(ranking === "text" ? { did_you_mean: true } : { vector }),
      ...(ranking === "hybrid" ? { hybrid: {} } : {}),
      ...(ranking === "vector" ? {} : { highlight: HIGHLIGHT }), // a vector has no words to mark
      ...(Object.keys(facets).length ? { facets } : {}),
      ...(state.chosen.length ? { refine: refined(state.chosen) } : {}),
      ...(state.sort && ranking === "text" ? { sort: [Object.fromEntries([state.sort.split(" ")])] } : {}),
    };
  }

  /** Search; without what it can do without and cannot have, as with a profile that reads no index. */
  async function send(body, signal) {
    const path = `${pathOf(state.collection)}/search`;
    change({ asked: { collection: state.collection, body }, facetsRefusal: "" });
    try {
      return await call("POST", path, body, signal);
    } catch (error) {
      const refused = SPARED.find((name) => name in body && new RegExp(`^${name}\\b`).test(error.problem?.field ?? ""));
      if (!refused || error.status !== 400) throw error;
      const { [refused]: _, ...rest } = body;
      const answer = await send(rest, signal);
      if (refused === "facets") change({ facetsRefusal: error.message });
      return answer;
    }
  }

  async function facetsToAsk(signal) {
    const { collection, surveys } = state;
    if (!surveys[collection]) {
      const body = survey(described(), state.deadline);
      // A survey that fails is made again with the next search, which says what is wrong.
      const answer = body && await call("POST", `${pathOf(collection)}/search`, body, signal).catch((error) => {
        if (error instanceof Failure) return null;
        throw error;
      });
      if (body && !answer) return {};
      surveys[collection] = wantedFacets(described(), answer?.facets ?? {});
    }
    return surveys[collection];
  }

  function toggle(choice) {
    const others = state.chosen.filter((one) => one.key !== choice.key);
    change({ chosen: others.length < state.chosen.length ? others : [...others, choice] });
    again();
  }

  function openFacets(isCounting) {
    if (isCounting === state.isCounting) return;
    change({ isCounting });
    if (isCounting) again();
  }

  function fail(error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Failure)) throw error;
    change({ failure: error });
    say(error.message);
  }

  function again() {
    if (state.asked) search();
  }

  const described = () => state.collections?.find((one) => one.name === state.collection);

  function form() {
    const collection = described();
    const submit = (event) => { event.preventDefault(); if (state.collection) search(); };
    return h("form", { class: "ask card", key: "form", role: "search", onsubmit: submit },
      h("div", { class: "ask-line" },
        h("div", { class: "grow suggest-box" },
          h("label", { class: "field" }, h("span", null, "Query"),
            h("input", { type: "search", id: "query", value: state.query, placeholder: "words, “a phrase”, field:word", autocomplete: "off", spellcheck: "false", ...box.attributes(), oninput: (event) => { state.query = event.target.value; box.typed(state.query); } })),
          box.list()),
        h("button", { type: "submit", class: "main", disabled: !state.collection }, state.isBusy ? "Searching…" : "Search")),
      h("div", { class: embedded(collection) ? "ask-grid ranked" : "ask-grid" },
        h("label", { class: "field" }, h("span", null, "Collection"),
          h("select", { id: "collection", value: state.collection ?? "", onchange: (event) => change({ collection: event.target.value, profile: "", chosen: [], sort: "", ranking: "text" }) },
            (state.collections ?? []).map((one) => h("option", { key: one.name, value: one.name }, `${one.name} (${count(one.documents)})`)))),
        h("label", { class: "field" }, h("span", null, "Profile"),
          h("select", { id: "profile", value: state.profile, onchange: (event) => { change({ profile: event.target.value }); again(); } },
            h("option", { key: "", value: "" }, collection ? `the collection’s: ${collection.rank_profile}` : "the collection’s"),
            (collection?.rank_profiles ?? []).map((one) => h("option", { key: one, value: one }, one)))),
        embedded(collection) ? h("label", { class: "field", key: "ranking" }, h("span", null, "Rank by"),
          h("select", { id: "ranking", value: state.ranking, onchange: (event) => { change({ ranking: event.target.value }); again(); } },
            Object.entries(RANKINGS).map(([name, label]) => h("option", { key: name, value: name }, label)))) : null,
        h("label", { class: "field wide" }, h("span", null, "Filter"),
          h("input", { type: "text", id: "filter", value: state.filter, placeholder: "price:>=10", autocomplete: "off", spellcheck: "false", oninput: (event) => { state.filter = event.target.value; } })),
        h("label", { class: "field" }, h("span", null, "Sort by"),
          h("select", { id: "sort", value: state.ranking === "text" ? state.sort : "", disabled: state.ranking !== "text", onchange: (event) => { change({ sort: event.target.value }); again(); } },
            h("option", { key: "", value: "" }, "score"),
            sortable(collection).flatMap(({ name }) => [["asc", "ascending"], ["desc", "descending"]].map(([order, said]) => (
              h("option", { key: `${name} ${order}`, value: `${name} ${order}` }, `${name}, ${said}`)))))),
        h("label", { class: "field narrow" }, h("span", null, "Hits"),
          h("input", { type: "number", id: "k", min: 1, value: state.k, oninput: (event) => { state.k = event.target.valueAsNumber || 10; } })),
        slider("deadline", "Deadline", ms(state.deadline), state.deadlines.indexOf(state.deadline), state.deadlines.length - 1,
          (at) => change({ deadline: state.deadlines[at] })),
        slider("minimum", "Minimum coverage", state.minimum ? percent(state.minimum, 0) : "none", Math.round(state.minimum * 20), 20,
          (at) => change({ minimum: at / 20 }))),
      collection ? fields(collection) : null);
  }

  function slider(id, name, text, value, max, take) {
    return h("label", { class: "field" },
      h("span", null, `${name}: `, h("b", null, text)),
      h("input", { type: "range", id, min: 0, max, step: 1, value, "aria-label": name, "aria-valuetext": text, oninput: (event) => take(event.target.valueAsNumber), onchange: again }));
  }

  function failure() {
    if (!state.failure) return h("div", { key: "failure", role: "alert" });
    const { problem } = state.failure;
    const where = typeof problem.position === "number" ? ` (at character ${problem.position})` : "";
    return h("div", { key: "failure", class: "notice bad", role: "alert" }, `${state.failure.message}${where}`);
  }

  function hint() {
    const text = state.collections === null ? "Loading the collections …"
      : state.collections.length === 0 ? "There is no collection yet. gateway index loads documents into one."
        : "Ask something: the answer comes by the deadline, and says what share of the documents it covers.";
    return h("p", { key: "hint", class: "hint" }, text);
  }

  function results() {
    const { answer } = state;
    const panel = facetPanel({
      collection: described(), asked: state.asked.body.facets ?? {}, answer, chosen: state.chosen,
      isOpen: state.isCounting, isBusy: state.isBusy, refusal: state.facetsRefusal, toggle, open: openFacets,
    });
    return h("div", { key: "results", class: state.isBusy ? "results busy" : "results" },
      coverage(answer),
      answer.did_you_mean ? meant(answer.did_you_mean) : null,
      answer.warnings.map((warning, at) => h("p", { key: `warning ${at}`, class: "notice warn" }, `Warning: ${warning}`)),
      (answer.fetch?.problems ?? []).map((one, at) => h("p", { key: `fetch ${at}`, class: "notice warn" }, `Fields of shard ${one.shard}: ${one.reason}`)),
      h("div", { class: panel ? "columns with-facets" : "columns", key: "columns" },
        panel,
        h("section", { class: "card hits", "aria-labelledby": "hits-title" },
          h("h2", { id: "hits-title" }, "Hits ", answer.shards.ok ? h("span", { class: "dim" }, found(answer)) : null),
          chosenFilters(state.chosen, toggle),
          answer.hits.length ? h("ol", null, answer.hits.map(hit)) : h("p", { class: "dim" }, answer.shards.ok ? "No hits." : "No shard has answered, so it is unknown whether there are any.")),
        h("div", null, timeline(answer), request())));
  }

  /** A query that finds more, to be asked by a press. */
  function meant(query) {
    const ask = () => { change({ query }); search(); };
    return h("p", { key: "meant", class: "notice" }, "Did you mean ",
      h("button", { type: "button", id: "meant", class: "as-link", onclick: ask }, query), "?");
  }

  function request() {
    const { collection, body } = state.asked;
    const base = new URL(".", location.href).href.replace(/\/$/, "");
    const text = SNIPPETS[state.snippet](base, collection, body, hasKey());
    const copy = async () => {
      await copyText(text);
      change({ copied: true });
      say("Copied.");
      setTimeout(() => change({ copied: false }), 1500);
    };
    return h("section", { class: "card", "aria-labelledby": "request-title" },
      h("h2", { id: "request-title" }, "The same request"),
      h("div", { class: "snippet-line" },
        h("div", { class: "choices", role: "group", "aria-label": "Client" },
          Object.keys(SNIPPETS).map((name) => h("button", { key: name, type: "button", "aria-pressed": String(state.snippet === name), onclick: () => change({ snippet: name }) }, name))),
        h("button", { type: "button", id: "copy", onclick: copy }, state.copied ? "Copied" : "Copy")),
      h("pre", { tabindex: 0, id: "snippet", "aria-label": `The request for ${state.snippet}` }, text));
  }

  render();
  load();
  const stop = () => { abort.abort(); latest?.abort(); box.close(); };
  stop.onHash = (given) => {
    const query = given.get("q");
    if (query !== null && query !== state.query) {
      change({ query, collection: given.get("collection") ?? state.collection });
      search();
    }
  };
  return stop;
}

const pathOf = (collection) => `v1/collections/${encodeURIComponent(collection)}`;

function fields(collection) {
  const known = Object.entries(collection.fields ?? {});
  if (!known.length) return null;
  const type = (one) => (typeof one === "string" ? one : one.weight ? `${one.type} ×${one.weight}` : one.type);
  return h("p", { class: "fields dim" }, "Fields: ",
    known.map(([name, one], at) => [at ? ", " : "", h("code", null, name), ` ${type(one)}`]));
}

function found(answer) {
  const { value, relation } = answer.total_hits;
  return `${count(value)}${relation === "eq" ? "" : "+"} found in ${ms(answer.took_ms)}`;
}

/** Copy, also where the page is not served from this machine or by TLS, and has no clipboard. */
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  getSelection().selectAllChildren(document.getElementById("snippet"));
  document.execCommand("copy");
}
