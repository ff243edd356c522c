"""The command line: `python -m tests.cluster VERB`."""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tests.cluster import (
    binaries,
    current,
    images,
    install,
    kind,
    locks,
    organizations,
    places,
    stores,
)
from tests.cluster.current import CurrentCluster
from tests.cluster.images import Image
from tests.cluster.kind import KindCluster
from tests.cluster.kubectl import Kubectl
from tests.cluster.local import LocalCluster
from tests.cluster.progress import ClusterError, Step, run_steps, say, warn

_FAILED = 1
# What a shell reports for a command that was ended by Ctrl-C.
_INTERRUPTED = 130
_READING = frozenset({"status", "kubeconfig", "url", "key"})
_BUSY = "Another command is changing the cluster; waiting for it to end."


class Cluster(Protocol):
    """What each kind of cluster can do; `ready` and `loadable` name steps of its own."""

    ready: str
    loadable: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    def steps(self) -> list[Step]:
        """What brings it up."""

    def load(self, built: list[Image]) -> str:
        """Bring images to the nodes."""

    def url(self, namespace: str, service: str) -> str:
        """An address of a Service that this machine reaches."""

    def status(self) -> list[str]:
        """What runs, line by line."""

    def down_steps(self) -> list[Step]:
        """What takes it down."""


class Images:
    """The images of Bulkhead, built by one step and used by later ones."""

    def __init__(self, kind_of_cluster: str) -> None:
        self._kind_of_cluster = kind_of_cluster
        self.operator: Image | None = None
        self.runtime: Image | None = None

    def get(self) -> str:
        """Build both, or take those that the user named."""
        if self._kind_of_cluster == "current":
            self.operator, self.runtime = current.given_images()
            return "as named"
        builder = _builder(self._kind_of_cluster)
        self.operator = images.operator_image(builder=builder)
        self.runtime = images.runtime_image(builder=builder)
        return ", ".join(_size(image) for image in (self.operator, self.runtime))

    def both(self) -> tuple[Image, Image]:
        """Return both once they are there."""
        assert self.operator is not None
        assert self.runtime is not None
        return self.operator, self.runtime


def _builder(kind_of_cluster: str) -> images.Builder:
    return images.docker if kind_of_cluster == "kind" else images.buildah


