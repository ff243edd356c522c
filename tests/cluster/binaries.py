"""The programs of the cluster, compiled once from the Go module proxy and kept in the cache.

A binary lies in CACHE/bin/GROUP/VERSION/NAME. It is written under another name and renamed, so
one that is there is whole, and a lock per group lets two callers that need the same one wait for
a single build.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import golang, locks, packages, places, versions
from tests.cluster.commands import run_logged
from tests.cluster.progress import ClusterError, say

# The module whose version is in the agent's answer; it refuses to start without one.
_CILIUM_STAMP = (
    '-X "github.com/cilium/cilium/pkg/version.ciliumVersion='
    f'{versions.CILIUM[1:]} 0000000 2025-01-01T00:00:00+00:00 go version go1.26 linux/amd64"'
)
_MAJOR, _MINOR, _ = versions.KUBERNETES[1:].split(".")
_KUBERNETES_STAMP = (
    f"-X k8s.io/component-base/version.gitVersion={versions.KUBERNETES} "
    f"-X k8s.io/component-base/version.gitMajor={_MAJOR} "
    f"-X k8s.io/component-base/version.gitMinor={_MINOR}"
)


@dataclass(frozen=True)
class Recipe:
    """How one binary is built: `module` names a folder of gomods/ where versions are pinned."""

    group: str
    version: str
    package: str
    module: str | None = None
    stamp: str = ""
    tags: str = ""
    # Folders of the module `source` that the program reads at run time, copied beside the binary.
    source: str = ""
    assets: dict[str, str] = field(default_factory=dict)


def _kubernetes(name: str) -> Recipe:
    return Recipe(
        group="kubernetes",
        version=versions.KUBERNETES,
        package=f"k8s.io/kubernetes/cmd/{name}",
        module="kubernetes",
        stamp=_KUBERNETES_STAMP,
    )


def _cilium(package: str, assets: dict[str, str] | None = None) -> Recipe:
    return Recipe(
        group="cilium",
        version=versions.CILIUM,
        package=f"github.com/cilium/cilium/{package}",
        module="cilium",
        stamp=_CILIUM_STAMP,
        tags="osusergo",
        source="github.com/cilium/cilium",
        assets=assets or {},
    )


# In the order in which they are wanted: the control plane serves the tests long before the rest.
KUBERNETES = (
    "kube-apiserver",
    "kubectl",
    "kube-controller-manager",
    "kubelet",
    "kube-scheduler",
    "kube-proxy",
)
NODE = ("cilium-agent", "cilium-cni", "helm", "coredns", "local-path-provisioner")

RECIPES: dict[str, Recipe] = {
    **{name: _kubernetes(name) for name in KUBERNETES},
    "cilium-agent": _cilium("daemon", {"bpf": "bpf", "crds": "pkg/k8s/apis/cilium.io/client/crds"}),
    "cilium-cni": _cilium("plugins/cilium-cni"),
    "helm": Recipe("helm", versions.HELM, "helm.sh/helm/v4/cmd/helm"),
    "coredns": Recipe("coredns", versions.COREDNS, "github.com/coredns/coredns"),
    "local-path-provisioner": Recipe(
        "local-path-provisioner",
        versions.LOCAL_PATH_PROVISIONER,
        "github.com/rancher/local-path-provisioner",
    ),
    "kwok": Recipe(
        "kwok",
        versions.KWOK,
        "sigs.k8s.io/kwok/cmd/kwok",
        source="sigs.k8s.io/kwok",
        assets={"stages": "kustomize/stage"},
    ),
    "kubeconform": Recipe(
        "kubeconform", versions.KUBECONFORM, "github.com/yannh/kubeconform/cmd/kubeconform"
    ),
    "kind": Recipe("kind", versions.KIND, "sigs.k8s.io/kind"),
    "gitops-agent": Recipe(
        group="gitops-engine",
        version=versions.GITOPS_ENGINE,
        package="github.com/argoproj/gitops-engine/agent",
        module="gitops-engine",
    ),
}
# Programs that Debian carries itself.
_DEBIAN = {"etcd": packages.ETCD, "buildah": ("buildah",)}


def folder(name: str) -> Path:
    """Return where a built binary and its assets lie."""
    recipe = RECIPES[name]
    return places.cache() / "bin" / recipe.group / recipe.version


def path(name: str) -> Path:
    """Return where a built binary lies; `ensure` makes sure that it does."""
    return folder(name) / name


def ensure(*names: str) -> dict[str, Path]:
    """Return the path of each program, building or installing what is missing."""
    return {name: _ensure_one(name) for name in names}


def expand(names: Sequence[str]) -> list[str]:
    """Return binaries for names that may also be groups, such as `kubernetes`."""
    groups: dict[str, list[str]] = {}
    for name, recipe in RECIPES.items():
        groups.setdefault(recipe.group, []).append(name)
    return [member for name in names for member in groups.get(name, [name])]


def _ensure_one(name: str) -> Path:
    if name in _DEBIAN:
        return _from_debian(name)
    if name not in RECIPES:
        known = ", ".join(sorted([*RECIPES, *_DEBIAN]))
        raise ClusterError(
            f"There is no recipe for the binary {name}.", remedy=f"known are: {known}"
        )
    target = path(name)
    if not _complete(name):
        with locks.held(f"build-{RECIPES[name].group}"):
            if not _complete(name):
                _build(name)
    return target


def _complete(name: str) -> bool:
    assets = (folder(name) / asset for asset in RECIPES[name].assets)
    return path(name).exists() and all(asset.exists() for asset in assets)


def _from_debian(name: str) -> Path:
    if shutil.which(name) is None:
        packages.ensure(_DEBIAN[name])
    found = shutil.which(name)
    if found is None:
        raise ClusterError(f"{name} is not on the PATH although its Debian package is installed.")
    return Path(found)


def _build(name: str) -> None:
    recipe = RECIPES[name]
    started = time.monotonic()
    work = folder(name) / f".building-{name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log = places.cache() / "logs" / f"build-{name}.log"
    if recipe.module is not None:
        _build_pinned(recipe, work / name, log)
    else:
        _install(recipe, work, log)
    for asset, source in recipe.assets.items():
        module = golang.module(recipe.source, recipe.version)
        _copy_asset(module / source, folder(name) / asset)
    (work / name).replace(path(name))
    work.rmdir()
    say(f"    built {name} {recipe.version} in {time.monotonic() - started:.0f} s")


def _build_pinned(recipe: Recipe, target: Path, log: Path) -> None:
    assert recipe.module is not None
    argv: list[str | Path] = ["nice", "-n", "5", golang.command(), "build", "-mod=readonly"]
    argv += ["-tags", recipe.tags, "-ldflags", f"-s -w {recipe.stamp}", "-o", target]
    where = places.HERE / "gomods" / recipe.module
    run_logged(
        [*argv, recipe.package],
        log,
        env=golang.environment(),
        cwd=where,
        remedy=_BUILD_REMEDY,
    )


def _install(recipe: Recipe, target: Path, log: Path) -> None:
    argv: list[str | Path] = ["nice", "-n", "5", golang.command(), "install", "-ldflags", "-s -w"]
    run_logged(
        [*argv, f"{recipe.package}@{recipe.version}"],
        log,
        env=golang.environment(GOBIN=str(target)),
        remedy=_BUILD_REMEDY,
    )


_BUILD_REMEDY = (
    "see that the Go module proxy is reachable and the disk has 15 GB free, "
    "then run `make up` again: what is compiled stays compiled."
)


def _copy_asset(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=shutil.copyfile)
    for folder_ in (partial, *(entry for entry in partial.rglob("*") if entry.is_dir())):
        folder_.chmod(0o755)
    partial.replace(target)
