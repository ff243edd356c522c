// The chat box. It outlives the section that shows it, so that an answer goes on while the reader
// looks elsewhere.

import { newIdempotencyKey } from "../api.js";
import { announce, h, heading } from "../dom.js";
import { count, counted, dollars } from "../format.js";
import { Problem, problemBox } from "../problems.js";
import { message, speaker } from "./messages.js";

const NEAR_THE_END = 80; // pixels

/** A conversation under way. */
export class Chat {
  #api;
  #sessionId = null;
  #abort = null;
  #agent = h("select", { change: () => this.begin() });
  #log = h("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: "0" });
  #text = h("textarea", {
    id: "message",
    rows: 3,
    placeholder: "Write a message",
    required: true,
    keydown: (event) => this.#typed(event),
  });
  #send = h("button", { type: "submit", class: "primary" }, "Send");
  #stop = h("button", { type: "button", hidden: true, click: () => this.#abort?.abort() }, "Stop");
  #state = h(
    "p",
    { class: "fine", id: "chat-state" },
    "Enter sends, Shift Enter begins a new line.",
  );
  #parts;

  constructor(api, agents) {
    this.#api = api;
    this.#agent.append(...agents.map((agent) => h("option", { value: agent.name }, agent.name)));
    this.#parts = this.#made();
    this.begin();
  }

  /** Return what the section shows. */
  open() {
    return this.#parts;
  }

  /** Choose an agent and begin anew with it. */
  choose(agent) {
    this.#agent.value = agent;
    this.begin();
  }

  /** Begin a new conversation. */
  begin() {
    this.#abort?.abort();
    this.#sessionId = null;
    this.#log.replaceChildren(h("p", { class: "nothing muted" }, "What do you want to know?"));
  }

  /** Go on with a session of which these are all messages; none where they are too many to show. */
  resume(session, messages) {
    this.choose(session.agent);
    this.#sessionId = session.id;
    const history = h(
      "a",
      { href: `#sessions/${encodeURIComponent(session.id)}` },
      counted(session.message_count, "message"),
    );
    const recalled = messages.map((stored) =>
      h("article", { class: `turn ${stored.role}` }, message(stored)),
    );
    this.#log.replaceChildren(
      h("p", { class: "muted" }, "Going on after ", history, "."),
      ...recalled,
    );
  }

  /** Stop what runs, for good. */
  close() {
    this.#abort?.abort();
  }

  #made() {
    if (!this.#agent.options.length)
      return [
        heading("Chat"),
        h("p", { class: "card" }, "No agent is in service yet. A package brings them."),
      ];
    const form = h(
      "form",
      { class: "composer card" },
      h("label", { for: "message", class: "unseen" }, "Message"),
      this.#text,
      h("div", { class: "buttons" }, this.#state, this.#stop, this.#send),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    const fresh = h("button", { type: "button", click: () => this.begin() }, "New conversation");
    return [heading("Chat", h("label", {}, "Agent ", this.#agent), fresh), this.#log, form];
  }

  #typed(event) {
    // While an input method composes, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.#text.value.trim();
    if (!text || this.#abort) return;
    this.#text.value = "";
    this.#log.querySelector(".nothing")?.remove();
    this.#append(
      h(
        "article",
        { class: "turn user" },
        h("p", { class: "speaker" }, speaker("user")),
        h("p", { class: "text" }, text),
      ),
    );
    this.#ask(text, newIdempotencyKey());
  }

  async #ask(text, idempotencyKey) {
    const answer = new Answer(this.#agent.value);
    const abort = new AbortController();
    this.#append(answer.element);
    this.#running(abort);
    try {
      await this.#hear(text, idempotencyKey, abort.signal, answer);
      this.#tell("Answered.");
    } catch (error) {
      this.#failed(error, answer, text, idempotencyKey);
    } finally {
      answer.end();
      if (this.#abort === abort) this.#running(null);
    }
  }

  async #hear(text, idempotencyKey, signal, answer) {
    const agent = encodeURIComponent(this.#agent.value);
    const body = { message: text, ...(this.#sessionId && { session_id: this.#sessionId }) };
    const opened = (headers) => answer.warn(headers.get("bulkhead-budget-warning"));
    for await (const { event, data } of this.#api.talk(
      `/v1/agents/${agent}/execute/stream`,
      body,
      idempotencyKey,
      signal,
      opened,
    )) {
      if (event === "token") this.#following(() => answer.add(data.text));
      if (event === "done") {
        this.#sessionId = data.session_id;
        this.#following(() => answer.done(data));
      }
    }
  }

  #failed(error, answer, text, idempotencyKey) {
    if (error.name === "AbortError") {
      answer.note("Stopped. The agent remembers nothing of this message.");
      this.#tell("Stopped.");
      return;
    }
    // Where nobody knows whether it was carried out, the same key makes sure that it is once.
    const key = error instanceof Problem && error.undecided ? idempotencyKey : newIdempotencyKey();
    const again = () => {
      if (this.#abort) return;
      answer.element.remove();
      this.#ask(text, key);
    };
    this.#following(() => answer.fail(problemBox(error, again)));
    this.#tell("It failed.");
  }

  #running(abort) {
    this.#abort = abort;
    const hadFocus = document.activeElement === this.#stop;
    this.#stop.hidden = abort === null;
    this.#send.disabled = abort !== null;
    if (abort) this.#tell("Answering …");
    else if (hadFocus) this.#text.focus();
  }

  #tell(text) {
    this.#state.textContent = text;
    announce(text);
  }

  #append(element) {
    this.#log.append(element);
    element.scrollIntoView({ block: "nearest" });
  }

  /** Change the log and stay at its end, unless the reader has scrolled away from it. */
  #following(change) {
    const atEnd =
      this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_THE_END;
    change();
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/** One answer while it comes; a screen reader hears it when it is whole. */
class Answer {
  #text = document.createTextNode("");
  #foot = h("p", { class: "fine" });
  element;

  constructor(agent) {
    const text = h("p", { class: "text" }, this.#text);
    this.element = h(
      "article",
      { class: "turn assistant", "aria-busy": "true" },
      h("p", { class: "speaker" }, agent),
      text,
      this.#foot,
    );
  }

  add(text) {
    this.#text.appendData(text);
  }

  done({ answer, version, model, usage }) {
    this.#text.data = answer;
    this.note(
      `${version} · ${model} · ${count(usage.total_tokens)} tokens · ${dollars(usage.cost)}`,
    );
  }

  warn(text) {
    if (text) this.element.append(h("p", { class: "warning" }, text));
  }

  note(text) {
    this.#foot.textContent = text;
  }

  fail(box) {
    this.element.append(box);
  }

  end() {
    this.element.setAttribute("aria-busy", "false");
  }
}
