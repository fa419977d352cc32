// Small plots of the last minutes. A plot is stretched to its place, so its texts stand beside it.

import { h } from "./dom.js";

export const WIDTH = 300;
export const HEIGHT = 64;

/** The next of 1, 2, 5, 10, … above a value. */
export function niceMax(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** A line through values at x = 0, 1, …; interrupted where a value is null. */
function line(values, height) {
  let path = "";
  let isDown = false;
  values.forEach((value, x) => {
    if (value === null) { isDown = false; return; }
    const y = HEIGHT - Math.max(0, Math.min(1, height(value))) * HEIGHT;
    // A point alone between gaps would be invisible.
    path += isDown ? `L${x},${y.toFixed(1)}` : `M${x},${y.toFixed(1)}h0.5`;
    isDown = true;
  });
  return path;
}

function area(lower, upper, max) {
  const y = (value) => (HEIGHT - (value / max) * HEIGHT).toFixed(1);
  const top = upper.map((value, x) => `${x},${y(value)}`);
  const bottom = lower.map((value, x) => `${x},${y(value)}`).reverse();
  return `M${top.join("L")}L${bottom.join("L")}Z`;
}

/** Fill up with empty seconds at the left, so that now is always at the right end. */
export function padded(values, missing) {
  return [...Array(Math.max(0, WIDTH - values.length)).fill(missing), ...values.slice(-WIDTH)];
}

/**
 * A plot in a card. `series` have a name, a tone and values; stacked or as lines. `at` is the second
 * that the pointer shows, or null for the last.
 */
export function plot({ id, title, unit, series, isStacked, isLog, max, min = 0, format, at, onAt }) {
  const shown = series.map((one) => ({ ...one, values: padded(one.values, isStacked ? 0 : null) }));
  const totals = isStacked ? shown[0].values.map((_, x) => shown.reduce((sum, one) => sum + one.values[x], 0)) : null;
  const top = max ?? niceMax(Math.max(0, ...(totals ?? shown.flatMap((one) => one.values))));
  if (isLog) {
    const lowest = Math.min(...shown.flatMap((one) => one.values).filter((value) => value > 0));
    min = Number.isFinite(lowest) ? Math.min(10 ** Math.floor(Math.log10(lowest)), top / 10) : top / 10;
  }
  const height = isLog
    ? (value) => Math.log(Math.max(value, min) / min) / Math.log(top / min)
    : (value) => (value - min) / (top - min);
  let below = Array(WIDTH).fill(0);
  const paths = shown.map((one) => {
    if (!isStacked) return h("path", { key: one.name, class: `line ${one.tone}`, d: line(one.values, height) });
    const above = below.map((value, x) => value + one.values[x]);
    const d = one.values.some(Boolean) ? area(below, above, top) : "";
    below = above;
    return h("path", { key: one.name, class: `area ${one.tone}`, d });
  });
  const x = at ?? WIDTH - 1;
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    onAt(Math.max(0, Math.min(WIDTH - 1, Math.round(((event.clientX - box.left) / box.width) * (WIDTH - 1)))));
  };
  const legend = shown.map((one) => h("span", { key: one.name },
    h("i", { class: `swatch ${one.tone}` }), `${one.name} `, h("b", null, format(one.values[x]))));
  const said = shown.map((one) => `${one.name} ${format(one.values.at(-1))}`).join(", ");
  return h("section", { class: "card plot", key: id, "aria-labelledby": `plot-${id}` },
    h("h2", { id: `plot-${id}` }, title, h("span", { class: "dim" }, ` ${unit}`)),
    h("div", { class: "plot-box" },
      h("span", { class: "plot-max dim" }, format(top)),
      min ? h("span", { class: "plot-min dim" }, format(min)) : null,
      h("svg", { viewBox: `0 0 ${WIDTH - 1} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: now ${said}`, onpointermove: move, onpointerleave: () => onAt(null) },
        h("path", { class: "grid", d: `M0,0H${WIDTH}M0,${HEIGHT / 2}H${WIDTH}M0,${HEIGHT}H${WIDTH}` }),
        paths,
        at === null ? null : h("path", { class: "cursor", d: `M${x},0V${HEIGHT}` }))),
    h("div", { class: "plot-axis dim" }, h("span", null, "5 min ago"), h("span", null, at === null ? "now" : `${WIDTH - 1 - x} s ago`)),
    h("p", { class: "legend" }, legend));
}
