// What became of the time of each shard, drawn to scale, as `gateway query --explain` draws it.

import { h } from "./dom.js";
import { ms, tone, words } from "./format.js";

const KINDS = ["queue", "lane", "work", "reply", "silence"];
const NAMES = { queue: "queue", lane: "lane", work: "work", reply: "reply", silence: "no reply" };

/** The parts of a shard's time, in order, in µs: what the worker's times leave over is the way. */
export function segments(detail) {
  const known = detail.queue_us + detail.lane_us + detail.work_us;
  if (!known) {
    const kind = detail.outcome === "ok" ? "reply" : "silence";
    return detail.took_us ? [[kind, detail.took_us]] : [];
  }
  return [
    ["queue", detail.queue_us],
    ["lane", detail.lane_us],
    ["work", detail.work_us],
    ["reply", Math.max(0, detail.took_us - known)],
  ].filter(([, us]) => us > 0);
}

/** What the bar's whole width stands for: the deadline, or less if every shard was far quicker. */
export function scaleUs(details, deadlineUs) {
  const slowest = Math.max(0, ...details.map((detail) => segments(detail).reduce((sum, [, us]) => sum + us, 0)));
  if (slowest * 4 >= deadlineUs || slowest <= 0) return deadlineUs;
  const power = 10 ** Math.floor(Math.log10(slowest));
  return Math.min(deadlineUs, [1, 2, 5, 10].map((step) => step * power).find((step) => step >= slowest));
}

const WIDTH = 1000;

function bar(detail, scale) {
  let at = 0;
  const rects = segments(detail).map(([kind, us]) => {
    const width = Math.max((us / scale) * WIDTH, 1.5);
    const rect = h("rect", { class: `seg-${kind}`, x: at.toFixed(1), y: 0, width: width.toFixed(1), height: 10 });
    at += (us / scale) * WIDTH;
    return rect;
  });
  const said = segments(detail).map(([kind, us]) => `${NAMES[kind]} ${ms(us / 1000)}`).join(", ");
  return h("svg", { class: "bar", viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: "none", role: "img", "aria-label": said || "not asked" }, rects);
}

function about(detail) {
  const parts = [];
  if (detail.outcome !== "ok") parts.push(detail.reason || words(detail.outcome));
  if (detail.hedged_us) {
    parts.push(`a second copy left after ${ms(detail.hedged_us / 1000)}${detail.is_hedge ? ", which answered" : ""}`);
  }
  return parts.join("; ");
}

export function timeline(answer) {
  const details = answer.shards.detail.toSorted((a, b) => a.shard - b.shard);
  const deadlineUs = answer.deadline_ms * 1000;
  const scale = scaleUs(details, deadlineUs);
  return h("section", { class: "card", "aria-labelledby": "timeline-title" },
    h("h2", { id: "timeline-title" }, "Each shard’s time"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "timeline-title" },
      h("table", { class: "timeline" },
        h("thead", null, h("tr", null,
          h("th", { scope: "col", class: "num" }, "shard"),
          h("th", { scope: "col" }, "outcome"),
          h("th", { scope: "col", class: "axis" }, h("span", null, "0"), h("span", null, ms(scale / 1000))),
          h("th", { scope: "col", class: "num" }, "took"),
          h("th", { scope: "col" }, "breaker"))),
        h("tbody", null, details.map((detail) => [
          h("tr", { key: detail.shard },
            h("th", { scope: "row", class: "num" }, detail.shard),
            h("td", null, h("span", { class: `tag ${tone(detail.outcome)}` }, words(detail.outcome))),
            h("td", { class: "bar-cell" }, bar(detail, scale)),
            h("td", { class: "num" }, detail.took_us ? ms(detail.took_us / 1000) : "not asked"),
            h("td", { class: `${tone(detail.breaker)}-text` }, words(detail.breaker))),
          about(detail) ? h("tr", { key: `about ${detail.shard}`, class: "about" },
            h("td", null), h("td", { colspan: 4 }, about(detail),
              detail.worker ? h("span", { class: "dim" }, ` (${detail.worker})`) : null)) : null,
        ])))),
    h("p", { class: "legend" },
      KINDS.map((kind) => h("span", null, h("i", { class: `swatch seg-${kind}` }), NAMES[kind])),
      h("span", { class: "dim" }, scale < deadlineUs
        ? `the deadline is at ${ms(answer.deadline_ms)}` : "the bar ends at the deadline")));
}
