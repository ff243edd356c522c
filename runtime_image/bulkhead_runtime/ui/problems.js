// What went wrong, in words that say what to do about it.

import { h } from "./dom.js";

/** A refusal or failure of the API, or of the way to it (status 0). */
export class Problem extends Error {
  constructor(status, code, title, detail, more = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.title = title;
    this.retryAfter = more.retryAfter ?? null;
    this.traceId = more.traceId ?? null;
  }

  /** Tell whether it is unknown if the request was carried out. */
  get undecided() {
    return this.status === 0;
  }
}

/** Read a problem from an answer, in the shape of our API or of OpenAI's. */
export async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const told = body.error ?? body;
  const title = typeof told.title === "string" ? told.title : `Answer ${response.status}`;
  const detail = told.detail ?? told.message ?? "The runtime gave no reason.";
  return new Problem(response.status, String(told.code ?? ""), title, String(detail), {
    retryAfter: Number.parseInt(response.headers.get("retry-after") ?? "", 10) || null,
    traceId: told.trace_id ?? traceOf(response),
  });
}

/** Make a problem of an event of a stream. */
export function problemOfEvent(told) {
  const { status = 500, code = "", title = "It failed", detail = "", trace_id: traceId } = told;
  return new Problem(status, code, title, detail, { traceId });
}

/** Make a problem of a failure on the way. */
export function problemOfNetwork() {
  return new Problem(
    0,
    "no_connection",
    "No connection",
    "The runtime could not be reached, or the connection was cut.",
  );
}

/** Return what the reader can do, beyond what the API said. */
export function remedy(problem) {
  const wait = problem.retryAfter ? `in ${problem.retryAfter} seconds` : "in a moment";
  if (problem.code === "missing_scope")
    return "Ask whoever gave you this key for one that has the scope.";
  switch (problem.status) {
    case 0:
      return "Check your connection, then try again.";
    case 401:
      return "Sign in with a valid key.";
    case 402:
      return "Your platform team can change this.";
    case 429:
      return `Try again ${wait}.`;
    case 500:
      return "Tell your platform team the trace below.";
    case 502:
    case 504:
      return "The model did not answer as it should. Try again.";
    case 503:
      return `The runtime is not ready to do this. Try again ${wait}.`;
    default:
      return "";
  }
}

/** Make the box that shows a problem; `again`, when given, is what its button does. */
export function problemBox(problem, again = null) {
  const known =
    problem instanceof Problem
      ? problem
      : new Problem(-1, "page_failed", "The page failed", String(problem));
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("strong", {}, known.title),
    h("p", {}, known.message),
    remedy(known) && h("p", {}, remedy(known)),
    h(
      "p",
      { class: "fine" },
      [known.code, known.traceId && `trace ${known.traceId}`].filter(Boolean).join(" · "),
    ),
    again && known.status !== 403 && h("button", { type: "button", click: again }, "Try again"),
  );
}

function traceOf(response) {
  return response.headers.get("traceparent")?.split("-")[1] ?? null;
}
