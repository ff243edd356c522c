"""The providers of one organization: their clients, keys and circuits, by name.

Connections, circuits and the litellm process outlive a configuration; the small clients that carry
a provider's address and key are made anew, so that a call under way ends on what it began with.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bulkhead_api.names import OFFLINE_PROVIDER
from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_runtime.models.circuit import Circuit, CircuitState
from bulkhead_runtime.models.counting import input_bound
from bulkhead_runtime.models.credentials import ProviderKeys
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.offline.model import OfflineModel
from bulkhead_runtime.models.port import ByteRequest, CallBound, ModelRequest
from bulkhead_runtime.models.prices import PriceBook
from bulkhead_runtime.models.tries import Target

if TYPE_CHECKING:
    from bulkhead_runtime.models.fast_lane.client import FastLaneClient
    from bulkhead_runtime.models.fast_lane.connections import Connections
    from bulkhead_runtime.models.litellm_lane.client import LiteLLMClient
    from bulkhead_runtime.models.litellm_lane.process import LiteLLMProcess

_FAST_LANE: Final = "bulkhead_runtime.models.fast_lane.client"

OnCircuit = Callable[[str, CircuitState], None]
"""Is told the provider and the new state of its circuit."""

_log = logging.getLogger(__name__)


class Providers:
    """Finds where a model is asked; constructing it opens and imports nothing."""

    def __init__(self, directory: Path, organization: str, on_circuit: OnCircuit | None) -> None:
        self.prices = PriceBook(ModelsConfig(default=""))
        self._keys = ProviderKeys(directory)
        self._offline = OfflineModel(organization)
        self._on_circuit = on_circuit
        self._providers: dict[str, ProviderConfig] = {}
        self._circuits: dict[str, Circuit] = {}
        self._fast_clients: dict[str, FastLaneClient] = {}
        self._litellm_clients: dict[str, LiteLLMClient] = {}
        self._connections: Connections | None = None
        self._litellm: LiteLLMProcess | None = None

    def configure(self, models: ModelsConfig) -> None:
        """Follow a new configuration; a provider that changed begins with a closed circuit."""
        former = self._providers
        self._providers = {provider.name: provider for provider in models.providers}
        self._circuits = {
            name: self._circuits[name] if former.get(name) == provider else self._circuit(provider)
            for name, provider in self._providers.items()
        }
        self.prices = PriceBook(models)
        self.reload_credentials()
        if any(provider.type == "OpenAICompatible" for provider in models.providers):
            self._import_fast_lane()

    def reload_credentials(self) -> None:
        """Read the mounted key files again (their folder changed)."""
        self._keys.reload(frozenset(p.name for p in self._providers.values() if p.has_credentials))
        self._fast_clients = {}
        self._litellm_clients = {}

    def configured(self) -> Iterable[ProviderConfig]:
        """Return the providers, ordered by name."""
        return (self._providers[name] for name in sorted(self._providers))

    def missing_credentials(self) -> tuple[str, ...]:
        """Return the names of providers that have credentials configured but none mounted."""
        return tuple(p.name for p in self._providers.values() if self.is_keyless(p))

    def is_keyless(self, provider: ProviderConfig) -> bool:
        """Tell whether a provider needs a key and has none."""
        return provider.has_credentials and self._keys.get(provider.name) is None

    def circuit_wait(self, provider: str, now: float) -> float:
        """Return the seconds until a provider may be asked again, 0 where it may be now."""
        return self._circuits[provider].wait(now)

    def provider(self, model: str) -> ProviderConfig:
        """Return the provider of PROVIDER/MODEL; raise `ModelError` of kind unknown_provider."""
        name, _, rest = model.partition("/")
        provider = self._providers.get(name)
        if provider is None or not rest:
            known = ", ".join((OFFLINE_PROVIDER, *sorted(self._providers)))
            raise ModelError(
                "unknown_provider",
                f"There is no provider for model {model[:256]!r}: write PROVIDER/MODEL with one of "
                f"{known}, or add the provider to spec.models.providers.",
            )
        return provider

    def target(self, model: str) -> Target:
        """Return where a model is asked.

        Raises `ModelError` of kind unknown_provider or missing_credentials.
        """
        if model.partition("/")[0] == OFFLINE_PROVIDER:
            return Target(self._offline)
        provider = self.provider(model)
        if self.is_keyless(provider):
            raise ModelError(
                "missing_credentials",
                f"Provider {provider.name!r} has no API key mounted: make the Secret that its "
                "credentialsRef names, with that field, in the organization's namespace.",
            )
        circuit = self._circuits[provider.name]
        max_output = self.prices.facts(model).max_output
        if provider.type == "OpenAICompatible":
            fast = self.fast_client(provider)
            return Target(fast, fast.passthrough, circuit, provider.max_retries, max_output)
        client = self._litellm_client(provider)
        return Target(client, None, circuit, provider.max_retries, max_output)

    def reread_key(self, model: str) -> None:
        """Read the key of a model's provider again; another key means another client."""
        name = model.partition("/")[0]
        if self._keys.reload_one(name):
            self._fast_clients.pop(name, None)
            self._litellm_clients.pop(name, None)

    def bounds(self, request: ModelRequest | ByteRequest) -> CallBound:
        """Return the most that a request can take."""
        facts = self.prices.facts(request.model)
        read = input_bound(request)
        if facts.context_window is not None:
            read = min(read, facts.context_window)  # what is longer is refused by the provider
        written = min(request.max_output_tokens, facts.max_output or request.max_output_tokens)
        if facts.price is None:
            return CallBound(read, written, None, None)
        input_price, output_price = facts.price.after(read)
        return CallBound(read, written, input_price * read, output_price)

    def fast_client(self, provider: ProviderConfig) -> "FastLaneClient":
        """Return the client of an OpenAI-compatible provider."""
        client = self._fast_clients.get(provider.name)
        if client is None:
            from bulkhead_runtime.models.fast_lane.client import FastLaneClient  # noqa: PLC0415
            from bulkhead_runtime.models.fast_lane.connections import Connections  # noqa: PLC0415

            if self._connections is None:
                self._connections = Connections()
            key = self._keys.get(provider.name)
            client = FastLaneClient(provider, key, self._connections, self.prices)
            self._fast_clients[provider.name] = client
        return client

    async def aclose(self) -> None:
        """Close connections and the litellm process."""
        if self._connections is not None:
            await self._connections.aclose()
        if self._litellm is not None:
            await self._litellm.aclose()

    def _litellm_client(self, provider: ProviderConfig) -> "LiteLLMClient":
        client = self._litellm_clients.get(provider.name)
        if client is None:
            from bulkhead_runtime.models.litellm_lane.client import LiteLLMClient  # noqa: PLC0415
            from bulkhead_runtime.models.litellm_lane.process import (  # noqa: PLC0415
                LiteLLMProcess,
            )

            if self._litellm is None:
                self._litellm = LiteLLMProcess()
            key = self._keys.get(provider.name)
            client = LiteLLMClient(provider, key, self._litellm, self.prices)
            self._litellm_clients[provider.name] = client
        return client

    def _circuit(self, provider: ProviderConfig) -> Circuit:
        breaker = provider.circuit_breaker

        def changed(state: CircuitState) -> None:
            level = logging.WARNING if state == "open" else logging.INFO
            _log.log(level, "Provider circuit is %s", state, extra={"provider": provider.name})
            if self._on_circuit is not None:
                self._on_circuit(provider.name, state)

        return Circuit(breaker.failures, breaker.open_seconds, changed)

    def _import_fast_lane(self) -> None:
        # A sixth of a second: beside the event loop, so that no stream under way stops for it.
        if _FAST_LANE not in sys.modules:
            threading.Thread(target=import_module, args=(_FAST_LANE,), daemon=True).start()
