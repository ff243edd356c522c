"""One level-triggered reconcile per kind, and the queue that runs them."""
