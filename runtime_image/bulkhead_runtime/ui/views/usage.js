// What was used: by day, agent and model, and how much of the budgets is left.

import { bars } from "../charts.js";
import { h, heading, nothing, table, tile } from "../dom.js";
import { bytes, count, dollars } from "../format.js";
import { Metrics } from "../metrics.js";
import { panel } from "../panels.js";

const SPANS = [7, 30, 90];
const GROUPS = [
  ["By agent", "agent"],
  ["By model", "model"],
  ["By principal", "principal"],
];
const FIGURES = [
  ["Uses", "figure"],
  ["Tokens in", "figure"],
  ["Tokens out", "figure"],
  ["Cost", "figure"],
];

/** Open the section. */
export function open(page) {
  const content = h("div", { class: "stack" });
  const span = h(
    "select",
    { change: () => show(Number(span.value)) },
    ...SPANS.map((days) => h("option", { value: days, selected: days === 30 }, `${days} days`)),
  );
  function show(days) {
    const since = new Date(Date.now() - days * 86_400_000).toISOString();
    content.replaceChildren(
      panel("By day", () => byDay(page, since, days)),
      ...GROUPS.map(([title, group]) => panel(title, () => by(page, since, group))),
    );
  }
  show(30);
  return [
    heading("Usage", h("label", {}, "Last ", span)),
    panel("Budgets", () => budgets(page)),
    content,
  ];
}

async function budgets({ api, signal }) {
  const { data } = await api.get("/v1/metrics", {}, signal);
  const list = budgetList(new Metrics().take("snapshot", data).budgets());
  return list.length
    ? list
    : nothing(
        "No budget of the organization is bounded, or none was used since this runtime started.",
      );
}

/** Make the meters of the organization's budgets. */
export function budgetList(accounts) {
  const rows = accounts.map(budgetRow);
  return rows.length ? [h("ul", { class: "budgets", "aria-label": "Budgets" }, ...rows)] : [];
}

function budgetRow({ scope, dimension, used, limit }) {
  const percent = (100 * used) / limit;
  const share = percent > 0 && percent < 1 ? "under 1" : Math.round(percent);
  const label = `${{ day: "Today", total: "In all" }[scope] ?? scope}: ${dimension.replaceAll("_", " ")}`;
  const meter = h("meter", {
    min: 0,
    max: limit,
    high: limit * 0.8,
    low: limit * 0.6,
    optimum: 0,
    value: used,
    "aria-label": label,
  });
  return h(
    "li",
    {},
    h("span", {}, label),
    meter,
    h(
      "span",
      { class: "figure" },
      `${amount(dimension, used)} of ${amount(dimension, limit)} (${share} %)`,
    ),
  );
}

function amount(dimension, value) {
  if (dimension === "cost") return dollars(value.toFixed(6));
  return dimension === "bytes" ? bytes(value) : count(value);
}

async function byDay({ api, signal }, since, days) {
  const { data, total } = await api.get("/v1/usage", { by: "day", since }, signal);
  const sums = [
    tile("Uses", count(total.uses)),
    tile("Tokens", count(total.total_tokens)),
    tile(
      "Cost",
      dollars(total.cost),
      total.uncosted_uses ? `${count(total.uncosted_uses)} uses without a price` : "",
    ),
  ];
  const rows = data.map((row) => [row.day, ...figures(row)]).sort(([a], [b]) => (a < b ? 1 : -1));
  return [
    h("dl", { class: "tiles" }, ...sums),
    bars(eachDay(data, days), "tokens a day"),
    h(
      "details",
      {},
      h("summary", {}, "As a table"),
      table("Use by day", [["Day", ""], ...FIGURES], rows),
    ),
  ];
}

async function by({ api, signal }, since, group) {
  const { data } = await api.get("/v1/usage", { by: group, since }, signal);
  if (!data.length) return nothing("Nothing was used.");
  const rows = data
    .sort((a, b) => b.total_tokens - a.total_tokens)
    .map((row) => [row[group] || "none", ...figures(row)]);
  return table(
    `Use by ${group}`,
    [[group[0].toUpperCase() + group.slice(1), ""], ...FIGURES],
    rows,
  );
}

function figures(row) {
  return [count(row.uses), count(row.input_tokens), count(row.output_tokens), dollars(row.cost)];
}

function eachDay(rows, days) {
  const tokens = new Map(rows.map((row) => [row.day, row.total_tokens]));
  const names = Array.from({ length: days }, (_, at) => dayBefore(days - 1 - at));
  return names.map((name) => [name, tokens.get(name) ?? 0]);
}

function dayBefore(days) {
  return new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
}
