"""Container images without a registry: built by buildah, kept as archives, imported by the node.

The tag of an image is the digest of what goes into it. What did not change has its archive and is
neither built nor imported again, and what did change gets a tag that Helm sees as new.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries, locks, packages, places, versions
from tests.cluster.commands import run, run_logged, succeeds
from tests.cluster.progress import say

_DIGEST_LENGTH = 12
# Archives of one image that are kept: the newest and those one goes back to while trying things.
_KEPT_ARCHIVES = 3
_PULL_SECONDS = 120.0
# Where Debian, and so every base image, keeps the certificates that it trusts.
_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# initdb refuses a user without a name.
_STORES_USER = (
    '--customize-hook=chroot "$1" useradd --uid 65532 --user-group --home-dir /data stores'
)
_BUILD_REMEDY = "read the log; then run `make up` again, finished layers are kept."

OPERATOR_INPUTS = ("pyproject.toml", "uv.lock", "crds", "operator")
RUNTIME_INPUTS = ("pyproject.toml", "uv.lock", "crds", "runtime_image")


@dataclass(frozen=True)
class Image:
    """A reference such as localhost/bulkhead-operator:3f2a and the archive that holds it."""

    repository: str
    tag: str

    @property
    def reference(self) -> str:
        """Return the name by which pods ask for it."""
        return f"{self.repository}:{self.tag}"

    @property
    def archive(self) -> Path:
        """Return the docker-archive in the cache."""
        name = self.repository.rpartition("/")[2]
        return places.cache() / "images" / f"{name}_{self.tag}.tar"


@dataclass(frozen=True)
class Recipe:
    """What a builder is given: where from, under which name, into which archive."""

    image: Image
    dockerfile: Path
    context: Path

    @property
    def log(self) -> Path:
        """Return the file that takes what the builder says."""
        name = self.image.repository.rpartition("/")[2]
        return places.cache() / "logs" / f"image-{name}.log"


# Makes the archive of a recipe under the given name.
Builder = Callable[[Recipe, Path], None]


def buildah(recipe: Recipe, archive: Path) -> None:
    """Build without a container engine, on a base that needs no registry where none answers."""
    _buildah_build(recipe, archive, [f"--build-arg=PYTHON_IMAGE={python_image()}"])


def docker(recipe: Recipe, archive: Path) -> None:
    """Build with the container engine in which kind runs its nodes."""
    base = os.environ.get("PYTHON_IMAGE", versions.PYTHON_IMAGE)
    argv = ["docker", "build", f"--build-arg=PYTHON_IMAGE={base}"]
    names = [f"--file={recipe.dockerfile}", f"--tag={recipe.image.reference}"]
    run_logged([*argv, *names, recipe.context], recipe.log, remedy=_BUILD_REMEDY)
    run(["docker", "save", "--output", archive, recipe.image.reference])


def operator_image(
    dockerfile: Path = places.ROOT / "operator" / "Dockerfile", *, builder: Builder = buildah
) -> Image:
    """Build the operator's image where its inputs changed."""
    return build(dockerfile, "localhost/bulkhead-operator", OPERATOR_INPUTS, builder=builder)


def runtime_image(
    dockerfile: Path = places.ROOT / "runtime_image" / "Dockerfile", *, builder: Builder = buildah
) -> Image:
    """Build the runtime's image where its inputs changed."""
    return build(dockerfile, "localhost/bulkhead-runtime", RUNTIME_INPUTS, builder=builder)


def dedicated_image(*, builder: Builder = buildah) -> Image:
    """Build the example of a package with an image of its own where it changed."""
    folder = places.ROOT / "examples" / "dedicated"
    inputs = ("Dockerfile", "server.py")
    return build(
        folder / "Dockerfile",
        "localhost/bulkhead-example-dedicated",
        inputs,
        context=folder,
        builder=builder,
    )


