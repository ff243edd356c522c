// Conversations: a list, page by page, and one with its history.

import { confirmed } from "../dialogs.js";
import { announce, badge, facts, h, heading, nothing } from "../dom.js";
import { ago, count, counted, dollars, exact } from "../format.js";
import { pagedList, panel } from "../panels.js";
import { problemBox } from "../problems.js";
import { message } from "./messages.js";

const UNUSUAL = new Map([
  ["planning", "warn"],
  ["executing", "warn"],
  ["executing_queued", "warn"],
  ["waiting_approval", "warn"],
  ["completed_with_errors", "bad"],
  ["error", "bad"],
  ["interrupted", "bad"],
]);

/** Open the list, or the session whose id is given. */
export function open(page, id) {
  return id ? openOne(page, id) : openAll(page);
}

function openAll(page) {
  const load = (cursor) => page.api.get("/v1/sessions", { limit: 20, cursor }, page.signal);
  const empty = nothing("No conversation yet. ", h("a", { href: "#chat" }, "Begin one"), ".");
  return [
    heading("Sessions"),
    panel("Newest first", () => pagedList({ load, show: row, empty, label: "Sessions" })),
  ];
}

function row(session) {
  return h(
    "li",
    {},
    h(
      "div",
      { class: "grow" },
      h("a", { href: `#sessions/${encodeURIComponent(session.id)}` }, nameOf(session)),
      h(
        "p",
        { class: "muted" },
        `${session.agent} ${session.version} · ${counted(session.turns, "turn")} · ${count(session.usage.total_tokens)} tokens · ${session.principal}`,
      ),
    ),
    UNUSUAL.has(session.status)
      ? badge(session.status.replaceAll("_", " "), UNUSUAL.get(session.status))
      : null,
    h(
      "time",
      { datetime: session.updated_at, title: exact(session.updated_at), class: "muted" },
      ago(session.updated_at),
    ),
  );
}

function openOne(page, id) {
  const path = `/v1/sessions/${encodeURIComponent(id)}`;
  const back = h("a", { href: "#sessions" }, "All sessions");
  return [
    heading("Session", back),
    panel("About", async () =>
      about(page, path, await page.api.get(path, { limit: 1 }, page.signal)),
    ),
    panel("History", () => history(page, path)),
  ];
}

function about(page, path, session) {
  const told = h("div", {});
  const act = (work) => async () => {
    try {
      await work();
    } catch (error) {
      told.replaceChildren(problemBox(error));
    }
  };
  return [
    h("h3", {}, nameOf(session)),
    facts(
      ["Id", h("code", {}, session.id)],
      ["Agent", `${session.agent}, ${session.package} ${session.version}`],
      ["Of", session.principal],
      ["Begun", exact(session.created_at)],
      ["Expires", session.expires_at && exact(session.expires_at)],
      ["Turns", count(session.turns)],
      ["Context", `${count(session.context_tokens)} tokens, ${session.context_use}`],
      ["Used", `${count(session.usage.total_tokens)} tokens, ${dollars(session.usage.cost)}`],
      ...Object.entries(session.metadata),
    ),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "button", class: "primary", click: () => page.goOnWith(session) },
        "Continue in chat",
      ),
      h("button", { type: "button", click: act(() => download(page, path, session.id)) }, "Export"),
      h(
        "button",
        { type: "button", class: "danger", click: act(() => remove(page, path)) },
        "Delete",
      ),
    ),
    told,
  ];
}

function history(page, path) {
  const load = (cursor) => page.api.get(`${path}/messages`, { limit: 50, cursor }, page.signal);
  const show = (stored) => h("li", { class: `turn ${stored.role}` }, message(stored));
  return pagedList({ load, show, empty: nothing("No message yet."), label: "Messages" });
}

async function remove(page, path) {
  const text = "Nobody can read or continue it any more. What it used stays in the ledger.";
  if (!(await confirmed("Delete this session?", text, "Delete session"))) return;
  await page.api.remove(path);
  announce("Session deleted");
  page.go("sessions");
}

async function download(page, path, id) {
  const url = URL.createObjectURL(await page.api.file(`${path}/export`));
  h("a", { href: url, download: `${id}.ndjson` }).click();
  // Not at once: the browser has only begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  announce("Export saved");
}

function nameOf(session) {
  return session.title || `Conversation with ${session.agent}`;
}
