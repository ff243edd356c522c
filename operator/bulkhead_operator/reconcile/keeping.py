"""Keeps what was wanted last, for little: parts that specs have in common are kept once.

A spec and the configuration made of it are some forty models, 20 KB of memory. Most organizations
leave most of them at their defaults, and equal parts may be one, since none is ever changed.
"""

from dataclasses import replace
from typing import TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from bulkhead_api.schema import ApiModel
from bulkhead_operator.resources.blueprint import Blueprint

Part = TypeVar("Part", bound=ApiModel)


class Keeping:
    """The parts that are in use, by their content; what nobody uses any more is forgotten."""

    def __init__(self) -> None:
        self._parts: WeakKeyDictionary[ApiModel, ReferenceType[ApiModel]] = WeakKeyDictionary()

    def kept(self, blueprint: Blueprint) -> Blueprint:
        """Return an equal blueprint of shared parts, without the status: nothing is built of it."""
        organization = blueprint.organization
        parts = {
            "spec": self._shared(self._of_shared(organization.spec)),
            "status": self._shared(type(organization.status)()),
        }
        return replace(
            blueprint,
            organization=organization.model_copy(update=parts),
            configuration=self._of_shared(blueprint.configuration),
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
