"""Telemetry: logs, metrics and trace ids of the runtime."""
