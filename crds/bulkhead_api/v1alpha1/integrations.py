"""What an organization has that packages can depend on by version."""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1.patterns import DEPENDENCY_NAME, SEMVER


class Integration(ApiModel):
    """A system that the organization has connected, in one version of its interface."""

    name: Annotated[
        str,
        Field(
            description="Name by which packages depend on it.",
            min_length=1,
            max_length=63,
            pattern=DEPENDENCY_NAME,
        ),
    ]
    version: Annotated[
        str,
        Field(
            description="Semantic version of its interface, for example 3.1.0.",
            min_length=5,
            max_length=64,
            pattern=SEMVER,
        ),
    ]
