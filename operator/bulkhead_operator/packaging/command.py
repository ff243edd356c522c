"""`python -m bulkhead_operator package build|verify`: for an author's machine and for pipelines."""

import argparse
import sys
from pathlib import Path

from bulkhead_api.package_manifest import MAX_MANIFEST_BYTES
from bulkhead_operator.packaging.artifact import LAYOUT_FOLDER, Artifact
from bulkhead_operator.packaging.collecting import collect
from bulkhead_operator.packaging.delivering import (
    MANIFEST_FILE,
    RESOURCES_FILE,
    Place,
    resources,
    written,
)
from bulkhead_operator.packaging.errors import PackagingError
from bulkhead_operator.packaging.verifying import verify


def run(arguments: list[str]) -> int:
    """Carry the command out and return its exit status; 1 where something is not right."""
    options = _parser().parse_args(arguments)
    try:
        told = _build(options) if options.action == "build" else _verify(options)
    except PackagingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{told}\n")
    return 0


def _build(options: argparse.Namespace) -> str:
    collected = collect(options.directory)
    manifest = collected.manifest
    content = manifest.written()
    if len(content) > MAX_MANIFEST_BYTES:
        raise PackagingError(
            f"{options.directory}: makes {len(content)} bytes, at most {MAX_MANIFEST_BYTES} are "
            "allowed: shorten instructions or split the package"
        )
    place = Place(options.config_map, options.oci, options.pull_secret)
    files = {
        MANIFEST_FILE: content,
        RESOURCES_FILE: written(resources(collected, place, options.namespace)).encode(),
    }
    if options.oci:
        layout = Artifact.of(manifest).files()
        files |= {f"{LAYOUT_FOLDER}/{name}": blob for name, blob in layout.items()}
    for name, blob in files.items():
        path = options.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    verify(options.output)
    return f"{manifest.package} {manifest.version} {manifest.checksum} in {options.output}"


def _verify(options: argparse.Namespace) -> str:
    manifest = verify(options.directory)
    return f"{manifest.package} {manifest.version} {manifest.checksum} is whole"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bulkhead_operator package",
        description="Make a version of an AgentPackage from files, and check one that was made.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="write the manifest and the resource of a version")
    build.add_argument("directory", type=Path, help="folder with package.yaml and the agents")
    build.add_argument("--output", type=Path, required=True, help="folder to write to")
    build.add_argument("--namespace", help="namespace of the organization, for the resource")
    build.add_argument("--pull-secret", help="Secret that the registry of --oci asks for")
    place = build.add_mutually_exclusive_group()
    place.add_argument("--config-map", metavar="NAME", help="put the content into a ConfigMap")
    place.add_argument(
        "--oci", metavar="HOST/REPOSITORY", help="put the content into an OCI artifact"
    )
    check = actions.add_parser("verify", help="check that what was written is whole")
    check.add_argument("directory", type=Path, help="folder that build wrote")
    return parser
