"""Every reason that a condition can have. They are API: programs may match on them."""

from typing import Final

READY: Final = "Ready"
SUSPENDED: Final = "Suspended"
TERMINATING: Final = "Terminating"

INVALID_SPEC: Final = "InvalidSpec"
NAMESPACE_NOT_OURS: Final = "NamespaceNotOurs"
NAMESPACE_CLAIMED: Final = "NamespaceClaimed"
NAMESPACE_NOT_FOUND: Final = "NamespaceNotFound"
NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
EGRESS_DENIED: Final = "EgressDenied"
OBJECT_NOT_OURS: Final = "ObjectNotOurs"
REFUSED: Final = "RefusedByAPIServer"
FORBIDDEN: Final = "Forbidden"

WAITING_FOR_PODS: Final = "WaitingForPods"
PODS_NOT_STARTING: Final = "PodsNotStarting"
MINIMUM_AVAILABLE: Final = "MinimumAvailable"
ROLLING_OUT: Final = "RollingOut"

CONFIGURATION_LOADED: Final = "Loaded"
CONFIGURATION_PENDING: Final = "WaitingForRuntime"
CONFIGURATION_REFUSED: Final = "RefusedByRuntime"

CREDENTIALS_FOUND: Final = "Found"
CREDENTIALS_NOT_NEEDED: Final = "NotNeeded"
CREDENTIALS_MISSING: Final = "CredentialsMissing"
DOCUMENTS_MISSING: Final = "DocumentsMissing"

RESTART_WAITS: Final = "WaitingForRestarts"
RESTARTS_HALTED: Final = "RestartsHalted"

NO_ORGANIZATION: Final = "NoOrganization"
WAITING_FOR_ORGANIZATION: Final = "WaitingForOrganization"
VERSION_CONTENT_CHANGED: Final = "VersionContentChanged"
UNKNOWN_PROVIDER: Final = "UnknownProvider"
UNKNOWN_CREDENTIAL: Final = "UnknownCredential"
CREDENTIAL_NOT_FOR_HOST: Final = "CredentialNotForHost"
NAME_CONFLICT: Final = "NameConflict"
PACKAGE_TOO_LARGE: Final = "PackageTooLarge"
TOO_MANY_PACKAGES: Final = "TooManyPackages"
IN_SERVICE: Final = "InService"
POOL_TOO_LARGE: Final = "PoolTooLarge"
IN_USE: Final = "InUse"
