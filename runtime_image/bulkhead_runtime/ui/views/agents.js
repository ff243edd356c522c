// Packages and the versions of them that serve, with each one's share of new sessions.

import { badge, facts, h, heading, nothing } from "../dom.js";
import { panel } from "../panels.js";

/** Open the section. */
export function open(page) {
  const content = h("div", { class: "stack" });
  const loading = panel("Packages", async () => {
    const { data } = await page.api.get("/v1/agents", {}, page.signal);
    const packages = Map.groupBy(data, (agent) => agent.package);
    if (!packages.size) return nothing("No package is in service yet.");
    return [...packages].map(([name, agents]) => packageOf(page, name, agents));
  });
  content.append(loading);
  return [heading("Agents"), content];
}

function packageOf(page, name, agents) {
  return h(
    "article",
    { class: "package" },
    h("h3", {}, name),
    shares(name, agents[0].versions),
    h("ul", { class: "rows" }, ...agents.map((agent) => row(page, agent))),
  );
}

function shares(name, versions) {
  const rows = versions.map(({ version, weight }) =>
    h(
      "li",
      {},
      h("code", {}, version),
      h("meter", {
        min: 0,
        max: 100,
        value: weight,
        "aria-label": `Share of new sessions that ${name} ${version} gets`,
      }),
      h("span", {}, `${weight} %`),
    ),
  );
  return h(
    "ul",
    { class: "shares", "aria-label": `Versions of ${name} and their share of new sessions` },
    ...rows,
  );
}

function row(page, agent) {
  return h(
    "li",
    {},
    h(
      "div",
      { class: "grow" },
      h("strong", {}, agent.name),
      agent.description && h("p", { class: "muted" }, agent.description),
      facts(
        ["Model", h("code", {}, agent.model)],
        ["Tools", agent.tools.length ? agent.tools.map((tool) => badge(tool)) : "none"],
      ),
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
  );
}
