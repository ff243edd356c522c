// The runtime's metrics: a snapshot, and the changes that follow it.

/** Metrics as of the last event that was taken. */
export class Metrics {
  #metrics = new Map();

  /** Take over a snapshot, or what changed since. */
  take(event, metrics) {
    if (event !== "change") this.#metrics.clear();
    for (const { name, samples } of metrics) {
      const series = this.#metrics.get(name) ?? new Map();
      for (const sample of samples) series.set(JSON.stringify(sample.labels), sample);
      this.#metrics.set(name, series);
    }
    return this;
  }

  /** Return the sum of a metric over its series, null where there is none. */
  total(name) {
    const samples = this.#samples(name);
    return samples.length ? samples.reduce((sum, { value }) => sum + value, 0) : null;
  }

  /** Return the bounded budgets of the organization, as scope, dimension, used and limit. */
  budgets() {
    const used = new Map(
      this.#samples("bulkhead_budget_used").map(({ labels, value }) => [
        JSON.stringify(labels),
        value,
      ]),
    );
    return this.#samples("bulkhead_budget_limit")
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => ({
        ...labels,
        used: used.get(JSON.stringify(labels)) ?? 0,
        limit: value,
      }));
  }

  #samples(name) {
    return [...(this.#metrics.get(name)?.values() ?? [])];
  }
}
