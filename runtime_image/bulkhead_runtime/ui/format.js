// Figures and times as people read them, in the reader's own language settings.

const number = new Intl.NumberFormat();
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** Return a whole number with separators. */
export function count(value) {
  return number.format(value);
}

/** Return "1 turn" or "2 turns". */
export function counted(value, word) {
  return `${number.format(value)} ${word}${value === 1 ? "" : "s"}`;
}

/** Return US dollars from decimal text, which is cut for reading and never calculated with. */
export function dollars(text) {
  if (text === null || text === undefined) return "price unknown";
  const [whole, fraction = ""] = text.split(".");
  const digits = fraction.replace(/0+$/, "");
  const kept = whole !== "0" ? 2 : digits.startsWith("00") ? 6 : 4;
  return `$${number.format(BigInt(whole))}.${digits.slice(0, kept).padEnd(2, "0")}`;
}

/** Return a size in bytes in the unit that suits it. */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = value > 0 ? Math.min(Math.floor(Math.log2(value) / 10), units.length - 1) : 0;
  return `${(value / 1024 ** at).toFixed(at && value / 1024 ** at < 10 ? 1 : 0)} ${units[at]}`;
}

/** Return how long ago a time was, or its date when that is long. */
export function ago(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  if (Math.abs(seconds) > 7 * 86_400) return moment.format(new Date(iso));
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  return relative.format(Math.round(seconds / size), unit);
}

/** Return a time in full. */
export function exact(iso) {
  return moment.format(new Date(iso));
}
