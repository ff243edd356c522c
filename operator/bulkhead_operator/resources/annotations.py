"""Annotations that only the operator writes and reads; those that others rely on are in names."""

from typing import Final

from bulkhead_api.names import GROUP

ORGANIZATION_UID: Final = f"{GROUP}/organization-uid"
"""On a namespace that the operator made: the organization it was made for, so that a crash right
after making it cannot leave it without a claim."""

PACKAGE: Final = f"{GROUP}/package"
PACKAGE_UID: Final = f"{GROUP}/package-uid"
PACKAGE_VERSION: Final = f"{GROUP}/package-version"
PACKAGE_CHECKSUM: Final = f"{GROUP}/package-checksum"
"""On a ControllerRevision: which version of which package it keeps; the uid tells a
package from a later one of the same name."""

ROLLOUT_AT: Final = f"{GROUP}/rollout-at"
ROLLOUT_CAUSE: Final = f"{GROUP}/rollout-cause"
ROLLOUT_BY: Final = f"{GROUP}/rollout-by"
ROLLOUT_OUTCOME: Final = f"{GROUP}/rollout-outcome"
"""On a ControllerRevision: when its last rollout began, what and who asked for it, and what came
of it."""

UPGRADE: Final = f"{GROUP}/operator-upgrade"
"""On the Deployment: hash of the pod template that a changed operator rolled out."""

HANDLED_ROTATION: Final = f"{GROUP}/handled-api-key-rotation"
"""On the API key's Secret: the request that its key answered, written together with the key."""
