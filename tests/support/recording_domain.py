"""A domain that only writes down what it is asked to reconcile, for tests of the machinery."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.reconcile.keys import (
    DONE,
    ORGANIZATION,
    PACKAGE,
    POOL,
    Key,
    Outcome,
    Reconcile,
)


@dataclass
class RecordingDomain:
    """What was reconciled, with the generation that the inventory showed (None for gone)."""

    seen: list[tuple[Key, int | None]] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)

    def __call__(self, context: Context) -> "RecordingDomain":
        self.contexts.append(context)
        return self

    @property
    def reconcilers(self) -> Mapping[str, Reconcile]:
        return dict.fromkeys((ORGANIZATION, PACKAGE, POOL), self._reconcile)

    def desired(self, organization: str) -> Mapping[ObjectKey, Manifest] | None:
        return {}

    async def _reconcile(self, key: Key) -> Outcome:
        body = self.contexts[-1].inventory.get(key)
        self.seen.append((key, None if body is None else body["metadata"]["generation"]))
        return DONE
