"""Keeps what was wanted last, for little: parts that specs have in common are kept once.

A spec and the configuration made of it are some forty models, 20 KB of memory. Most organizations
leave most of them at their defaults, and equal parts may be one, since none is ever changed.
"""

from dataclasses import replace
from typing import TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.resources.blueprint import Blueprint

Part = TypeVar("Part", bound=ApiModel)


class Keeping:
    """The parts that are in use, by their content; what nobody uses any more is forgotten."""

    def __init__(self) -> None:
        self._parts: WeakKeyDictionary[ApiModel, ReferenceType[ApiModel]] = WeakKeyDictionary()

    def shared(self, blueprint: Blueprint, before: Blueprint | None) -> Blueprint:
        """Return an equal blueprint of shared parts; `before` is what was wanted until now."""
        organization, configuration = blueprint.organization, blueprint.configuration
        if before is not None and _same_spec(before.organization, organization):
            spec = before.organization.spec
        else:
            spec = self._shared(self._of_shared(organization.spec))
        if before is not None and before.configuration.hash == configuration.hash:
            configuration = before.configuration
        else:
            configuration = self._of_shared(configuration)
        return replace(
            blueprint,
            organization=organization.model_copy(update={"spec": spec}),
            configuration=configuration,
        )

    def without_status(self, blueprint: Blueprint) -> Blueprint:
        """Return the blueprint without the recorded status, of which nothing is built."""
        organization = blueprint.organization
        unreported = self._shared(type(organization.status)())
        return replace(
            blueprint, organization=organization.model_copy(update={"status": unreported})
        )

    def _of_shared(self, whole: Part) -> Part:
        parts = {name: self._shared(part) for name, part in whole if isinstance(part, ApiModel)}
        return whole.model_copy(update=parts)

    def _shared(self, part: Part) -> Part:
        """Return the part that is kept already and equal, else this one."""
        try:
            known = self._parts.get(part)
        except TypeError:
            # It holds a dictionary, and so has no hash.
            return part
        found = known() if known is not None else None
        if isinstance(found, type(part)):
            return found
        self._parts[part] = ref(part)
        return part


def _same_spec(one: OrganizationRuntime, other: OrganizationRuntime) -> bool:
    return (one.metadata.uid, one.metadata.generation) == (
        other.metadata.uid,
        other.metadata.generation,
    )
