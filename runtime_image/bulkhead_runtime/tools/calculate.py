"""Arithmetic that a model can trust: exact decimals, no evaluation of code.

The expression is parsed by `ast` and only numbers and five operators are followed, each with a
bounded result, so neither `9**9**9` nor anything but arithmetic can be asked of it.
"""

import ast
import decimal
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import Tool, ToolContext

MAX_EXPRESSION_CHARACTERS: Final = 256
SIGNIFICANT_DIGITS: Final = 50

_PLAIN_DIGITS: Final = 60
"""Numbers longer than this are written with an exponent."""

MAX_MAGNITUDE: Final = 9_999
"""Powers of ten beyond which a result is too large, however it came about."""

_ARITHMETIC: Final = decimal.Context(
    prec=SIGNIFICANT_DIGITS,
    Emax=MAX_MAGNITUDE,
    Emin=-MAX_MAGNITUDE,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)


async def _calculate(arguments: Mapping[str, Any], _context: ToolContext) -> dict[str, str]:
    expression = str(arguments["expression"])
    return {"expression": expression, "result": calculate(expression)}


CALCULATE: Final = Tool(
    name="calculate",
    description=(
        "Calculates an arithmetic expression exactly: numbers, + - * / ** and parentheses, for "
        "example (19.99 * 3) / 1.19."
    ),
    parameters={
        "type": "object",
        "properties": {
            "expression": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_EXPRESSION_CHARACTERS,
                "description": "The expression, for example 12 * (3 + 4.5).",
            }
        },
        "required": ["expression"],
        "additionalProperties": False,
    },
    risk="low",
    handler=_calculate,
)


def calculate(expression: str) -> str:
    """Return the value of an arithmetic expression as a decimal number.

    Results carry at most 50 significant digits. Raises `ToolError` for what is no arithmetic and
    for what has no or no representable value.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        value = _value(tree.body, expression.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError(
            "invalid_expression",
            "The expression is not arithmetic: use numbers, + - * / ** and parentheses.",
        ) from None
    except decimal.DivisionByZero:
        raise ToolError("undefined", "The expression divides by zero.") from None
    except decimal.Overflow:
        raise ToolError("too_large", "The result has too many digits.") from None
    except decimal.InvalidOperation:
        raise ToolError("undefined", "The expression has no real value.") from None
    return _text(value)


def _value(node: ast.expr, source: str) -> Decimal:
    if isinstance(node, ast.Constant):
        return _number(node, source)
    if isinstance(node, ast.UnaryOp):
        return _signed(node, source)
    if isinstance(node, ast.BinOp):
        operation = _OPERATIONS.get(type(node.op))
        if operation is not None:
            return operation(_value(node.left, source), _value(node.right, source))
    raise ToolError(
        "invalid_expression",
        f"{type(node).__name__} is not arithmetic: use numbers, + - * / ** and parentheses.",
    )


def _number(node: ast.Constant, source: str) -> Decimal:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise ToolError("invalid_expression", f"{node.value!r} is not a number.")
    if isinstance(node.value, int):
        return _ARITHMETIC.create_decimal(node.value)
    # The digits as written, because the float has already lost some of them.
    return _ARITHMETIC.create_decimal(ast.get_source_segment(source, node) or repr(node.value))


def _signed(node: ast.UnaryOp, source: str) -> Decimal:
    if isinstance(node.op, ast.USub):
        return _ARITHMETIC.minus(_value(node.operand, source))
    if isinstance(node.op, ast.UAdd):
        return _value(node.operand, source)
    raise ToolError("invalid_expression", f"{type(node.op).__name__} is not arithmetic.")


_OPERATIONS: Final[dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]]] = {
    ast.Add: _ARITHMETIC.add,
    ast.Sub: _ARITHMETIC.subtract,
    ast.Mult: _ARITHMETIC.multiply,
    ast.Div: _ARITHMETIC.divide,
    ast.Pow: _ARITHMETIC.power,
}


def _text(value: Decimal) -> str:
    if value.is_zero():
        return "0"
    plain = value.normalize(_ARITHMETIC)
    return f"{plain:f}" if abs(plain.adjusted()) < _PLAIN_DIGITS else str(plain)
