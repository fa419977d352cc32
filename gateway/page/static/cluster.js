// The view of the cluster, as the stream of events tells it: second by second, while it is shown.

import { Failure, call, follow } from "./api.js";
import { ask } from "./dialog.js";
import { h, patch, say } from "./dom.js";
import { count, counted, ms, percent, tone, words } from "./format.js";
import { access, admission, events, hedges, quarantine, shortages, snapshots } from "./operations.js";
import { plot } from "./plots.js";
import { shardGrid, workerTable } from "./grid.js";
import { placement } from "./placement.js";

const MAX_POINTS = 300;
const MAX_EVENTS = 200;
const STATES = {
  forced_open: "Force open",
  disabled: "Disable",
  closed: "Reset",
};

export function clusterView(root) {
  const abort = new AbortController();
  const state = { points: [], events: [], status: null, placement: null, mostMoves: 0, link: "connecting", reason: "", at: null, notice: null };
  let stream = null;
  let frame = 0;

  const render = () => patch(root, head(), notice(), state.status ? body() : waiting());
  // Several messages may come at once.
  const soon = () => { frame ||= requestAnimationFrame(() => { frame = 0; render(); }); };

  const takers = {
    history: (data) => { state.points = data.points; state.events = data.events; },
    point: (data) => { state.points = [...state.points, data].slice(-MAX_POINTS); },
    event: (data) => { state.events = [...state.events, data].slice(-MAX_EVENTS); },
    status: (data) => { state.status = data; },
    placement: (data) => {
      state.placement = data;
      state.mostMoves = data.moves.length && Math.max(state.mostMoves, data.moves.length);
    },
  };

  function start() {
    stream?.abort();
    stream = new AbortController();
    follow(
      (name, data) => { takers[name]?.(data); soon(); },
      (link, reason = "") => { state.link = link; state.reason = reason; soon(); },
      stream.signal,
    );
  }

  function onVisibility() {
    if (document.hidden) stream.abort(); // a page that is not seen costs the gateway nothing
    else start();
  }

  function head() {
    const texts = { live: "live", connecting: "connecting …", again: state.reason || "connecting again …" };
    return h("div", { key: "head", class: "view-head" },
      h("h1", null, "Cluster"),
      h("span", { id: "link", class: `link ${state.link === "live" ? "good" : "warn"}` }, h("i", { class: "dot" }), texts[state.link]),
      state.status ? h("span", { class: "dim" }, summary(state.status)) : null);
  }

  function notice() {
    return h("div", { key: "notice", role: "alert", class: state.notice ? `notice ${state.notice.tone}` : "" }, state.notice?.text ?? "");
  }

  function waiting() {
    return h("p", { key: "waiting", class: "hint" }, state.link === "again" ? "" : "Waiting for the first status …");
  }

  function body() {
    const { status } = state;
    return [
      h("div", { key: "figures", class: "figures" }, figures()),
      h("div", { key: "plots", class: "plots" }, plots()),
      h("div", { key: "main", class: "columns cluster-columns" },
        h("div", null,
          shortages(status),
          shardGrid(status, onBreaker),
          placement(state.placement, state.mostMoves),
          workerTable(status),
          h("div", { class: "pair-of-cards" }, admission(status), hedges(status)),
          quarantine(status, onRelease),
          snapshots(status, onSnapshot),
          access(status)),
        events(state.events)),
    ];
  }

  function figures() {
    const last = state.points.slice(-5);
    const sum = (of) => last.reduce((total, point) => total + of(point), 0);
    const answered = (point) => point.full + point.partial + point.insufficient;
    const total = sum(answered);
    const now = state.points.at(-1);
    const rate = last.length ? total / last.length : 0;
    const mean = total ? sum((point) => (point.coverage ?? 0) * answered(point)) / total : null;
    const worst = (name) => (total ? Math.max(...last.map((point) => point[name] ?? 0)) : null);
    return [
      figure("searches/s", rate >= 10 ? count(Math.round(rate)) : rate.toFixed(1)),
      figure("p50", ms(worst("p50_ms"))),
      figure("p99", ms(worst("p99_ms"))),
      figure("coverage", mean === null ? "–" : percent(mean), mean !== null && mean < 0.9995 ? "warn-text" : ""),
      figure("in flight", now ? `${count(now.in_flight)} / ${count(now.limit)}` : "–"),
      figure("refused/s", last.length ? (sum((point) => point.refused) / last.length).toFixed(1) : "–", sum((point) => point.refused) ? "warn-text" : ""),
    ];
  }

  function plots() {
    const { points, at } = state;
    const of = (name) => points.map((point) => point[name]);
    const onAt = (value) => { state.at = value; soon(); };
    const outcomes = [["timed_out", "bad"], ["failed", "bad2"], ["unavailable", "info"], ["breaker_open", "warn"], ["cancelled", "dim"], ["skipped", "dim"]];
    const any = outcomes.filter(([name]) => points.some((point) => point.outcomes[name]));
    const number = (value) => (value === null ? "–" : count(Math.round(value * 10) / 10));
    const lowest = Math.min(1, ...points.map((point) => point.coverage ?? 1));
    return [
      plot({ id: "rate", title: "Searches", unit: "per second", isStacked: true, at, onAt, format: number, series: [
        { name: "full", tone: "good", values: of("full") },
        { name: "partial", tone: "warn", values: of("partial") },
        { name: "insufficient", tone: "bad", values: of("insufficient") },
        { name: "refused", tone: "dim", values: of("refused") }] }),
      plot({ id: "times", title: "Answer time", unit: "logarithmic", isLog: true, at, onAt, format: ms, series: [
        { name: "p50", tone: "good", values: of("p50_ms") },
        { name: "p99", tone: "info", values: of("p99_ms") }] }),
      plot({ id: "coverage", title: "Coverage", unit: "mean", at, onAt, max: 1, min: lowest > 0.75 ? 0.75 : 0, format: (value) => (value === null ? "–" : percent(value)), series: [
        { name: "coverage", tone: "good", values: of("coverage") }] }),
      plot({ id: "outcomes", title: "Parts that are not ok", unit: "per second", isStacked: true, at, onAt, format: number,
        series: (any.length ? any : outcomes.slice(0, 1)).map(([name, one]) => ({ name: words(name), tone: one, values: points.map((point) => point.outcomes[name] ?? 0) })) }),
    ];
  }

  /** Do something that an operator has confirmed, and say how it went. */
  async function act(text, method, path, body) {
    try {
      await call(method, path, body);
      state.notice = { tone: "good", text };
      say(text);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      state.notice = { tone: "bad", text: error.message };
    }
    render();
    setTimeout(() => { state.notice = null; soon(); }, 6000);
  }

  async function onBreaker(shard) {
    const { breaker_detail: detail } = shard;
    const last = detail.transitions.at(-1);
    const wanted = await ask({
      title: `Breaker of shard ${shard.shard}`,
      body: [
        h("p", null, "It is ", h("b", { class: `${tone(shard.breaker)}-text` }, words(shard.breaker)),
          last ? ` (${last.reason}, ${Math.round(last.ago_s)} s ago)` : "",
          `: ${counted(detail.calls, "call")} in its window, ${detail.failure_rate ?? 0} % failed.`),
        h("ul", null,
          h("li", null, h("b", null, "Force open"), ": no gateway asks the shard any more. Every answer lacks its documents until you reset it."),
          h("li", null, h("b", null, "Disable"), ": the shard is always asked, however it fails."),
          h("li", null, h("b", null, "Reset"), ": the breaker closes, forgets what it has seen, and judges by itself again.")),
      ],
      choices: Object.entries(STATES).map(([value, text]) => ({ value, text, isHarmful: value === "forced_open" })),
    });
    if (wanted) await act(`Breaker of shard ${shard.shard}: ${words(wanted)}.`, "POST", `v1/shards/${shard.shard}/breaker`, { state: wanted });
  }

  async function onRelease(entry) {
    const isSure = await ask({
      title: "Release this query?",
      body: [h("pre", null, entry.query), h("p", null, `It has killed ${counted(entry.kills, "scorer")}. It may run again in every worker at once.`)],
      confirm: "Release",
      isHarmful: true,
    });
    if (isSure) await act("The query was released.", "DELETE", `v1/quarantine/${encodeURIComponent(entry.fingerprint)}`);
  }

  async function onSnapshot() {
    const isSure = await ask({
      title: "Make snapshots?",
      body: h("p", null, "Each shard’s workers copy its store and index to the target of snapshots.url. Searches continue."),
      confirm: "Make snapshots",
    });
    if (isSure) await act("Snapshots were asked for.", "POST", "v1/snapshots");
  }

  render();
  start();
  document.addEventListener("visibilitychange", onVisibility);
  return () => {
    abort.abort();
    stream.abort();
    cancelAnimationFrame(frame);
    document.removeEventListener("visibilitychange", onVisibility);
  };
}

function figure(name, value, more = "") {
  return h("div", { key: name, class: "figure" }, h("b", { class: more }, value), h("span", null, name));
}

/** Which gateway the figures are of, if there are several. */
function oneOf({ gateway, gateways = [] }) {
  if (gateways.length < 2) return "";
  const own = gateways.find((one) => one.id === gateway.id);
  return `${own ? ` (pid ${own.pid})` : ""}, one of ${gateways.length}: searches and breakers are its own`;
}

function summary(status) {
  const numDead = status.shards.filter((shard) => !shard.workers.length).length;
  const { redis } = status;
  return [
    `${counted(status.shards.length, "shard")} on ${counted(status.workers.length, "worker")}`,
    numDead ? `${counted(numDead, "shard")} without a worker` : null,
    redis.connected ? `${redis.name} ${redis.version}` : "Redis does not answer",
    `gateway ${status.gateway.version}${oneOf(status)}`,
  ].filter(Boolean).join(" · ");
}
