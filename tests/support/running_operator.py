"""The operator as it runs, in this process: real client, Lease, kopf, watches, queue and domain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.credentials import from_kubeconfig
from bulkhead_operator.cluster.lease import Lease, LeaseTerms
from bulkhead_operator.cluster.runtime_api import RuntimeClient
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.reconcile.controllers import controllers
from bulkhead_operator.settings import Settings
from bulkhead_operator.startup import Process, compose
from tests.support.deadline import until

AGENT = "bulkhead-operator/test"


@dataclass
class RunningOperator:
    """One term of leadership."""

    metrics: Metrics


@asynccontextmanager
async def running(
    kubeconfig: Path, settings: Settings, *, runtime_port: int = 9
) -> AsyncIterator[RunningOperator]:
    """Run the operator until the block ends; it is synchronized when the block begins."""
    credentials = from_kubeconfig(kubeconfig)
    metrics = Metrics("test")
    terms = LeaseTerms(settings.namespace, settings.lease_name, settings.identity, 15, 5)
    async with (
        ApiClient(
            credentials,
            user_agent=AGENT,
            on_answer=lambda method, status: metrics.requests.labels(method, str(status)).inc(),
        ) as client,
        RuntimeClient(user_agent=AGENT, port=runtime_port) as runtimes,
    ):
        lease = Lease(client, terms)
        await lease.acquire()
        process = Process(
            settings=settings,
            credentials=credentials,
            client=client,
            runtimes=runtimes,
            metrics=metrics,
            domain=controllers,
        )
        term = compose(process, lease)
        stop = asyncio.Event()
        task = asyncio.create_task(term.run(stop))

        async def synchronized() -> bool:
            if task.done():
                task.result()
            return not term.ready()

        try:
            await until(synchronized, "the operator is synchronized")
            yield RunningOperator(metrics)
        finally:
            stop.set()
            await task
            await lease.release()
