"""Alerts and recording rules as code: `python -m dashboards.alerts` writes what Prometheus reads.

The sources are here once; a rule file for any Prometheus, the chart's PrometheusRule and the page
about alerts are generated from them.
"""
