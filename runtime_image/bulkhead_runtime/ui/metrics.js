// The few figures of the runtime's metrics that a tenant looks at.

const SAMPLE = /^(bulkhead_[a-z_]+)(?:\{([^}]*)\})? (\S+)/;
const LABEL = /([a-z_]+)="([^"]*)"/g;
const UNLABELLED = {
  bulkhead_executions_active: "running",
  bulkhead_executions_queued: "waiting",
  bulkhead_sessions: "sessions",
  bulkhead_pool_used_bytes: "poolBytes",
};
const ACCOUNTS = { bulkhead_budget_used: "used", bulkhead_budget_limit: "limit" };

/** Return the figures of an exposition in Prometheus' format; `budgets` by scope and dimension. */
export function figuresOf(exposition) {
  const figures = { budgets: new Map() };
  for (const line of exposition.split("\n")) {
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (name in UNLABELLED) figures[UNLABELLED[name]] = Number(value);
    else if (name in ACCOUNTS) note(figures.budgets, Object.fromEntries([...labels.matchAll(LABEL)].map((m) => m.slice(1))), ACCOUNTS[name], Number(value));
  }
  return figures;
}

function note(budgets, { scope, dimension }, side, value) {
  const name = `${scope} ${dimension}`;
  budgets.set(name, { scope, dimension, used: 0, limit: 0, ...budgets.get(name), [side]: value });
}
