"""What the documentation and the examples tell people to write is what the API takes."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.crd import KINDS
from bulkhead_api.v1alpha1 import OrganizationRuntimeSpec

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs" / "platform").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
OF_KIND = {kind.kind_name: kind for kind in KINDS}
_BLOCK = re.compile(r"(?:^ {4,}\S.*\n|^\n)+", re.MULTILINE)


def specs(page: Path) -> Iterator[dict[str, Any]]:
    """Yield every spec of an organization that a page shows."""
    for block in _BLOCK.findall(page.read_text()):
        text = textwrap.dedent(block.strip("\n"))
        if text.startswith("spec:"):
            yield yaml.safe_load(text)["spec"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_specs_in_a_page_are_valid(page: Path) -> None:
    shown = list(specs(page))
    assert shown
    for spec in shown:
        OrganizationRuntimeSpec.model_validate(spec)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid(example: Path) -> None:
    manifests = [one for one in yaml.safe_load_all(example.read_text()) if one]
    assert manifests
    for manifest in manifests:
        kind = OF_KIND.get(manifest["kind"])
        if kind is not None:
            kind.model_validate(manifest)
