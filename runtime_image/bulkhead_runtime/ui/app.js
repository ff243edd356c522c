// Signs in and out, and shows the section that the address names.

import { Api, BASE } from "./api.js";
import { h } from "./dom.js";
import { Problem, problemBox } from "./problems.js";
import * as agents from "./views/agents.js";
import { Chat } from "./views/chat.js";
import * as connect from "./views/connect.js";
import * as overview from "./views/overview.js";
import * as sessions from "./views/sessions.js";
import * as tools from "./views/tools.js";
import * as usage from "./views/usage.js";

const KEPT = "bulkhead-key"; // in sessionStorage, only where the reader asked for it
const USABLE_KEY = /^[!-~]{1,8192}$/;
const RECALLED_MESSAGES = 200;

const SECTIONS = new Map([
  ["overview", ["Overview", overview]],
  ["chat", ["Chat", { open: (page) => page.chat.open() }]],
  ["sessions", ["Sessions", sessions]],
  ["agents", ["Agents", agents]],
  ["tools", ["Tools", tools]],
  ["usage", ["Usage", usage]],
  ["connect", ["Connect", connect]],
]);

const byId = (id) => document.getElementById(id);
const main = byId("main");

/** What one who signed in has; sections get it with a signal that says when they are left. */
class Visit {
  constructor(api, agentList, organization) {
    this.api = api;
    this.agents = agentList;
    this.organization = organization;
    this.chat = new Chat(api, agentList);
    this.signal = new AbortController().signal;
  }

  go(section) {
    if (location.hash === `#${section}`) show();
    else location.hash = section;
  }

  talkTo(agent) {
    this.chat.choose(agent);
    this.go("chat");
  }

  async goOnWith(session) {
    const path = `/v1/sessions/${encodeURIComponent(session.id)}/messages`;
    const { data, has_more: long } = await this.api.get(path, { limit: RECALLED_MESSAGES });
    this.chat.resume(session, long ? [] : data);
    this.go("chat");
  }
}

let visit = null;
let leaving = new AbortController();

async function enter(key, { keep }) {
  if (!USABLE_KEY.test(key))
    throw new Problem(
      400,
      "",
      "This is no key",
      "A key has 1 to 8,192 visible ASCII characters and no spaces.",
    );
  const api = new Api(key, (problem) => visit?.api === api && leave(problem));
  const [listed, models] = await Promise.all([api.get("/v1/agents"), api.get("/v1/models")]);
  const names = new Set(listed.data.map((agent) => agent.name));
  const organization = models.data.find((model) => names.has(model.id))?.owned_by ?? BASE.host;
  if (keep) sessionStorage.setItem(KEPT, key);
  visit = new Visit(api, listed.data, organization);
  byId("organization").textContent = organization;
  byId("entrance").hidden = true;
  byId("shell").hidden = false;
  show();
}

function leave(problem = null) {
  leaving.abort();
  visit?.chat.close();
  visit = null;
  sessionStorage.removeItem(KEPT);
  main.replaceChildren();
  byId("organization").textContent = "";
  document.title = "Sign in · Bulkhead";
  byId("shell").hidden = true;
  byId("entrance").hidden = false;
  byId("login-problem").replaceChildren(...(problem ? [problemBox(problem)] : []));
  byId("key").value = "";
  byId("key").focus();
}

function skip(event) {
  event.preventDefault(); // the address names a section, not a place on the page
  (visit ? main : byId("entrance")).focus();
}

function logout() {
  history.replaceState(null, "", location.pathname);
  leave();
}

function show() {
  if (!visit) return;
  const [name, parameter = ""] = location.hash.slice(1).split("/", 2);
  const [title, section] = SECTIONS.get(name) ?? SECTIONS.get("overview");
  leaving.abort();
  leaving = new AbortController();
  visit.signal = leaving.signal;
  document.title = `${title} · ${visit.organization} · Bulkhead`;
  for (const link of byId("sections").querySelectorAll("a")) {
    const here = link.textContent === title;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren(...section.open(visit, decoded(parameter)));
  main.querySelector("h1").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return ""; // an address that somebody broke
  }
}

async function submit(event) {
  event.preventDefault();
  const button = byId("login").querySelector("button");
  const field = byId("key");
  button.disabled = true;
  byId("login-problem").replaceChildren();
  try {
    await enter(field.value.trim(), { keep: byId("keep").checked });
    field.value = "";
  } catch (error) {
    byId("login-problem").replaceChildren(problemBox(error));
    field.focus();
  } finally {
    button.disabled = false;
  }
}

async function start() {
  byId("host").textContent = BASE.host;
  byId("sections").append(
    ...[...SECTIONS].map(([name, [title]]) => h("li", {}, h("a", { href: `#${name}` }, title))),
  );
  byId("login").addEventListener("submit", submit);
  byId("logout").addEventListener("click", logout);
  document.querySelector(".skip").addEventListener("click", skip);
  addEventListener("hashchange", show);
  const kept = sessionStorage.getItem(KEPT);
  if (kept === null) return leave();
  return enter(kept, { keep: true }).catch(leave);
}

start();
