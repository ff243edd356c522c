"""Calls whatever answers for an agent: a model, or the image of its package's version.

Who asks does not see the difference: reserved before, counted after, tools and sessions as ever.
"""

import time
from contextlib import aclosing
from decimal import Decimal

from msgspec.structs import replace

from bulkhead_runtime.config.snapshot import Version
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.accounts import price_must_be_known
from bulkhead_runtime.kernel.bounds import CallNeed, Wanted
from bulkhead_runtime.kernel.calls import ModelCalls, Planned, Request, Take, ledger_line
from bulkhead_runtime.kernel.captured import Captured
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.grants import Grants
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.models.counting import input_bound
from bulkhead_runtime.models.image_lane.images import Images
from bulkhead_runtime.models.image_lane.wire import About
from bulkhead_runtime.models.port import CacheScope, Meter, ModelRequest, Router, Usage
from bulkhead_runtime.store.spending import LineType
from bulkhead_runtime.telemetry.spans import Tracing

PROVIDER = "package"
"""Stands for the provider in metrics and the ledger; images have none."""


class _Flat(CallNeed, frozen=True):
    """A need whose cost is the same however much is read."""

    def reading(self, tokens: int) -> CallNeed:
        """Return the need of the same call with another number of input tokens."""
        return replace(self, input_tokens=tokens)


class AgentCalls(ModelCalls):
    """Calls models or images, as the version of an execution says."""

    def __init__(
        self, router: Router, tracing: Tracing, reports: Reports, images: Images, grants: Grants
    ) -> None:
        super().__init__(router, tracing, reports)
        self._grants = grants
        self._spans = tracing
        self._images = images

    def planned(self, execution: Execution, request: Request) -> Planned:
        """Return what a call needs; nothing is sent or reserved.

        Raises what `ModelCalls.planned` raises, and a 402 `Problem` for an image without
        `maxCostPerCall` while a budget bounds cost.
        """
        version = _answering(execution)
        if version is None:
            return super().planned(execution, request)
        return Planned((_name(version),), _need(execution, version, request))

    async def stream(
        self,
        execution: Execution,
        request: ModelRequest,
        take: Take,
        *,
        planned: Planned | None = None,
        kind: LineType = "model",
        rounds: int = 1,
        cache: CacheScope | None = None,
    ) -> str:
        """Hand every part of the answer to `take`; return who answered.

        Raises `ModelError` when neither model nor image answers. An image's answers are never
        repeated from the cache: what it answers by is its own.
        """
        version = _answering(execution)
        if version is None:
            return await super().stream(
                execution, request, take, planned=planned, kind=kind, rounds=rounds, cache=cache
            )
        need = (planned or self.planned(execution, request)).need
        granted = await execution.purse.afford(Wanted(need), rounds=rounds)
        assert granted.call is not None
        bounded = replace(
            request, max_output_tokens=granted.call.output_tokens, deadline=execution.deadline
        )
        await self._asked(execution, version, bounded, take)
        return _name(version)

    async def _asked(
        self, execution: Execution, version: Version, request: ModelRequest, take: Take
    ) -> None:
        async with self._grants.given(execution) as models:
            about = replace(_about(execution), models=models)
            await self._answered(execution, version, request, take, about)

    async def _answered(
        self,
        execution: Execution,
        version: Version,
        request: ModelRequest,
        take: Take,
        about: About,
    ) -> None:
        name, started, meter, outcome = _name(version), time.monotonic(), Meter(), "ended"
        with self._spans.model(name, PROVIDER, {}) as span:
            captured = Captured(span, request) if span.captures_content else None
            traceparent = span.traceparent or execution.context.trace.traceparent
            client = self._images.client(version.endpoint, about)
            stream = client.stream(replace(request, traceparent=traceparent), meter)
            first = True
            try:
                async with aclosing(stream) as parts:
                    async for part in parts:
                        if first:
                            self.reports.first_part(name, time.monotonic() - started)
                            first = False
                        if captured is not None:
                            captured.said(part)
                        await take(part)
                outcome = "ok"
            except BaseException as error:
                outcome = getattr(error, "kind", outcome)
                raise
            finally:
                self.reports.model_called(name, outcome, time.monotonic() - started)
                if captured is not None:
                    captured.ended()
                if meter.usage is not None:
                    _count(execution, version, meter.usage)


def _answering(execution: Execution) -> Version | None:
    """Return the version whose image answers, None where a model does."""
    key = (execution.package, execution.version)
    version = execution.configuration.versions.get(key)
    return version if version is not None and version.image is not None else None


def _name(version: Version) -> str:
    return f"{PROVIDER}/{version.package}"


def _need(execution: Execution, version: Version, request: Request) -> CallNeed:
    most = _most(version)
    budgets = execution.configuration.source.budgets
    if most is None and price_must_be_known(
        budgets, execution.definition, execution.purse.accounts
    ):
        raise Problem(
            402,
            "price_unknown",
            f"The image of package {version.package} {version.version} does not say what a call "
            "costs while a budget bounds cost, so nothing can be reserved for it. Give its next "
            "version `spec.image.maxCostPerCall`, or remove the bound on cost.",
        )
    price = None if most is None else Decimal(0)
    return _Flat(input_bound(request), request.max_output_tokens, most, price)


def _most(version: Version) -> Decimal | None:
    image = version.image
    text = image.max_cost_per_call if image is not None else None
    return None if text is None else Decimal(text)


def _about(execution: Execution) -> About:
    return About(
        agent=execution.agent,
        package=execution.package,
        version=execution.version,
        run_id=execution.context.run_id,
        session_id=execution.session_id,
        model=execution.model,
    )


def _count(execution: Execution, version: Version, usage: Usage) -> None:
    if usage.cost is None:
        usage = replace(usage, cost=_most(version))
    execution.usage.add(usage)
    line = ledger_line(execution, "model", _name(version), usage)
    execution.purse.spend(line, turns=1)
