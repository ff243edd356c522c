// What agents can call, and the models that answer them.

import { badge, facts, h, heading, nothing } from "../dom.js";
import { count } from "../format.js";
import { panel } from "../panels.js";

const RISKS = { high: "bad", medium: "warn", low: "ok" };

/** Open the section. */
export function open(page) {
  return [
    heading("Tools and models"),
    panel("Tools", () => tools(page)),
    panel("Models", () => models(page)),
  ];
}

async function tools({ api, signal }) {
  const { data } = await api.get("/v1/tools", {}, signal);
  if (!data.length) return nothing("No tool is there. A package or the platform team brings them.");
  return h("ul", { class: "rows" }, ...data.map(toolRow));
}

function toolRow(tool) {
  return h(
    "li",
    {},
    h(
      "div",
      { class: "grow" },
      h("p", {}, h("code", {}, tool.name), " ", badge(`${tool.risk} risk`, RISKS[tool.risk])),
      h("p", { class: "muted" }, tool.description),
      h(
        "details",
        {},
        h("summary", {}, "Arguments"),
        h("pre", { tabindex: "0" }, JSON.stringify(tool.parameters, null, 2)),
      ),
    ),
  );
}

async function models({ api, signal }) {
  const { data } = await api.get("/v1/llm/router/catalog", {}, signal);
  if (!data.length) return nothing("No model may be called.");
  return h("ul", { class: "rows" }, ...data.map(modelRow));
}

function modelRow(model) {
  return h(
    "li",
    {},
    h(
      "div",
      { class: "grow" },
      h(
        "p",
        {},
        h("code", {}, model.id),
        " ",
        model.available ? badge("available", "ok") : badge("not available", "bad"),
      ),
      model.unavailable && h("p", { class: "muted" }, model.unavailable),
      facts(
        ["Input", price(model.input_per_million)],
        ["Output", price(model.output_per_million)],
        ["Context", model.context_window && `${count(model.context_window)} tokens`],
        ["Can", model.capabilities.join(", ")],
      ),
    ),
  );
}

function price(perMillion) {
  return perMillion === null ? "price unknown" : `$${perMillion} per million`;
}
