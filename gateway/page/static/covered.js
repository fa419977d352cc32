// What share of the documents an answer is from, and why the rest is missing.

import { h } from "./dom.js";
import { count, counted, ms, percent, tone, words } from "./format.js";

export function coverage(answer) {
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
      h("span", null, why(details.filter((one) => one.outcome === (outcome === "enough" ? "cancelled" : outcome))))))) : null,
    answer.legs ? h("ul", { class: "reasons legs", "aria-label": "Legs" }, Object.entries(answer.legs).map(leg)) : null);
}

/** What one leg of a hybrid search has searched; why it is not in the answer, if it is not. */
function leg([name, one]) {
  const { fraction } = one.coverage;
  const isWhole = fraction >= 1 && !one.left_out;
  return h("li", { key: name },
    h("span", { class: `tag ${isWhole ? "good" : "warn"}` }, words(name)),
    h("span", null, one.left_out
      ? `left out: ${one.left_out}`
      : `coverage ${percent(fraction)}, ${one.shards.ok} of ${counted(one.shards.total, "shard")}${one.shards.skipped ? ` (${one.shards.skipped} skipped: no match)` : ""}; ${counted(one.candidates, "candidate")} in ${ms(one.took_ms)}`));
}

/** The reasons of shards that ended alike, and which shards. */
function why(details) {
  const shards = Map.groupBy(details, (one) => one.reason || words(one.outcome));
  return [...shards].map(([reason, those]) => `${those.length === 1 ? "shard" : "shards"} ${those.map((one) => one.shard).join(", ")}: ${reason}`).join("; ");
}
