import asyncio
import time
from pathlib import Path

import pytest

from bulkhead_runtime.config import loader
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.watcher import watch
from tests.support.runtime_process import ORGANIZATION, Mount, agent, configuration, document

V1, V2 = document("1.0.0"), document("2.0.0")
SWITCHES = 5
"""So many, for a busy machine may be slow to look at one of them."""


def _load(mount: Mount) -> str:
    return loader.load(mount.directory, ORGANIZATION).hash


def test_what_the_operator_wrote_is_followed(tmp_path: Path) -> None:
    mount, config = Mount(tmp_path / "config"), configuration((V1, 0), (V2, 100))
    mount.configure(config, V1, V2)

    followed = loader.load(mount.directory, ORGANIZATION)

    assert followed.hash == config.hash
    assert [version.version for version in followed.serving["assistant"]] == ["2.0.0"]
    assert set(followed.versions) == {("helper", "1.0.0"), ("helper", "2.0.0")}


def _files(*documents: bytes, config: bytes | None = None) -> dict[str, bytes]:
    wanted = configuration((V1, 100)).model_dump_json(by_alias=True).encode()
    files = {"config.json": wanted if config is None else config}
    for content in documents:
        files["package_helper_1.0.0.json"] = content
    return files


_V1 = V1.model_dump_json(by_alias=True).encode()
_OTHER = document("1.0.0", agent(description="other"))
REFUSED = {
    "a config.json that is no JSON": (_files(_V1, config=b"{"), "config.json is not valid"),
    "a config.json that is not UTF-8": (
        _files(_V1, config=b"\xff\xfe"),
        "config.json is not valid",
    ),
    "a config.json with an unknown field": (
        _files(_V1, config=b'{"surprise": 1}'),
        "config.json is not valid",
    ),
    "a config.json whose hash does not match": (
        _files(
            _V1,
            config=_files()["config.json"].replace(b'"maxQueueSize":100', b'"maxQueueSize":101'),
        ),
        "does not match the hash",
    ),
    "another organization's config.json": (
        _files(
            _V1,
            config=configuration((V1, 100), organization="globex")
            .model_dump_json(by_alias=True)
            .encode(),
        ),
        "belongs to organization 'globex'",
    ),
    "a version that is not there": (_files(), "package_helper_1.0.0.json cannot be read"),
    "a document that is no JSON": (_files(b"garbage"), "package_helper_1.0.0.json is not valid"),
    "a document of another version": (
        _files(V2.model_dump_json(by_alias=True).encode()),
        "holds helper 2.0.0",
    ),
    "a document changed after its checksum": (
        _files(_V1.replace(b'"description":""', b'"description":"x"')),
        "is damaged",
    ),
    "an intact document with another checksum than the route's": (
        _files(_OTHER.model_dump_json(by_alias=True).encode()),
        "has another checksum",
    ),
    "a file larger than any ConfigMap": (_files(b"x" * 2**21), "is larger than"),
}


@pytest.mark.parametrize(("files", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_with_a_reason_and_the_former_stays(
    files: dict[str, bytes], reason: str, tmp_path: Path
) -> None:
    mount = Mount(tmp_path / "config")
    good = configuration((V2, 100))
    mount.configure(good, V2)
    holder = _holder(mount)

    mount.switch(files)
    holder.reload()

    assert holder.current is not None
    assert holder.current.hash == good.hash
    assert holder.refusal is not None
    assert reason in holder.refusal.message


def test_weights_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "config")
    mount.configure(configuration((V1, 30), (V2, 60)), V1, V2)
    with pytest.raises(loader.Refused, match="add up to 90, not 100"):
        _load(mount)


def test_an_agent_that_two_packages_define_is_refused(tmp_path: Path) -> None:
    mount, other = Mount(tmp_path / "config"), document("1.0.0", package="rival")
    mount.configure(configuration((V1, 100), (other, 100)), V1, other)
    with pytest.raises(loader.Refused, match="'assistant' is defined by packages helper, rival"):
        _load(mount)


def test_a_refusal_is_over_when_the_missing_document_arrives(tmp_path: Path) -> None:
    mount, config = Mount(tmp_path / "config"), configuration((V1, 100))
    mount.configure(config)
    holder = _holder(mount)
    assert holder.current is None

    mount.configure(config, V1)
    holder.reload()

    assert holder.current is not None
    assert holder.current.hash == config.hash
    assert holder.refusal is None


async def test_whoever_waits_for_a_configuration_hears_of_it_at_once(tmp_path: Path) -> None:
    mount, config = Mount(tmp_path / "config"), configuration((V1, 100))
    holder = _holder(mount)
    waiting = asyncio.create_task(holder.wait_for(config.hash, 30))
    await asyncio.sleep(0)

    mount.configure(config, V1)
    holder.reload()

    await asyncio.wait_for(waiting, 15)


async def test_whoever_waits_for_a_configuration_hears_of_its_refusal(tmp_path: Path) -> None:
    mount, config = Mount(tmp_path / "config"), configuration((V1, 100))
    holder = _holder(mount)
    waiting = asyncio.create_task(holder.wait_for(config.hash, 30))
    await asyncio.sleep(0)

    mount.configure(config)
    holder.reload()

    await asyncio.wait_for(waiting, 15)
    assert holder.refusal is not None


async def test_the_kubelets_switch_is_seen_within_milliseconds(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "config")
    seen = asyncio.Event()
    watching = asyncio.create_task(watch(lambda: [mount.directory], seen.set))
    await seen.wait()

    took = []
    for _ in range(SWITCHES):
        seen.clear()
        before = time.monotonic()
        mount.configure(configuration((V1, 100)), V1)
        await asyncio.wait_for(seen.wait(), 30)
        took.append(time.monotonic() - before)

    assert min(took) < 0.5
    watching.cancel()


async def test_a_folder_that_appears_later_is_watched_too(tmp_path: Path) -> None:
    late = tmp_path / "late"
    seen = asyncio.Event()
    watching = asyncio.create_task(watch(lambda: [tmp_path, late], seen.set))
    for change in (late.mkdir, (late / "token").touch):
        await seen.wait()
        seen.clear()
        change()
        await asyncio.wait_for(seen.wait(), 30)
    watching.cancel()


def _holder(mount: Mount) -> ConfigurationHolder:
    holder = ConfigurationHolder(mount.directory, ORGANIZATION)
    holder.reload()
    return holder
