// The parts of the cluster's view beside shards and workers.

import { h } from "./dom.js";
import { bytes, clock, count, counted, span, words } from "./format.js";

export function events(known) {
  return h("section", { class: "card events", key: "events", "aria-labelledby": "events-title" },
    h("h2", { id: "events-title" }, "Events"),
    known.length
      ? h("ol", { id: "events", tabindex: 0, "aria-labelledby": "events-title" }, [...known].reverse().map((event) => h("li", { key: event.id, class: event.level },
        h("time", { class: "dim" }, clock(event.at_ms)), h("i", { class: "dot" }),
        h("span", { class: "hidden-text" }, `${event.level}: `), h("span", null, event.text))))
      : h("p", { class: "dim" }, "Nothing has changed since this gateway started."));
}

export function shortages(status) {
  if (!status.shortages.length) return null;
  return h("section", { class: "notice bad", key: "shortages", "aria-label": "Shortages" },
    status.shortages.map((one) => h("p", { key: `${one.where} ${one.resource}` },
      h("b", null, `${one.resource} of ${one.where} is ${words(one.state)}`), ` since ${clock(one.since_ms)}: ${one.detail}`)));
}

function rows(pairs) {
  return h("dl", { class: "pairs" }, pairs.map(([name, value, more]) => [
    h("dt", { key: `${name} name` }, name), h("dd", { key: name, class: more ?? "" }, value)]));
}

export function admission(status) {
  const { admission: one, requests, answers, loop } = status.gateway;
  const inFlight = Object.values(one.in_flight).reduce((sum, num) => sum + num, 0);
  const refused = Object.entries(one.refused)
    .map(([cause, counts]) => [cause, Object.values(counts).reduce((sum, num) => sum + num, 0)])
    .filter(([, num]) => num);
  const worst = Math.max(0, ...one.forecast_ms);
  return h("section", { class: "card", key: "admission", "aria-labelledby": "admission-title" },
    h("h2", { id: "admission-title" }, "Admission"),
    rows([
      ["searches in flight", one.enabled ? `${count(inFlight)} of ${count(one.limit)}` : `${count(inFlight)}, no limit`],
      ...Object.entries(one.profiles).map(([name, its]) => [`… of ${name}`, `${count(its.in_flight)} of ${count(its.limit)}`]),
      ["longest wait in a queue", `${worst} ms`, worst > 100 ? "warn-text" : ""],
      ["refused since the start", refused.length ? refused.map(([cause, num]) => `${count(num)} ${words(cause)}`).join(", ") : "none"],
      ["other requests", `${count(requests.in_flight)} of ${count(requests.limit)}`],
      ["answers not read yet", bytes(answers.held_bytes)],
      ["gateway’s worst loop lag", `${loop.max_lag_ms.toFixed(0)} ms`, loop.lags ? "warn-text" : ""],
    ]));
}

export function hedges(status) {
  const { search, fetch } = status.gateway.hedges;
  const names = { sent: "sent", won: "answered first", lost_before_start: "not started", lost_while_running: "ran in vain", refused: "over budget" };
  return h("section", { class: "card", key: "hedges", "aria-labelledby": "hedges-title" },
    h("h2", { id: "hedges-title" }, "Second copies"),
    h("table", { class: "plain" },
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "since the start"), h("th", { scope: "col", class: "num" }, "searches"), h("th", { scope: "col", class: "num" }, "fetches"))),
      h("tbody", null, Object.entries(names).map(([name, text]) => h("tr", { key: name },
        h("th", { scope: "row" }, text), h("td", { class: "num" }, count(search[name])), h("td", { class: "num" }, count(fetch[name])))))));
}

export function quarantine(status, onRelease) {
  return h("section", { class: "card", key: "quarantine", "aria-labelledby": "quarantine-title" },
    h("h2", { id: "quarantine-title" }, "Quarantine"),
    status.quarantine.length
      ? h("table", { class: "plain" },
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "query"), h("th", { scope: "col", class: "num" }, "kills"), h("th", { scope: "col" }, "until"), h("th", { scope: "col" }, ""))),
        h("tbody", null, status.quarantine.map((one) => h("tr", { key: one.fingerprint },
          h("td", null, h("code", null, one.query), h("span", { class: "dim small" }, one.workers.join(", "))),
          h("td", { class: "num" }, one.kills),
          h("td", null, clock(one.until_ms), h("span", { class: `small ${one.refused ? "bad-text" : "dim"}` }, one.refused ? "refused" : "may run")),
          h("td", null, h("button", { type: "button", "aria-label": `Release ${one.query}`, onclick: () => onRelease(one) }, "Release"))))))
      : h("p", { class: "dim" }, "No query has killed a scorer."));
}

export function snapshots(status, onSnapshot) {
  const made = status.snapshots.filter((one) => one.id || one.error || one.is_running);
  const now = Date.now();
  return h("section", { class: "card", key: "snapshots", "aria-labelledby": "snapshots-title" },
    h("div", { class: "card-head" },
      h("h2", { id: "snapshots-title" }, "Snapshots"),
      h("button", { type: "button", id: "snapshot", onclick: onSnapshot }, "Make snapshots")),
    made.length
      ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "snapshots-title" }, h("table", { class: "plain" },
        h("thead", null, h("tr", null, h("th", { scope: "col", class: "num" }, "shard"), h("th", { scope: "col" }, "made"), h("th", { scope: "col", class: "num" }, "documents"), h("th", { scope: "col", class: "num" }, "size"), h("th", { scope: "col" }, ""))),
        h("tbody", null, made.map((one) => h("tr", { key: one.shard },
          h("th", { scope: "row", class: "num" }, one.shard),
          h("td", null, one.made_at_ms ? `${span(Math.max(0, now - one.made_at_ms))} ago` : "–"),
          h("td", { class: "num" }, one.documents === null ? "–" : count(one.documents)),
          h("td", { class: "num" }, one.bytes === null ? "–" : bytes(one.bytes)),
          h("td", { class: one.error ? "bad-text" : "dim" }, one.error || (one.is_running ? "running" : ""))))))) 
      : h("p", { class: "dim" }, "There is none."));
}

export function access(status) {
  const { most_refused: most, refused } = status.gateway.addresses;
  if (!refused) return null;
  return h("section", { class: "card", key: "addresses", "aria-labelledby": "addresses-title" },
    h("h2", { id: "addresses-title" }, "Addresses over their share"),
    h("p", null, `${counted(refused, "request")} refused; `,
      most.map((one, at) => [at ? ", " : "", h("code", null, one.address || "others"), ` ${count(one.refused)}`])));
}
