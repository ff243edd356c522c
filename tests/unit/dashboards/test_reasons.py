"""Reasons for which a query may have no answer are kept for queries that there are."""

from tests.dashboards.alerts import read_by_alerts
from tests.dashboards.reasons import EMPTY
from tests.support.dashboards import every_query


def test_no_reason_is_left_for_a_query_that_is_gone() -> None:
    known = {str(query) for query in every_query()} | {name for name, _ in read_by_alerts()}
    assert EMPTY.keys() - known == set()
