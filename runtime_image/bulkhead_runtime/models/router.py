"""The way to every model: planned, bounded, called, counted; follows configuration and keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bulkhead_api.names import OFFLINE_MODEL, OFFLINE_PROVIDER
from bulkhead_api.runtime_config import ModelsConfig
from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime.models.calls import PlannedByteCall, PlannedCall
from bulkhead_runtime.models.catalog import catalog
from bulkhead_runtime.models.counting import TokenMeasure, bytes_of_text
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.planning import ModelPolicy, Planner
from bulkhead_runtime.models.port import (
    ByteCall,
    ByteRequest,
    CacheScope,
    CallBound,
    CatalogEntry,
    ModelCall,
    ModelInfo,
    ModelMessage,
    ModelRequest,
    Moderation,
    OnSwitch,
    ToolSpec,
    Usage,
)
from bulkhead_runtime.models.providers import OnCircuit, Providers
from bulkhead_runtime.models.response_cache import (
    CachedCall,
    ResponseCache,
    cache_key,
    is_first_question,
)

DEFAULT_CONTEXT_WINDOW: Final = 100_000
"""Tokens, where nobody told how much a model holds."""

_OFFLINE: Final = ModelInfo(id=OFFLINE_MODEL, provider=OFFLINE_PROVIDER)


class ModelRouter:
    """Implements `port.Router` for one organization; constructing it opens and imports nothing.

    `organization` is only what the embedded model calls itself. `policy` decides beside the
    allowed patterns; `on_circuit` is told when a provider's circuit changes its state.
    """

    def __init__(
        self,
        providers_directory: Path,
        *,
        organization: str = "",
        policy: ModelPolicy | None = None,
        on_circuit: OnCircuit | None = None,
    ) -> None:
        self._providers = Providers(providers_directory, organization, on_circuit)
        self._planner = Planner(policy)
        self._measure = TokenMeasure()
        self._cache = ResponseCache()

    def configure(self, models: ModelsConfig) -> None:
        """Follow a new configuration; calls under way end on what they began with."""
        self._providers.configure(models)
        self._planner.configure(models)

    def reload_credentials(self) -> None:
        """Read the mounted key files again (their folder changed)."""
        self._providers.reload_credentials()

    def missing_credentials(self) -> tuple[str, ...]:
        """Return the names of providers that have credentials configured but none mounted."""
        return self._providers.missing_credentials()

    def plan(self, model: str, agent: Agent | None, context: Any) -> tuple[str, ...]:
        """Return the models to ask in order: this one, then the fallbacks that may be used.

        Raises `ModelError` of kind denied, unknown_provider or missing_credentials.
        """
        if model.partition("/")[0] != OFFLINE_PROVIDER:
            self._providers.provider(model)
        plan = self._planner.plan(model, agent, context)
        if len(plan) == 1:
            self._providers.target(model)
        return plan

    def bounds(self, request: ModelRequest | ByteRequest) -> CallBound:
        """Return the most that a request can take, counted offline."""
        return self._providers.bounds(request)

    def context_window(self, model: str) -> int:
        """Return the tokens that a model holds; 100,000 where unknown."""
        return self._providers.prices.facts(model).context_window or DEFAULT_CONTEXT_WINDOW

    def count(self, model: str, messages: Sequence[ModelMessage]) -> tuple[int, ...]:
        """Return about how many tokens each message is, in the measure of the last calls."""
        return self._measure.count(model, messages)

    def count_tools(self, model: str, tools: Sequence[ToolSpec]) -> int:
        """Return about how many tokens it takes to tell a model of these tools."""
        return self._measure.count_tools(model, tools)

    def call(
        self,
        request: ModelRequest,
        plan: tuple[str, ...],
        on_switch: OnSwitch | None = None,
        cache: CacheScope | None = None,
    ) -> ModelCall:
        """Return a call of the plan's models; nothing is sent before its stream is read."""
        call = PlannedCall(self._providers, request, plan, on_switch, self._measure.observe)
        if cache is None or cache.seconds == 0 or not is_first_question(request):
            return call
        key = cache_key(request, plan, cache)
        return CachedCall(self._cache, key, cache.seconds, request.deadline, call)

    def has_byte_lane(self, model: str) -> bool:
        """Tell whether it and its fallbacks stream byte for byte, as far as they can be asked now.

        The fallbacks are those of a model that a client addresses.
        """
        return not any(map(self._lacks_byte_lane, (model, *self._planner.fallbacks)))

    def byte_call(
        self, request: ByteRequest, plan: tuple[str, ...], on_switch: OnSwitch | None = None
    ) -> ByteCall:
        """Return the call byte for byte, for models of which `has_byte_lane` is True."""
        return PlannedByteCall(self._providers, request, plan, on_switch)

    def moderation_usage(
        self, text: str, *, provider: str, model: str | None, counted: int | None = None
    ) -> Usage:
        """Return what a moderation takes: as counted by the provider, else the most."""
        facts = self._providers.prices.moderation(provider, model)
        tokens = counted
        if tokens is None:
            bound = bytes_of_text((ModelMessage("user", text),))
            tokens = min(bound, facts.context_window or bound)
        cost = facts.price.cost(tokens, 0) if facts.price is not None else None
        return Usage(tokens, 0, cost, estimated=counted is None)

    async def moderate(
        self, text: str, *, provider: str, model: str | None, deadline: float
    ) -> Moderation:
        """Ask a provider whether a text is harmful; raise `ModelError` when it cannot tell."""
        target = self._providers.provider(f"{provider}/moderations")
        if target.type != "OpenAICompatible":
            raise ModelError(
                "invalid_request",
                f"Provider {provider!r} cannot moderate: spec.safety.moderation.provider must be "
                "of type OpenAICompatible.",
            )
        return await self._providers.fast_client(target).moderator(text, model, deadline)

    def list_models(self) -> tuple[ModelInfo, ...]:
        """Return what can be named, the embedded offline model included."""
        names = (provider.name for provider in self._providers.configured())
        return (_OFFLINE, *(ModelInfo(f"{name}/*", name) for name in names))

    def catalog(self) -> tuple[CatalogEntry, ...]:
        """Return every model that is allowed, with prices, sizes and whether it can be asked."""
        return catalog(self._providers, self._planner.lists)

    async def aclose(self) -> None:
        """Close connections and the litellm process."""
        await self._providers.aclose()

    def _lacks_byte_lane(self, model: str) -> bool:
        try:
            return self._providers.target(model).byte_lane is None
        except ModelError:
            return False
