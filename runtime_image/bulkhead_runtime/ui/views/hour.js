// The last hour of all replicas, minute by minute.

import { bars } from "../charts.js";
import { h, tile } from "../dom.js";
import { count } from "../format.js";

const MINUTES = 60;
const MINUTE = 60_000; // milliseconds
const DONE = "bulkhead_executions_total";
const FAILED = "bulkhead_execution_errors_total";
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** Return what was executed in the last hour. */
export async function hour({ api, signal }) {
  const first = (Math.floor(Date.now() / MINUTE) - MINUTES + 1) * MINUTE;
  const query = { metric: [DONE, FAILED], step: 10, from: new Date(first).toISOString() };
  const { data } = await api.get("/v1/metrics/history", query, signal);
  const points = new Map(data.map(({ name, points: told }) => [name, told]));
  const minutes = Array.from({ length: MINUTES }, () => 0);
  for (const { at, value } of points.get(DONE) ?? []) {
    const minute = Math.floor((Date.parse(at) - first) / MINUTE);
    if (minute >= 0 && minute < MINUTES) minutes[minute] += value;
  }
  const named = minutes.map((value, at) => [clock.format(first + at * MINUTE), value]);
  return [
    h(
      "dl",
      { class: "tiles" },
      sum("Executions", points.get(DONE)),
      sum("Failed", points.get(FAILED)),
    ),
    bars(named, "executions a minute"),
  ];
}

function sum(label, points = []) {
  return tile(label, count(points.reduce((all, { value }) => all + value, 0)));
}