def main() -> int:
    """Run one verb; returns the exit status."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except ClusterError as error:
        warn(f"\n{error}")
        return _FAILED
    except KeyboardInterrupt:
        warn("\nInterrupted. The same command resumes where this one stopped.")
        return _INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    if arguments.verb == "binaries":
        return _binaries(arguments.names, show=arguments.path)
    kind_of_cluster = _choice()
    cluster = _cluster(kind_of_cluster)
    if arguments.verb in _READING:
        for line in _shown(arguments, cluster):
            say(line)
        return 0
    with locks.held("cluster", waiting=_BUSY):
        _change(arguments, kind_of_cluster, cluster)
    return 0


def _shown(arguments: argparse.Namespace, cluster: Cluster) -> list[str]:
    """Return what a verb that changes nothing prints."""
    kubectl = Kubectl(cluster.kubeconfig)
    match arguments.verb:
        case "status":
            return cluster.status() or ["nothing runs"]
        case "url":
            namespace = organizations.namespace(kubectl, arguments.organization)
            return [cluster.url(namespace, organizations.SERVICE)]
        case "key":
            return [organizations.key(kubectl, arguments.organization)]
    return [str(cluster.kubeconfig)]


def _change(arguments: argparse.Namespace, kind_of_cluster: str, cluster: Cluster) -> None:
    match arguments.verb:
        case "up":
            _up(kind_of_cluster, cluster)
        case "images":
            _images(kind_of_cluster, cluster)
        case "dedicated":
            example = images.dedicated_image(builder=_builder(kind_of_cluster))
            cluster.load([example])
            say(example.reference)
        case "stores":
            _stores(kind_of_cluster, cluster, arguments.organizations)
        case "down":
            run_steps(cluster.down_steps())
            _chosen().unlink(missing_ok=True)


def _stores(kind_of_cluster: str, cluster: Cluster, organizations: list[str]) -> None:
    if kind_of_cluster == "current":
        raise ClusterError(
            "A cluster of your own needs a PostgreSQL and a Redis of your own.",
            remedy="docs/platform/shared-stores.md says how to prepare them.",
        )
    kubectl = Kubectl(cluster.kubeconfig)
    run_steps(stores.steps(kubectl, cluster.load, organizations))


def _up(kind_of_cluster: str, cluster: Cluster) -> None:
    started = time.monotonic()
    say(f"Bulkhead on a cluster of the kind {kind_of_cluster}")
    kubectl = Kubectl(cluster.kubeconfig)
    built = Images(kind_of_cluster)
    steps = [
        *_remembering(kind_of_cluster, cluster.steps()),
        *_image_steps(cluster, built),
        Step(
            "Bulkhead's chart",
            lambda: install.release(kubectl, *built.both()),
            after=[cluster.ready, "images loaded"],
        ),
        Step("examples", lambda: install.examples(kubectl), after=["Bulkhead's chart"]),
        Step(
            "two organizations answer, each on its own endpoint",
            lambda: install.demonstration(kubectl, cluster.url),
            after=["examples"],
        ),
    ]
    run_steps(steps)
    say(f"\nUp after {time.monotonic() - started:.1f} s.")
    say(install.next_commands(kubectl))


def _images(kind_of_cluster: str, cluster: Cluster) -> None:
    needed = _with_predecessors(cluster.steps(), cluster.loadable)
    run_steps([*needed, *_image_steps(cluster, Images(kind_of_cluster))])


def _image_steps(cluster: Cluster, built: Images) -> list[Step]:
    first = cluster.steps()[0].title
    return [
        Step("images of Bulkhead", built.get, after=[first]),
        Step(
            "images loaded",
            lambda: cluster.load(list(built.both())),
            after=["images of Bulkhead", cluster.loadable],
        ),
    ]


def _with_predecessors(steps: list[Step], title: str) -> list[Step]:
    """Return the step called `title` and all that it waits for."""
    wanted = {title}
    for step in reversed(steps):
        if step.title in wanted:
            wanted.update(step.after)
    return [step for step in steps if step.title in wanted]


def _binaries(names: list[str], *, show: bool) -> int:
    for path in binaries.ensure(*binaries.expand(names)).values():
        if show:
            say(str(path))
    return 0


def _cluster(kind_of_cluster: str) -> Cluster:
    match kind_of_cluster:
        case "local":
            return LocalCluster()
        case "kind":
            return KindCluster()
        case "current":
            return CurrentCluster()
    raise ClusterError(
        f"CLUSTER={kind_of_cluster} is none of local, kind and current.",
        remedy="leave CLUSTER out to get what this machine can do.",
    )


def _choice() -> str:
    """Return the kind of cluster: what was asked for, what is up, what this machine can do."""
    asked = os.environ.get("CLUSTER")
    if asked:
        return asked
    if _chosen().exists():
        return _chosen().read_text().strip()
    return "kind" if kind.engine_answers() else "local"


def _remembering(kind_of_cluster: str, steps: list[Step]) -> list[Step]:
    """Let later verbs mean this cluster as soon as its first step went well."""
    first, *others = steps

    def begin() -> str | None:
        detail = first.action()
        _chosen().parent.mkdir(parents=True, exist_ok=True)
        _chosen().write_text(f"{kind_of_cluster}\n")
        return detail

    return [replace(first, action=begin), *others]


def _chosen() -> Path:
    return places.state() / "cluster"


def _size(image: Image) -> str:
    return f"{image.repository.rpartition('-')[2]} {image.archive.stat().st_size / 1e6:.0f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, meaning in (
        ("up", "bring the cluster up, install Bulkhead, show its main job"),
        ("down", "take the cluster down and leave nothing"),
        ("status", "show what runs"),
        ("kubeconfig", "print the path of the kubeconfig"),
        ("images", "build and load the images only"),
        ("dedicated", "build and load the image of examples/dedicated and print its name"),
    ):
        verbs.add_parser(verb, help=meaning, description=meaning)
    for verb, meaning in (("url", "print an endpoint"), ("key", "print an API key")):
        verbs.add_parser(verb, help=meaning, description=meaning).add_argument("organization")
    meaning = "bring up PostgreSQL and Redis, and prepare them for organizations"
    verbs.add_parser("stores", help=meaning, description=meaning).add_argument(
        "organizations", nargs="*", metavar="ORGANIZATION"
    )
    build = verbs.add_parser("binaries", help="build binaries or groups of them")
    build.add_argument("names", nargs="+", metavar="NAME")
    build.add_argument("--path", action="store_true", help="print where they lie")
    return parser


if __name__ == "__main__":
    sys.exit(main())
