"""What the documentation and the examples tell people to write is what the API takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.crd import KINDS
from bulkhead_api.v1alpha1 import AgentPackageSpec, OrganizationRuntimeSpec
from tests.support.pages import ROOT, WRITTEN, blocks, name

AUTHORS = ROOT / "examples" / "package"
"""An author's files, which the packaging command's tests read."""

EXAMPLES = sorted(
    path for path in (ROOT / "examples").rglob("*.yaml") if not path.is_relative_to(AUTHORS)
)
OF_KIND = {kind.kind_name: kind for kind in KINDS}


def documents(page: Path) -> Iterator[dict[str, Any]]:
    """Yield every object and every spec that a page shows."""
    for block in blocks(page):
        if block.startswith(("spec:", "apiVersion:")):
            yield yaml.safe_load(block)


SHOWN = [(page, document) for page in WRITTEN for document in documents(page)]


@pytest.mark.parametrize(("page", "document"), SHOWN, ids=[name(page) for page, _ in SHOWN])
def test_what_a_page_shows_is_valid(page: Path, document: dict[str, Any]) -> None:
    if "kind" in document:
        OF_KIND[document["kind"]].model_validate(document)
    elif page.is_relative_to(ROOT / "docs" / "author"):
        AgentPackageSpec.model_validate(document["spec"])
    else:
        OrganizationRuntimeSpec.model_validate(document["spec"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid(example: Path) -> None:
    manifests = [one for one in yaml.safe_load_all(example.read_text()) if one]
    assert manifests
    for manifest in manifests:
        kind = OF_KIND.get(manifest["kind"])
        if kind is not None:
            kind.model_validate(manifest)
