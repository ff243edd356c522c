"""Finds the client for a model's name and follows configuration and keys.

Connections and the litellm process outlive a configuration; the small clients that carry a
provider's address and key are made anew, so that a call under way ends on what it began with.
"""

import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bulkhead_api.names import OFFLINE_MODEL, OFFLINE_PROVIDER
from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_runtime.models.credentials import ProviderKeys
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.offline.model import OfflineModel
from bulkhead_runtime.models.port import ModelClient, ModelInfo, Passthrough

if TYPE_CHECKING:
    from bulkhead_runtime.models.fast_lane.client import FastLaneClient
    from bulkhead_runtime.models.fast_lane.connections import Connections
    from bulkhead_runtime.models.litellm_lane.client import LiteLLMClient
    from bulkhead_runtime.models.litellm_lane.process import LiteLLMProcess

_FAST_LANE: Final = "bulkhead_runtime.models.fast_lane.client"
_OFFLINE: Final = ModelInfo(id=OFFLINE_MODEL, provider=OFFLINE_PROVIDER)


class ModelRouter:
    """The providers of one organization by name; constructing it opens and imports nothing.

    `organization` is only what the embedded model calls itself.
    """

    def __init__(self, providers_directory: Path, *, organization: str = "") -> None:
        self._keys = ProviderKeys(providers_directory)
        self._offline = OfflineModel(organization)
        self._providers: dict[str, ProviderConfig] = {}
        self._fast_clients: dict[str, FastLaneClient] = {}
        self._litellm_clients: dict[str, LiteLLMClient] = {}
        self._connections: Connections | None = None
        self._litellm: LiteLLMProcess | None = None

    def configure(self, models: ModelsConfig) -> None:
        """Follow a new configuration; calls under way end on what they began with."""
        self._providers = {provider.name: provider for provider in models.providers}
        self.reload_credentials()
        if any(provider.type == "OpenAICompatible" for provider in models.providers):
            self._import_fast_lane()

    def reload_credentials(self) -> None:
        """Read the mounted key files again (their folder changed)."""
        self._keys.reload(frozenset(p.name for p in self._providers.values() if p.has_credentials))
        self._fast_clients = {}
        self._litellm_clients = {}

    def missing_credentials(self) -> tuple[str, ...]:
        """Return the names of providers that have credentials configured but none mounted."""
        return tuple(p.name for p in self._providers.values() if self._is_keyless(p))

    def client_for(self, model: str) -> ModelClient:
        """Return the client of PROVIDER/MODEL.

        Raises `ModelError` of kind unknown_provider or missing_credentials.
        """
        if model.partition("/")[0] == OFFLINE_PROVIDER:
            return self._offline
        provider = self._provider(model)
        if provider.type == "OpenAICompatible":
            return self._fast_client(provider)
        return self._litellm_client(provider)

    def passthrough(self, model: str) -> Passthrough | None:
        """Return the byte lane of PROVIDER/MODEL, None where its provider has none.

        Raises `ModelError` of kind unknown_provider or missing_credentials.
        """
        if model.partition("/")[0] == OFFLINE_PROVIDER:
            return None
        provider = self._provider(model)
        if provider.type != "OpenAICompatible":
            return None
        return self._fast_client(provider).passthrough

    def list_models(self) -> tuple[ModelInfo, ...]:
        """Return what can be named, the embedded offline model included."""
        return (_OFFLINE, *(ModelInfo(f"{name}/*", name) for name in sorted(self._providers)))

    async def aclose(self) -> None:
        """Close connections and the litellm process."""
        if self._connections is not None:
            await self._connections.aclose()
        if self._litellm is not None:
            await self._litellm.aclose()

    def _provider(self, model: str) -> ProviderConfig:
        name, _, rest = model.partition("/")
        provider = self._providers.get(name)
        if provider is None or not rest:
            known = ", ".join((OFFLINE_PROVIDER, *sorted(self._providers)))
            raise ModelError(
                "unknown_provider",
                f"There is no provider for model {model[:256]!r}: write PROVIDER/MODEL with one of "
                f"{known}, or add the provider to spec.models.providers.",
            )
        if self._is_keyless(provider):
            raise ModelError(
                "missing_credentials",
                f"Provider {name!r} has no API key mounted: make the Secret that its "
                "credentialsRef names, with that field, in the organization's namespace.",
            )
        return provider

    def _import_fast_lane(self) -> None:
        # A sixth of a second: beside the event loop, so that no stream under way stops for it.
        if _FAST_LANE not in sys.modules:
            threading.Thread(target=import_module, args=(_FAST_LANE,), daemon=True).start()

    def _is_keyless(self, provider: ProviderConfig) -> bool:
        return provider.has_credentials and self._keys.get(provider.name) is None

    def _fast_client(self, provider: ProviderConfig) -> "FastLaneClient":
        client = self._fast_clients.get(provider.name)
        if client is None:
            from bulkhead_runtime.models.fast_lane.client import FastLaneClient  # noqa: PLC0415
            from bulkhead_runtime.models.fast_lane.connections import Connections  # noqa: PLC0415

            if self._connections is None:
                self._connections = Connections()
            client = FastLaneClient(provider, self._keys.get(provider.name), self._connections)
            self._fast_clients[provider.name] = client
        return client

    def _litellm_client(self, provider: ProviderConfig) -> "LiteLLMClient":
        client = self._litellm_clients.get(provider.name)
        if client is None:
            from bulkhead_runtime.models.litellm_lane.client import LiteLLMClient  # noqa: PLC0415
            from bulkhead_runtime.models.litellm_lane.process import (  # noqa: PLC0415
                LiteLLMProcess,
            )

            if self._litellm is None:
                self._litellm = LiteLLMProcess()
            client = LiteLLMClient(provider, self._keys.get(provider.name), self._litellm)
            self._litellm_clients[provider.name] = client
        return client
