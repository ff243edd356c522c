// How the organization is: what it needs to serve, what runs now, what today has used.

import { badge, h, heading, nothing, tile } from "../dom.js";
import { count, dollars } from "../format.js";
import { panel } from "../panels.js";
import { hour } from "./hour.js";
import { now } from "./now.js";

const NAMES = { api_key: "API key", postgres: "PostgreSQL" };

/** Open the section. */
export function open(page) {
  return [
    heading("Overview"),
    panel("Health", () => health(page)),
    panel("Now", (failed) => now(page, failed)),
    panel("Last hour", () => hour(page)),
    panel("Today", () => today(page)),
    panel("Agents", () => agents(page)),
  ];
}

async function health({ api, signal }) {
  const { ready, draining, dependencies } = await api.readiness(signal);
  const state = draining ? ["Stopping", "warn"] : ready ? ["Ready", "ok"] : ["Not ready", "bad"];
  const rows = Object.entries(dependencies).map(([name, { ok, message }]) =>
    h(
      "li",
      {},
      badge(ok ? "ok" : "attention", ok ? "ok" : "bad"),
      h("strong", {}, NAMES[name] ?? name.replaceAll("_", " ")),
      h("span", { class: "muted" }, message),
    ),
  );
  return [h("p", { class: "state" }, badge(...state)), h("ul", { class: "checks" }, ...rows)];
}

async function today({ api, signal }) {
  const since = new Date();
  since.setUTCHours(0, 0, 0, 0);
  const { total } = await api.get("/v1/usage", { since: since.toISOString(), by: "day" }, signal);
  const tiles = [
    tile("Uses", count(total.uses)),
    tile("Tokens in", count(total.input_tokens)),
    tile("Tokens out", count(total.output_tokens)),
    tile(
      "Cost",
      dollars(total.cost),
      total.uncosted_uses ? `${count(total.uncosted_uses)} without a price` : "",
    ),
  ];
  return h("dl", { class: "tiles" }, ...tiles);
}

async function agents(page) {
  const { data } = await page.api.get("/v1/agents", {}, page.signal);
  if (!data.length) return nothing("No agent is in service yet. A package brings them.");
  const rows = data.map((agent) =>
    h(
      "li",
      {},
      h(
        "div",
        { class: "grow" },
        h("strong", {}, agent.name),
        agent.description && h("p", { class: "muted" }, agent.description),
      ),
      h(
        "button",
        {
          type: "button",
          click: () => page.talkTo(agent.name),
          "aria-label": `Chat with ${agent.name}`,
        },
        "Chat",
      ),
    ),
  );
  return h("ul", { class: "rows" }, ...rows);
}
