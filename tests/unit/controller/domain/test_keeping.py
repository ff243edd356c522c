"""What was wanted last is kept whole, and what organizations have in common only once."""

import gc
import tracemalloc
from typing import Any
from weakref import ref

import pytest

from bulkhead_api.v1alpha1.organization_runtime import OrganizationRuntimeSpec
from bulkhead_operator.reconcile.keeping import Keeping
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.resources.desired import desired
from tests.support.blueprints import blueprint
from tests.support.full_specs import ORGANIZATION

KEPT_BYTES = 5 * 1024
"""Of each organization that is like others; alone it takes four times as much."""


@pytest.mark.parametrize(
    "spec", [{}, ORGANIZATION], ids=["an empty spec", "a spec with every field"]
)
def test_the_same_is_made_of_what_was_kept(spec: dict[str, Any]) -> None:
    wanted = blueprint(spec)
    assert desired(Keeping().kept(wanted)) == desired(wanted)


def test_a_change_of_one_organization_is_not_seen_in_another() -> None:
    keeping = Keeping()
    kept = {size: keeping.kept(blueprint({"storage": {"sizeMB": size}})) for size in (512, 2048)}
    assert {size: one.organization.spec.storage.size_mb for size, one in kept.items()} == {
        512: 512,
        2048: 2048,
    }


def test_organizations_that_are_alike_take_little_memory() -> None:
    keeping, count = Keeping(), 50
    # With every default written out, as the API server stores it.
    spec = OrganizationRuntimeSpec().model_dump(mode="json", by_alias=True, exclude_none=True)
    kept: list[Blueprint] = [keeping.kept(blueprint(spec))]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept += (keeping.kept(blueprint(spec)) for _ in range(count))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < KEPT_BYTES


def test_nothing_is_kept_for_organizations_that_are_gone() -> None:
    keeping = Keeping()
    kept = keeping.kept(blueprint({"limits": {"maxMemoryMB": 640}}))
    limits = ref(kept.organization.spec.limits)
    assert limits() is not None
    del kept
    gc.collect()
    assert limits() is None
