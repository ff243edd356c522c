"""What the process is told at its start: who it serves, where its files and ports are.

Everything that may change while it runs comes with the mounted configuration instead.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from bulkhead_api import names
from bulkhead_runtime.errors import StartError

DEFAULT_DRAIN_SECONDS = 10.0
MAX_DRAIN_SECONDS = 600.0
DEFAULT_POSTGRES_CONNECTIONS = 10
DEFAULT_SCRATCH_DIRECTORY = Path("/tmp")  # noqa: S108 (a volume of the pod's own)
"""Outlives the container and not the pod."""

MAX_POSTGRES_CONNECTIONS = 100
StoreKind = Literal["sqlite", "postgres"]
DEFAULT_HOST = "::"
"""All addresses, IPv6 and IPv4."""


class SettingsError(StartError):
    """An environment variable is missing or wrong; the message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one process; `drain_seconds` is how long it serves on after SIGTERM."""

    organization: str
    runtime_id: str
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    config_directory: Path = Path(names.CONFIG_DIRECTORY)
    data_directory: Path = Path(names.DATA_DIRECTORY)
    secrets_directory: Path = Path(names.SECRETS_DIRECTORY)
    documents_directory: Path = Path(names.DOCUMENTS_DIRECTORY)
    scratch_directory: Path = DEFAULT_SCRATCH_DIRECTORY
    host: str = DEFAULT_HOST
    public_port: int = names.PUBLIC_PORT
    internal_port: int = names.INTERNAL_PORT
    log_level: str = "INFO"
    store: StoreKind = "sqlite"
    redis: bool = False
    postgres_max_connections: int = DEFAULT_POSTGRES_CONNECTIONS
    pod_ip: str = ""

    @property
    def own_address(self) -> str:
        """Return where this very process answers, as http://HOST:PORT; empty when not known."""
        if not self.pod_ip:
            return ""
        host = f"[{self.pod_ip}]" if ":" in self.pod_ip else self.pod_ip
        return f"http://{host}:{self.public_port}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read BULKHEAD_* variables; raise `SettingsError` for what is missing or wrong."""
        return cls(
            organization=_required(environment, "BULKHEAD_ORGANIZATION"),
            runtime_id=_required(environment, "BULKHEAD_RUNTIME_ID"),
            drain_seconds=_drain_seconds(environment),
            config_directory=_path(
                environment, "BULKHEAD_CONFIG_DIRECTORY", names.CONFIG_DIRECTORY
            ),
            data_directory=_path(environment, "BULKHEAD_DATA_DIRECTORY", names.DATA_DIRECTORY),
            secrets_directory=_path(
                environment, "BULKHEAD_SECRETS_DIRECTORY", names.SECRETS_DIRECTORY
            ),
            documents_directory=_path(
                environment, "BULKHEAD_DOCUMENTS_DIRECTORY", names.DOCUMENTS_DIRECTORY
            ),
            scratch_directory=_path(
                environment, "BULKHEAD_SCRATCH_DIRECTORY", str(DEFAULT_SCRATCH_DIRECTORY)
            ),
            host=environment.get("BULKHEAD_HOST", DEFAULT_HOST),
            public_port=_port(environment, "BULKHEAD_PUBLIC_PORT", names.PUBLIC_PORT),
            internal_port=_port(environment, "BULKHEAD_INTERNAL_PORT", names.INTERNAL_PORT),
            log_level=_log_level(environment),
            store=_store(environment),
            redis=_redis(environment),
            postgres_max_connections=_connections(environment),
            pod_ip=_pod_ip(environment),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} must be set: the operator sets it on the Deployment")
    return value


def _path(environment: Mapping[str, str], name: str, default: str) -> Path:
    value = environment.get(name, default)
    path = Path(value)
    if not path.is_absolute():
        raise SettingsError(f"{name} must be an absolute path, not {value!r}")
    return path


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name)
    if value is None:
        return default
    if not value.isdecimal() or not 0 < int(value) < 2**16:
        raise SettingsError(f"{name} must be a port from 1 to 65535, not {value!r}")
    return int(value)


def _drain_seconds(environment: Mapping[str, str]) -> float:
    value = environment.get("BULKHEAD_DRAIN_SECONDS")
    if value is None:
        return DEFAULT_DRAIN_SECONDS
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= MAX_DRAIN_SECONDS:
        raise SettingsError(
            f"BULKHEAD_DRAIN_SECONDS must be a number from 0 to {MAX_DRAIN_SECONDS:g}, "
            f"not {value!r}"
        )
    return seconds


def _log_level(environment: Mapping[str, str]) -> str:
    value = environment.get("BULKHEAD_LOG_LEVEL", "INFO").upper()
    if value not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise SettingsError(
            f"BULKHEAD_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {value!r}"
        )
    return value


def _store(environment: Mapping[str, str]) -> StoreKind:
    value = environment.get(names.STORE_VARIABLE, "sqlite")
    if value == "sqlite":
        return "sqlite"
    if value == "postgres":
        return "postgres"
    raise SettingsError(f"{names.STORE_VARIABLE} must be sqlite or postgres, not {value!r}")


def _redis(environment: Mapping[str, str]) -> bool:
    value = environment.get(names.REDIS_VARIABLE, "false")
    if value not in {"true", "false"}:
        raise SettingsError(f"{names.REDIS_VARIABLE} must be true or false, not {value!r}")
    if value == "true" and _store(environment) != "postgres":
        raise SettingsError(
            f"{names.REDIS_VARIABLE} is true without PostgreSQL behind it: set "
            f"{names.STORE_VARIABLE} to postgres"
        )
    return value == "true"


def _pod_ip(environment: Mapping[str, str]) -> str:
    value = environment.get(names.POD_IP_VARIABLE, "")
    try:
        return str(ip_address(value)) if value else ""
    except ValueError:
        raise SettingsError(f"{names.POD_IP_VARIABLE} must be an address, not {value!r}") from None


def _connections(environment: Mapping[str, str]) -> int:
    value = environment.get(names.POSTGRES_CONNECTIONS_VARIABLE)
    if value is None:
        return DEFAULT_POSTGRES_CONNECTIONS
    if not value.isdecimal() or not 0 < int(value) <= MAX_POSTGRES_CONNECTIONS:
        raise SettingsError(
            f"{names.POSTGRES_CONNECTIONS_VARIABLE} must be a number from 1 to "
            f"{MAX_POSTGRES_CONNECTIONS}, not {value!r}"
        )
    return int(value)