def build(
    dockerfile: Path,
    repository: str,
    inputs: Sequence[str],
    *,
    context: Path = places.ROOT,
    builder: Builder = buildah,
) -> Image:
    """Build an image from a Dockerfile and those paths of `context` that it copies."""
    digests = content_digest(context, [*inputs, *_ignore_files(context)]) + _sha(
        dockerfile.read_bytes()
    )
    image = Image(repository, _sha(digests.encode())[:_DIGEST_LENGTH])
    if image.archive.exists():
        # Looked at by age when old archives are forgotten.
        image.archive.touch()
        return image
    with locks.held("images"):
        if not image.archive.exists():
            _write_archive(Recipe(image, dockerfile, context), builder)
            _forget_old_archives(image)
    return image


def content_digest(context: Path, inputs: Sequence[str]) -> str:
    """Return the digest of all files below `inputs` that git would take, names and modes too."""
    listing = ["git", "-C", str(context), "ls-files", "-z", "-co", "--exclude-standard", "--"]
    names = sorted(set(run([*listing, *inputs]).split("\0")) - {""})
    total = hashlib.sha256()
    for name in names:
        path = context / name
        if path.is_file():
            executable = os.access(path, os.X_OK)
            total.update(f"{name}\0{executable}\0{_sha(path.read_bytes())}\n".encode())
    return total.hexdigest()


def python_image() -> str:
    """Return the base of both images: the usual one, or Debian's Python where none is reachable."""
    configured = os.environ.get("PYTHON_IMAGE")
    if configured:
        return configured
    if _stored(versions.PYTHON_IMAGE):
        return versions.PYTHON_IMAGE
    if not _stored(versions.PYTHON_FALLBACK_IMAGE):
        if succeeds(_buildah("pull", versions.PYTHON_IMAGE), timeout=_PULL_SECONDS):
            return versions.PYTHON_IMAGE
        _store_fallback()
    return versions.PYTHON_FALLBACK_IMAGE


def pause_image() -> Image:
    """Return the image that holds a pod's namespaces: a program that waits to be told to end."""
    return _from_scratch(
        versions.PAUSE_IMAGE, _compile_pause, 'COPY pause /pause\nENTRYPOINT ["/pause"]\n'
    )


def busybox_image() -> Image:
    """Return a small shell, for the helper pods that make and remove volumes."""
    shell = Path("/bin/busybox")
    return _from_scratch(
        versions.BUSYBOX_IMAGE,
        lambda folder: _copy_busybox(shell, folder),
        'COPY bin /bin\nENV PATH=/bin\nCMD ["sh"]\n',
    )


def coredns_image() -> Image:
    """Return CoreDNS, which answers for the names of Services."""
    program = binaries.ensure("coredns")["coredns"]
    return _from_scratch(
        versions.COREDNS_IMAGE,
        lambda folder: shutil.copy(program, folder / "coredns"),
        'COPY coredns /coredns\nENTRYPOINT ["/coredns"]\n',
    )


def stores_image() -> Image:
    """Return PostgreSQL and Redis, for organizations that share stores."""
    image = Image(*versions.STORES_IMAGE.rsplit(":", 1))
    with locks.held("images"):
        if not image.archive.exists():
            _from_debian(
                image,
                versions.STORES_SUITE,
                ["--include=postgresql-15,redis-server", _STORES_USER],
                "ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin\nUSER 65532:65532\n",
            )
    return image


def describe(image: Image) -> str:
    """Return reference and size in words."""
    return f"{image.reference} ({image.archive.stat().st_size / 1e6:.0f} MB)"


def _from_scratch(reference: str, fill: Callable[[Path], object], instructions: str) -> Image:
    image = Image(*reference.rsplit(":", 1))
    if image.archive.exists():
        return image
    with locks.held("images"), tempfile.TemporaryDirectory() as name:
        context = Path(name)
        fill(context)
        dockerfile = context / "Dockerfile"
        dockerfile.write_text(f"FROM scratch\n{instructions}")
        if not image.archive.exists():
            _write_archive(Recipe(image, dockerfile, context), _without_base)
    return image


def _write_archive(recipe: Recipe, builder: Builder) -> None:
    image = recipe.image
    image.archive.parent.mkdir(parents=True, exist_ok=True)
    partial = image.archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    builder(recipe, partial)
    partial.replace(image.archive)
    say(f"    built {describe(image)}")


