"""An operator whose builders changed restarts pods at its pace; what restarts none goes at once."""

from collections.abc import Sequence

from tests.integration.reconcile.conftest import World, condition_of, organization
from tests.support.api_observer import path_of
from tests.support.deadline import until

NEW_IMAGE = "registry.example.com/bulkhead-runtime:2"


async def upgraded(world: World, names: Sequence[str]) -> list[str]:
    """Return the organizations whose Deployment is of the new image."""
    found = []
    for name in names:
        path = f"/apis/apps/v1/namespaces/org-{name}/deployments/runtime"
        live = await world.api.expect("GET", path)
        if live["spec"]["template"]["spec"]["containers"][0]["image"] == NEW_IMAGE:
            found.append(name)
    return found


async def pending(world: World, names: Sequence[str]) -> list[str]:
    """Return the organizations that say that they wait for their turn."""
    found = []
    for name in names:
        status = (await world.read(name))["status"]
        waiting = {one["type"]: one["reason"] for one in status["conditions"]}
        if waiting.get("RestartPending") == "WaitingForRestarts":
            found.append(name)
    return found


async def one_more(world: World, names: Sequence[str], done: list[str]) -> None:
    """Wait until exactly one more organization restarts while all others wait."""

    async def restarts() -> bool:
        return len(await upgraded(world, names)) == len(done) + 1

    await until(restarts, "one more organization restarts")

    async def others_wait() -> bool:
        return len(await pending(world, names)) == len(names) - len(done) - 1

    await until(others_wait, "the others say that they wait")
    done.extend(name for name in await upgraded(world, names) if name not in done)


async def test_one_after_the_other_and_on_after_a_restart(world: World) -> None:
    names = ("up-a", "up-b", "up-c")
    async with world.operator():
        for name in names:
            await world.active(name)
    done: list[str] = []
    async with world.operator(runtime_image=NEW_IMAGE, restarts_at_once=1):
        await one_more(world, names, done)
        for name in set(names) - set(done):
            assert condition_of(await world.read(name), "Ready")["status"] == "True"
    # The next operator must see that a place is taken, and hand out no second one.
    async with world.operator(runtime_image=NEW_IMAGE, restarts_at_once=1):

        async def still_waiting() -> bool:
            return len(await pending(world, names)) == 2

        await until(still_waiting, "the others wait for the new operator too")
        assert await upgraded(world, names) == done
        for turn in range(3):
            await world.run_pods(f"org-{done[turn]}")
            if turn < 2:
                await one_more(world, names, done)
        for name in names:
            await world.reported(name, status="True")
        assert await pending(world, names) == []


async def test_a_changed_spec_needs_no_place(world: World) -> None:
    names = ("spec-a", "spec-b", "spec-c")
    async with world.operator():
        for name in names:
            await world.active(name)
    async with world.operator(runtime_image=NEW_IMAGE, restarts_at_once=1):
        done: list[str] = []
        await one_more(world, names, done)
        asked = next(name for name in names if name not in done)
        change = {"spec": {"limits": {"maxMemoryMB": 1024}}}
        await world.api.merge(path_of(organization(asked)), change)

        async def both() -> bool:
            return set(await upgraded(world, names)) == {*done, asked}

        await until(both, "the organization whose spec changed restarts at once")
