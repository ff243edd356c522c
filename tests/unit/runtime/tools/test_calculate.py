import pytest

from bulkhead_runtime.tools.calculate import calculate
from bulkhead_runtime.tools.errors import ToolError


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        pytest.param("2 + 3 * 4", "14", id="multiplication binds tighter than addition"),
        pytest.param("(2 + 3) * 4", "20", id="parentheses come first"),
        pytest.param("0.1 + 0.2", "0.3", id="decimals are exact"),
        pytest.param("1 / 3 * 3", "0." + "9" * 50, id="a third keeps fifty digits"),
        pytest.param("-2 ** 2", "-4", id="a power binds tighter than a sign"),
        pytest.param("2 ** -1", "0.5", id="a negative exponent is a fraction"),
        pytest.param("2 ** 100", "1267650600228229401496703205376", id="large results are exact"),
        pytest.param("10 ** 100", "1E+100", id="a very large number is told with an exponent"),
        pytest.param("1_000 * 1e3", "1000000", id="grouped digits and exponents are read"),
        pytest.param("5 - 5", "0", id="nothing is zero"),
        pytest.param("(" * 120 + "1" + ")" * 120, "1", id="deep parentheses are followed"),
        pytest.param(
            "0.12345678901234567890123 * 1",
            "0.12345678901234567890123",
            id="digits beyond a float's survive",
        ),
    ],
)
def test_calculates(expression: str, result: str) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        pytest.param("9 ** 9 ** 9", "too_large", id="a tower of powers"),
        pytest.param(
            "10 ** 900 ** 1 * 10 ** 1000 * " + "*".join(["10**1000"] * 12),
            "too_large",
            id="a product of large powers",
        ),
        pytest.param("1.000000001 ** (10 ** 9998)", "too_large", id="a slow growth without end"),
        pytest.param("1 / 0", "undefined", id="a division by zero"),
        pytest.param("(-8) ** 0.5", "undefined", id="the root of a negative number"),
        pytest.param("__import__('os').system('id')", "invalid_expression", id="a call"),
        pytest.param("a + 1", "invalid_expression", id="a name"),
        pytest.param("'a' * 99", "invalid_expression", id="a text"),
        pytest.param("True + 1", "invalid_expression", id="a truth value"),
        pytest.param("1 if 2 else 3", "invalid_expression", id="a condition"),
        pytest.param("~5", "invalid_expression", id="a bit operation"),
        pytest.param("1 << 999", "invalid_expression", id="a shift"),
        pytest.param("2 +", "invalid_expression", id="half an expression"),
        pytest.param("-" * 255 + "(", "invalid_expression", id="signs without end"),
        pytest.param("1\x00", "invalid_expression", id="a null character"),
        pytest.param("1j * 1j", "invalid_expression", id="an imaginary number"),
    ],
)
def test_refuses_what_is_no_bounded_arithmetic(expression: str, code: str) -> None:
    with pytest.raises(ToolError) as refused:
        calculate(expression)
    assert refused.value.code == code
