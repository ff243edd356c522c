"""Expressions of authors: found in linear time, whatever an answer is."""

import time

from bulkhead_runtime.packages.expressions import found


def test_an_expression_is_found_anywhere_and_minds_case_unless_told_not_to() -> None:
    assert found(r"order \d+", "Your order 77 is on its way.")
    assert not found("ORDER", "Your order 77 is on its way.")
    assert found("(?i)ORDER", "Your order 77 is on its way.")


def test_what_takes_other_engines_for_ever_ends_at_once() -> None:
    started = time.process_time()
    assert not found("^(a+)+$", "a" * 100_000 + "!")
    assert time.process_time() - started < 1


def test_what_is_no_expression_is_found_nowhere() -> None:
    assert not found("(", "(")
