"""Write prices.json from the price map that the locked litellm release ships.

Run as `python -m bulkhead_runtime.models.generate_prices` in the runtime's environment whenever
litellm's version changes. litellm itself is not imported: only its data file is read.
"""

import importlib.util
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from bulkhead_runtime.models.prices import MODERATION, MODERATORS, TABLE

SOURCE: Final = "model_prices_and_context_window_backup.json"
MODES: Final = frozenset({"chat", "completion", "responses", MODERATION})

_LETTERS: Final = {
    "supports_function_calling": "t",
    "supports_vision": "v",
    "supports_reasoning": "r",
    "supports_response_schema": "s",
    "supports_audio_input": "a",
    "supports_pdf_input": "p",
}
"""What `prices.CAPABILITIES` spells out."""

_LONG: Final = re.compile(r"^input_cost_per_token_above_(\d+)k_tokens$")

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
    """Return seller -> model -> row.

    A row is [input price, output price, context window, maximum output, capabilities], and for
    models whose long prompts are dearer [..., from so many tokens, input price, output price].
    """
    table: dict[str, dict[str, Row]] = {}
    for name, facts in models.items():
        row = _row(facts)
        if row is not None and facts.get("litellm_provider"):
            seller = _seller(facts["litellm_provider"])
            shelf = seller + MODERATORS if facts["mode"] == MODERATION else seller
            table.setdefault(shelf, {})[name.removeprefix(f"{seller}/")] = row
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
    output = facts.get("max_output_tokens") or facts.get("max_tokens")
    letters = "".join(letter for name, letter in _LETTERS.items() if facts.get(name) is True)
    row: Row = [*(_decimal(price) for price in prices), _tokens(window), _tokens(output), letters]
    return row + _long_prompts(facts)


def _long_prompts(facts: dict[str, Any]) -> Row:
    """Return from where on a long prompt has other prices, and those; nothing where it has none."""
    thousands = next((found[1] for name in facts if (found := _LONG.match(name))), None)
    if thousands is None:
        return []
    names = (f"{kind}_cost_per_token_above_{thousands}k_tokens" for kind in ("input", "output"))
    return [int(thousands) * 1000, *(_decimal(facts[name]) for name in names)]


def _tokens(count: Any) -> int | None:
    return int(count) if count else None


def _decimal(price: object) -> str:
    return str(Decimal(str(price)).normalize())


def _source() -> Path:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("litellm is not installed: run this in the runtime's environment")
    return Path(spec.submodule_search_locations[0]) / SOURCE


if __name__ == "__main__":
    main()
