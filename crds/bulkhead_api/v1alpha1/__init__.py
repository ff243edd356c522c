"""The first served version of the three kinds."""

from bulkhead_api.v1alpha1.agent_package import AgentPackage, AgentPackageSpec
from bulkhead_api.v1alpha1.memory_pool import MemoryPool, MemoryPoolSpec
from bulkhead_api.v1alpha1.organization_runtime import OrganizationRuntime, OrganizationRuntimeSpec

__all__ = [
    "AgentPackage",
    "AgentPackageSpec",
    "MemoryPool",
    "MemoryPoolSpec",
    "OrganizationRuntime",
    "OrganizationRuntimeSpec",
]
