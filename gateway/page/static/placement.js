// The placement: which worker should serve which shard, and what moves.

import { h } from "./dom.js";
import { byName, count, counted, ranges, span } from "./format.js";

/** The card; nothing where no worker has joined. `most` is the largest number of moves seen since all was settled. */
export function placement(known, most) {
  if (!known?.workers.length) return null;
  const workers = [...known.workers].sort((a, b) => byName(a.id, b.id));
  return h("section", { class: "card", key: "placement", "aria-labelledby": "placement-title" },
    h("h2", { id: "placement-title" }, "Placement ", h("span", { class: "dim" }, summary(known))),
    known.split ? split(known.split) : null,
    known.moves.length && !known.is_settled ? progress(most - known.moves.length, most, "moves done") : null,
    known.moves.length ? h("ul", { class: "moves", id: "moves" }, known.moves.map(move)) : null,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "placement-title" },
      h("table", { class: "plain", id: "placement" },
        h("thead", null, h("tr", null,
          h("th", { scope: "col" }, "worker"),
          h("th", { scope: "col" }, "is"),
          h("th", { scope: "col" }, "shards"),
          h("th", { scope: "col" }, "joining"))),
        h("tbody", null, workers.map((worker) => row(worker, known.shards))))));
}

function summary({ version, replicas, moves, is_settled: isSettled }) {
  const left = counted(moves.length, "move");
  // What waits though nothing moves needs snapshots.
  const moving = moves.length ? `${left} ${isSettled ? "without a snapshot (snapshots.url)" : "to go"}` : "nothing moves";
  return `version ${version} · ${counted(replicas, "replica")} · ${moving}`;
}

/** A split in progress: its state, what it waits for, and how many old shards are copied. */
function split(one) {
  const { from_shards: from, to_shards: to, copied_shards: copied } = one;
  return h("div", { id: "split" },
    h("p", null, `split from ${counted(from, "shard")} to ${count(to)}: `, h("b", null, one.state),
      h("span", { class: "dim" }, one.waits_for ? `, waits for ${one.waits_for}` : "")),
    one.fell_back ? h("p", { class: "warn-text small" }, one.fell_back) : null,
    one.state === "copying" ? progress(copied, from, "shards copied or left to clones") : null);
}

function progress(done, most, what) {
  const text = `${done} of ${most} ${what}`;
  return h("div", { class: "progress" },
    h("svg", { class: "cover", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": text },
      h("rect", { class: "cover-good", x: 0, y: 0, width: (100 * done) / most, height: 10 })),
    h("span", { class: "dim" }, text));
}

function move(one) {
  const [text, tone] = stage(one);
  return h("li", { key: `${one.shard} ${one.worker}` },
    h("span", null, "shard ", h("b", null, one.shard), ` to ${one.worker}`,
      h("span", { class: "dim" }, one.replaces ? `, for ${one.replaces}` : ", as one more")),
    h("span", { class: `${tone}-text` }, text));
}

/** How far a move is, in words. */
function stage({ state, behind, error }) {
  if (error) return [`failed, will try again: ${error}`, "bad"];
  if (state === "waiting") return ["waits", "dim"];
  if (behind === null || behind === undefined) return ["restores", "warn"];
  return [behind ? `catches up: ${counted(behind, "entry", "entries")} to go` : "is ready", "good"];
}

function row(worker, shards) {
  const of = (role) => ranges(shards.filter((shard) => shard[role].includes(worker.id)).map((shard) => shard.shard));
  const [text, tone] = is(worker);
  return h("tr", { key: worker.id, "data-worker": worker.id },
    h("th", { scope: "row" }, worker.id, worker.zone ? h("span", { class: "dim small" }, worker.zone) : null),
    h("td", null, h("span", { class: `tag ${tone}` }, text)),
    h("td", null, of("owners") || "–", worker.serves < worker.owns
      ? h("span", { class: "warn-text small" }, `serves ${count(worker.serves)} of them`) : null),
    h("td", null, of("joining") || "–"));
}

function is(worker) {
  if (!worker.live) return [`lost for ${span(worker.lost_for_s * 1000)}`, "bad"];
  if (worker.drained) return ["drained", "good"];
  return worker.draining ? ["draining", "warn"] : ["live", "good"];
}
