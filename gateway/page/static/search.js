// The view of a search: what is asked, the hits, what share of the documents they are from and why,
// and the same request for other clients.

import { Failure, call, hasKey } from "./api.js";
import { h, patch, say } from "./dom.js";
import { chosenFilters, combined, facetPanel, survey, wantedFacets } from "./facets.js";
import { count, counted, ms, percent, tone, words } from "./format.js";
import { TEXTS, TITLES, sortable, suggested } from "./schema.js";
import { asCommand, asCurl, asPython } from "./snippets.js";
import { asQuery, suggestBox } from "./suggest.js";
import { timeline } from "./timeline.js";

const DEADLINES = [5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000, 30000];
const WIDE = matchMedia("(min-width: 1081px)");
const SNIPPETS = { curl: asCurl, Python: asPython, CLI: asCommand };

export function searchView(root, parameters) {
  const abort = new AbortController();
  const state = {
    collections: null,
    collection: parameters.get("collection"),
    query: parameters.get("q") ?? "",
    profile: "",
    filter: "",
    chosen: [], // filters that were chosen from facets
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

  const bodyOf = (facets) => ({
    query: state.query, k: state.k, deadline_ms: state.deadline, rank_profile: state.profile || null,
    filter: combined(state.filter, state.chosen), minimum_coverage: state.minimum, explain: true,
    ...(Object.keys(facets).length ? { facets } : {}),
    ...(state.sort ? { sort: [Object.fromEntries([state.sort.split(" ")])] } : {}),
  });

  /** Search; without facets if it cannot have any, as with a profile that reads no index. */
  async function send(body, signal) {
    const path = `${pathOf(state.collection)}/search`;
    change({ asked: { collection: state.collection, body }, facetsRefusal: "" });
    try {
      return await call("POST", path, body, signal);
    } catch (error) {
      if (!body.facets || error.status !== 400 || !/^facets\b/.test(error.problem.field ?? "")) throw error;
      const { facets, ...rest } = body;
      change({ asked: { collection: state.collection, body: rest }, facetsRefusal: error.message });
      return call("POST", path, rest, signal);
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
    const others = state.chosen.filter((one) => one.clause !== choice.clause);
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
      h("div", { class: "ask-grid" },
        h("label", { class: "field" }, h("span", null, "Collection"),
          h("select", { id: "collection", value: state.collection ?? "", onchange: (event) => change({ collection: event.target.value, profile: "", chosen: [], sort: "" }) },
            (state.collections ?? []).map((one) => h("option", { key: one.name, value: one.name }, `${one.name} (${count(one.documents)})`)))),
        h("label", { class: "field" }, h("span", null, "Profile"),
          h("select", { id: "profile", value: state.profile, onchange: (event) => { change({ profile: event.target.value }); again(); } },
            h("option", { key: "", value: "" }, collection ? `the collection’s: ${collection.rank_profile}` : "the collection’s"),
            (collection?.rank_profiles ?? []).map((one) => h("option", { key: one, value: one }, one)))),
        h("label", { class: "field wide" }, h("span", null, "Filter"),
          h("input", { type: "text", id: "filter", value: state.filter, placeholder: "price:>=10", autocomplete: "off", spellcheck: "false", oninput: (event) => { state.filter = event.target.value; } })),
        h("label", { class: "field" }, h("span", null, "Sort by"),
          h("select", { id: "sort", value: state.sort, onchange: (event) => { change({ sort: event.target.value }); again(); } },
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
    // A filter that was typed is in brackets if others were chosen.
    const before = problem.field === "filter" && state.chosen.length ? 1 : 0;
    const where = typeof problem.position === "number" ? ` (at character ${problem.position - before})` : "";
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

function coverage(answer) {
  const { fraction, documents, documents_total: total, degraded } = answer.coverage;
  const reasons = Object.entries(degraded);
  const numMissing = reasons.reduce((sum, [, shards]) => sum + shards, 0);
  const missing = (1 - fraction) * 100;
  let at = fraction * 100;
  const parts = reasons.map(([outcome, shards]) => {
    const width = (missing * shards) / numMissing;
    const rect = h("rect", { key: outcome, class: `cover-${tone(outcome)}`, x: at, y: 0, width, height: 10 });
    at += width;
    return rect;
  });
  const details = answer.shards.detail.filter((one) => one.outcome !== "ok" && one.outcome !== "skipped");
  return h("section", { key: "coverage", class: "card coverage-card", "aria-labelledby": "coverage-title" },
    h("div", { class: "coverage-line" },
      h("h2", { id: "coverage-title" }, "Coverage ", h("b", { class: fraction >= 1 && !numMissing ? "good-text" : "warn-text" }, percent(fraction))),
      h("span", { class: "dim" }, `${count(documents)} of ${counted(total, "document")}, ${answer.shards.ok} of ${counted(answer.shards.total, "shard")}${answer.shards.skipped ? ` (${answer.shards.skipped} skipped: no match)` : ""}${answer.coverage.exact ? "; the hits are exact" : ""}; ${ms(answer.took_ms)} of ${ms(answer.deadline_ms)}`)),
    h("svg", { class: "cover", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": `${percent(fraction)} of the documents were searched` },
      h("rect", { class: "cover-good", x: 0, y: 0, width: fraction * 100, height: 10 }), parts),
    reasons.length ? h("ul", { class: "reasons" }, reasons.map(([outcome, shards]) => h("li", { key: outcome },
      h("span", { class: `tag ${tone(outcome)}` }, `${words(outcome)} ${shards}`),
      h("span", null, why(details.filter((one) => one.outcome === (outcome === "enough" ? "cancelled" : outcome))))))) : null);
}

/** The reasons of shards that ended alike, and which shards. */
function why(details) {
  const shards = Map.groupBy(details, (one) => one.reason || words(one.outcome));
  return [...shards].map(([reason, those]) => `${those.length === 1 ? "shard" : "shards"} ${those.map((one) => one.shard).join(", ")}: ${reason}`).join("; ");
}

function hit(one) {
  const stored = one.fields;
  const strings = Object.entries(stored ?? {}).filter(([name, value]) => name !== "id" && typeof value === "string" && value);
  const first = (names) => names.find((name) => strings.some(([known]) => known === name));
  const title = first(TITLES) ?? strings[0]?.[0];
  const text = first(TEXTS.filter((name) => name !== title)) ?? strings.find(([name]) => name !== title)?.[0];
  const rest = Object.entries(stored ?? {}).filter(([name]) => !["id", title, text].includes(name));
  return h("li", { key: `${one.shard} ${one.id}` },
    h("div", { class: "hit-head" },
      h("h3", null, title ? stored[title] : one.id),
      h("span", { class: "dim num" }, one.sort ? sortText(one.sort) : one.score.toFixed(4))),
    text ? h("p", { class: "hit-text" }, stored[text]) : null,
    h("p", { class: "hit-end" },
      h("code", null, one.id), h("span", { class: "dim" }, ` shard ${one.shard}`),
      stored === null ? h("span", { class: "warn-text" }, " no fields") : null,
      rest.slice(0, 8).map(([name, value]) => h("span", { class: "pair", key: name },
        h("span", { class: "dim" }, name), ` ${typeof value === "string" ? value : JSON.stringify(value)}`))));
}

/** The values by which a hit was sorted. */
const sortText = (values) => values.map((one) => (one === null ? "no value" : String(one))).join(", ");

/** Copy, also where the page is not served from this machine or by TLS, and has no clipboard. */
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  getSelection().selectAllChildren(document.getElementById("snippet"));
  document.execCommand("copy");
}
