// Ranges of numbers and dates at round bounds, for facets. Pure.

const NUM_RANGES = 6;
const DAY_MS = 86400000;

/** The ranges that cut the values of a field into about six; none if there is nothing to cut. */
export function rangesOf(type, stats) {
  if (!stats?.count) return [];
  const bounds = type === "date" ? dates(stats.min, stats.max)
    : numbers(stats.min, stats.max, type === "integer");
  if (!bounds.length) return [];
  // The first and the last are open, so that a value that is added later is in one of them.
  return [...bounds, null].map((to, at) => {
    const range = {};
    if (at) range.from = bounds[at - 1];
    if (to !== null) range.to = to;
    return range;
  });
}

/** What a range is called. */
export function rangeName(type, { from, to }) {
  if (type === "date") return dateName(from, to);
  const show = (value) => value.toLocaleString("en", { maximumSignificantDigits: 15 });
  if (from === undefined) return `under ${show(to)}`;
  return to === undefined ? `${show(from)} or more` : `${show(from)} to under ${show(to)}`;
}

function dateName(from, to) {
  const bounds = [from, to].filter((one) => one !== undefined);
  // As short as both of them can be: 2024 for the first of its days, 2024-05 for the first of May.
  const length = Math.max(...bounds.map((one) => (/-01-01T/.test(one) ? 4 : /-01T/.test(one) ? 7 : 10)));
  const show = (text) => text.slice(0, length);
  if (from === undefined) return `before ${show(to)}`;
  if (to === undefined) return `${show(from)} or later`;
  const next = new Date(from);
  if (length === 4) next.setUTCFullYear(next.getUTCFullYear() + 1);
  else if (length === 7) next.setUTCMonth(next.getUTCMonth() + 1);
  else next.setUTCDate(next.getUTCDate() + 1);
  return next.getTime() === new Date(to).getTime() ? show(from) : `${show(from)} to before ${show(to)}`;
}

/** The round number of 1, 2 or 5 times a power of ten that is at least `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= value * (1 - 1e-9));
}

/** Multiples of a round step between two numbers. */
function numbers(min, max, isWhole) {
  if (!(max > min) || Math.max(-min, max) > Number.MAX_SAFE_INTEGER) return [];
  const round = roundUp((max - min) / NUM_RANGES);
  const step = isWhole ? Math.max(1, Math.round(round)) : round;
  const bounds = [];
  for (let times = Math.floor(min / step) + 1; times * step <= max; times += 1) {
    bounds.push(isWhole ? times * step : Number((times * step).toPrecision(15))); // 0.3, not 0.30000000000000004
  }
  return bounds;
}

/** Beginnings of years, months or days between two dates, whichever are about six. */
function dates(min, max) {
  const [start, end] = [new Date(min), new Date(max)];
  const [firstYear, lastYear] = [start.getUTCFullYear(), end.getUTCFullYear()];
  const firstMonth = 12 * firstYear + start.getUTCMonth();
  const months = 12 * lastYear + end.getUTCMonth() - firstMonth;
  if (lastYear - firstYear >= 3) {
    return numbers(firstYear, lastYear, true).map((year) => text(Date.UTC(year, 0, 1)));
  }
  if (months >= 3) {
    const step = [1, 2, 3, 6].find((one) => months / one <= NUM_RANGES);
    return multiples(firstMonth, firstMonth + months, step).map((month) => text(Date.UTC(Math.floor(month / 12), month % 12, 1)));
  }
  const firstDay = Math.floor(start / DAY_MS);
  const days = Math.floor(end / DAY_MS) - firstDay;
  return multiples(firstDay, firstDay + days, Math.max(1, Math.ceil(days / NUM_RANGES))).map((number) => text(number * DAY_MS));
}

/** Multiples of a step above `first`, up to `last`. */
function multiples(first, last, step) {
  const found = [];
  for (let one = (Math.floor(first / step) + 1) * step; one <= last; one += step) found.push(one);
  return found;
}

const text = (atMs) => new Date(atMs).toISOString().replace(".000", "");
