// Shards by workers, and the workers.

import { h } from "./dom.js";
import { byName, count, counted, span, tone, words } from "./format.js";

/** What a worker is to a shard: a sign, a class, and words. */
function role(worker, shard) {
  if (worker.gaps.includes(shard)) return ["✕", "bad", "has missed writes, and does not serve it"];
  if (worker.behind.includes(shard)) return ["◔", "warn", "is behind other replicas, and does not serve it yet"];
  if (worker.leaves.includes(shard)) return ["◌", "warn", "is on probation, and leaves its requests to others"];
  if (worker.shards.includes(shard)) return ["●", "good", "serves it"];
  return null;
}

export function shardGrid(status, onBreaker) {
  const workers = [...status.workers].sort((a, b) => byName(a.id, b.id));
  return h("section", { class: "card", key: "grid", "aria-labelledby": "grid-title" },
    h("h2", { id: "grid-title" }, "Shards ", h("span", { class: "dim" }, "by worker")),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "grid-title" },
      h("table", { class: "grid-table", id: "grid" },
        h("thead", null, h("tr", null,
          h("th", { scope: "col", class: "num" }, "shard"),
          h("th", { scope: "col" }, "breaker"),
          h("th", { scope: "col", class: "num" }, "backlog"),
          h("th", { scope: "col", class: "num" }, "lag"),
          h("th", { scope: "col", class: "num" }, "documents"),
          workers.map((worker) => h("th", { key: worker.id, scope: "col", class: "worker" }, worker.id)))),
        h("tbody", null, status.shards.map((shard) => gridRow(shard, workers, onBreaker))))),
    h("p", { class: "legend" },
      [["●", "good", "serves"], ["◔", "warn", "behind"], ["◌", "warn", "on probation"], ["✕", "bad", "has missed writes"]]
        .map(([sign, one, text]) => h("span", null, h("b", { class: `${one}-text` }, sign), ` ${text}`)),
      h("span", { class: "dim" }, "lag: log entries that a replica has yet to apply")));
}

function gridRow(shard, workers, onBreaker) {
  const lag = Math.max(0, ...workers.map((worker) => worker.log_backlog[shard.shard] ?? 0));
  const documents = Object.values(shard.documents).reduce((sum, one) => sum + one, 0);
  const own = Object.entries(shard.profile_breakers);
  return h("tr", { key: shard.shard, class: shard.workers.length ? "" : "lost", "data-shard": shard.shard },
    h("th", { scope: "row", class: "num" }, shard.shard),
    h("td", null, h("button", { type: "button", class: `tag ${tone(shard.breaker)}`, "aria-label": `Breaker of shard ${shard.shard}: ${words(shard.breaker)}. Set by hand`, onclick: () => onBreaker(shard) }, words(shard.breaker)),
      own.map(([profile, state]) => h("span", { key: profile, class: `${tone(state)}-text small` }, ` ${profile}: ${words(state)}`))),
    h("td", { class: `num ${shard.backlog ? "warn-text" : ""}` }, shard.backlog === null ? "?" : count(shard.backlog)),
    h("td", { class: `num ${lag ? "warn-text" : ""}` }, count(lag)),
    h("td", { class: "num" }, count(documents)),
    workers.map((worker) => {
      const [sign, one, text] = role(worker, shard.shard) ?? ["", "", ""];
      return h("td", { key: worker.id, class: `worker ${one}-text` }, sign
        ? h("span", { role: "img", "aria-label": `${worker.id} ${text}` }, sign) : null);
    }));
}

export function workerTable(status) {
  const workers = [...status.workers].sort((a, b) => byName(a.id, b.id));
  return h("section", { class: "card", key: "workers", "aria-labelledby": "workers-title" },
    h("h2", { id: "workers-title" }, "Workers"),
    workers.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "workers-title" },
      h("table", { class: "plain" },
        h("thead", null, h("tr", null,
          h("th", { scope: "col" }, "worker"), h("th", { scope: "col" }, "up"),
          h("th", { scope: "col" }, "scorers"), h("th", { scope: "col" }, "threads"),
          h("th", { scope: "col" }, "indexer"), h("th", { scope: "col", class: "num" }, "memory"),
          h("th", { scope: "col", class: "num" }, "worst loop lag"),
          h("th", { scope: "col", class: "num" }, "answered"))),
        h("tbody", null, workers.map(workerRow))))
      : h("p", { class: "dim" }, "No worker is alive."));
}

function workerRow(worker) {
  const { process, reading, thread, indexer, loop } = worker.lanes;
  return h("tr", { key: worker.id, "data-worker": worker.id },
    h("th", { scope: "row" }, worker.id,
      h("span", { class: "dim small" }, `pid ${worker.pid} on ${worker.host}`),
      worker.probation ? h("span", { class: "warn-text small" }, `on probation: ${worker.probation.reason}`) : null),
    h("td", null, span(worker.uptime_ms), worker.age_ms > 1500 ? h("span", { class: "warn-text small" }, `silent for ${span(worker.age_ms)}`) : null),
    h("td", null, places(process), scorerNotes(process)),
    h("td", null, places(thread), threadNotes(thread), h("span", { class: "dim small" }, `reading ${reading.busy}/${reading.capacity}`)),
    h("td", null, places(indexer)),
    h("td", { class: "num" }, memory(worker.memory_mb)),
    h("td", { class: `num ${loop.lags ? "warn-text" : ""}` }, `${loop.max_lag_ms.toFixed(0)} ms`),
    h("td", { class: "num" }, count(worker.ledger.answered.count)));
}

/** The memory of all processes of a worker, and of its scorers. */
function memory(byName) {
  const all = Object.values(byName ?? {}).reduce((sum, mb) => sum + mb, 0);
  if (!all) return "–";
  const { scorers } = byName;
  return [`${count(Math.round(all))} MB`, scorers ? h("span", { class: "dim small" }, `scorers ${count(Math.round(scorers))}`) : null];
}

/** A box for each place of a lane, filled if it is busy. */
function places(lane) {
  const alive = lane.alive ?? lane.capacity - (lane.lost ?? 0);
  const text = `${lane.busy} of ${lane.capacity} busy${lane.waiting ? `, ${lane.waiting} waiting` : ""}`;
  if (lane.capacity > 16) return h("span", null, `${lane.busy}/${lane.capacity}`);
  return h("span", { class: "places", role: "img", "aria-label": text },
    Array.from({ length: lane.capacity }, (_, at) => h("i", { class: at < lane.busy ? "busy" : at < alive ? "" : "gone" })),
    lane.waiting ? h("b", { class: "warn-text" }, `+${lane.waiting}`) : null);
}

function scorerNotes(lane) {
  const notes = ["restarts", "crashes", "killed", "recycled", "quarantined"]
    .filter((name) => lane[name]).map((name) => `${lane[name]} ${name}`);
  notes.unshift(`${(lane.service_us / 1000).toFixed(1)} ms a task`);
  return h("span", { class: "dim small" }, notes.join(", "));
}

function threadNotes(lane) {
  return lane.lost || lane.late
    ? h("span", { class: "warn-text small" }, `${lane.lost} lost, ${counted(lane.late, "late call")}`) : null;
}