def _without_base(recipe: Recipe, archive: Path) -> None:
    _buildah_build(recipe, archive, [])


def _buildah_build(recipe: Recipe, archive: Path, arguments: Sequence[str]) -> None:
    packages.ensure(packages.IMAGES)
    reference = recipe.image.reference
    argv = [
        *_buildah("build", "--isolation=chroot", "--layers", "--format=docker"),
        *_trust(),
        *arguments,
        f"--file={recipe.dockerfile}",
        f"--tag={reference}",
        recipe.context,
    ]
    run_logged(argv, recipe.log, remedy=_BUILD_REMEDY)
    run(_buildah("push", "--quiet", reference, f"docker-archive:{archive}:{reference}"))


def _trust() -> list[str]:
    """Let installers inside a build trust what this machine trusts, where it was told to.

    A mount instead of a variable, which buildah would write into the image.
    """
    bundles = [os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)]
    return [f"--volume={bundles[0]}:{_CA_BUNDLE}:ro"] if bundles else []


def _buildah(*args: str) -> list[str | Path]:
    # A storage of our own: images of whoever else uses buildah here are not our business.
    home = places.cache() / "buildah"
    program = binaries.ensure("buildah")["buildah"]
    return [program, "--root", home / "root", "--runroot", home / "run", *args]


def _stored(reference: str) -> bool:
    return succeeds(_buildah("inspect", "--type=image", reference))


def _store_fallback() -> None:
    packages.ensure(packages.IMAGES)
    image = Image(*versions.PYTHON_FALLBACK_IMAGE.rsplit(":", 1))
    if not image.archive.exists():
        _make_fallback(image)
    run(_buildah("pull", "--quiet", f"docker-archive:{image.archive}"))


def _make_fallback(image: Image) -> None:
    _from_debian(
        image,
        versions.PYTHON_FALLBACK_SUITE,
        ["--include=python3-minimal,python3-venv,ca-certificates"],
        'RUN ln -sf python3 /usr/bin/python\nCMD ["python3"]\n',
    )


def _from_debian(image: Image, suite: str, options: Sequence[str], instructions: str) -> None:
    packages.ensure(packages.IMAGES)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root.tar"
        dockerfile = Path(name) / "Dockerfile"
        dockerfile.write_text(f"FROM scratch\nADD root.tar /\n{instructions}")
        recipe = Recipe(image, dockerfile, Path(name))
        argv = ["mmdebstrap", "--variant=essential", *options, suite, str(root)]
        remedy = "see that a Debian mirror is reachable, or let PYTHON_IMAGE name the base."
        run_logged(argv, recipe.log, remedy=remedy)
        _write_archive(recipe, _without_base)


def _compile_pause(folder: Path) -> None:
    source = folder / "pause.c"
    source.write_text(_PAUSE_SOURCE)
    run(["gcc", "-static", "-Os", "-s", "-o", folder / "pause", source])


# Reaps the orphans of pods that share their process namespace and ends when it is told to.
_PAUSE_SOURCE = """\
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGINT, end);
  signal(SIGTERM, end);
  signal(SIGCHLD, reap);
  for (;;) pause();
}
"""


def _copy_busybox(shell: Path, folder: Path) -> None:
    packages.ensure(["busybox-static"])
    tools = folder / "bin"
    tools.mkdir()
    shutil.copy(shell, tools / "busybox")
    for name in run([shell, "--list"]).split():
        if name != "busybox":
            (tools / name).symlink_to("busybox")


def _ignore_files(context: Path) -> list[str]:
    return [name for name in (".containerignore", ".dockerignore") if (context / name).exists()]


def _forget_old_archives(image: Image) -> None:
    name = image.repository.rpartition("/")[2]
    archives = sorted(
        image.archive.parent.glob(f"{name}_*.tar"), key=lambda path: path.stat().st_mtime
    )
    for archive in archives[:-_KEPT_ARCHIVES]:
        archive.unlink()
        tag = archive.stem.rpartition("_")[2]
        succeeds(_buildah("rmi", f"{image.repository}:{tag}"))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
