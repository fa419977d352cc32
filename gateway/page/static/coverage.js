// The view of what coverage each deadline buys, from this gateway's own queries.

import { Failure, call } from "./api.js";
import { h, patch } from "./dom.js";
import { count, ms, percent } from "./format.js";

/** A deadline as it was chosen: 45 ms, 12.5 ms. */
const whole = (value) => `${Number(value.toPrecision(6))} ms`;

const WIDTH = 640;
const HEIGHT = 240;
const EVERY_MS = 5000;
const MARKS = [0.5, 0.9, 0.95, 0.99, 0.999];

export function coverageView(root, parameters) {
  const abort = new AbortController();
  const state = { collections: null, collection: parameters.get("collection"), deadline: null, curve: null, failure: null };
  let timer = 0;

  const render = () => patch(root, failure(), controls(), state.curve ? [sentenceCard(), picture(), table()] : null);
  const change = (members) => { Object.assign(state, members); render(); };

  async function load() {
    try {
      if (!state.collections) {
        const { collections } = await call("GET", "v1/collections", undefined, abort.signal);
        const known = collections.some((one) => one.name === state.collection);
        change({ collections, collection: known ? state.collection : collections[0]?.name ?? null });
      }
      await refresh();
    } catch (error) {
      if (abort.signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      change({ failure: error });
    }
  }

  async function refresh() {
    clearTimeout(timer);
    if (!state.collection) return;
    const asked = state.deadline ? `?deadline_ms=${state.deadline}` : "";
    const path = `v1/collections/${encodeURIComponent(state.collection)}/coverage-curve${asked}`;
    try {
      const curve = await call("GET", path, undefined, abort.signal);
      if (abort.signal.aborted) return;
      change({ curve, failure: null, deadline: curve.deadline_ms });
    } finally {
      if (!abort.signal.aborted) timer = setTimeout(load, EVERY_MS);
    }
  }

  function failure() {
    return h("div", { key: "failure", class: state.failure ? "notice bad" : "", role: "alert" }, state.failure?.message ?? "");
  }

  function controls() {
    const empty = state.collections?.length === 0;
    return h("form", { key: "controls", class: "ask card", onsubmit: (event) => { event.preventDefault(); load(); } },
      empty ? h("p", { class: "dim" }, "There is no collection yet. gateway index loads documents into one.")
        : h("div", { class: "ask-grid" },
          h("label", { class: "field" }, h("span", null, "Collection"),
            h("select", { id: "collection", value: state.collection ?? "", onchange: (event) => { change({ collection: event.target.value, curve: null }); load(); } },
              (state.collections ?? []).map((one) => h("option", { key: one.name, value: one.name }, `${one.name} (${count(one.documents)})`)))),
          h("label", { class: "field" }, h("span", null, "Deadline, in ms"),
            h("input", { type: "number", id: "deadline", min: 1, step: "any", value: state.deadline ?? "", onchange: (event) => { if (event.target.valueAsNumber > 0) { change({ deadline: event.target.valueAsNumber }); load(); } } }))));
  }

  function sentenceCard() {
    const { coverage, deadline_ms: deadline } = state.curve;
    return h("section", { key: "sentence", class: "card sentence" },
      coverage === null ? null : h("p", { class: "big" }, h("b", null, percent(coverage)), h("span", { class: "dim" }, ` of the documents by ${whole(deadline)}`)),
      h("p", { id: "sentence" }, sentence(state.curve)));
  }

  render();
  load();
  return () => { abort.abort(); clearTimeout(timer); };

  function picture() {
    const { points, deadline_ms: deadline, coverage, gain } = state.curve;
    if (!points.length) return null;
    const first = Math.min(points[0].deadline_ms, deadline) / 1.3;
    const last = Math.max(points.at(-1).deadline_ms, deadline + (gain?.extra_ms ?? 0)) * 1.15;
    const x = (at) => (Math.log(at / first) / Math.log(last / first)) * WIDTH;
    const y = (share) => HEIGHT - share * HEIGHT;
    const curve = points.map((one) => `L${x(one.deadline_ms).toFixed(1)},${y(one.coverage).toFixed(1)}`).join("");
    const end = `${x(points.at(-1).deadline_ms).toFixed(1)}`;
    const ticks = ticksBetween(first, last);
    const share = (at) => `${((x(at) / WIDTH) * 100).toFixed(2)}%`;
    return h("section", { key: "curve", class: "card", "aria-labelledby": "curve-title" },
      h("h2", { id: "curve-title" }, "Coverage by deadline"),
      h("div", { class: "curve-box" },
        [1, 0.75, 0.5, 0.25, 0].map((one) => h("span", { key: one, class: `curve-y y${one * 100} dim` }, percent(one, 0))),
        h("svg", { class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${coverage === null ? "" : `${percent(coverage)} by ${whole(deadline)}. `}${sentence(state.curve)}` },
          h("path", { class: "grid", d: [0, 0.25, 0.5, 0.75, 1].map((one) => `M0,${y(one)}H${WIDTH}`).join("") + ticks.map((at) => `M${x(at)},0V${HEIGHT}`).join("") }),
          h("path", { class: "area good", d: `M${x(points[0].deadline_ms)},${HEIGHT}${curve}L${end},${HEIGHT}Z` }),
          h("path", { class: "line good", d: `M${x(points[0].deadline_ms)},${HEIGHT}${curve}` }),
          h("path", { class: "line beyond", d: `M${end},${y(points.at(-1).coverage)}H${WIDTH}` }),
          gain ? h("path", { class: "gain", d: `M${x(deadline + gain.extra_ms)},0V${HEIGHT}` }) : null,
          h("path", { class: "deadline", d: `M${x(deadline)},0V${HEIGHT}` })),
        h("svg", { class: "curve-x", role: "presentation", "aria-hidden": "true" },
          ticks.map((at) => h("text", { key: at, x: share(at), y: 12, class: "tick" }, at >= 1000 ? `${at / 1000} s` : `${Number(at.toPrecision(2))} ms`)))),
      h("p", { class: "legend" },
        h("span", null, h("i", { class: "swatch deadline" }), `deadline ${whole(deadline)}`),
        gain ? h("span", null, h("i", { class: "swatch gain" }), `${Math.ceil(gain.extra_ms)} ms more: ${percent(gain.coverage)}`) : null,
        h("span", { class: "dim" }, "late replies count by when they came; the scale is logarithmic")));
  }

  function table() {
    const { points } = state.curve;
    if (!points.length) return null;
    const best = points.at(-1);
    const rows = MARKS.map((share) => [share, points.find((one) => one.coverage >= share)]).filter(([, point]) => point);
    return h("section", { key: "table", class: "card", "aria-labelledby": "marks-title" },
      h("h2", { id: "marks-title" }, "Deadlines to choose from"),
      h("table", { class: "plain" },
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "for a coverage of"), h("th", { scope: "col", class: "num" }, "deadline"))),
        h("tbody", null,
          rows.map(([share, point]) => h("tr", { key: share }, h("th", { scope: "row" }, percent(share)), h("td", { class: "num" }, ms(point.deadline_ms)))),
          h("tr", { key: "best" }, h("th", { scope: "row" }, `${percent(best.coverage)}, the most that was seen`), h("td", { class: "num" }, ms(best.deadline_ms))))));
  }
}

/** How much coverage more time would give, in one sentence. */
export function sentence(curve) {
  if (curve.coverage === null) return "No query has been measured yet.";
  if (!curve.gain) return `More time than ${whole(curve.deadline_ms)} would give nothing, as far as is known.`;
  return `${Math.ceil(curve.gain.extra_ms)} ms more would give ${percent(curve.gain.coverage).replace(".0 %", " %")}.`;
}

function ticksBetween(first, last) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(first)); power < last; power *= 10) {
    for (const step of last / first > 100 ? [1, 3] : [1, 2, 5]) {
      const at = step * power;
      if (at > first * 1.05 && at < last / 1.05) found.push(at);
    }
  }
  return found;
}
