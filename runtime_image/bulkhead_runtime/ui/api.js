// Talks to the API with the key of whoever signed in. The key is kept in this object alone.

import { Problem, problemOf, problemOfEvent, problemOfNetwork } from "./problems.js";
import { eventsOf } from "./sse.js";

/** Where the API answers: the folder above this file, so that a gateway may put it below a path. */
export const BASE = new URL("..", import.meta.url);

/** Return the absolute address of a path of the API. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat())
      if (one !== null && one !== undefined) url.searchParams.append(name, one);
  }
  return url;
}

/** Return a key under which a request that is sent twice is carried out once. */
export function newIdempotencyKey() {
  // Not randomUUID: browsers have that on secure origins only.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/** The API as one key sees it; `refused` hears of a key that is not accepted (any more). */
export class Api {
  #key;
  #refused;

  constructor(key, refused) {
    this.#key = key;
    this.#refused = refused;
  }

  /** Return the JSON at a path. */
  async get(path, query = {}, signal = undefined) {
    return (await this.#fetch("GET", address(path, query), { signal })).json();
  }

  /** Return the answer at a path as a file. */
  async file(path) {
    return (await this.#fetch("GET", address(path), {})).blob();
  }

  /** Remove what is at a path. */
  async remove(path) {
    await this.#fetch("DELETE", address(path), {});
  }

  /** Return the health of the runtime, which is told with 200 and with 503 alike. */
  async readiness(signal) {
    const response = await this.#reach("GET", address("/readiness"), { signal });
    return response.json();
  }

  /** Follow server-sent events at a path, as objects of `event` and `data`. */
  async *follow(path, signal) {
    const response = await this.#fetch("GET", address(path), { signal });
    yield* this.#events(response);
  }

  /** Post a message and yield the events of its answer; `opened` gets the answer's headers. */
  async *talk(path, body, idempotencyKey, signal, opened) {
    const headers = { "content-type": "application/json", "idempotency-key": idempotencyKey };
    const response = await this.#fetch("POST", address(path), {
      headers,
      body: JSON.stringify(body),
      signal,
    });
    opened(response.headers);
    for await (const { event, data } of this.#events(response)) {
      if (event === "error") throw problemOfEvent(data);
      yield { event, data };
      if (event === "done") return;
    }
    throw problemOfNetwork();
  }

  async *#events(response) {
    try {
      yield* eventsOf(response.body);
    } catch (error) {
      throw error.name === "AbortError" ? error : problemOfNetwork();
    }
  }

  async #fetch(method, url, options) {
    const response = await this.#reach(method, url, options);
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.status === 401) this.#refused(problem);
    throw problem;
  }

  async #reach(method, url, { headers = {}, body, signal }) {
    try {
      return await fetch(url, {
        method,
        body,
        signal,
        headers: { ...headers, authorization: `Bearer ${this.#key}` },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      throw error.name === "AbortError" || error instanceof Problem ? error : problemOfNetwork();
    }
  }
}
