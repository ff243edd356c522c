"""Writes argocd-cm.yaml: the scripts as a running Argo CD takes them.

`python contrib/argocd/generate.py` after a change of a script; a test tells when it was forgotten.
"""

# ruff: noqa: INP001 (a script beside what it writes; nothing imports it)

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
_GROUP = HERE / "resource_customizations" / "bulkhead.dev"
_HEAD = """\
# Written by generate.py from resource_customizations/. Merge it into Argo CD's own ConfigMap:
#
#   kubectl -n argocd patch configmap argocd-cm --patch-file contrib/argocd/argocd-cm.yaml
"""


class _Readable(yaml.SafeDumper):
    """Writes scripts as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _text)


def _dump(value: Any) -> str:
    written: str = yaml.dump(value, Dumper=_Readable, sort_keys=False, width=1000)
    return written


def _data() -> dict[str, str]:
    data: dict[str, str] = {}
    for health in sorted(_GROUP.glob("*/health.lua")):
        kind = f"bulkhead.dev_{health.parent.name}"
        data[f"resource.customizations.health.{kind}"] = health.read_text()
    for discovery in sorted(_GROUP.glob("*/actions/discovery.lua")):
        actions = sorted(discovery.parent.glob("*/action.lua"))
        kind = f"bulkhead.dev_{discovery.parent.parent.name}"
        data[f"resource.customizations.actions.{kind}"] = _dump(
            {
                "discovery.lua": discovery.read_text(),
                "definitions": [
                    {"name": action.parent.name, "action.lua": action.read_text()}
                    for action in actions
                ],
            }
        )
    return data


def main() -> None:
    """Write the file."""
    (HERE / "argocd-cm.yaml").write_text(_HEAD + _dump({"data": _data()}))


if __name__ == "__main__":
    main()
