"""An operator that dies after so many of its writes, by a proxy that lets no more through.

Between two writes nothing is kept but what was written, so these are all the states that a death
can leave.
"""

from pathlib import Path
from typing import Final

from aiohttp import web

from tests.integration.reconcile.conftest import SETTINGS, World, condition_of
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.running_operator import running

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Death:
    """Lets so many writes through and no more."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.came = False

    def __call__(self, request: web.BaseRequest) -> bool:
        bookkeeping = "/leases" in request.path or "/events" in request.path
        if request.method not in WRITES or bookkeeping:
            return False
        self.left -= 1
        self.came = self.came or self.left < 0
        return self.left < 0


async def dies(
    world: World, proxy: FaultProxy, kubeconfig: Path, manifest: Object, after: int
) -> bool:
    """Run an operator that dies after so many writes; tells whether it came so far."""
    death = Death(after)
    proxy.fault = Fault(death, status=503)

    async def ended() -> bool:
        live = await world.api.get(path_of(manifest))
        assert live is not None
        seen = live["status"]["observedGeneration"] == live["metadata"]["generation"]
        done = condition_of(live, "Reconciling") == {}
        return death.came or (seen and done)

    async with running(kubeconfig, SETTINGS, runtime_port=world.runtime.port):
        await until(ended, "the operator died or was done")
    proxy.fault = None
    return death.came
