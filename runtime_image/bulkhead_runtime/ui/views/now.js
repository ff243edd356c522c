// What runs at this moment, shown as it changes.

import { h, tile } from "../dom.js";
import { bytes, count } from "../format.js";
import { Metrics } from "../metrics.js";
import { problemOfNetwork } from "../problems.js";
import { budgetList } from "./usage.js";

/** Return what shows the present, once there is something to show; `failed` hears what ends it. */
export function now({ api, signal }, failed) {
  const view = h("div", {});
  const ended = new AbortController();
  const whole = AbortSignal.any([signal, ended.signal]);
  let watched = new AbortController();

  async function follow(begun) {
    watched = new AbortController();
    const metrics = new Metrics();
    for await (const { event, data } of api.follow(
      "/v1/metrics/stream",
      AbortSignal.any([whole, watched.signal]),
    )) {
      view.replaceChildren(...shown(metrics.take(event, data.data)));
      begun();
    }
    throw problemOfNetwork();
  }

  return new Promise((resolve, reject) => {
    function watch() {
      follow(() => resolve(view)).catch((error) => {
        if (error.name === "AbortError") return; // left, or out of sight for now
        ended.abort();
        reject(error);
        failed(error);
      });
    }
    // A page out of sight gives its connection back: browsers have six for one origin.
    document.addEventListener(
      "visibilitychange",
      () => (document.hidden ? watched.abort() : watch()),
      { signal: whole },
    );
    watch();
  });
}

function shown(metrics) {
  const tiles = [
    of("Running", metrics, "bulkhead_executions_active", "bulkhead_executions_limit", count),
    of("Waiting", metrics, "bulkhead_executions_queued", "bulkhead_queue_limit", count),
    of("Sessions", metrics, "bulkhead_sessions", null, count),
    of("Memory pool", metrics, "bulkhead_pool_used_bytes", "bulkhead_pool_capacity_bytes", bytes),
  ];
  return [h("dl", { class: "tiles" }, ...tiles), ...budgetList(metrics.budgets())];
}

function of(label, metrics, used, limit, format) {
  const most = limit && metrics.total(limit);
  return tile(label, format(metrics.total(used) ?? 0), most ? `of ${format(most)}` : "");
}
