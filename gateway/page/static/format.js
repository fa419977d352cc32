// Numbers, times and words as people read them.

export const count = (value) => value.toLocaleString("en");

export const counted = (value, word, words = `${word}s`) => `${count(value)} ${value === 1 ? word : words}`;

/** Ascending numbers as people write them: 0–3, 7. */
export function ranges(numbers) {
  const runs = [];
  for (const one of numbers) {
    if (runs.length && runs.at(-1)[1] === one - 1) runs.at(-1)[1] = one;
    else runs.push([one, one]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
}

/** A share; only 1 reads 100 %. */
export function percent(share, digits = 1) {
  const cap = 100 - 10 ** -digits;
  const shown = share >= 1 ? "100" : Math.min(share * 100, cap).toFixed(digits);
  return `${shown} %`;
}

export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)} ms`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${at && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

export function span(totalMs) {
  const s = Math.round(totalMs / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const clock = (atMs) => new Date(atMs).toLocaleTimeString("en-GB");

export const words = (name) => name.replaceAll("_", " ");

/** Compare names that end in numbers as people do: worker-2 before worker-10. */
export const byName = (a, b) => a.localeCompare(b, "en", { numeric: true });

/** How each state of a breaker and each outcome is coloured, beside its name. */
const TONES = {
  ok: "good", closed: "good",
  half_open: "warn", breaker_open: "warn", disabled: "warn", low: "warn",
  skipped: "dim", cancelled: "dim", enough: "dim",
};
export const tone = (name) => TONES[name] ?? "bad";
