// How programs call this organization, ready to be copied. The key itself is never shown.

import { facts, h, heading } from "../dom.js";
import { address } from "../api.js";
import { copyable } from "../clipboard.js";

const KEY = "BULKHEAD_KEY";

/** Open the section. */
export function open(page) {
  const snippets = h("div", { class: "stack" });
  const names = page.agents.map((agent) => agent.name);
  const choice = h(
    "select",
    { change: show },
    ...names.map((name) => h("option", { value: name }, name)),
  );
  function show() {
    snippets.replaceChildren(
      ...SNIPPETS.map(([title, make]) => snippet(title, make(choice.value || "AGENT"))),
    );
  }
  show();
  return [
    heading("Connect", names.length ? h("label", {}, "Agent ", choice) : null),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Address"),
      facts(
        ["Native API", code(address("/v1"))],
        ["OpenAI clients", code(address("/v1"))],
        ["All paths", apart(address("/openapi.json"), "openapi.json")],
      ),
      h(
        "p",
        { class: "muted" },
        "The snippets read the key from the environment variable ",
        h("code", {}, KEY),
        ".",
      ),
    ),
    snippets,
  ];
}

function snippet(title, text) {
  return h("section", { class: "card" }, h("h2", {}, title), copyable(text, title));
}

/** Make a link that leaves this page, and with it who signed in, where they are. */
function apart(url, text) {
  return h("a", { href: String(url), target: "_blank", rel: "noopener" }, text);
}

function code(url) {
  return h("code", {}, String(url));
}

const SNIPPETS = [
  [
    "curl",
    (agent) => `curl -N -H "Authorization: Bearer $${KEY}" \\
  -H 'Content-Type: application/json' \\
  -d '{"message": "Hello"}' \\
  ${address(`/v1/agents/${agent}/execute/stream`)}`,
  ],
  [
    "Python (openai)",
    (agent) => `import os

from openai import OpenAI

client = OpenAI(base_url="${address("/v1")}", api_key=os.environ["${KEY}"])
stream = client.chat.completions.create(
    model="${agent}",
    messages=[{"role": "user", "content": "Hello"}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)`,
  ],
  [
    "JavaScript (openai)",
    (agent) => `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "${address("/v1")}",
  apiKey: process.env.${KEY},
});
const stream = await client.chat.completions.create({
  model: "${agent}",
  messages: [{ role: "user", content: "Hello" }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}`,
  ],
];
