"""Write prices.json from the price map that the locked litellm release ships.

Run as `python -m bulkhead_runtime.models.generate_prices` in the runtime's environment whenever
litellm's version changes. litellm itself is not imported: only its data file is read.
"""

import importlib.util
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from bulkhead_runtime.models.prices import TABLE

SOURCE: Final = "model_prices_and_context_window_backup.json"
MODES: Final = frozenset({"chat", "completion", "responses"})

Row = list[str | int | None]


def main() -> None:
    """Write the table beside the module that reads it."""
    TABLE.write_text(render_table())


def render_table() -> str:
    """Return the file's content, a line for each seller."""
    table = make_table(json.loads(_source().read_text(), parse_float=Decimal))
    lines = (
        f"{json.dumps(seller)}:{json.dumps(models, separators=(',', ':'), sort_keys=True)}"
        for seller, models in sorted(table.items())
    )
    return "{" + ",\n".join(lines) + "}\n"


def make_table(models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Row]]:
    """Return seller -> model -> [input price, output price, context window]."""
    table: dict[str, dict[str, Row]] = {}
    for name, facts in models.items():
        row = _row(facts)
        if row is not None and facts.get("litellm_provider"):
            seller = _seller(facts["litellm_provider"])
            table.setdefault(seller, {})[name.removeprefix(f"{seller}/")] = row
    return table


def _seller(provider: str) -> str:
    """Return the name before the slash in a call: litellm's map tells some lines apart by more."""
    if provider.startswith("vertex_ai-"):
        return "vertex_ai"
    return {"bedrock_converse": "bedrock", "cohere_chat": "cohere"}.get(provider, provider)


def _row(facts: dict[str, Any]) -> Row | None:
    prices = (facts.get("input_cost_per_token"), facts.get("output_cost_per_token"))
    if facts.get("mode") not in MODES or None in prices:
        return None
    window = facts.get("max_input_tokens") or facts.get("max_tokens")
    return [*(_decimal(price) for price in prices), int(window) if window else None]


def _decimal(price: object) -> str:
    return str(Decimal(str(price)).normalize())


def _source() -> Path:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("litellm is not installed: run this in the runtime's environment")
    return Path(spec.submodule_search_locations[0]) / SOURCE


if __name__ == "__main__":
    main()
