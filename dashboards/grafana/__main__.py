"""Writes every dashboard as JSON to the folder that the chart ships; run by `make generate`."""

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.grafana import control_plane, fleet, memory, organization, rollout, spending

FOLDER: Final = Path(__file__).resolve().parents[2] / "charts" / "bulkhead" / "dashboards"
ALL: Final = (fleet, organization, rollout, memory, spending, control_plane)


def main(folder: Path) -> None:
    """Write the files; those of dashboards that are no more go."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.json"):
        stale.unlink()
    for module in ALL:
        dashboard = module.dashboard()
        assert dashboard.uid is not None
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True)
        name = dashboard.uid.removeprefix("bulkhead-")
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
