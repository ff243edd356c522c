"""Grafana dashboards as typed code; `make generate` writes their JSON."""
