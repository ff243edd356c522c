"""What was wanted last is kept whole, and what organizations have in common only once."""

import gc
import tracemalloc
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest

from bulkhead_api.v1alpha1.organization_runtime import OrganizationRuntimeSpec
from bulkhead_operator.reconcile.keeping import Keeping
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.resources.desired import desired
from tests.support.blueprints import blueprint
from tests.support.full_specs import ORGANIZATION

KEPT_BYTES = 6 * 1024
"""Of each organization that is like others; alone it takes three times as much."""


def kept(keeping: Keeping, wanted: Blueprint, before: Blueprint | None = None) -> Blueprint:
    return keeping.without_status(keeping.shared(wanted, before))


@pytest.mark.parametrize(
    "spec", [{}, ORGANIZATION], ids=["an empty spec", "a spec with every field"]
)
def test_the_same_is_made_of_what_was_kept(spec: dict[str, Any]) -> None:
    wanted = blueprint(spec)
    assert desired(kept(Keeping(), wanted)) == desired(wanted)


def test_a_change_of_one_organization_is_not_seen_in_another() -> None:
    keeping, sizes = Keeping(), (512, 2048)
    both = [kept(keeping, blueprint({"storage": {"sizeMB": size}})) for size in sizes]
    assert tuple(one.organization.spec.storage.size_mb for one in both) == sizes


def test_a_new_spec_is_not_taken_for_the_one_before() -> None:
    keeping = Keeping()
    before = kept(keeping, blueprint({"storage": {"sizeMB": 512}}))
    metadata = before.organization.metadata.model_copy(update={"generation": 4})
    wanted = blueprint({"storage": {"sizeMB": 2048}, "limits": {"maxQueueSize": 3}})
    changed = replace(
        wanted, organization=wanted.organization.model_copy(update={"metadata": metadata})
    )
    after = kept(keeping, changed, before)
    assert desired(after) == desired(changed)
    assert after.organization.spec == wanted.organization.spec


def test_organizations_that_are_alike_take_little_memory() -> None:
    keeping, count = Keeping(), 50
    # With every default written out, as the API server stores it.
    spec = OrganizationRuntimeSpec().model_dump(mode="json", by_alias=True, exclude_none=True)
    known = [kept(keeping, blueprint(spec))]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        known += (kept(keeping, blueprint(spec)) for _ in range(count))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < KEPT_BYTES


def test_nothing_is_kept_for_organizations_that_are_gone() -> None:
    keeping = Keeping()
    last = kept(keeping, blueprint({"limits": {"maxMemoryMB": 640}}))
    limits = ref(last.organization.spec.limits)
    assert limits() is not None
    del last
    gc.collect()
    assert limits() is None
