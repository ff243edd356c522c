// Messages of a conversation. Their text is anybody's: it is shown as text, line by line.

import { h } from "../dom.js";

const NAMES = { user: "You", assistant: "Agent", tool: "Tool", system: "System" };

/** Return who speaks, for the reader. */
export function speaker(role) {
  return NAMES[role] ?? role;
}

/** Make what is shown of a stored message. */
export function message(stored) {
  const calls = stored.tool_calls.map((call) =>
    h(
      "details",
      {},
      h("summary", {}, "Calls ", h("code", {}, call.name)),
      h("pre", { tabindex: "0" }, call.arguments),
    ),
  );
  const text =
    stored.role === "tool"
      ? h("details", {}, h("summary", {}, "Result"), h("pre", { tabindex: "0" }, stored.content))
      : stored.content && h("p", { class: "text" }, stored.content);
  return [h("p", { class: "speaker" }, speaker(stored.role)), text, ...calls];
}
