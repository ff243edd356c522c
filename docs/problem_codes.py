"""Finds every refusal and failure that the runtime and its tools tell, where the code makes them.

Read from the syntax tree: a list beside the code would miss the next one.
"""

# ruff: noqa: INP001 (beside the scripts that write docs/reference; nothing else imports it)

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from bulkhead_runtime.kernel.failures import as_problem
from bulkhead_runtime.models.errors import ModelError, ModelErrorKind
from bulkhead_runtime.models.failures import Failures

Values = Mapping[str, tuple[object, ...]]
"""What a name may stand for: a constant, or one of two that a condition chooses from."""

_REFUSALS = ("refused", "invalid_request")
"""The kinds that tell a provider's own words."""
_TOOL_ERRORS = ("ToolError", "TransientError", "ToolFailure", "failed")


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """One code, words it is told in ('…' stands for values), and its HTTP status.

    Tools' codes have no status: they are in the envelope of a result.
    """

    code: str
    status: int | None
    message: str


def problem_codes(package: Path) -> list[ProblemCode]:
    """Return all that the modules below `package` make, sorted; those of tools have no status."""
    trees = [ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))]
    everywhere = {name: value for tree in trees for name, value in _assigned(tree).items()}
    found: set[ProblemCode] = set(_of_providers())
    for tree in trees:
        found.update(_made_in(tree, everywhere | _assigned(tree)))
    return sorted(found, key=lambda one: (one.code, one.status or 0, one.message))


def _of_providers() -> Iterator[ProblemCode]:
    failures = Failures("…", None)
    for kind in get_args(ModelErrorKind):
        error = failures.of_kind(kind, "…", said="…")
        if kind in _REFUSALS or "refused the request" not in error.message:
            told = as_problem(error)
            yield ProblemCode(told.code, told.status, error.message)


def _assigned(tree: ast.Module) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and node.value and (values := _values(node.value, {})):
                found[target.id] = values
    return found


def _made_in(tree: ast.Module, known: Values) -> Iterator[ProblemCode]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or len(node.args) < 2:  # noqa: PLR2004 (code and words)
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name == "Problem":
            yield from _problems(node.args, known)
        elif name == "ModelError":
            yield from _model_errors(node.args, known)
        elif name in _TOOL_ERRORS:
            for code in _values(node.args[0], known):
                if isinstance(code, str):
                    yield ProblemCode(code, None, _text(node.args[1], known))


def _problems(arguments: list[ast.expr], known: Values) -> Iterator[ProblemCode]:
    status, code, message = arguments
    for number in _values(status, known):
        for word in _values(code, known):
            if isinstance(number, int) and isinstance(word, str):
                yield ProblemCode(word, number, _text(message, known))


def _model_errors(arguments: list[ast.expr], known: Values) -> Iterator[ProblemCode]:
    for kind in _values(arguments[0], known):
        if kind in get_args(ModelErrorKind):
            told = as_problem(ModelError(kind, ""))  # type: ignore[arg-type]  # just looked up
            yield ProblemCode(told.code, told.status, _text(arguments[1], known))


def _values(node: ast.expr, known: Values) -> tuple[object, ...]:
    if isinstance(node, ast.Constant):
        return (node.value,)
    if isinstance(node, ast.IfExp):
        return (*_values(node.body, known), *_values(node.orelse, known))
    if isinstance(node, ast.JoinedStr):
        return (_text(node, known),)
    return known.get(node.id, ()) if isinstance(node, ast.Name) else ()


def _text(node: ast.expr, known: Values) -> str:
    if isinstance(node, ast.Subscript):
        return _text(node.value, known)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        quote = "'" if node.conversion == ord("r") else ""
        return f"{quote}{_shown(node.value, known)}{quote}"
    return ""


def _shown(node: ast.expr, known: Values) -> str:
    """Return a constant of the code as it is; everything else differs from time to time."""
    values = known.get(node.id, ()) if isinstance(node, ast.Name) and node.id.isupper() else ()
    if len(values) != 1:
        return "…"
    return f"{values[0]:,}" if isinstance(values[0], int) else str(values[0])
